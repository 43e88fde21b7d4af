"""Approximate search: vectors lie in cells around centres, and a query looks into the nearest.

What a file held stays as it was. What came since lies in cells of its own around the same centres,
and what went is passed over; so a change costs the same however large the index is. Vectors are
kept as 16-bit floats, as a store keeps them: distances are off by rounding alone, and the only way
to miss a vector is not to look into its cell. Jégou, Douze and Schmid, "Product quantization for
nearest neighbor search", 2011, section IV, without the quantisation.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from indexes.cells import (
    distances_of,
    empty_like,
    ids_of,
    in_8_bits,
    near_cells,
    nearest_of_both,
    reach,
    search_all,
    search_cells,
    search_parameters,
    whole,
)
from indexes.ids import find
from indexes.protocol import SUMMING, Changes, Hits, IndexFileError, require_question
from indexes.threads import all_threads, use_threads

# Queries from which on FAISS's threads, one for each of some queries, win over one thread.
_MANY_QUERIES = 8
# How many times as many cells are looked into where those don't hold enough.
_DEEPER = 4
# What came since may be like nothing that the centres were made for, and lie in any of many cells:
# so many of them are looked into, and in all as many vectors at least.
_SINCE_PROBES, _SINCE_VECTORS = 32, 400
LEAST_PROBES = 32
"""The fewest cells: what is nearest to a stranger is spread more widely than mates are."""
# Cells that hold so many times the vectors wanted are looked into however far off they are.
_PLENTY = 2
# How far a product of unit vectors moves at most when one is rounded to 16 bits.
_ROUNDING = 2**-11
# A bitmap is made longer by this share at least.
_SPARE_SHARE = 0.25


class IvfIndex:
    """An inverted file of 16-bit floats that was trained on what it first held."""

    kind = "ivf16"

    def __init__(self, main: Any) -> None:
        """Take in a trained `faiss.IndexIVF`, which holds vectors under their ids or none."""
        self._main = main
        # A single query compares its way through all centres: a quarter of the bytes, and hardly
        # ever other cells.
        self._centres, self._step = in_8_bits(main.quantizer)
        self._since = empty_like(main)
        self._main_ids = ids_of(main)
        self._since_ids: set[int] = set()
        self._gone: set[int] = set()
        self._dead = 0
        self._error = SUMMING
        # One bit per id, made when the first vector goes.
        self._alive: NDArray[np.uint8] | None = None
        # What FAISS is told, by the number of cells: it reads the bits where they are.
        self._told: dict[int, Any] = {}

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        return int(self._main.d)

    @property
    def probes(self) -> int:
        """How many cells are looked into at most."""
        return max(int(self._main.nprobe), LEAST_PROBES)

    def __len__(self) -> int:
        return len(self._main_ids) + len(self._since_ids) - self._dead

    def apply(self, changes: Changes) -> None:
        """Take changes in. A removal counts even when it arrives before its addition."""
        if changes.added_vectors is not None and len(changes.added_ids):
            self._add(changes.added_ids, np.asarray(changes.added_vectors))
        gone = np.array(
            [one for one in set(changes.removed_ids.tolist()) if one not in self._gone],
            dtype=np.int64,
        )
        self._gone.update(gone.tolist())
        self._bury(gone[self._holds(gone)])

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        allow: NDArray[np.int64] | None = None,
        probes: int | None = None,
    ) -> Hits:
        """Find the k nearest vectors of each query in the cells nearest to it.

        Where these hold fewer than k, more are looked into: as an exact index, this one returns k
        vectors wherever it holds as many.

        Args:
            queries: float32, shape `(n_queries, dim)`, L2-normalised.
            k: At least 1.
            allow: int64 ids to search among; `None` allows all.
            probes: How many cells to look into at most; `None` takes what the index was tuned to.

        Raises:
            ValueError: The queries' shape is not `(n, dim)`, or k is below 1.
        """
        require_question(queries, k, self.dim)
        probes, selected, count = probes or self.probes, self._alive, len(self)
        if allow is not None:
            selected, count = self._select(allow)
            # Of a share of the vectors, the nearest lie in so many times as many cells.
            probes = math.ceil(probes * len(self) / max(count, 1))
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        found = min(k, count)
        if not found or not len(queries):
            return Hits.empty(len(queries), k, error=self._error)
        least = math.ceil(_PLENTY * found * self._main.nlist / count)
        # Of some of the vectors the nearest are farther off; and who asks for all cells gets them.
        if allow is not None or probes >= self._main.nlist:
            least = probes
        similarities, ids = self._look(queries, found, probes, least, selected)
        while least < self._main.nlist and len(short := np.flatnonzero(ids[:, -1] < 0)):
            probes = least = _DEEPER * max(probes, least)
            similarities[short], ids[short] = self._look(
                queries[short], found, probes, least, selected
            )
        distances = distances_of(similarities, ids)
        if found == k:
            return Hits(ids, distances, self._error)
        hits = Hits.empty(len(queries), k, error=self._error)
        hits.ids[:, :found], hits.distances[:, :found] = ids, distances
        return hits

    def close(self) -> None:
        """Let the vectors go."""
        self.__init__(empty_like(self._main))  # type: ignore[misc]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Make an index from a file; its vectors stay there, mapped into memory.

        Raises:
            IndexFileError: It holds something else.
        """
        import faiss

        try:
            main = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as problem:
            # FAISS tells the line of its source first.
            reason = str(problem).strip().splitlines()[-1]
            raise IndexFileError(f"{path} is no index file of ours: {reason}") from problem
        if not isinstance(main, faiss.IndexIVFScalarQuantizer):
            raise IndexFileError(f"{path} is no index file of ours: it holds no cells")
        return cls(main)

    def _add(self, ids: NDArray[np.int64], vectors: NDArray[Any]) -> None:
        new = ~self._holds(ids)
        if not new.any():
            return
        if vectors.dtype != np.float16:
            self._error = SUMMING + _ROUNDING
        use_threads(all_threads() if np.count_nonzero(new) >= _MANY_QUERIES else 1)
        ids = np.ascontiguousarray(ids[new])
        self._since.add_with_ids(np.ascontiguousarray(vectors[new], dtype=np.float32), ids)
        self._since_ids.update(ids.tolist())
        if self._alive is not None:
            self._let_reach(int(ids.max()))
        if self._gone:
            self._bury(np.array([one for one in ids.tolist() if one in self._gone], dtype=np.int64))

    def _bury(self, ids: NDArray[np.int64]) -> None:
        """Pass over vectors that are held and alive from now on."""
        if not len(ids):
            return
        if self._alive is None:
            last = max(int(self._main_ids.max(initial=0)), max(self._since_ids, default=0))
            self._alive = np.empty(0, dtype=np.uint8)
            self._let_reach(last)
        np.bitwise_and.at(self._alive, ids >> 3, ~_bits(ids))
        self._dead += len(ids)

    def _let_reach(self, last: int) -> None:
        """Make the bits of the living reach an id; those that are new are set."""
        if self._alive is not None and last >> 3 >= len(self._alive):
            longer = np.full(int(((last >> 3) + 1) * (1 + _SPARE_SHARE)), 0xFF, dtype=np.uint8)
            longer[: len(self._alive)] = self._alive
            self._alive, self._told = longer, {}

    def _holds(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        since = np.array([one in self._since_ids for one in ids.tolist()], dtype=bool)
        held: NDArray[np.bool_] = np.logical_or(since, find(ids, self._main_ids) >= 0)
        return held

    def _select(self, allow: NDArray[np.int64]) -> tuple[NDArray[np.uint8], int]:
        """Return a bitmap of the allowed vectors that are here, and how many they are."""
        ids = np.unique(allow[allow >= 0])
        ids = ids[self._holds(ids)]
        if self._alive is not None:
            ids = ids[(self._alive[ids >> 3] & _bits(ids)) > 0]
        selected = np.zeros((int(ids.max(initial=0)) >> 3) + 1, dtype=np.uint8)
        np.bitwise_or.at(selected, ids >> 3, _bits(ids))
        return selected, len(ids)

    def _look(
        self,
        queries: NDArray[np.float32],
        k: int,
        probes: int,
        least: int,
        selected: NDArray[np.uint8] | None,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Look into so many cells, but for those far off; `least` of them however far they are."""
        use_threads(all_threads() if len(queries) >= _MANY_QUERIES else 1)
        probes = min(max(probes, least), self._main.nlist)
        # Looked up once for both: comparing with the centres takes a good part of the time.
        wider = self._probes_since(probes) if self._since_ids else probes
        if len(queries) < _MANY_QUERIES:
            rounded, step = whole(queries)
            nearness, cells = search_all(self._centres, rounded, wider)
            nearness *= np.float32(step * self._step)
        else:
            nearness, cells = search_all(self._main.quantizer, queries, wider)
        near = near_cells(cells[:, :probes], nearness[:, :probes], reach(probes), least)
        parameters = self._parameters(probes, selected)
        found = search_cells(self._main, queries, k, near, parameters)
        if not self._since_ids:
            return found
        near = near_cells(cells, nearness, reach(wider), least)
        parameters = self._parameters(wider, selected)
        return nearest_of_both(found, search_cells(self._since, queries, k, near, parameters), k)

    def _probes_since(self, probes: int) -> int:
        """Return into how many cells of what came since a query looks that looks into so many."""
        wanted = self._main.nlist * _SINCE_VECTORS // len(self._since_ids)
        return int(min(max(probes, wanted, _SINCE_PROBES), self._main.nlist))

    def _parameters(self, probes: int, selected: NDArray[np.uint8] | None) -> Any:
        if selected is not self._alive:
            return search_parameters(probes, selected)
        if (told := self._told.get(probes)) is None:
            told = self._told[probes] = search_parameters(probes, selected)
        return told


def _bits(ids: NDArray[np.int64]) -> NDArray[np.uint8]:
    bits: NDArray[np.uint8] = np.left_shift(1, ids & 7).astype(np.uint8)
    return bits
