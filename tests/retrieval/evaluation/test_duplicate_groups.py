"""Groups of near-duplicates, gathered in blocks, keep what a look at every pair would keep."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from retrieval.evaluation.duplicate_groups import KeptFor, KeptGatherer

LEVELS = st.sampled_from([0.0, 0.01, 0.02, 0.05, 0.5])


def gather(
    square: NDArray[np.float32], contents: list[int], *, below: float, size: int = 100
) -> KeptFor:
    gatherer = KeptGatherer(np.array(contents, dtype=np.int64), below=below)
    n = len(square)
    for i in range(0, n, size):
        for j in range(i, n, size):
            rows, others = slice(i, min(i + size, n)), slice(j, min(j + size, n))
            gatherer.take(rows, others, square[rows, others])
    return gatherer.kept_for()


def line(*places: float) -> NDArray[np.float32]:
    """The distances of items on a line, each pair once."""
    at = np.array(places, dtype=np.float32)
    square = np.abs(at[:, np.newaxis] - at)
    square[np.tri(len(at), dtype=bool)] = np.inf
    return square


@given(st.data(), st.integers(1, 9), LEVELS, st.integers(1, 9))
def test_what_is_kept_is_that_of_a_look_at_all(
    data: st.DataObject, n: int, below: float, size: int
) -> None:
    square = np.full((n, n), np.inf, dtype=np.float32)
    for i in range(n):
        for j in range(i + 1, n):
            square[i, j] = data.draw(LEVELS)
    contents = data.draw(st.lists(st.integers(0, n), min_size=n, max_size=n))
    found = gather(square, contents, below=below, size=size)

    def rank(i: int, j: int) -> float | None:
        if contents[i] == contents[j]:
            return -1
        return float(square[i, j]) if float(square[i, j]) < below else None

    kept: list[int] = []
    for j in range(n):
        near = [(r, i) for i in kept if (r := rank(i, j)) is not None]
        assert found.kept[j] == (min(near)[1] if near else -1)
        if near:
            i = min(near)[1]
            assert found.distance[j] == square[i, j]
            assert found.same_bytes[j] == (contents[i] == contents[j])
        else:
            kept.append(j)
            assert found.distance[j] == np.inf
            assert not found.same_bytes[j]


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_nothing_is_chained_through_the_limit(size: int) -> None:
    # Each is near the next: single linkage would make one group of all five.
    found = gather(line(0, 0.04, 0.08, 0.12, 0.16), [0, 1, 2, 3, 4], below=0.05, size=size)
    assert found.kept.tolist() == [-1, 0, -1, 2, -1]
    assert (found.distance[[1, 3]] < 0.05).all()


def test_the_best_item_stands_for_all_that_is_near_it() -> None:
    # The one in the middle comes first, and those at the ends are not near each other.
    found = gather(line(0.04, 0, 0.08), [0, 1, 2], below=0.05)
    assert found.kept.tolist() == [-1, 0, 0]


def test_an_item_belongs_to_the_nearest_kept_one() -> None:
    found = gather(line(0, 0.06, 0.04), [0, 1, 2], below=0.05)
    assert found.kept.tolist() == [-1, -1, 1]


def test_the_same_bytes_come_before_a_nearer_item() -> None:
    found = gather(line(0, 0.9, 0.01), [7, 8, 8], below=0.05)
    assert found.kept.tolist() == [-1, -1, 1]
    assert found.same_bytes.tolist() == [False, False, True]
    assert gather(line(0, 0.9), [8, 8], below=0).kept.tolist() == [-1, 0]


@pytest.mark.parametrize("below", [0.05, 0.1, 0.3, 0.7])
def test_the_limit_is_compared_unrounded(below: float) -> None:
    for distance in (np.float32(below), np.nextafter(np.float32(below), np.float32(0))):
        square = np.array([[np.inf, distance], [np.inf, np.inf]], dtype=np.float32)
        found = gather(square, [0, 1], below=below)
        assert (found.kept[1] == 0) == (float(distance) < below)


def test_no_items_have_no_groups() -> None:
    assert gather(np.empty((0, 0), dtype=np.float32), [], below=1.0).kept.tolist() == []
