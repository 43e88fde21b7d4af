"""Promised thresholds equal their definitions, counted out slowly, and keep what they promise."""

from __future__ import annotations

import doctest
import itertools
import math
import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from retrieval.errors import LookalikeError
from retrieval.evaluation import conformal, intervals
from retrieval.evaluation.conformal import (
    NotEnoughLabels,
    confident_threshold,
    forecast,
    p_value,
    promised_threshold,
)
from retrieval.evaluation.intervals import clopper_pearson, labelled_rate
from retrieval.evaluation.tuning import NotEnoughSearches, candidate_thresholds

INF = float("inf")
LEVELS = st.sampled_from([-1e-7, 0.0, 0.1, 0.25, 0.3, 0.5, 2.0, INF])
SCORES = LEVELS | st.floats(-2.0, 2.0, width=32)
TARGETS = st.sampled_from([1 / 49, 0.05, 0.1, 0.25, 0.29, 1 / 3, 0.5, 0.999, 1.0])
CONFIDENCES = st.sampled_from([0.05, 0.5, 0.75, 0.9, 0.95])
Photos = list[tuple[float, int]]
PHOTOS = st.lists(st.tuples(SCORES, st.integers(0, 7)), min_size=1, max_size=40)


def unzip(photos: Photos) -> tuple[np.ndarray, list[int]]:
    return np.array([s for s, _ in photos], dtype=np.float32), [k for _, k in photos]


def shares(photos: Photos, threshold: float) -> list[Fraction]:
    """Share of each label's photos below the threshold, one label after the other."""
    result = []
    for label in sorted({k for _, k in photos}):
        own = [float(np.float32(s)) for s, k in photos if k == label]
        result.append(Fraction(sum(s < threshold for s in own), len(own)))
    return result


def excess(mass: Fraction) -> Fraction:
    """The v with Σ_{i≥1} (v - i)₊ = mass, walking up one unit of v at a time."""
    v, rest, slope = Fraction(1), mass, 1
    while rest > slope:
        v, rest, slope = v + 1, rest - slope, slope + 1
    return v + rest / slope


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


# Leave one label out --------------------------------------------------------------------------


def accepted_strangers(distances: np.ndarray, sizes: list[int], target: float, loo: bool) -> float:
    """Mean over labels, each the stranger in turn, of its accepted share.

    distances: (photos, labels), of each photo to each label; photos sorted by label.
    """
    own = np.repeat(np.arange(len(sizes)), sizes)
    distances = distances.copy()
    distances[np.arange(len(own)), own] = INF
    total = 0.0
    for stranger in range(len(sizes)):
        stays = own != stranger
        others = np.delete(distances, stranger, axis=1)
        value = promised_threshold(
            others[stays].min(axis=1), own[stays], target, leave_one_out=loo
        ).value
        total += (others[~stays].min(axis=1) < value).mean()
    return total / len(sizes)


def accepted_by_p_value(distances: np.ndarray, target: float) -> int:
    """How many labels, of one photo each, are accepted when they are the stranger: p ≤ target.

    That rule accepts what the largest possible threshold does; a τ midway accepts a little less.
    """
    distances = distances.copy()
    np.fill_diagonal(distances, INF)
    accepted = 0
    for stranger in range(len(distances)):
        others = np.delete(distances, stranger, axis=1)
        known = np.delete(others, stranger, axis=0).min(axis=1)
        p = p_value(others[stranger].min(), known, range(len(known)))
        accepted += int(p <= target)
    return accepted


def test_twins_break_the_plain_promise_up_to_its_double() -> None:
    """Ten pairs of look-alikes, each pair at its own distance: who comes lacks the other's twin."""
    distances = np.ones((20, 20), dtype=np.float32)
    for pair in range(10):
        a, b = 2 * pair, 2 * pair + 1
        distances[a, b] = distances[b, a] = (pair + 1) / 20
    assert accepted_by_p_value(distances, 0.05) == 2  # of 20


@pytest.mark.parametrize("m", [0, 1, 2, 3, 5, 6, 10])
def test_the_bound_for_one_photo_per_label_is_attained(m: int) -> None:
    # Label m + i is the sole neighbour of i labels before it, and no label has two of those.
    e = (1 + math.isqrt(1 + 8 * m)) // 2
    size = m + 1 + e
    n = 2 * size
    distances = np.full((n, n), 2.0, dtype=np.float32)
    free = iter(range(size))
    for hub in range(m + 1, size):
        for q in itertools.islice(free, hub - m):
            distances[q, hub] = (q + 1) / size
    for q in free:
        distances[q, n - 1] = (q + 1) / size  # has a neighbour that is accepted by nobody
    assert accepted_by_p_value(distances, (m + 1) / n) == size
    assert math.floor(m + 1 + excess(Fraction(m))) == size


def test_leave_one_out_promises_hold_for_any_distances() -> None:
    generator = np.random.default_rng(7)
    plain_broken = 0
    for trial in range(150):
        n = int(generator.integers(4, 11))
        sizes = generator.integers(1, 4, size=n).tolist()
        distances = generator.random((sum(sizes), n), dtype=np.float32)
        if trial % 2:  # a few labels close to many, the others far from everything
            distances[:, generator.integers(2, n) :] += 1
        if trial % 3 == 0:
            distances = np.round(distances, 1)
        for target in (1 / n, 2 / n, 3 / n, 0.6):
            if target * n >= 1:
                m = Fraction(target) * n - 1
                limit = float((m + 1 + excess(max(m, Fraction(0)))) / n)
                got = accepted_strangers(distances, sizes, target, loo=False)
                plain_broken += got > target + 1e-9
                assert got <= min(limit, 2 * target) + 1e-9
            if target * n >= 2:
                assert accepted_strangers(distances, sizes, target, loo=True) <= target + 1e-9
    assert plain_broken  # or the correction would be for nothing


# Confident ------------------------------------------------------------------------------------


@given(PHOTOS, TARGETS.filter(lambda x: x < 1), CONFIDENCES)
def test_confidence_equals_a_scan_from_strict_to_lax(
    photos: Photos, target: float, confidence: float
) -> None:
    scores, labels = unzip(photos)
    k = len(set(labels))
    if (1 - target) ** k > 1 - confidence + 1e-12:
        with pytest.raises(NotEnoughLabels):
            confident_threshold(scores, labels, target, confidence)
        return
    confident = confident_threshold(scores, labels, target, confidence)
    bet = conformal._bet(k, target, -math.log(1 - confidence))
    assert 0 < bet <= 1 / (1 - target) + 1e-12
    best = -INF
    for threshold in candidate_thresholds(scores).tolist():
        wealth = math.prod(1 + bet * (target - float(s)) for s in shares(photos, threshold))
        if wealth < 1 / (1 - confidence) - 1e-9:
            break
        best = threshold
    assert confident.value == best
    assert confident.bound == target
    assert confident.objective == f"fpir={target} confidence={confidence}"


@given(PHOTOS, TARGETS.filter(lambda x: x < 1), CONFIDENCES)
def test_it_certifies_whatever_hoeffding_certifies(
    photos: Photos, target: float, confidence: float
) -> None:
    scores, labels = unzip(photos)
    k = len(set(labels))
    assume((1 - target) ** k <= 1 - confidence)
    value = confident_threshold(scores, labels, target, confidence).value
    for threshold in candidate_thresholds(scores).tolist():
        mean = float(sum(shares(photos, threshold)) / k)
        if mean >= target:
            break
        kl = (1 - mean) * math.log((1 - mean) / (1 - target))
        kl += mean * math.log(mean / target) if mean else 0
        if math.exp(-k * kl) <= (1 - confidence) * (1 - 1e-9):
            assert value >= threshold


@pytest.mark.parametrize(
    ("target", "confidence", "needed"),
    [(0.05, 0.95, 59), (0.01, 0.95, 299), (0.5, 0.75, 2), (0.1, 0.99, 44), (0.001, 0.95, 2995)],
)
def test_refused_exactly_when_no_acceptance_certifies_nothing(
    target: float, confidence: float, needed: int
) -> None:
    assert (1 - target) ** needed <= 1 - confidence + 1e-12 < (1 - target) ** (needed - 1)
    n = needed - 1
    with pytest.raises(NotEnoughLabels, match=f"there are {n} and {needed} are needed"):
        confident_threshold([0.5] * n, range(n), target, confidence)
    confident = confident_threshold([0.5] * needed, range(needed), target, confidence)
    assert (confident.value, confident.fpir) == (0.0, 0.0)


def test_of_500_labels_14_may_be_accepted_whole() -> None:
    # 500 · kl(14/500, 0.05) = 3.01 and 500 · kl(15/500, 0.05) = 2.44 around ln 20 = 3.00.
    for close, accepted in [(14, True), (15, False)]:
        scores = [0.1] * close + [0.9] * (500 - close)
        confident = confident_threshold(scores, range(500), 0.05, 0.95)
        assert (confident.value > 0.1) == accepted


@given(PHOTOS)
def test_confidence_costs(photos: Photos) -> None:
    scores, labels = unzip(photos)
    assume(len(set(labels)) >= 5)
    strict = confident_threshold(scores, labels, 0.5, 0.95)
    lax = confident_threshold(scores, labels, 0.5, 0.9)
    assert strict.value <= lax.value <= promised_threshold(scores, labels, 0.5).value


@pytest.mark.parametrize("true", [0.0501, 0.06, 0.08])
def test_broken_no_more_often_than_agreed(true: float) -> None:
    """Whole labels accepted at one atom: K shares of 0 or 1, so the chance is a binomial tail."""
    k, target = 100, 0.05
    most = max(
        c
        for c in range(k)
        if confident_threshold([0.1] * c + [0.9] * (k - c), range(k), target, 0.95).value > 0.1
        or c == 0
    )
    assert sum(math.comb(k, c) * true**c * (1 - true) ** (k - c) for c in range(most + 1)) <= 0.05


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


# Intervals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    # Tables of Clopper and Pearson; 0 of n and n of n solve p^n = 0.025.
    [(1, 10, 0.0025, 0.4450), (5, 10, 0.1871, 0.8129), (10, 10, 0.6915, 1), (0, 10, 0, 0.3085)],
)
def test_clopper_pearson_by_the_book(count: int, n: int, low: float, high: float) -> None:
    interval = clopper_pearson(count, n)
    assert (interval.low, interval.high) == (
        pytest.approx(low, abs=5e-5),
        pytest.approx(high, abs=5e-5),
    )


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_clopper_pearson_solves_its_definition(case: tuple[int, int]) -> None:
    count, n = case
    interval = clopper_pearson(count, n, 0.9)

    def at_least(p: float, k: int) -> float:
        return sum(math.comb(n, j) * p**j * (1 - p) ** (n - j) for j in range(k, n + 1))

    assert interval.low <= interval.value == count / n <= interval.high
    if count:
        assert at_least(interval.low, count) == pytest.approx(0.05)
    if count < n:
        assert 1 - at_least(interval.high, count + 1) == pytest.approx(0.05)


def test_clopper_pearson_of_many_trials() -> None:
    interval = clopper_pearson(3, 10**6)
    assert interval.low == pytest.approx(0.61867e-6, rel=1e-4)
    assert interval.high == pytest.approx(8.7673e-6, rel=1e-4)


def test_labelled_rates_weigh_photos_or_labels() -> None:
    rate = labelled_rate([True, True, True, False], ["a", "a", "a", "b"])
    assert (rate.by_photo.value, rate.by_label.value) == (0.75, 0.5)
    assert (rate.by_label.low, rate.by_label.high) == (0.0, 1.0)
    assert rate == labelled_rate([True, True, True, False], ["a", "a", "a", "b"])


def test_bootstrap_draws_labels_not_photos() -> None:
    """1,000 photos of 10 labels, all alike within a label, are worth 10 photos."""
    hits = np.repeat(np.arange(10) < 5, 100)
    rate = labelled_rate(hits, np.repeat(np.arange(10), 100))
    sd = math.sqrt(0.25 / 10)
    assert rate.by_label.low == pytest.approx(0.5 - 1.96 * sd, abs=0.06)
    assert rate.by_label.high == pytest.approx(0.5 + 1.96 * sd, abs=0.06)
    assert rate.by_photo == rate.by_label


def test_rates_of_nothing_or_all_fall_back_on_labels() -> None:
    labels = np.repeat(np.arange(10), 7)
    assert labelled_rate([False] * 70, labels).by_photo == clopper_pearson(0, 10)
    assert labelled_rate([True] * 70, labels).by_label == clopper_pearson(10, 10)


def test_intervals_refuse_nonsense() -> None:
    for count, n, level in [(1, 0, 0.9), (-1, 3, 0.9), (4, 3, 0.9), (1, 3, 1.0)]:
        with pytest.raises(ValueError, match="no interval"):
            clopper_pearson(count, n, level)
    with pytest.raises(ValueError, match="must share"):
        labelled_rate([], [])
    with pytest.raises(ValueError, match="must share"):
        labelled_rate([True], ["a", "b"])
    with pytest.raises(ValueError, match="0 resamples"):
        labelled_rate([True], ["a"], resamples=0)


@pytest.mark.parametrize("module", [conformal, intervals])
def test_examples_in_docstrings(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.attempted > 0
    assert result.failed == 0
