"""Searching a gallery: the index proposes, the store decides.

The index is a cache of the store. It is opened from the newest generation that proves to be whole,
then brought up to date with what came and went since; without one it is filled from the store. The
distances that leave this module are computed from the stored vectors, never taken from the index.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from db import (
    Candidate,
    Generation,
    Glance,
    Reader,
    Store,
    StoredEncoder,
    StoredVectors,
    Threshold,
)
from indexes import Changes, ExactIndex, IndexFileError, load, save
from retrieval.belonging import require_encoder
from retrieval.conditions import Conditions
from retrieval.filtering import SCANNED, Allowed, Filters, scan
from retrieval.identification import NearestItem
from retrieval.ranking import identity_candidates, nearest_items, nearest_of_each, rank
from retrieval.rules import NEAREST, RULES

_log = logging.getLogger(__name__)


# Candidates whose stored vectors are looked at first, beyond k.
_SPARE = 8
# Candidates the index names at first, and how many times as many where those don't suffice.
_DEPTH, _DEEPER = 40, 4
# The same where the nearest of another identity is wanted too: the index takes hardly longer.
_DEPTH_OF_IDENTITIES = 160
# Candidates kept in memory: some 50 MB at 1280 dimensions.
_KEPT = 16_384
# A new generation is due when this share of the vectors has come or gone since the last one,
# and at least so many that reading them one by one takes a noticeable time.
_STALE_SHARE, _STALE_COUNT = 0.1, 1000
_ORPHAN_SECONDS = 3600


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
    index: ExactIndex
    encoder: StoredEncoder
    threshold: Threshold | None
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

        Raises:
            GalleryError: No item has a field that is asked for.
        """
        held = self._held
        if held is not None:
            with self._store.glance() as glance:
                allowed = self._filters.kept(held.seq, where) if where else None
                if glance.seq == held.seq and (allowed is not None or not where):
                    return self._search(glance, held, queries, k, identities, allowed)
        with self._store.read() as tx:
            held = self._up_to_date(tx)
            allowed = self._filters.read(tx, where) if where else None
            return self._search(tx.glance, held, queries, k, identities, allowed)

    def _search(
        self,
        glance: Glance,
        held: _Held,
        queries: NDArray[np.float32],
        k: int,
        identities: int | None,
        allowed: Allowed | None,
    ) -> Found:
        if identities is None:
            rule = RULES[held.threshold.rule] if held.threshold else NEAREST
            identities = max(2, rule.identities)
        allow = None if allowed is None else allowed.ids
        if allowed is not None and len(allowed.ids) <= SCANNED:
            every = held.candidates(glance, allowed.ids.tolist())
            found = scan(queries, every, k, identities)
            return Found(*found, len(held.index), held.threshold, allowed.items)
        answers: list[list[NearestItem]] = [[] for _ in queries]
        nearest: list[list[NearestItem]] = [[] for _ in queries]
        pending = list(range(len(queries)))
        depth = max(_DEPTH if identities == 1 else _DEPTH_OF_IDENTITIES, 2 * k)
        while pending:
            with self._lock:
                count = len(held.index) if allow is None else len(allow)
                asked = queries if len(pending) == len(queries) else queries[pending]
                hits = held.index.search(asked, max(min(depth, count), 1), allow=allow)
            unproven = []
            for row, place in enumerate(pending):
                distances = hits.distances[row]
                ids: list[int] = hits.ids[row].tolist()
                # The k-th of the first few tells how far off a nearer one may be reported.
                looked_at = ids[: k + _SPARE]
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
                if within > k + _SPARE:
                    known = set(looked_at)
                    others = [one for one in ids[k + _SPARE : within] if one not in known]
                    ranked = sorted(ranked + rank(queries[place], held.candidates(glance, others)))
                if not proven or within == depth < count:
                    unproven.append(place)
                    continue
                answers[place] = nearest_items(ranked[:k])
                nearest[place] = nearest_items(nearest_of_each(ranked, identities))
            pending, depth = unproven, depth * _DEEPER
        among = len(held.index) if allowed is None else allowed.items
        return Found(answers, nearest, len(held.index), held.threshold, among)

    def write_generation(self) -> bool:
        """Write a new generation if enough has changed since the last; return whether it did."""
        with self._store.read() as tx:
            if tx.encoder.fingerprint != self._fingerprint:
                return False
            usable = self._usable(tx)
            newest = next((one for one in usable if (self._folder / one.file_name).exists()), None)
            held, since = (newest.count, newest.seq) if newest else (0, -1)
            if tx.count_changes(since) < max(_STALE_COUNT, _STALE_SHARE * held):
                return False
            self._folder.mkdir(exist_ok=True)
            # Named by what it holds: two writers at once would write the same bytes.
            path = self._folder / f"gen-{tx.seq:06d}-{tx.encoder.id}.npz"
            seq, count = tx.seq, tx.count_vectors()
            checksum = save(
                path,
                dim=tx.encoder.dim,
                count=count,
                chunks=(Changes(part.ids, part.data) for part in tx.vectors()),
                largest=max((_largest(part.data) for part in tx.vectors()), default=0.0),
            )
        with self._store.write() as tx:
            if tx.encoder.fingerprint != self._fingerprint:
                return False  # the file is nobody's, and is collected some day
            if path.name not in {generation.file_name for generation in tx.generations()}:
                tx.add_generation(
                    kind=ExactIndex.kind, file_name=path.name, sha256=checksum, seq=seq, count=count
                )
            # The last one stays too: others may just be opening it.
            kept = {path.name, newest.file_name if newest else path.name}
            for generation in tx.generations():
                if generation.file_name not in kept:
                    tx.drop_generation(generation.id)
        self._collect()
        return True

    def close(self) -> None:
        """Give back the index."""
        with self._lock:
            if self._held is not None:
                self._held.index.close()
            self._held = None

    def _up_to_date(self, tx: Reader) -> _Held:
        require_encoder(tx, self._fingerprint)
        with self._lock:
            held = self._held
            if held is None or held.seq < tx.seq:
                if held is None:
                    index, since = self._open(tx)
                else:
                    index, since = held.index, held.seq
                if since < tx.seq:
                    index.apply(_changes(tx, since))
                held = self._held = _Held(tx.seq, index, tx.encoder, tx.threshold())
            return held

    def _open(self, tx: Reader) -> tuple[ExactIndex, int]:
        for generation in self._usable(tx):
            path = self._folder / generation.file_name
            try:
                index = load(path, kind=generation.kind, sha256=generation.sha256)
            except IndexFileError as error:
                _log.warning("%s; searching the store without it.", error)
                continue
            if len(index) == generation.count and index.dim == tx.encoder.dim:
                return index, generation.seq
            _log.warning("%s does not agree with the store; searching without it.", path)
        return ExactIndex(tx.encoder.dim), -1

    def _usable(self, tx: Reader) -> list[Generation]:
        return [
            generation
            for generation in tx.generations()
            if generation.encoder_fingerprint == tx.encoder.fingerprint
            and generation.kind == ExactIndex.kind
            and generation.seq <= tx.seq
        ]

    def _collect(self) -> None:
        """Delete files that no generation names: dropped ones, and what a crash left behind."""
        with self._store.read() as tx:
            known = {generation.file_name for generation in tx.generations()}
        for path in self._folder.glob("gen-*"):
            # A young one may be another writer's, about to be recorded.
            if path.name not in known and path.stat().st_mtime < time.time() - _ORPHAN_SECONDS:
                path.unlink(missing_ok=True)


def _largest(vectors: NDArray[np.float16]) -> float:
    """Return the largest absolute value: of float16, the one with the largest bits but the sign."""
    bits = vectors.view(np.uint16) & np.uint16(0x7FFF)
    return float(np.array(bits.max(initial=0)).view(np.float16))


def _changes(tx: Reader, since: int) -> Changes:
    parts: list[StoredVectors] = list(tx.vectors(after_seq=since))
    if not parts:
        return Changes(removed_ids=np.array(tx.removed_since(since), dtype=np.int64))
    return Changes(
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.data for part in parts]),
        np.array(tx.removed_since(since), dtype=np.int64),
    )
