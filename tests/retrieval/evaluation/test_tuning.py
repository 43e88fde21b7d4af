"""Thresholds: they split float32 distances exactly, and tuning equals a plain sweep."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from retrieval.errors import LookalikeError
from retrieval.evaluation.tuning import NotEnoughSearches, candidate_thresholds, tune_fpir

INF = float("inf")
LEVELS = st.sampled_from([-1e-7, 0.0, 0.1, 0.25, 0.3, 0.5, 2.0])
ANY = st.floats(-2.0, 2.0, width=32)
TARGETS = st.sampled_from([1 / 49, 0.05, 0.1, 0.25, 1 / 3, 0.5, 0.999, 1.0])


def neighbours(start: float, count: int) -> list[np.float32]:
    """`count` adjacent float32 numbers from `start` upwards."""
    numbers = [np.float32(start)]
    while len(numbers) < count:
        numbers.append(np.nextafter(numbers[-1], np.float32(np.inf)))
    return numbers


# Candidates -----------------------------------------------------------------------------------


def test_candidates_lie_midway_between_distinct_distances() -> None:
    thresholds = candidate_thresholds([0.75, 0.25, 0.75, 0.5, INF])
    assert thresholds.dtype == np.float64
    assert thresholds[:-1].tolist() == [0.0, 0.375, 0.625]
    assert 0.75 < thresholds[-1] < 0.7501


@given(st.lists(LEVELS | ANY | st.just(INF), max_size=12))
def test_every_split_of_the_distances_has_its_threshold(distances: list[float]) -> None:
    observed = np.array(distances, dtype=np.float32)
    finite = sorted({float(d) for d in observed if d < INF})
    thresholds = candidate_thresholds(observed)
    assert [sum(d < t for d in finite) for t in thresholds.tolist()] == list(range(len(finite) + 1))


@pytest.mark.parametrize("start", [0.0, 0.1, 0.5, 1.0, 2.0, -1e-7])
def test_adjacent_distances_are_split_in_either_precision(start: float) -> None:
    distances = np.array(neighbours(start, 5))
    thresholds = candidate_thresholds(distances)
    for accepted, threshold in enumerate(thresholds):
        assert (distances < np.float32(threshold)).sum() == accepted
        assert (distances.astype(np.float64) < threshold).sum() == accepted


@pytest.mark.parametrize(("smallest", "reject_all"), [(0.25, 0.0), (0.0, 0.0), (-0.25, -0.25)])
def test_reject_all_is_zero_unless_a_distance_lies_below(
    smallest: float, reject_all: float
) -> None:
    assert candidate_thresholds([0.5, smallest])[0] == reject_all


@pytest.mark.parametrize("distances", [[], [INF, INF]])
def test_without_finite_distances_reject_all_is_left(distances: list[float]) -> None:
    assert candidate_thresholds(distances).tolist() == [0.0]


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="1 of 3 distances are NaN"):
        candidate_thresholds([0.5, float("nan"), 0.25])
    with pytest.raises(ValueError, match="1 of 2 distances are NaN"):
        tune_fpir([0.5, float("nan")], 0.5)


# Tuning ---------------------------------------------------------------------------------------


@given(st.lists(LEVELS | ANY | st.just(INF), min_size=1, max_size=60), TARGETS)
def test_tuning_equals_a_sweep_over_all_candidates(distances: list[float], target: float) -> None:
    n = len(distances)
    assume(1 / n <= target)
    nearest = np.array(distances, dtype=np.float32)
    best, best_fpir = -INF, 0.0
    for threshold in candidate_thresholds(nearest).tolist():
        fpir = sum(float(d) < threshold for d in nearest) / n
        if fpir <= target and threshold > best:
            best, best_fpir = threshold, fpir
    tuned = tune_fpir(nearest, target)
    assert (tuned.value, tuned.fpir) == (best, best_fpir)
    assert (tuned.objective, tuned.n_non_mated) == (f"fpir={target}", n)


@given(st.lists(LEVELS, min_size=1, max_size=30), TARGETS)
def test_the_next_distance_would_break_the_target(distances: list[float], target: float) -> None:
    n = len(distances)
    assume(1 / n <= target)
    nearest = np.array(distances, dtype=np.float32)
    tuned = tune_fpir(nearest, target)
    assert (nearest.astype(np.float64) < tuned.value).mean() == tuned.fpir <= target
    rejected = nearest[nearest >= tuned.value]
    assert not len(rejected) or (nearest <= rejected.min()).mean() > target


def test_a_tie_group_is_rejected_whole() -> None:
    # Two of four may be accepted, but the second and third are one group.
    tuned = tune_fpir([0.25, 0.5, 0.5, 0.75], 0.5)
    assert (tuned.value, tuned.fpir) == (0.375, 0.25)


def test_a_tie_group_too_large_from_the_start_leaves_reject_all() -> None:
    tuned = tune_fpir([0.25] * 4, 0.5)
    assert (tuned.value, tuned.fpir) == (0.0, 0.0)


def test_order_of_searches_is_irrelevant() -> None:
    results = {tune_fpir(p, 0.5) for p in itertools.permutations([0.1, 0.2, 0.2, INF])}
    assert len(results) == 1


def test_searches_with_nothing_eligible_are_rejected_searches() -> None:
    tuned = tune_fpir([0.25, 0.5, INF, INF], 0.5)
    assert tuned.fpir == 0.5
    assert 0.5 < tuned.value < 0.5001


@pytest.mark.parametrize(
    ("n", "target", "needed"), [(19, 0.05, 20), (3, 0.3, 4), (0, 1.0, 1), (48, 1 / 49, 49)]
)
def test_too_few_searches_are_refused_with_the_number_it_takes(
    n: int, target: float, needed: int
) -> None:
    with pytest.raises(NotEnoughSearches, match=f"there are {n} and {needed} are needed"):
        tune_fpir([0.5] * n, target)
    assert tune_fpir([0.5] * needed, target).n_non_mated == needed


def test_too_few_searches_is_an_error_the_user_can_mend() -> None:
    assert issubclass(NotEnoughSearches, ValueError)
    assert issubclass(NotEnoughSearches, LookalikeError)
    with pytest.raises(NotEnoughSearches, match=r"12 only show that FPIR is below 0\.25"):
        tune_fpir([0.5] * 12, 0.01)


@pytest.mark.parametrize("target", [0.0, -0.1, 1.01, float("nan")])
def test_a_target_that_is_no_rate_is_refused(target: float) -> None:
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        tune_fpir([0.5] * 10, target)
