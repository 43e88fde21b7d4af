"""Building an inverted file: where its centres lie, and into how many cells a query looks.

Both are learnt from the vectors. Centres come from k-means on the unit sphere over a sample. The
number of cells looked into is the smallest at which vectors, as queries that must not find
themselves, still find nearly all of their true neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexes.cells import (
    empty_cells,
    near_cells,
    reach,
    search_all,
    search_cells,
    search_parameters,
)
from indexes.ivf import LEAST_PROBES
from indexes.protocol import Changes
from indexes.threads import all_threads, use_threads

# Cells for n vectors: this times the root of n. Centres are compared where they lie in the cache;
# larger cells are read from memory. A graph over the centres would miss some of the nearest.
_CELLS = 4
# Vectors of the sample for each centre, and rounds of k-means.
_PER_CELL, _ROUNDS = 30, 4
# The share of the true `_NEIGHBOURS` that must be found, and how many vectors ask for them.
_RECALL, _NEIGHBOURS, _QUERIES = 0.999, 10, 256
_SEED = 0


def build(dim: int, count: int, chunks: Callable[[], Iterable[Changes]]) -> Any:
    """Build a `faiss.IndexIVFScalarQuantizer` of 16-bit floats.

    Args:
        dim: Length of the vectors.
        count: How many there are, at least 1.
        chunks: Gives them in any number of parts, the same each time it is called.

    Raises:
        ValueError: There were not `count` of them.
    """
    cells = max(1, min(count, round(_CELLS * math.sqrt(count))))
    use_threads(all_threads())
    sample = _sample(chunks(), dim, count, min(count, _PER_CELL * cells))
    index = empty_cells(_centres(sample, cells), dim, cells)
    for chunk in chunks():
        if chunk.added_vectors is not None and len(chunk.added_ids):
            index.add_with_ids(np.asarray(chunk.added_vectors, dtype=np.float32), chunk.added_ids)
    if index.ntotal != count:
        raise ValueError(f"{index.ntotal} vectors came instead of {count}")
    rng = np.random.default_rng(_SEED)
    queries = sample[rng.permutation(len(sample))[:_QUERIES]]
    index.nprobe = _probes(index, queries)
    return index


def write(index: Any, path: Path) -> None:
    """Write an index to a file.

    Raises:
        OSError: It can't be written.
    """
    import faiss

    with path.open("wb") as file:
        # FAISS's own files lose the reason why they can't be written.
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))


def _sample(chunks: Iterable[Changes], dim: int, count: int, size: int) -> NDArray[np.float32]:
    """Draw `size` of the vectors; float32, shape `(size, dim)`."""
    chosen = np.sort(np.random.default_rng(_SEED).choice(count, size, replace=False))
    sample = np.empty((size, dim), dtype=np.float32)
    first = filled = 0
    for chunk in chunks:
        if chunk.added_vectors is None:
            continue
        last = first + len(chunk.added_ids)
        mine = chosen[np.searchsorted(chosen, first) : np.searchsorted(chosen, last)] - first
        sample[filled : filled + len(mine)] = chunk.added_vectors[mine]
        first, filled = last, filled + len(mine)
    return sample[:filled]


def _centres(sample: NDArray[np.float32], cells: int) -> Any:
    import faiss

    dim = sample.shape[1]
    kmeans = faiss.Clustering(dim, cells)
    kmeans.niter, kmeans.seed, kmeans.spherical = _ROUNDS, _SEED + 1, True
    kmeans.min_points_per_centroid, kmeans.max_points_per_centroid = 1, _PER_CELL
    centres = faiss.IndexFlatIP(dim)
    kmeans.train(sample, centres)
    return centres


def _probes(index: Any, queries: NDArray[np.float32]) -> int:
    """Return into how many cells a query has to look."""
    wanted = min(_NEIGHBOURS + 1, index.ntotal)
    _, true = index.search(queries, wanted, params=search_parameters(index.nlist))
    for probes in _growing(index.nlist):
        nearness, cells = search_all(index.quantizer, queries, probes)
        near = near_cells(cells, nearness, reach(probes))
        _, found = search_cells(index, queries, wanted, near, search_parameters(probes))
        # A query's own vector is among both.
        shared = sum(np.isin(a, b).sum() - 1 for a, b in zip(true, found, strict=True))
        if shared >= _RECALL * len(queries) * (wanted - 1):
            return probes
    return int(index.nlist)


def _growing(cells: int) -> Iterator[int]:
    probes = LEAST_PROBES
    while probes < cells:
        yield probes
        probes = math.ceil(1.5 * probes)
