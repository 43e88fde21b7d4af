"""Searching a gallery: the index proposes, the store decides.

The index is a cache of the store. It is opened from the newest generation that proves to be whole,
then brought up to date with what came and went since; without one it is filled from the store. The
distances that leave this module are computed from the stored vectors, never taken from the index.
"""

from __future__ import annotations

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
from indexes import VectorIndex
from retrieval.belonging import require_encoder
from retrieval.conditions import Conditions
from retrieval.filtering import SCANNED, Allowed, Filters, scan
from retrieval.generations import changes_since, open_newest, usable
from retrieval.identification import NearestItem
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
    index: VectorIndex
    count: int
    encoder: StoredEncoder
    threshold: Threshold | None
    # The sequence number of the generation it was opened from, -1 without one.
    generation: int
    # Candidates of late, by vector id: queries resemble each other.
    kept: dict[int, Candidate] = field(default_factory=dict)
    # What vectors show, by id.
    shown: dict[int, str | int] = field(default_factory=dict)

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


class _StaleError(Exception):
    """Another thread has brought the index up to date with a later snapshot."""


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
        """
        while True:
            try:
                return self._search_at_once(queries, k, identities, where, probes)
            except _StaleError:
                continue

    def _search_at_once(
        self,
        queries: NDArray[np.float32],
        k: int,
        identities: int | None,
        where: Conditions,
        probes: int | None,
    ) -> Found:
        held = self._held
        if held is not None:
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
            with self._lock:
                if self._held is not held:
                    raise _StaleError  # the index may know more by now than this snapshot
                count = held.count if allow is None else len(allow)
                asked = queries if len(pending) == len(queries) else queries[pending]
                hits = held.index.search(
                    asked, max(min(depth, count), 1), allow=allow, probes=probes
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
                self._held.index.close()
            self._held = None

    def renew(self) -> None:
        """Open the newest generation, where it spares a search what came and went since."""
        with self._store.read() as tx:
            require_encoder(tx, self._fingerprint)
            held = self._held
            if held is None or all(one.seq <= held.generation for one in usable(tx)):
                return
            index, generation = open_newest(tx, self._folder)
        with self._store.read() as tx, self._lock:
            require_encoder(tx, self._fingerprint)
            if self._held is not None and tx.purged_seq <= generation and self._held.seq <= tx.seq:
                self._held = _hold(tx, index, generation, generation)

    def _up_to_date(self, tx: Reader) -> _Held:
        require_encoder(tx, self._fingerprint)
        with self._lock:
            held = self._held
            # Others may be searching what was held: it is let go of, not closed.
            if held is None or held.seq < tx.purged_seq:
                index, generation = open_newest(tx, self._folder)
                held = self._held = _hold(tx, index, generation, generation)
            elif held.seq < tx.seq:
                held = self._held = _hold(tx, held.index, held.seq, held.generation)
            elif held.seq > tx.seq:
                raise _StaleError
            return held


def _hold(tx: Reader, index: VectorIndex, seq: int, generation: int) -> _Held:
    """Bring an index, which is as the store was at `seq`, up to date."""
    if seq < tx.seq:
        index.apply(changes_since(tx, seq))
    return _Held(tx.seq, index, len(index), tx.encoder, tx.threshold(), generation)
