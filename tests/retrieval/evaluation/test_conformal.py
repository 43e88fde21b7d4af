"""Promised thresholds equal their definitions, counted out slowly, and keep what they promise."""

from __future__ import annotations

import itertools
import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scored_photos import INF, PHOTOS, SCORES, TARGETS, Photos, excess, shares, unzip

from retrieval.errors import LookalikeError
from retrieval.evaluation.conformal import (
    NotEnoughLabels,
    confident_threshold,
    forecast,
    p_value,
    promised_threshold,
)
from retrieval.evaluation.tuning import NotEnoughSearches, candidate_thresholds

# Promised -------------------------------------------------------------------------------------


@given(PHOTOS, TARGETS, st.booleans())
def test_promising_equals_a_sweep_over_all_candidates(
    photos: Photos, target: float, leave_one_out: bool
) -> None:
    scores, labels = unzip(photos)
    k = len(set(labels))
    best = None
    for threshold in candidate_thresholds(scores).tolist():
        mass = sum(shares(photos, threshold), Fraction(0))
        extra = 1 + excess(mass) if leave_one_out else 1
        bound = min(1.0, float((mass + extra) / (k + 1)))
        if bound <= target:
            best = (threshold, float(mass / k), bound)
    if best is None:
        with pytest.raises(NotEnoughLabels):
            promised_threshold(scores, labels, target, leave_one_out=leave_one_out)
        return
    promised = promised_threshold(scores, labels, target, leave_one_out=leave_one_out)
    assert (promised.value, promised.fpir, promised.bound) == best
    assert (promised.n_photos, promised.n_labels) == (len(photos), k)
    assert promised.objective == f"fpir={target}"


@given(PHOTOS, TARGETS)
def test_the_next_score_would_break_the_promise(photos: Photos, target: float) -> None:
    scores, labels = unzip(photos)
    k = len(set(labels))
    assume(1 / (k + 1) <= target)
    promised = promised_threshold(scores, labels, target)
    assert promised.bound <= target
    rejected = scores[(scores >= promised.value) & (scores < INF)]
    if len(rejected):
        over = np.nextafter(rejected.min(), np.float32(INF), dtype=np.float64)
        assert float((sum(shares(photos, float(over))) + 1) / (k + 1)) > target


def test_by_hand() -> None:
    # Shares below 0.375: 1/2, 0, 1/4 and 0 below 0.25; (3/4 + 1) / 4 = 0.4375, then 0.8125.
    scores = [0.25, 0.75, 1.0, 0.25, 0.5, 0.5, 0.5]
    labels = ["a", "a", "b", "c", "c", "c", "c"]
    assert promised_threshold(scores, labels, 0.4).value == 0.0
    promised = promised_threshold(scores, labels, 0.4375)
    assert (promised.value, promised.fpir, promised.bound) == (0.375, 0.25, 0.4375)
    assert (promised.n_photos, promised.n_labels) == (7, 3)
    assert promised_threshold(scores, labels, 0.625).value == 0.625
    assert promised_threshold(scores, labels, 1.0).fpir == 1.0


def test_a_label_with_many_photos_counts_like_one_with_one() -> None:
    few = promised_threshold([0.1, 0.5, 0.5, 0.5], range(4), 0.4)
    many = promised_threshold([0.1] * 96 + [0.5] * 3, [0] * 96 + [1, 2, 3], 0.4)
    assert few.value == many.value
    assert few.fpir == many.fpir == 0.25


def test_one_label_promises_half_at_best() -> None:
    with pytest.raises(NotEnoughLabels, match=r"there are 1 and 2 are needed"):
        promised_threshold([0.25, 0.5], ["a", "a"], 0.4)
    assert promised_threshold([0.25, 0.5], ["a", "a"], 0.5).value == 0.0
    assert promised_threshold([0.25, 0.5], ["a", "a"], 0.75).value == 0.375


def test_a_tie_group_across_labels_is_rejected_whole() -> None:
    assert promised_threshold([0.25, 0.25, 0.5, 0.5], range(4), 0.4).value == 0.0
    assert promised_threshold([0.25, 0.25, 0.5, 0.5], range(4), 0.6).value == 0.375


def test_infinite_scores_are_never_accepted() -> None:
    assert promised_threshold([INF] * 4, range(4), 1.0).value == 0.0
    promised = promised_threshold([0.25, INF, INF, INF], range(4), 1.0)
    assert 0.25 < promised.value < 0.2501
    assert (promised.fpir, promised.bound) == (0.25, 0.4)


def test_thirds_sum_to_one_and_decimals_mean_decimals() -> None:
    # (3 · 1/3 + 1) / 40 = 0.05 to the last bit, whatever floats make of thirds and of 0.05.
    scores = [0.1, 0.9, 0.9] * 3 + [0.9] * 36
    labels = [0, 0, 0, 1, 1, 1, 2, 2, 2, *range(3, 39)]
    assert promised_threshold(scores, labels, 0.05).fpir == 1 / 39
    # 0.29 is a little below 29/100 in binary.
    assert promised_threshold([0.1] * 28 + [0.9] * 71, range(99), 0.29).fpir == 28 / 99


@given(PHOTOS, TARGETS, TARGETS)
def test_a_larger_target_never_lowers_the_threshold(photos: Photos, a: float, b: float) -> None:
    scores, labels = unzip(photos)
    assume(1 / (len(set(labels)) + 1) <= min(a, b))
    low, high = (promised_threshold(scores, labels, x).value for x in sorted([a, b]))
    assert low <= high


@pytest.mark.parametrize(
    ("target", "leave_one_out", "needed"),
    [(0.05, False, 19), (0.05, True, 39), (1 / 49, False, 48), (0.3, False, 3), (1.0, False, 1)],
)
def test_too_few_labels_are_refused_with_the_number_it_takes(
    target: float, leave_one_out: bool, needed: int
) -> None:
    n = needed - 1
    with pytest.raises(NotEnoughLabels, match=f"there are {n} and {needed} are needed"):
        promised_threshold([0.5] * n, range(n), target, leave_one_out=leave_one_out)
    promised = promised_threshold(
        [0.5] * needed, range(needed), target, leave_one_out=leave_one_out
    )
    assert promised.bound <= target


def test_the_promise_holds_over_all_choices_of_the_stranger() -> None:
    """Exactly, not just in simulation: every label of a bag takes its turn as the stranger."""
    generator = random.Random(1)
    for _ in range(200):
        n = generator.randint(3, 9)
        bag = [
            [generator.choice([0.1, 0.2, 0.3, 0.4, generator.random(), INF]) for _ in range(size)]
            for size in (generator.randint(1, 5) for _ in range(n))
        ]
        for target in (1 / n, 0.34, 0.5, 0.8):
            if (n - 1 + 1) * target < 1:
                continue
            total = 0.0
            for stranger, photos in enumerate(bag):
                rest = [(s, k) for k, own in enumerate(bag) if k != stranger for s in own]
                value = promised_threshold(*unzip(rest), target).value
                total += np.mean(np.float32(photos) < value)
            assert total / n <= target + 1e-12


# P-values -------------------------------------------------------------------------------------


@given(PHOTOS, st.lists(SCORES, max_size=6))
def test_p_values_equal_their_definition(photos: Photos, queries: list[float]) -> None:
    scores, labels = unzip(photos)
    k = len(set(labels))
    got = p_value(queries, scores, labels)
    assert got.shape == (len(queries),)
    for query, p in zip(queries, got.tolist(), strict=True):
        counted = Fraction(0)
        for label in set(labels):
            own = [np.float32(s) for s, other in photos if other == label]
            counted += Fraction(sum(bool(s <= np.float32(query)) for s in own), len(own))
        assert p == pytest.approx(float((counted + 1) / (k + 1)), abs=1e-12)
        assert 0 < p <= 1


@given(PHOTOS, TARGETS)
def test_what_is_accepted_has_a_p_value_within_the_target(photos: Photos, target: float) -> None:
    scores, labels = unzip(photos)
    assume(1 / (len(set(labels)) + 1) <= target)
    value = promised_threshold(scores, labels, target).value
    queries = np.unique(np.concatenate([scores, np.float32([0, value, value - 1e-3])]))
    p = p_value(queries, scores, labels)
    assert (np.diff(p) >= 0).all()
    assert (p[queries.astype(np.float64) < value] <= target + 1e-12).all()
    finite = scores[(scores >= value) & (scores < INF)]
    assert (p_value(finite, scores, labels) > target - 1e-12).all()


def test_p_value_shapes_and_extremes() -> None:
    assert p_value(0.5, [], []).tolist() == 1.0
    assert p_value([[0.1, INF]], [0.5, INF], ["a", "b"]).tolist() == [[1 / 3, 1.0]]


# Refusals -------------------------------------------------------------------------------------


def test_scores_that_are_no_scores_are_refused() -> None:
    for bad in (float("nan"), -INF):
        for call in (
            lambda: promised_threshold([0.5, bad], ["a", "b"], 0.5),  # noqa: B023
            lambda: confident_threshold([0.5, bad], ["a", "b"], 0.5, 0.5),  # noqa: B023
            lambda: p_value(0.5, [0.5, bad], ["a", "b"]),  # noqa: B023
        ):
            with pytest.raises(ValueError, match="1 of 2 scores are NaN or -inf"):
                call()
    with pytest.raises(ValueError, match="1 of 1 scores are NaN"):
        p_value(float("nan"), [0.5], ["a"])
    with pytest.raises(ValueError, match=r"not \(2,\) and \(1,\)"):
        promised_threshold([0.5, 0.5], ["a"], 0.5)


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.01, float("nan")])
def test_rates_that_are_no_rates_are_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        promised_threshold([0.5] * 9, range(9), rate)
    for target, confidence in [(rate, 0.5), (0.5, rate), (1.0, 0.5), (0.5, 1.0)]:
        with pytest.raises(ValueError, match="above 0 and below 1"):
            confident_threshold([0.5] * 9, range(9), target, confidence)


def test_too_few_labels_is_an_error_the_user_can_mend() -> None:
    assert issubclass(NotEnoughLabels, NotEnoughSearches)
    assert issubclass(NotEnoughLabels, LookalikeError)
    with pytest.raises(NotEnoughLabels, match="there are 0 and 19 are needed"):
        promised_threshold([], [], 0.05)


def test_order_of_photos_is_irrelevant() -> None:
    photos = [(0.1, 0), (0.2, 1), (0.2, 0), (INF, 2)]
    results = {
        promised_threshold(*unzip(list(p)), 0.5).value for p in itertools.permutations(photos)
    }
    assert len(results) == 1


# Forecast -------------------------------------------------------------------------------------


def test_forecast_of_independent_comparisons_is_exact() -> None:
    assert forecast(0.5, 2) == 0.75
    assert forecast(1 - 0.99**3, 4) == pytest.approx(1 - 0.99**12)
    assert forecast(1e-18, 10) == pytest.approx(1e-17)
    assert (forecast(0, 10), forecast(1, 10), forecast(0.3, 1)) == (0, 1, pytest.approx(0.3))
    for fpir, growth in [(-0.1, 2), (1.1, 2), (0.5, 0.5), (float("nan"), 2), (0.5, float("nan"))]:
        with pytest.raises(ValueError, match="cannot forecast"):
            forecast(fpir, growth)


@given(
    st.lists(st.tuples(st.integers(1, 9), st.floats(0, 1)), min_size=1, max_size=5),
    st.integers(1, 20),
    st.integers(1, 10),
)
def test_forecast_never_underestimates_independent_labels(
    kinds: list[tuple[int, float]], n: int, growth: int
) -> None:
    """Photos of a few kinds, each with its own chance q to have a random label near."""

    def fpir(labels: int) -> float:
        return sum(w * (1 - (1 - q) ** labels) for w, q in kinds) / sum(w for w, _ in kinds)

    assert forecast(min(1.0, fpir(n)), growth) >= fpir(n * growth) - 1e-9
