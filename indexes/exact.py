"""Exact search: every vector is looked at, as 8-bit codes whose error is bounded.

A single query is bound by the bytes it reads, and codes are a quarter of float32. Because the error
is bounded, whoever holds the vectors can tell that no nearer one was left out. Many queries at once
are answered block by block through matrix products, as that is bound by arithmetic.
"""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from indexes.codes import QUERIES, STEPS, ZERO, bound, dithered, encode, largest
from indexes.ids import find, is_after
from indexes.protocol import SUMMING, Changes, Hits, IndexFileError, require_question
from indexes.threads import all_threads, use_threads

# Queries from which on blocks of matrix products win over one scan per query.
_MANY_QUERIES = 8
# Vectors per block: 20 MB of float32 at 1280 dimensions.
_BLOCK = 4096
# The share of dead rows from which on the rows are rewritten without them.
_DEAD_SHARE = 0.25
# Bytes of codes up to which waking another core takes longer than it saves.
_ONE_CORE = 32_000_000


class ExactIndex:
    """A flat index over vectors rounded to 8 bits, that says how far its distances may be off."""

    kind = "exact8"

    def __init__(self, dim: int) -> None:
        self._flat = _new_flat(dim)
        self._ids = np.empty(0, dtype=np.int64)
        self._alive = np.empty(0, dtype=bool)
        self._ascending = True  # as a store gives ids out
        self._count = 0
        self._gone: set[int] = set()
        # Coordinates up to this size have codes of their own; larger ones are cut.
        self._limit = 0.0
        self._error = 0.0
        self._widened = 0

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        return int(self._flat.d)

    def __len__(self) -> int:
        return self._count

    def apply(self, changes: Changes) -> None:
        """Take changes in. A removal counts even when it arrives before its addition."""
        gone = changes.removed_ids
        self._gone.update(gone.tolist())
        if changes.added_vectors is not None and len(changes.added_ids):
            self._add(changes.added_ids, changes.added_vectors)
        if len(gone):
            places = self._find(gone)
            self._alive[places[places >= 0]] = False
        self._count = int(np.count_nonzero(self._alive))
        if len(self) < len(self._ids) * (1 - _DEAD_SHARE):
            self._drop_dead_rows()

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        allow: NDArray[np.int64] | None = None,
        probes: int | None = None,  # noqa: ARG002 - everything is looked at
    ) -> Hits:
        """Find the k nearest vectors of each query; see `VectorIndex.search`.

        Raises:
            ValueError: The queries' shape is not `(n, dim)`, or k is below 1.
        """
        require_question(queries, k, self.dim)
        rows = self._alive if allow is None else self._alive & np.isin(self._ids, allow)
        count = len(self) if allow is None else int(np.count_nonzero(rows))
        found = min(k, count)
        if not found or not len(queries):
            return Hits.empty(len(queries), k)
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        if len(queries) >= _MANY_QUERIES:
            similarities, positions, error = *self._search_blocks(queries, found, rows), 0.0
        else:
            some = rows if count < len(rows) else None
            similarities, positions, error = self._scan(queries, found, some)
        # Rounding can carry a product of unit vectors past 1.
        distances = 1 - similarities * np.float32(self._limit / STEPS)
        np.minimum(np.maximum(distances, 0, out=distances), 2, out=distances)
        error += self._error + SUMMING
        if found == k:
            return Hits(self._ids[positions], distances, error)
        hits = Hits.empty(len(queries), k, error=error)
        hits.ids[:, :found] = self._ids[positions]
        hits.distances[:, :found] = distances
        return hits

    def close(self) -> None:
        """Let the vectors go."""
        self.__init__(self.dim)  # type: ignore[misc]

    @classmethod
    def write(
        cls, path: Path, dim: int, count: int, chunks: Callable[[], Iterable[Changes]]
    ) -> None:
        """Write the index over many vectors to a file, holding one chunk of them at a time.

        Args:
            path: Where to; becomes an `.npz` archive.
            dim: Length of the vectors.
            count: How many vectors there will be.
            chunks: Gives what is added, the same each time it is called.

        Raises:
            ValueError: There were not `count` of them.
        """
        vectors = (chunk.added_vectors for chunk in chunks())
        limit = max((largest(part) for part in vectors if part is not None), default=0.0) or 1.0
        ids = []
        with zipfile.ZipFile(path, "w") as archive:
            with archive.open("codes.npy", "w", force_zip64=True) as codes:
                header = {"descr": "|u1", "fortran_order": False, "shape": (count, dim)}
                npy.write_array_header_1_0(codes, header)
                for chunk in chunks():
                    if chunk.added_vectors is not None:
                        codes.write(encode(np.asarray(chunk.added_vectors), limit).data)
                        ids.append(chunk.added_ids)
            joined = np.concatenate(ids) if ids else np.empty(0, np.int64)
            for name, values in (("ids", joined), ("limit", limit)):
                with archive.open(f"{name}.npy", "w") as entry:
                    npy.write_array(entry, np.asarray(values), allow_pickle=False)
        if len(joined) != count:
            raise ValueError(f"{len(joined)} vectors came instead of {count}")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Make an index from a file that `write` made.

        Raises:
            IndexFileError: It holds something else.
        """
        try:
            with np.load(path, allow_pickle=False) as archive:
                ids, codes = archive["ids"], archive["codes"]
                limit = float(archive["limit"])
            if codes.ndim != 2 or codes.dtype != np.uint8 or ids.shape != codes.shape[:1]:
                raise ValueError("ids and codes don't fit together")
        except (ValueError, TypeError, KeyError, EOFError, OSError, zipfile.BadZipFile) as problem:
            raise IndexFileError(f"{path} is no index file of ours: {problem}") from problem
        index = cls(codes.shape[1])
        index._flat.add_sa_codes(codes)
        index._ids, index._alive, index._count = ids, np.ones(len(ids), dtype=bool), len(ids)
        index._ascending = not len(ids) or is_after(ids, -1)
        index._limit, index._error = limit, bound(limit, index.dim)
        return index

    def _add(self, ids: NDArray[np.int64], vectors: NDArray[Any]) -> None:
        new = self._find(ids) < 0
        ids, vectors = ids[new], np.asarray(vectors[new])
        if not len(ids):
            return
        self._make_room(largest(vectors))
        for start in range(0, len(vectors), _BLOCK):
            codes = encode(vectors[start : start + _BLOCK], self._limit, self._widened)
            self._flat.add_sa_codes(codes)
        last = int(self._ids[-1]) if len(self._ids) else -1
        self._ascending = self._ascending and is_after(ids, last)
        self._ids = np.concatenate([self._ids, ids])
        alive = [one not in self._gone for one in ids.tolist()] if self._gone else np.ones(len(ids))
        self._alive = np.concatenate([self._alive, np.array(alive, dtype=bool)])

    def _find(self, wanted: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of some ids, -1 for those not here."""
        if self._ascending or not len(self._ids):
            return find(wanted, self._ids)
        order = np.argsort(self._ids)
        places = find(wanted, self._ids[order])
        return np.where(places < 0, -1, order[places])

    def _make_room(self, largest: float) -> None:
        """Widen the limit where vectors come that exceed it; what is held is rounded anew."""
        if largest <= self._limit:
            return
        if not len(self._ids):
            self._limit, self._error = largest, bound(largest, self.dim)
            return
        # At least doubled, so that the errors of repeated rounding add up to twice the last.
        before, self._limit = self._limit, max(largest, 2 * self._limit)
        held = (self._codes().astype(np.float32) - ZERO) * (before / STEPS)
        self._flat = _new_flat(self.dim)
        self._widened += 1  # what is held depends on the dice of before
        self._flat.add_sa_codes(encode(held, self._limit, self._widened))
        self._error += bound(self._limit, self.dim)

    def _scan(
        self, queries: NDArray[np.float32], k: int, rows: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], float]:
        # FAISS multiplies codes with whole numbers only, and would cut the fractions off.
        limit = largest(queries) or 1.0
        scale = STEPS / limit
        steps = dithered(queries * scale, QUERIES)
        if rows is None and self._flat.ntotal * self.dim < _ONE_CORE:
            similarities, positions = _search_alone(self._flat, steps, k, None)
        else:
            similarities, positions = self._scan_together(steps, k, rows)
        # A code is longer than its unit vector by a step per coordinate at most, and repeated
        # rounding at most doubles that.
        longer = 2 * self._limit / STEPS * math.sqrt(self.dim)
        error = bound(limit, self.dim) * (1 + longer)
        return similarities / np.float32(scale), positions, error

    def _scan_together(
        self, steps: NDArray[np.float32], k: int, rows: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Scan the rows by all cores, each a range of them."""
        bounds = np.linspace(0, self._flat.ntotal, (os.cpu_count() or 1) + 1, dtype=np.int64)
        wanted = np.ones(self._flat.ntotal, dtype=bool) if rows is None else rows
        parts = []
        for start, end in pairwise(bounds.tolist()):
            mine = np.zeros_like(wanted)
            mine[start:end] = wanted[start:end]
            parts.append(np.packbits(mine, bitorder="little"))
        others = [_pool().submit(_search_alone, self._flat, steps, k, part) for part in parts[1:]]
        found = [_search_alone(self._flat, steps, k, parts[0])]
        found += [other.result() for other in others]
        similarities = np.concatenate([one for one, _ in found], axis=1)
        positions = np.concatenate([one for _, one in found], axis=1)
        similarities[positions < 0] = -np.inf  # a range with fewer than k
        order = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
        return (
            np.take_along_axis(similarities, order, axis=1),
            np.take_along_axis(positions, order, axis=1),
        )

    def _search_blocks(
        self, queries: NDArray[np.float32], k: int, rows: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        import faiss

        use_threads(all_threads())
        heap = faiss.ResultHeap(len(queries), k, keep_max=True)
        block = np.empty((_BLOCK, self.dim), dtype=np.float32)
        for start in range(0, len(rows), _BLOCK):
            positions = start + np.flatnonzero(rows[start : start + _BLOCK])
            if not len(positions):
                continue
            count = min(_BLOCK, len(rows) - start)
            self._flat.reconstruct_n(start, count, block[:count])
            vectors = block[:count] if len(positions) == count else block[positions - start]
            similarities, nearest = faiss.knn(
                queries, vectors, min(k, len(vectors)), faiss.METRIC_INNER_PRODUCT
            )
            heap.add_result(similarities, positions[nearest])
        heap.finalize()
        return heap.D, heap.I

    def _drop_dead_rows(self) -> None:
        survivors = self._codes()[self._alive]
        self._flat, self._ids = _new_flat(self.dim), self._ids[self._alive]
        self._flat.add_sa_codes(survivors)
        self._alive = np.ones(len(self._ids), dtype=bool)

    def _codes(self) -> NDArray[np.uint8]:
        import faiss

        codes: NDArray[np.uint8] = faiss.vector_to_array(self._flat.codes)
        return codes.reshape(len(self._ids), self.dim)


def _search_alone(
    flat: Any, steps: NDArray[np.float32], k: int, part: NDArray[np.uint8] | None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Search by the calling thread only, the rows of a bitmap or all of them."""
    import faiss

    use_threads(1)
    parameters = None
    if part is not None:
        parameters = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(part))
    similarities, positions = flat.search(steps, k, params=parameters)
    return similarities, positions


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max((os.cpu_count() or 1) - 1, 1), thread_name_prefix="search")


def _new_flat(dim: int) -> Any:
    import faiss

    flat = faiss.IndexScalarQuantizer(
        dim, faiss.ScalarQuantizer.QT_8bit_direct_signed, faiss.METRIC_INNER_PRODUCT
    )
    flat.is_trained = True  # there is nothing to learn
    return flat
