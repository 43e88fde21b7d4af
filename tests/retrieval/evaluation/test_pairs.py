"""Pair figures: equal to counting one pair after the other, and to scikit-learn's."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.evaluation.pairs import (
    Sweep,
    area_under_curve,
    equal_error,
    pair_rates,
    sweep,
)

INF, NAN = float("inf"), float("nan")
LEVELS = st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 2.0])  # few, so that there are many ties
ANY = st.floats(0.0, 2.0, width=32)
DISTANCES = st.lists(LEVELS | ANY, max_size=15)
SOME = st.lists(LEVELS | ANY, min_size=1, max_size=15)
ENDLESS = st.lists(LEVELS | st.just(INF), min_size=1, max_size=10)


def single(values: list[float]) -> list[float]:
    """Round to float32, as distances are."""
    return np.array(values, dtype=np.float32).tolist()


def share(count: int, n: int) -> float | None:
    return count / n if n else None


# Rates ----------------------------------------------------------------------------------------


def test_a_hand_worked_example() -> None:
    # Accepted: 0.1 and 0.2 rightly, 0.15 wrongly; 0.3 is at the threshold, and rejected.
    rates = pair_rates([0.1, 0.2, 0.3, 0.6], [0.15, 0.4, 0.5, 0.7, 0.8], 0.3)
    assert (rates.n_positive, rates.n_negative) == (4, 5)
    assert (rates.accepted_positives, rates.accepted_negatives) == (2, 1)
    assert rates.accuracy == (2 + 4) / 9
    assert (rates.precision, rates.recall) == (2 / 3, 2 / 4)
    assert rates.f1 == pytest.approx(2 * (2 / 3) * (1 / 2) / (2 / 3 + 1 / 2))
    assert (rates.far, rates.frr) == (1 / 5, 2 / 4)


def test_the_example_of_the_documentation() -> None:
    """The pairs of docs/verification.md, worked there by hand."""
    positive, negative = [0.1, 0.2, 0.4, 0.6], [0.3, 0.5, 0.7, 0.9]
    at = pair_rates(positive, negative, 0.45)
    assert (at.accuracy, at.precision, at.recall, at.f1, at.far, at.frr) == (
        *(0.75, 0.75, 0.75, 0.75),
        *(0.25, 0.25),
    )
    below = pair_rates(positive, negative, 0.25)
    assert (below.precision, below.recall, below.far, below.frr) == (1, 0.5, 0, 0.5)
    assert below.f1 == pytest.approx(2 / 3)
    assert area_under_curve(positive, negative) == 13 / 16
    crossing = equal_error(positive, negative)
    assert crossing is not None
    assert (crossing.value, crossing.threshold) == (0.25, pytest.approx(0.45))


@given(DISTANCES, DISTANCES, LEVELS | ANY)
def test_rates_are_those_of_counting(
    positive: list[float], negative: list[float], threshold: float
) -> None:
    true_accepts = false_accepts = false_rejects = true_rejects = 0
    for distance, same in [(d, True) for d in single(positive)] + [
        (d, False) for d in single(negative)
    ]:
        if distance < threshold:
            true_accepts, false_accepts = true_accepts + same, false_accepts + (not same)
        else:
            false_rejects, true_rejects = false_rejects + same, true_rejects + (not same)
    precision = share(true_accepts, true_accepts + false_accepts)
    recall = share(true_accepts, len(positive))
    f1 = None
    if precision is not None and recall is not None:
        f1 = 2 * precision * recall / (precision + recall) if true_accepts else 0.0
    rates = pair_rates(positive, negative, threshold)
    assert (rates.n_positive, rates.n_negative) == (len(positive), len(negative))
    assert rates.threshold == threshold
    assert rates.accuracy == share(true_accepts + true_rejects, len(positive) + len(negative))
    assert (rates.precision, rates.recall) == (precision, recall)
    assert rates.f1 == (None if f1 is None else pytest.approx(f1))
    assert rates.far == share(false_accepts, len(negative))
    assert rates.frr == share(false_rejects, len(positive))


def test_a_rate_with_nothing_to_count_on_is_none() -> None:
    nothing = pair_rates([], [], 0.5)
    assert (nothing.accuracy, nothing.precision, nothing.recall, nothing.f1) == (None,) * 4
    assert (nothing.far, nothing.frr) == (None, None)
    same = pair_rates([0.25], [], 0.5)
    assert (same.accuracy, same.precision, same.far, same.frr) == (1.0, 1.0, None, 0.0)
    different = pair_rates([], [0.25], 0.5)
    assert (different.recall, different.f1, different.far, different.frr) == (None, None, 1.0, None)
    assert pair_rates([0.25], [0.25], 0.25).precision is None
    assert (area_under_curve([0.5], []), area_under_curve([], [0.5])) == (None, None)
    assert (equal_error([0.5], []), equal_error([], [0.5]), equal_error([], [])) == (None,) * 3
    assert sweep([], [0.5]) is None


@pytest.mark.parametrize("figure", [sweep, area_under_curve, equal_error])
def test_nan_is_refused_with_its_place(figure: object) -> None:
    assert callable(figure)
    with pytest.raises(ValueError, match="positive distance 1 is NaN"):
        figure([0.5, NAN], [0.5])
    with pytest.raises(ValueError, match=r"negative distance 0 is NaN \(2 in all\)"):
        figure([0.5], [NAN, NAN])


def test_other_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="positive distance 0 is NaN"):
        pair_rates([NAN], [0.5], 0.5)
    with pytest.raises(ValueError, match="threshold must be a number"):
        pair_rates([0.5], [0.5], NAN)
    with pytest.raises(ValueError, match="negative distances must have the shape"):
        pair_rates([0.5], [[0.5]], 0.5)


# Sweeps ---------------------------------------------------------------------------------------


def swept(positive: list[float], negative: list[float]) -> Sweep:
    result = sweep(positive, negative)
    assert result is not None
    return result


@given(SOME, SOME)
def test_a_sweep_goes_through_every_group_of_equal_distances(
    positive: list[float], negative: list[float]
) -> None:
    result = swept(positive, negative)
    expected, accepted = [(0, 0)], (0, 0)
    for level in sorted({*single(positive), *single(negative)}):
        accepted = (
            accepted[0] + single(positive).count(level),
            accepted[1] + single(negative).count(level),
        )
        expected.append(accepted)
    counts = zip(
        result.accepted_positives.tolist(), result.accepted_negatives.tolist(), strict=True
    )
    assert list(counts) == expected
    for place, threshold in enumerate(result.thresholds.tolist()):
        rates = pair_rates(positive, negative, threshold)
        assert (rates.far, rates.frr) == (result.far[place], result.frr[place])
        far, rest = result.roc
        assert (far[place], rest[place]) == (rates.far, rates.recall)
    assert (result.far[0], result.frr[0]) == (0, 1)
    assert (result.far[-1], result.frr[-1]) == (1, 0)


def test_further_distances_are_split_and_not_counted() -> None:
    result = sweep([0.25], [0.75], others=[0.5])
    assert result is not None
    assert result.thresholds[:-1].tolist() == [0.0, 0.375, 0.625]
    assert result.accepted_positives.tolist() == [0, 1, 1, 1]
    assert result.accepted_negatives.tolist() == [0, 0, 0, 1]


# Area and equal error -------------------------------------------------------------------------


@given(SOME | ENDLESS, SOME | ENDLESS)
def test_the_area_is_the_share_of_comparisons_won(
    positive: list[float], negative: list[float]
) -> None:
    won = Fraction(0)
    for one in single(positive):
        for other in single(negative):
            won += 1 if one < other else Fraction(1, 2) if one == other else 0
    assert area_under_curve(positive, negative) == float(won / len(positive) / len(negative))


def crossing(positive: list[float], negative: list[float]) -> tuple[Fraction, float]:
    """Find the crossing on the lines between the sweep's points, and the least error, exactly."""
    points = [(Fraction(0), Fraction(1))]
    errors = []
    levels = sorted({*single(positive), *single(negative)} - {INF})
    tau_of = [0.0] + [(a + b) / 2 for a, b in pairwise(levels)] + [3.0]
    for tau in tau_of:
        far = Fraction(sum(d < tau for d in single(negative)), len(negative))
        frr = Fraction(sum(d >= tau for d in single(positive)), len(positive))
        points.append((far, frr))
        errors.append((max(far, frr), far + frr, tau))
    points.append((Fraction(1), Fraction(0)))
    for (far, frr), (next_far, next_frr) in pairwise(points):
        if far < frr and next_far >= next_frr:
            # far + t (next_far - far) = frr + t (next_frr - frr)
            t = (frr - far) / ((next_far - far) + (frr - next_frr))
            return far + t * (next_far - far), min(errors)[2]
    raise AssertionError("there is always a crossing")


WELL_APART = st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, INF]), min_size=1, max_size=12)


@given(WELL_APART, WELL_APART)
def test_the_equal_error_lies_where_the_lines_cross(
    positive: list[float], negative: list[float]
) -> None:
    rate, tau = crossing(positive, negative)
    found = equal_error(positive, negative)
    assert found is not None
    assert found.value == pytest.approx(float(rate), abs=1e-12)
    if {*positive, *negative} == {INF}:
        return
    expected, actual = (pair_rates(positive, negative, one) for one in (tau, found.threshold))
    assert (actual.far, actual.frr) == (expected.far, expected.frr)


def test_two_classes_told_apart_have_no_error() -> None:
    found = equal_error([0.1, 0.2], [0.4, 0.5])
    assert found is not None
    assert (found.value, found.threshold) == (0.0, pytest.approx(0.3))
    assert area_under_curve([0.1, 0.2], [0.4, 0.5]) == 1.0


def test_equal_distances_all_over_are_a_coin_toss() -> None:
    found = equal_error([0.5] * 3, [0.5] * 7)
    assert found is not None
    assert found.value == 0.5
    assert area_under_curve([0.5] * 3, [0.5] * 7) == 0.5


@pytest.mark.parametrize("levels", [7, 1000])
def test_the_curves_are_those_of_scikit_learn(levels: int) -> None:
    from sklearn.metrics import det_curve, roc_auc_score, roc_curve

    rng = np.random.default_rng(levels)
    positive = (rng.integers(0, levels, 300) / levels / 2).astype(np.float32)
    negative = (rng.integers(0, levels, 500) / levels / 2 + 0.2).astype(np.float32)
    same = np.repeat([True, False], [300, 500])
    closeness = -np.concatenate([positive, negative])
    result = sweep(positive, negative)
    assert result is not None

    far, recall, _ = roc_curve(same, closeness, drop_intermediate=False)
    np.testing.assert_allclose(result.roc, (far, recall))
    area = area_under_curve(positive, negative)
    assert area == pytest.approx(roc_auc_score(same, closeness), abs=1e-12)

    # scikit-learn leaves out points at the ends, and goes the other way.
    ours = set(zip(*np.round(result.det, 9).tolist(), strict=True))
    theirs = set(zip(*np.round(det_curve(same, closeness)[:2], 9).tolist(), strict=True))
    assert theirs <= ours
    assert {(far, frr) for far, frr in ours if far > 0 and frr > 0} <= theirs
