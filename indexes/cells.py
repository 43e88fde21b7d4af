"""Cells of vectors around centres: which of them a query looks into, and what it finds there.

FAISS holds them and compares; what its Python wrapper would check with each call is known here.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexes.codes import STEPS

# How far a query reaches beyond the nearest centre, for each time that the number of cells is
# doubled: docs/search.md.
_REACH = 0.06


def search_parameters(probes: int, selected: NDArray[np.uint8] | None = None) -> Any:
    """Return what FAISS is told with a search.

    Args:
        probes: How many cells to look into.
        selected: One bit per id, of those to search among; `None` for all.
    """
    import faiss

    some = {} if selected is None else {"sel": faiss.IDSelectorBitmap(selected)}
    return faiss.SearchParametersIVF(nprobe=probes, **some)


def search_all(
    index: Any, queries: NDArray[np.float32], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Search a flat index; similarities and places, `(n, k)`, the most similar first."""
    from faiss import swig_ptr

    similarities = np.empty((len(queries), k), dtype=np.float32)
    ids = np.empty((len(queries), k), dtype=np.int64)
    index.search_c(len(queries), swig_ptr(queries), k, swig_ptr(similarities), swig_ptr(ids))
    return similarities, ids


def reach(probes: int) -> float:
    """Return how much farther off than the nearest a centre may be to be looked at, a cosine."""
    return _REACH * math.log2(probes)


def near_cells(
    cells: NDArray[np.int64], nearness: NDArray[np.float32], reach: float, least: int = 1
) -> NDArray[np.int64]:
    """Leave out the cells that are much farther off than the nearest.

    A query near one centre finds nearly all of its neighbours there. One that is like nothing the
    centres were made for is about as far from many of them, and keeps all.

    Args:
        cells: int64, shape `(n, probes)`, the nearest ones first.
        nearness: float32, shape `(n, probes)`, the cosine of query and centre.
        reach: How much farther off than the nearest they may be.
        least: So many are kept however far they are.

    Returns:
        int64, shape `(n, probes)`; −1 for those left out.
    """
    near = nearness >= nearness[:, :1] - np.float32(reach)
    near[:, :least] = True
    return np.where(near, cells, -1)


def search_cells(
    index: Any, queries: NDArray[np.float32], k: int, cells: NDArray[np.int64], parameters: Any
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Search cells that are known, one row of them for each query; −1 is none.

    Returns:
        Similarities and ids, `(n, k)`; the id is −1 where there are fewer.
    """
    from faiss import swig_ptr

    similarities = np.empty((len(queries), k), dtype=np.float32)
    ids = np.empty((len(queries), k), dtype=np.int64)
    # FAISS asks for it, but needs it only where vectors are kept by how they differ from a centre.
    nearness = np.zeros(cells.shape, dtype=np.float32)
    # The method of Python's wrapper wants as many cells as the index was tuned to.
    index.search_preassigned_c(
        len(queries),
        swig_ptr(queries),
        k,
        swig_ptr(cells),
        swig_ptr(nearness),
        swig_ptr(similarities),
        swig_ptr(ids),
        False,
        parameters,
    )
    return similarities, ids


def empty_cells(centres: Any, dim: int, cells: int) -> Any:
    """Return a `faiss.IndexIVFScalarQuantizer` of 16-bit floats that holds nothing yet.

    Args:
        centres: A FAISS index of them.
        dim: Length of the vectors.
        cells: How many there are.
    """
    import faiss

    empty = faiss.IndexIVFScalarQuantizer(
        centres,
        dim,
        cells,
        faiss.ScalarQuantizer.QT_fp16,
        faiss.METRIC_INNER_PRODUCT,
        False,  # by_residual: vectors as they are, so that a distance needs no centre
    )
    empty.is_trained = True  # 16-bit floats have nothing to learn
    return empty


def in_8_bits(centres: Any) -> tuple[Any, float]:
    """Return the centres in whole numbers of 8 bits, and what one of these stands for."""
    import faiss

    rounded = faiss.IndexScalarQuantizer(
        centres.d, faiss.ScalarQuantizer.QT_8bit_direct_signed, faiss.METRIC_INNER_PRODUCT
    )
    step = 1.0
    if centres.ntotal:
        numbers, step = whole(centres.reconstruct_n(0, centres.ntotal))
        rounded.add(numbers)
    return rounded, step


def whole(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """Round to whole numbers of 8 bits, as FAISS multiplies such codes with nothing else.

    Returns:
        float32, like the vectors, and what one of these numbers stands for.
    """
    step = (max(float(vectors.max()), -float(vectors.min())) or 1.0) / STEPS
    return np.rint(vectors * np.float32(1 / step)), step


def empty_like(index: Any) -> Any:
    """Return an index that shares another's centres and holds nothing."""
    empty = empty_cells(index.quantizer, index.d, index.nlist)
    empty.nprobe = index.nprobe
    # The centres live as long as the index they came with.
    empty.referenced_objects = [index]
    return empty


def ids_of(index: Any) -> NDArray[np.int64]:
    """Return the ids an index holds, ascending."""
    import faiss

    lists = index.invlists
    parts = [
        faiss.rev_swig_ptr(lists.get_ids(cell), size)
        for cell in range(index.nlist)
        if (size := lists.list_size(cell))
    ]
    return np.sort(np.concatenate(parts)) if parts else np.empty(0, dtype=np.int64)


def nearest_of_both(
    some: tuple[NDArray[np.float32], NDArray[np.int64]],
    others: tuple[NDArray[np.float32], NDArray[np.int64]],
    k: int,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the k of the largest similarity; padding has the smallest of all."""
    similarities = np.concatenate([some[0], others[0]], axis=1)
    ids = np.concatenate([some[1], others[1]], axis=1)
    order = (-similarities).argsort(axis=1, kind="stable")[:, :k]
    if len(order) == 1:  # one row is taken from by a shorter way
        return similarities.take(order[0], axis=1), ids.take(order[0], axis=1)
    return np.take_along_axis(similarities, order, axis=1), np.take_along_axis(ids, order, axis=1)


def distances_of(similarities: NDArray[np.float32], ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return cosine distances, +inf where the id is −1."""
    distances = 1 - similarities
    # Rounding can carry a product of unit vectors past 1.
    np.maximum(distances, 0, out=distances)
    if (ids[:, -1] < 0).any():
        distances[ids < 0] = np.inf
    return distances
