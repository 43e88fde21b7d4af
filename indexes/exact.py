"""Exact search: every vector is looked at.

Vectors are held as float16, bit for bit as the store keeps them: half the memory, and half
the bytes to read for a single query, which is bound by memory. Many queries at once are answered
block by block through matrix products, as that is bound by arithmetic.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from indexes.protocol import Changes, Hits, IndexFileError

# Queries from which on blocks of matrix products win over one scan per query.
_MANY_QUERIES = 8
# Vectors per block: 20 MB of float32 at 1280 dimensions.
_BLOCK = 4096
# The share of dead rows from which on the rows are rewritten without them.
_DEAD_SHARE = 0.25


class ExactIndex:
    """A flat index over float16 vectors that finds the true nearest neighbours."""

    kind = "exact"

    def __init__(self, dim: int) -> None:
        self._flat = _new_flat(dim)
        self._ids = np.empty(0, dtype=np.int64)
        self._alive = np.empty(0, dtype=bool)
        self._gone: set[int] = set()

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        return int(self._flat.d)

    def __len__(self) -> int:
        return int(np.count_nonzero(self._alive))

    def apply(self, changes: Changes) -> None:
        """Take changes in. A removal counts even when it arrives before its addition."""
        self._gone.update(changes.removed_ids.tolist())
        if changes.added_vectors is not None and len(changes.added_ids):
            new = ~np.isin(changes.added_ids, self._ids)
            self._flat.add_sa_codes(_codes(changes.added_vectors[new]))
            self._ids = np.concatenate([self._ids, changes.added_ids[new]])
        self._alive = ~np.isin(self._ids, np.fromiter(self._gone, np.int64, len(self._gone)))
        if len(self) < len(self._ids) * (1 - _DEAD_SHARE):
            self._drop_dead_rows()

    def search(
        self, queries: NDArray[np.float32], k: int, *, allow: NDArray[np.int64] | None = None
    ) -> Hits:
        """Find the k nearest vectors of each query; see `VectorIndex.search`.

        Raises:
            ValueError: The queries' shape is not `(n, dim)`, or k is below 1.
        """
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            raise ValueError(f"queries must have shape (n, {self.dim}), not {queries.shape}")
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        rows = self._alive if allow is None else self._alive & np.isin(self._ids, allow)
        found = min(k, int(np.count_nonzero(rows)))
        hits = Hits.empty(len(queries), k)
        if not found or not len(queries):
            return hits
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        if len(queries) >= _MANY_QUERIES:
            similarities, positions = self._search_blocks(queries, found, rows)
        else:
            similarities, positions = self._scan(queries, found, rows)
        hits.ids[:, :found] = self._ids[positions]
        # Rounding can carry a product of unit vectors just past 1.
        hits.distances[:, :found] = np.clip(1 - similarities, 0, 2)
        return hits

    def close(self) -> None:
        """Let the vectors go."""
        self.__init__(self.dim)  # type: ignore[misc]

    def serialize(self) -> bytes:
        """Return ids and vectors, without dead rows, as an `.npz` archive."""
        self._drop_dead_rows()
        archive = io.BytesIO()
        np.savez(archive, ids=self._ids, vectors=self._vectors())
        return archive.getvalue()

    @classmethod
    def deserialize(cls, data: bytes, source: Path) -> Self:
        """Make an index from bytes that `serialize` returned.

        Args:
            data: The bytes.
            source: Where they came from, for the message.

        Raises:
            IndexFileError: They are something else.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as archive:
                ids, vectors = archive["ids"], archive["vectors"]
        except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
            raise IndexFileError(f"{source} is no index file of ours: {error}") from error
        index = cls(vectors.shape[1])
        index.apply(Changes(ids, vectors))
        return index

    def _scan(
        self, queries: NDArray[np.float32], k: int, rows: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        import faiss

        parameters = None
        if not rows.all():
            bits = np.packbits(rows, bitorder="little")
            parameters = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bits))
        # A thread without a query of its own would only spin, against the encoder's threads on the
        # same cores. The setting is the calling thread's own.
        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(min(threads, len(queries)))
        try:
            similarities, positions = self._flat.search(queries, k, params=parameters)
        finally:
            faiss.omp_set_num_threads(threads)
        return similarities, positions

    def _search_blocks(
        self, queries: NDArray[np.float32], k: int, rows: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        import faiss

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
        if self._alive.all():
            return
        survivors = self._vectors()[self._alive]
        self._flat, self._ids = _new_flat(self.dim), self._ids[self._alive]
        self._flat.add_sa_codes(_codes(survivors))
        self._alive = np.ones(len(self._ids), dtype=bool)

    def _vectors(self) -> NDArray[np.float16]:
        import faiss

        codes: NDArray[np.uint8] = faiss.vector_to_array(self._flat.codes)
        return codes.view("<f2").reshape(len(self._ids), self.dim)


def _new_flat(dim: int) -> Any:
    import faiss

    flat = faiss.IndexScalarQuantizer(
        dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    flat.is_trained = True  # float16 has nothing to learn
    return flat


def _codes(vectors: NDArray[Any]) -> NDArray[np.uint8]:
    halves = np.ascontiguousarray(vectors, dtype="<f2")
    return halves.view(np.uint8).reshape(len(halves), 2 * halves.shape[1])
