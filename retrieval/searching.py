"""Searching a gallery: the index proposes, the store decides.

The index is a cache of the store. It is opened from the newest generation that proves to be whole,
then brought up to date with what came and went since; without one it is filled from the store. The
distances that leave this module are computed from the stored vectors, never taken from the index.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from db import Generation, Reader, Store, StoredVectors
from indexes import Changes, ExactIndex, IndexFileError, load, save
from retrieval.identification import NearestItem

_log = logging.getLogger(__name__)

# Candidates asked for beyond k: the index may order near ties differently than the store's bits do.
_SPARE = 8
# A new generation is due when this share of the vectors has come or gone since the last one,
# and at least so many that reading them one by one takes a noticeable time.
_STALE_SHARE, _STALE_COUNT = 0.1, 1000
_ORPHAN_SECONDS = 3600


class Searcher:
    """Answers nearest-item questions about a store that others may be changing."""

    def __init__(self, store: Store, index_folder: Path) -> None:
        self._store = store
        self._folder = index_folder
        self._index: ExactIndex | None = None
        self._seq = -1
        self._lock = Lock()

    def search(self, queries: NDArray[np.float32], k: int) -> list[list[NearestItem]]:
        """Return the k nearest items of each query, nearest first, ties by id.

        Args:
            queries: float32, shape `(n, dim)`, L2-normalised.
            k: At least 1.
        """
        with self._store.read() as tx:
            with self._lock:
                index = self._up_to_date(tx)
                hits = index.search(queries, k + _SPARE)
            candidates = np.unique(hits.ids[hits.ids >= 0])
            stored = tx.vectors_by_id(candidates.tolist())
            items = {item.id: item for item in tx.items(ids=stored.item_ids.tolist())}
        answers = []
        for query, ids in zip(queries, hits.ids, strict=True):
            rows = np.flatnonzero(np.isin(stored.ids, ids))
            item_ids = stored.item_ids[rows]
            distances = exact_distances(query, stored.data[rows])
            order = np.lexsort((item_ids, distances))[:k]
            answers.append(
                [
                    NearestItem(
                        item.id, item.label, float(distances[row]), item.path, item.metadata
                    )
                    for row in order
                    for item in (items[int(item_ids[row])],)
                ]
            )
        return answers

    def write_generation(self) -> bool:
        """Write a new generation if enough has changed since the last; return whether it did."""
        with self._store.read() as tx, self._lock:
            usable = self._usable(tx)
            newest = next((one for one in usable if (self._folder / one.file_name).exists()), None)
            held, since = (newest.count, newest.seq) if newest else (0, -1)
            if tx.count_changes(since) < max(_STALE_COUNT, _STALE_SHARE * held):
                return False
            index, seq = self._up_to_date(tx), tx.seq
            self._folder.mkdir(exist_ok=True)
            # Named by what it holds: two writers at once would write the same bytes.
            path = self._folder / f"gen-{seq:06d}-{tx.encoder.id}.npz"
            checksum = save(index, path)
            count = len(index)
        with self._store.write() as tx:
            if path.name not in {generation.file_name for generation in tx.generations()}:
                tx.add_generation(
                    kind=index.kind, file_name=path.name, sha256=checksum, seq=seq, count=count
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
            if self._index is not None:
                self._index.close()
            self._index, self._seq = None, -1

    def _up_to_date(self, tx: Reader) -> ExactIndex:
        if self._index is None:
            self._index, self._seq = self._open(tx)
        if self._seq < tx.seq:
            self._index.apply(_changes(tx, self._seq))
            self._seq = tx.seq
        return self._index

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
            if generation.encoder_fingerprint == tx.encoder.fingerprint and generation.seq <= tx.seq
        ]

    def _collect(self) -> None:
        """Delete files that no generation names: dropped ones, and what a crash left behind."""
        with self._store.read() as tx:
            known = {generation.file_name for generation in tx.generations()}
        for path in self._folder.glob("gen-*"):
            # A young one may be another writer's, about to be recorded.
            if path.name not in known and path.stat().st_mtime < time.time() - _ORPHAN_SECONDS:
                path.unlink(missing_ok=True)


def exact_distances(query: NDArray[np.float32], stored: NDArray[np.float16]) -> NDArray[np.float64]:
    """Compute the cosine distances that are compared with a threshold.

    In float64, so that the order of summation, and with it the size of a batch, can't move a
    distance across a threshold.

    Args:
        query: float32, shape `(dim,)`, L2-normalised.
        stored: float16, shape `(n, dim)`, as the store keeps vectors.

    Returns:
        float64, shape `(n,)`, in [0, 2].
    """
    products = stored.astype(np.float64) @ query.astype(np.float64)
    return np.clip(1 - products, 0, 2)


def _changes(tx: Reader, since: int) -> Changes:
    parts: list[StoredVectors] = list(tx.vectors(after_seq=since))
    if not parts:
        return Changes(removed_ids=np.array(tx.removed_since(since), dtype=np.int64))
    return Changes(
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.data for part in parts]),
        np.array(tx.removed_since(since), dtype=np.int64),
    )
