"""Thresholds that keep their promise with a given confidence certify what can be certified."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from scored_photos import CONFIDENCES, INF, PHOTOS, TARGETS, Photos, shares, unzip

from retrieval.evaluation import conformal
from retrieval.evaluation.conformal import NotEnoughLabels, confident_threshold, promised_threshold
from retrieval.evaluation.tuning import candidate_thresholds


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
