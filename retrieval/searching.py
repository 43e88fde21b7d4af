"""Searching a gallery: the index proposes, the store decides.

The index is a cache of the store, opened and then brought up to date with what came and went since.
The distances that leave this module are computed from the stored vectors, never taken from it.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from db import (
    Candidate,
    Glance,
    Reader,
    Store,
    StoredEncoder,
    Threshold,
)
from indexes import CollectionGone, EngineError
from retrieval.belonging import require_encoder
from retrieval.conditions import Conditions
from retrieval.filtering import SCANNED, Allowed, Filters, scan
from retrieval.generations import asked, usable
from retrieval.identification import NearestItem
from retrieval.index_choice import EXACT, WHEN_DOWN, open_proposer
from retrieval.proposing import Proposer, StaleError
from retrieval.ranking import identity_candidates, nearest_items, nearest_of_each, rank
from retrieval.rules import NEAREST, RULES

# Candidates whose stored vectors are looked at first, beyond k.
_SPARE = 8
# Candidates the index names at first, and how many times as many where those don't suffice.
_DEPTH, _DEEPER = 40, 4
# The same where the nearest of another identity is wanted too: the index takes hardly longer.
_DEPTH_OF_IDENTITIES = 160
# Candidates kept in memory: some 50 MB at 1280 dimensions.
_KEPT = 16_384
# How long an engine that did not answer is left alone.
_DOWN_SECONDS = 30.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """What a search found, all of one moment.

    Attributes:
        items: The k nearest items of each query, nearest first, ties by id.
        identities: The nearest item of each of the nearest identities, nearest first; as many as
            were asked for, but for those farther off than anything unrelated.
        count: How many items there are.
        threshold: The gallery's threshold.
        among: How many items were searched among: those that meet the conditions, or all.
    """

    items: list[list[NearestItem]]
    identities: list[list[NearestItem]]
    count: int
    threshold: Threshold | None
    among: int


@dataclass(frozen=True)
class _Held:
    """What is in memory of the store as it was at a sequence number."""

    seq: int
    proposer: Proposer
    count: int
    encoder: StoredEncoder
    threshold: Threshold | None
    # Until when an engine that is down is not asked again, by the monotonic clock.
    stands_in_until: float
    # Candidates of late, by vector id: queries resemble each other.
    kept: dict[int, Candidate] = field(default_factory=dict)
    # What vectors show, by id.
    shown: dict[int, str | int] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        """Whether the engine that it stands in for is to be asked again."""
        return -math.inf < self.stands_in_until < time.monotonic()

    def candidates(self, glance: Glance, ids: list[int]) -> list[Candidate]:
        """Return what the store holds of these vectors; ids it doesn't know are left out."""
        found = {one: kept for one in ids if (kept := self.kept.get(one))}
        missing = [one for one in ids if one not in found]
        if missing:
            fetched = {one.vector_id: one for one in glance.candidates(missing, self.encoder)}
            if len(self.kept) > _KEPT:
                self.kept.clear()
            self.kept.update(fetched)
            found |= fetched
        return [found[one] for one in ids if one in found]

    def identities(self, glance: Glance, ids: list[int], first: int, last: int) -> list[str | int]:
        """Return what the vectors from one place up to another show, all of them live."""
        some = ids[first:last]
        missing = [one for one in some if one not in self.shown]
        if missing:
            self.shown.update(glance.identities(missing))
        # One the store doesn't know is nobody else's.
        return [self.shown.get(one, -one) for one in some]


class Searcher:
    """Answers nearest-item questions about a store that others may be changing.

    It answers for one encoder; where the store belongs to another, a search raises
    `EncoderChanged`.
    """

    def __init__(self, store: Store, index_folder: Path, fingerprint: str | None = None) -> None:
        """Answer for the encoder with this fingerprint; `None`: the store's of this moment."""
        if fingerprint is None:
            with store.read() as tx:
                fingerprint = tx.encoder.fingerprint
        self._store = store
        self._folder = index_folder
        self._fingerprint = fingerprint
        self._held: _Held | None = None
        self._lock = Lock()
        self._down_until = -math.inf
        self._filters = Filters()

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        identities: int | None = 1,
        *,
        where: Conditions = (),
        probes: int | None = None,
    ) -> Found:
        """Find the k nearest items, and the nearest identities, of each query.

        The index's distances are off by no more than it says. So candidates are asked for until
        the k nearest of them, by stored vectors, are nearer than anything left out can be.

        Args:
            queries: float32, shape `(n, dim)`, L2-normalised.
            k: At least 1.
            identities: At least 1; `None` takes as many as the rule of the gallery's threshold
                looks at, at least 2.
            where: Find only items that meet all of these conditions, as if there were no others.
            probes: How many cells an approximate index looks into; `None`: what it was tuned to.

        Raises:
            GalleryError: No item has a field that is asked for.
            EngineError: The index is a server that is down, and comparing all vectors instead is
                not allowed.
        """
        while True:
            try:
                return self._search_at_once(queries, k, identities, where, probes)
            except StaleError:
                continue
            except CollectionGone:
                self._drop()  # opened anew, it is filled anew
            except EngineError as error:
                self._stand_in(error)

    def _search_at_once(
        self,
        queries: NDArray[np.float32],
        k: int,
        identities: int | None,
        where: Conditions,
        probes: int | None,
    ) -> Found:
        held = self._held
        if held is not None and not held.is_over:
            with self._store.glance() as glance:
                allowed = self._filters.kept(held.seq, where) if where else None
                if glance.seq == held.seq and (allowed is not None or not where):
                    return self._search(glance, held, queries, k, identities, allowed, probes)
        with self._store.read() as tx:
            held = self._up_to_date(tx)
            allowed = self._filters.read(tx, where) if where else None
            return self._search(tx.glance, held, queries, k, identities, allowed, probes)

    def _search(
        self,
        glance: Glance,
        held: _Held,
        queries: NDArray[np.float32],
        k: int,
        identities: int | None,
        allowed: Allowed | None,
        probes: int | None,
    ) -> Found:
        if identities is None:
            rule = RULES[held.threshold.rule] if held.threshold else NEAREST
            identities = max(2, rule.identities)
        allow = None if allowed is None else allowed.ids
        if allowed is not None and len(allowed.ids) <= SCANNED:
            every = held.candidates(glance, allowed.ids.tolist())
            found = scan(queries, every, k, identities)
            return Found(*found, held.count, held.threshold, allowed.items)
        answers: list[list[NearestItem]] = [[] for _ in queries]
        nearest: list[list[NearestItem]] = [[] for _ in queries]
        pending = list(range(len(queries)))
        depth = max(_DEPTH if identities == 1 else _DEPTH_OF_IDENTITIES, 2 * k)
        while pending:
            count = len(held.proposer) if allow is None else len(allow)
            some = queries if len(pending) == len(queries) else queries[pending]
            hits = held.proposer.search(
                glance, some, max(min(depth, count), 1), allow=allow, probes=probes
            )
            unproven = []
            for row, place in enumerate(pending):
                distances = hits.distances[row]
                ids: list[int] = hits.ids[row].tolist()
                # A few at first: their k-th tells how far off a nearer one may be reported.
                first = k + _SPARE
                if identities == 1 and count:
                    # What is told to be beyond the k-th by twice the error can't be nearer.
                    last = distances[min(k, depth, count) - 1] + 2 * hits.error
                    first = min(int(distances.searchsorted(last, side="right")), first)
                looked_at = ids[:first]
                proven = True
                if identities > 1:
                    near = identity_candidates(
                        partial(held.identities, glance, ids),
                        distances.tolist(),
                        identities,
                        error=hits.error,
                        complete=depth >= count,
                    )
                    proven = near is not None
                    looked_at += [ids[one] for one in near or () if one >= len(looked_at)]
                ranked = rank(queries[place], held.candidates(glance, looked_at))
                reach = ranked[k - 1][0] + hits.error if len(ranked) >= k else np.inf
                within = int(distances.searchsorted(reach, side="right"))
                if within > first:
                    known = set(looked_at)
                    others = [one for one in ids[first:within] if one not in known]
                    ranked = sorted(ranked + rank(queries[place], held.candidates(glance, others)))
                if not proven or within == depth < count:
                    unproven.append(place)
                    continue
                answers[place] = nearest_items(ranked[:k])
                nearest[place] = (
                    answers[place][:1]
                    if identities == 1
                    else nearest_items(nearest_of_each(ranked, identities))
                )
            pending, depth = unproven, depth * _DEEPER
        among = held.count if allowed is None else allowed.items
        return Found(answers, nearest, held.count, held.threshold, among)

    def close(self) -> None:
        """Give back the index."""
        with self._lock:
            if self._held is not None:
                self._held.proposer.close()
            self._held = None

    def renew(self) -> None:
        """Open the newest generation, where it spares a search what came and went since."""
        with self._store.read() as tx:
            require_encoder(tx, self._fingerprint)
            held = self._held
            if held is None or all(one.seq <= held.proposer.generation for one in usable(tx)):
                return
            proposer = self._open(tx)
        with self._store.read() as tx, self._lock:
            require_encoder(tx, self._fingerprint)
            generation = proposer.generation
            if self._held is not None and tx.purged_seq <= generation and self._held.seq <= tx.seq:
                self._held = self._hold(tx, proposer, generation)

    def _up_to_date(self, tx: Reader) -> _Held:
        require_encoder(tx, self._fingerprint)
        with self._lock:
            held = self._held
            # Others may be searching what was held: it is let go of, not closed.
            if (
                held is None
                or held.is_over
                or held.seq < tx.purged_seq
                or (self._store.is_shared and held.proposer.asked != asked(tx))
            ):
                proposer = self._open(tx)
                held = self._held = self._hold(tx, proposer, proposer.generation)
            elif held.seq < tx.seq:
                held = self._held = self._hold(tx, held.proposer, held.seq)
            elif held.seq > tx.seq:
                raise StaleError
            return held

    def _open(self, tx: Reader) -> Proposer:
        down = time.monotonic() < self._down_until
        if not down:
            self._down_until = -math.inf
        return open_proposer(self._store, tx, self._folder, without_engine=down)

    def _hold(self, tx: Reader, proposer: Proposer, seq: int) -> _Held:
        """Bring what was as the store was at `seq` up to date."""
        proposer.follow(tx, seq)
        return _Held(
            tx.seq, proposer, tx.count_items(), tx.encoder, tx.threshold(), self._down_until
        )

    def _drop(self) -> None:
        with self._lock:
            self._held = None

    def _stand_in(self, error: EngineError) -> None:
        """Compare all vectors for a while instead of asking a server, or raise its error."""
        with self._store.read() as tx:
            allowed = tx.settings().get(WHEN_DOWN) == EXACT
        if not allowed:
            raise error
        _log.warning("%s Until it answers again all vectors are compared.", error)
        with self._lock:
            self._down_until = time.monotonic() + _DOWN_SECONDS
            self._held = None
