"""What is near each item, gathered in blocks, equals sorting all distances at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import retrieval.evaluation.distances as distances_module
from retrieval.evaluation.distances import distance_blocks, distance_rows
from retrieval.evaluation.neighbourhoods import NeighbourGatherer, Neighbourhoods

INF = float("inf")
LEVELS = st.sampled_from([0.0, 0.1, 0.25, 0.5, 2.0])


@st.composite
def squares(draw: st.DrawFn) -> tuple[NDArray[np.float32], list[int]]:
    """Distances of up to nine items with many ties, and their labels; some pairs are missing."""
    n = draw(st.integers(1, 9))
    square = np.full((n, n), np.inf, dtype=np.float32)
    for i in range(n):
        for j in range(i + 1, n):
            square[i, j] = draw(LEVELS | st.just(INF) | st.just(float("nan")))
    return square, draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))


def gather(
    square: NDArray[np.float32], labels: list[int], k: int, size: int, *, backwards: bool = False
) -> Neighbourhoods:
    gatherer = NeighbourGatherer(np.array(labels, dtype=np.int64), k)
    n = len(square)
    corners = [(i, j) for i in range(0, n, size) for j in range(i, n, size)]
    for i, j in reversed(corners) if backwards else corners:
        rows, others = slice(i, min(i + size, n)), slice(j, min(j + size, n))
        gatherer.take(rows, others, square[rows, others])
    return gatherer.neighbourhoods()


def sorted_near(square: NDArray[np.float32], item: int) -> list[tuple[float, int]]:
    n = len(square)
    both = [(min(item, j), max(item, j), j) for j in range(n) if j != item]
    found = [(float(square[low, high]), j) for low, high, j in both]
    return sorted((d, j) for d, j in found if d <= 2)


@given(squares(), st.integers(1, 6), st.integers(1, 9), st.booleans())
def test_blocks_of_any_size_and_order_give_what_sorting_gives(
    drawn: tuple[NDArray[np.float32], list[int]], k: int, size: int, backwards: bool
) -> None:
    square, labels = drawn
    found = gather(square, labels, k, size, backwards=backwards)
    for item in range(len(square)):
        near = sorted_near(square, item)
        padded = near[:k] + [(INF, -1)] * (k - len(near))
        assert found.nearest[item].tolist() == [j for _, j in padded]
        assert found.distances[item].tolist() == [d for d, _ in padded]
        mates = [(d, j) for d, j in near if labels[j] == labels[item]]
        distance, mate = mates[0] if mates else (INF, -1)
        assert (found.mate[item], found.mate_distance[item]) == (mate, distance)


def test_nothing_has_no_neighbours() -> None:
    found = NeighbourGatherer(np.empty(0, dtype=np.int64), 3).neighbourhoods()
    assert found.nearest.shape == (0, 3)
    assert found.mate.shape == (0,)


@pytest.mark.parametrize("rows", [0, 1, 4, 7])
def test_blocks_tell_each_pair_once(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances_module, "_SQUARE", 3)
    vectors = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    whole = distance_rows(vectors, vectors)
    told: dict[tuple[int, int], float] = {}
    for mine, others, block in distance_blocks(vectors, rows):
        assert block.shape == (mine.stop - mine.start, others.stop - others.start)
        for row, column in np.argwhere(np.isfinite(block)).tolist():
            pair = mine.start + row, others.start + column
            assert pair not in told
            told[pair] = float(block[row, column])
    assert sorted(told) == [(i, j) for i in range(rows) for j in range(i + 1, 7)]
    for (i, j), distance in told.items():
        assert distance == pytest.approx(whole[i, j], abs=1e-6)
