"""Identities against their definitions, spelt out item by item."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from retrieval.evaluation.identities import NOBODY, Grouped, NearestIdentities, nearest_few

INF = float("inf")
LEVELS = (0.0, 0.25, 0.5, 2.0, INF)
NAMES = st.lists(st.integers(-3, 6), max_size=12)


def matrix(draw: st.DrawFn, rows: int, columns: int) -> NDArray[np.float32]:
    size = rows * columns
    cells = draw(st.lists(st.sampled_from(LEVELS), min_size=size, max_size=size))
    return np.array(cells, dtype=np.float32).reshape(rows, columns)


@given(st.data(), NAMES, st.integers(0, 4), st.integers(1, 5))
def test_blocks_in_any_split_find_the_nearest(
    data: st.DataObject, names: list[int], queries: int, count: int
) -> None:
    distances = data.draw(st.composite(matrix)(queries, len(names)))
    identities = np.array(names, dtype=np.int64)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(names)), max_size=4)))
    middle = data.draw(st.integers(0, queries))
    nearest = NearestIdentities(queries, count)
    for rows in (slice(0, middle), slice(middle, None)):
        for start, end in zip([0, *cuts], [*cuts, len(names)], strict=True):
            nearest.update(distances[rows, start:end], identities[start:end], rows)
    for query, row in enumerate(distances.tolist()):
        by_name: dict[int, float] = {}
        for name, distance in zip(names, row, strict=True):
            by_name[name] = min(distance, by_name.get(name, INF))
        ranked = sorted((d, name) for name, d in by_name.items() if d < INF)[:count]
        ranked += [(INF, NOBODY)] * (count - len(ranked))
        assert nearest.distances[query].tolist() == [d for d, _ in ranked]
        assert nearest.identities[query].tolist() == [name for _, name in ranked]
    assert (nearest.distances.dtype, nearest.identities.dtype) == (np.float32, np.int64)


@given(st.data(), NAMES)
def test_grouped_items_stand_side_by_side(data: st.DataObject, names: list[int]) -> None:
    grouped = Grouped.of(np.array(names, dtype=np.int64))
    expected = sorted(range(len(names)), key=lambda item: (names[item], item))
    assert grouped.order.tolist() == expected
    assert grouped.names.tolist() == sorted(set(names))
    begin, end = grouped.ranges(np.arange(-4, 8))
    for name, first, last in zip(range(-4, 8), begin, end, strict=True):
        its = [item for item, shown in enumerate(names) if shown == name]
        assert grouped.order[first:last].tolist() == its
    distances = data.draw(st.composite(matrix)(2, len(names)))
    nearest = grouped.nearest(distances[:, grouped.order])
    assert nearest.tolist() == [
        [
            min(d for d, n in zip(row, names, strict=True) if n == name)
            for name in sorted(set(names))
        ]
        for row in distances.tolist()
    ]


@pytest.mark.parametrize("count", [1, 3, 5, 9])
def test_equal_distances_are_taken_in_their_order(count: int) -> None:
    distances = np.array([0.5, 0.25, 0.5, 0.25, 0.5], dtype=np.float32)
    assert nearest_few(distances, count).tolist() == [1, 3, 0, 2, 4][:count]
