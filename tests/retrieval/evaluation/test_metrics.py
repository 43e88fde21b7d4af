"""Metrics against hand-worked cases and against their definitions, spelt out item by item."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from retrieval.evaluation.metrics import (
    Rate,
    SearchOutcomes,
    mean_average_precision_at_r,
    recall_at_k,
    search_outcomes,
)

INF = float("inf")
# A handful of levels, so that most queries have ties; 0.1 is inexact in binary, -1e-7 is round-off.
LEVELS = (-1e-7, 0.0, 0.1, 0.25, 0.5, 2.0)


class Case(NamedTuple):
    distances: NDArray[np.float32]
    mate: NDArray[np.bool_]
    eligible: NDArray[np.bool_]

    def rows(self, start: int, stop: int) -> Case:
        return Case(self.distances[start:stop], self.mate[start:stop], self.eligible[start:stop])

    def outcomes(self) -> SearchOutcomes:
        return search_outcomes(self.distances, self.mate, eligible=self.eligible)

    def queries(self) -> list[list[tuple[float, bool]]]:
        """Each query's eligible items as (distance, is a mate), nearest first, ties pessimistic."""
        return [
            sorted(
                (float(d), bool(m)) for d, m, e in zip(*rows, strict=True) if e and d < INF
            )  # False sorts before True: a non-mate comes first
            for rows in zip(*self, strict=True)
        ]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    nq, n = draw(st.integers(0, 6)), draw(st.integers(0, 7))

    def matrix(element: st.SearchStrategy[object], dtype: type) -> NDArray[Any]:
        cells = draw(st.lists(element, min_size=nq * n, max_size=nq * n))
        return np.array(cells, dtype=dtype).reshape(nq, n)

    flags = st.sampled_from([st.booleans(), st.just(True), st.just(False)])
    return Case(
        matrix(st.sampled_from([*LEVELS, INF]), np.float32),
        matrix(draw(flags), bool),
        matrix(draw(flags), bool),
    )


def assert_same(actual: SearchOutcomes, expected: SearchOutcomes) -> None:
    for field in dataclasses.fields(SearchOutcomes):
        a, e = getattr(actual, field.name), getattr(expected, field.name)
        assert a.dtype == e.dtype, field.name
        np.testing.assert_array_equal(a, e, err_msg=field.name)


# Outcomes -------------------------------------------------------------------------------------


@given(cases())
def test_outcomes_follow_their_definitions(case: Case) -> None:
    outcomes = case.outcomes()
    queries = case.queries()
    assert len(outcomes) == len(queries)
    for row, items in enumerate(queries):
        mates = [d for d, is_mate in items if is_mate]
        others = [d for d, is_mate in items if not is_mate]
        assert outcomes.mates[row] == len(mates)
        assert outcomes.mated[row] == bool(mates)
        assert outcomes.nearest_mate[row] == min(mates, default=INF)
        assert outcomes.nearest_non_mate[row] == min(others, default=INF)
        assert outcomes.nearest[row] == (items[0][0] if items else INF)
        if not mates:
            assert outcomes.mate_rank[row] == 0
            assert np.isnan(outcomes.average_precision[row])
            continue
        assert outcomes.mate_rank[row] == 1 + sum(d <= min(mates) for d in others)
        total = 0.0
        for i in range(1, len(mates) + 1):
            if items[i - 1][1]:
                total += sum(is_mate for _, is_mate in items[:i]) / i
        assert outcomes.average_precision[row] == pytest.approx(total / len(mates))


@given(cases())
def test_outcomes_have_one_dtype_whatever_the_chunk(case: Case) -> None:
    outcomes = case.outcomes()
    dtypes = [getattr(outcomes, field.name).dtype for field in dataclasses.fields(outcomes)]
    assert dtypes == [np.float32, np.float32, np.int64, np.float64, np.int64]
    assert outcomes.mated.dtype == bool
    assert outcomes.nearest.dtype == np.float32


@given(cases(), st.integers(1, 3))
def test_chunks_joined_equal_the_whole(case: Case, size: int) -> None:
    starts = range(0, len(case.distances), size)
    chunks = (case.rows(start, start + size).outcomes() for start in starts)
    assert_same(SearchOutcomes.concatenate(chunks), case.outcomes())


def test_average_precision_of_many_mates_deep_in_the_list() -> None:
    # Ranks 2, 3 and 5 of seven, R = 3: (1/2 + 2/3 + 0) / 3; the order of columns is irrelevant.
    distances = np.array([[0.7, 0.3, 0.5, 0.1, 0.2, 0.6, 0.4]], dtype=np.float32)
    mate = np.array([[False, True, True, False, True, False, False]])
    outcomes = search_outcomes(distances, mate)
    assert outcomes.average_precision[0] == pytest.approx((1 / 2 + 2 / 3) / 3)
    assert outcomes.mate_rank.tolist() == [2]


def test_average_precision_sorts_only_what_counts() -> None:
    # R = 400 mates at ranks 2, 4, … 800: half of them count, each at precision 1/2.
    rank = np.random.default_rng(0).permutation(np.arange(1, 1001))[None]
    outcomes = search_outcomes(rank / 1000, (rank % 2 == 0) & (rank <= 800))
    assert outcomes.mates.tolist() == [400]
    assert outcomes.average_precision[0] == pytest.approx(200 * 0.5 / 400)


def test_each_query_counts_only_its_own_first_r_results() -> None:
    # The first query has one mate, at rank 2: the second's R = 2 must not lend it a hit.
    outcomes = search_outcomes([[0.1, 0.2], [0.1, 0.2]], [[False, True], [True, True]])
    assert outcomes.average_precision.tolist() == [0.0, 1.0]


def test_adjacent_float32_distances_are_not_a_tie() -> None:
    near = np.float32(0.5)
    far = np.nextafter(near, np.float32(1))
    outcomes = search_outcomes(np.array([[far, near]]), [[False, True]])
    assert outcomes.mate_rank.tolist() == [1]
    assert outcomes.average_precision.tolist() == [1.0]


def test_an_ineligible_item_is_neither_mate_nor_non_mate() -> None:
    outcomes = search_outcomes(
        [[0.0, 0.1, 0.2, 0.3]],
        [[True, False, True, False]],
        eligible=[[False, False, True, True]],
    )
    assert outcomes.mates.tolist() == [1]
    assert outcomes.mate_rank.tolist() == [1]
    assert outcomes.nearest_mate == np.float32(0.2)
    assert outcomes.nearest_non_mate == np.float32(0.3)


@pytest.mark.parametrize("shape", [(0, 0), (0, 4)])
def test_no_queries_make_no_rows(shape: tuple[int, int]) -> None:
    outcomes = search_outcomes(np.empty(shape, np.float32), np.empty(shape, bool))
    assert len(outcomes) == 0
    assert_same(outcomes, SearchOutcomes.concatenate([]))


def test_an_empty_gallery_leaves_every_query_non_mated() -> None:
    outcomes = search_outcomes(np.empty((3, 0), np.float32), np.empty((3, 0), bool))
    assert outcomes.mated.tolist() == [False] * 3
    assert outcomes.nearest.tolist() == [INF] * 3


def test_arguments_are_left_as_they_were() -> None:
    distances = np.array([[0.1, INF]], dtype=np.float32)
    mate, eligible = np.array([[True, True]]), np.array([[True, True]])
    search_outcomes(distances, mate, eligible=eligible)
    assert mate.all()
    assert eligible.all()


def test_nan_is_refused_with_its_place() -> None:
    distances = np.zeros((3, 4), dtype=np.float32)
    distances[1, 2] = distances[2, 0] = np.nan
    with pytest.raises(ValueError, match=r"distances\[1, 2\] is NaN \(2 in all\)"):
        search_outcomes(distances, np.zeros((3, 4), bool))


@pytest.mark.parametrize(
    ("distances", "mate", "eligible"),
    [
        ((3,), (3,), (3,)),
        ((2, 3), (3, 2), (2, 3)),
        ((2, 3), (1, 3), (2, 3)),
        ((2, 3), (2, 3), (3,)),
    ],
)
def test_shapes_that_differ_are_refused(
    distances: tuple[int, ...], mate: tuple[int, ...], eligible: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="must share one shape"):
        search_outcomes(np.zeros(distances), np.zeros(mate), eligible=np.zeros(eligible))


# Rates over outcomes --------------------------------------------------------------------------


@given(cases(), st.integers(1, 8))
def test_recall_and_map_follow_their_definitions(case: Case, k: int) -> None:
    outcomes = case.outcomes()
    mated = [items for items in case.queries() if any(is_mate for _, is_mate in items)]
    hits = sum(any(is_mate for _, is_mate in items[:k]) for items in mated)
    recall, mean = recall_at_k(outcomes, k), mean_average_precision_at_r(outcomes)
    if not mated:
        assert recall is None
        assert mean is None
        return
    assert recall == Rate(hits / len(mated), hits, len(mated))
    ap = [x for x in outcomes.average_precision.tolist() if x == x]
    assert len(ap) == len(mated)
    assert mean == pytest.approx(sum(ap) / len(ap))


def test_recall_takes_a_tie_for_a_miss() -> None:
    # The mate ties with two non-mates: rank 3, wherever it stands.
    outcomes = search_outcomes([[0.5, 0.5, 0.5, 0.6]], [[True, False, False, False]])
    assert [recall_at_k(outcomes, k) for k in (1, 2, 3)] == [
        Rate(0.0, 0, 1),
        Rate(0.0, 0, 1),
        Rate(1.0, 1, 1),
    ]


def test_map_takes_a_tie_for_a_miss() -> None:
    # Two mates, the second tied with a non-mate, so that results are mate, non-mate: (1 + 0) / 2.
    outcomes = search_outcomes([[0.1, 0.5, 0.5]], [[True, True, False]])
    assert mean_average_precision_at_r(outcomes) == 0.5


def test_non_mated_queries_count_neither_way_in_recall_and_map() -> None:
    outcomes = search_outcomes([[0.1, 0.2], [0.1, 0.2]], [[True, False], [False, False]])
    assert recall_at_k(outcomes, 1) == Rate(1.0, 1, 1)
    assert mean_average_precision_at_r(outcomes) == 1.0


@pytest.mark.parametrize("k", [0, -1])
def test_recall_at_less_than_one_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match="k must be at least 1"):
        recall_at_k(SearchOutcomes.concatenate([]), k)
