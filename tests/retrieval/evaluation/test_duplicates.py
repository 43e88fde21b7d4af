"""Near-duplicates across labels, gathered in blocks, equal a look at every pair."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from retrieval.evaluation.duplicates import DuplicateGatherer, DuplicatePairs

LEVELS = st.sampled_from([0.0, 0.01, 0.02, 0.05, 0.5])


def gather(
    square: NDArray[np.float32],
    labels: list[int],
    contents: list[int],
    *,
    below: float,
    most: int,
    size: int = 100,
) -> DuplicatePairs:
    gatherer = DuplicateGatherer(
        np.array(labels, dtype=np.int64),
        np.array(contents, dtype=np.int64),
        below=below,
        most=most,
    )
    n = len(square)
    for i in range(0, n, size):
        for j in range(i, n, size):
            rows, others = slice(i, min(i + size, n)), slice(j, min(j + size, n))
            gatherer.take(rows, others, square[rows, others])
    return gatherer.pairs()


@given(st.data(), st.integers(1, 8), LEVELS, st.integers(1, 6), st.integers(1, 8))
def test_the_worst_pairs_are_those_of_a_look_at_all(
    data: st.DataObject, n: int, below: float, most: int, size: int
) -> None:
    square = np.full((n, n), np.inf, dtype=np.float32)
    for i in range(n):
        for j in range(i + 1, n):
            square[i, j] = data.draw(LEVELS)
    labels = data.draw(st.lists(st.integers(-2, 1), min_size=n, max_size=n))
    contents = data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    found = gather(square, labels, contents, below=below, most=most, size=size)
    expected = sorted(
        (contents[i] != contents[j], float(square[i, j]), i, j)
        for i in range(n)
        for j in range(i + 1, n)
        if labels[i] != labels[j] and (float(square[i, j]) < below or contents[i] == contents[j])
    )
    assert found.count == len(expected)
    told = zip(~found.same_bytes, found.distance, found.first, found.second, strict=True)
    assert [tuple(one) for one in told] == expected[:most]


@pytest.mark.parametrize("below", [0.05, 0.1, 0.3, 0.7])
def test_the_limit_is_compared_unrounded(below: float) -> None:
    for distance in (np.float32(below), np.nextafter(np.float32(below), np.float32(0))):
        square = np.array([[np.inf, distance], [np.inf, np.inf]], dtype=np.float32)
        found = gather(square, [0, 1], [0, 1], below=below, most=1)
        assert found.count == (float(distance) < below)


def test_no_items_have_no_pairs() -> None:
    found = gather(np.empty((0, 0), dtype=np.float32), [], [], below=1.0, most=3)
    assert (found.count, found.first.tolist()) == (0, [])
