"""Figures of pairs: the shares of the list, and intervals over labels."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.evaluation.pairs import area_under_curve, equal_error
from retrieval.verifying.figures import JudgedPairs, best_threshold, brier_losses, log_losses


@pytest.fixture
def judged() -> JudgedPairs:
    """Thirty pairs of one label and ten of two, of ten labels."""
    one = np.repeat(np.arange(10), 3)
    return JudgedPairs(
        first=np.concatenate([one, np.arange(10)]),
        second=np.concatenate([one, np.roll(np.arange(10), 1)]),
        same=np.arange(40) < 30,
        share=0.5,
    )


def test_means_keep_the_share_of_the_list(judged: JudgedPairs) -> None:
    right = np.where(judged.same, np.arange(40) % 3 == 0, np.arange(40) % 2 == 0)
    assert judged.mean(right) == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert np.average(right, weights=judged.weights) == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert judged.weights.mean() == pytest.approx(1)


def test_auc_and_eer_are_those_of_pairs(judged: JudgedPairs) -> None:
    scores = np.random.default_rng(0).normal(size=40).astype(np.float32) + ~judged.same
    auc, eer = judged.ranking(scores)
    positive, negative = scores[judged.same], scores[~judged.same]
    assert auc.value == area_under_curve(positive, negative)
    crossing = equal_error(positive, negative)
    assert crossing is not None
    assert eer.value == crossing.value
    assert auc.low < auc.value < auc.high
    assert eer.low < eer.value < eer.high


def test_what_hangs_on_one_label_has_a_wide_interval(judged: JudgedPairs) -> None:
    spread = np.arange(40) % 3 == 0  # a pair of each label
    one_label = (judged.first < 3) & (judged.second < 3)
    by_label = judged.mean_bounded(one_label & judged.same)
    evenly = judged.mean_bounded(spread & judged.same)
    assert evenly.low == evenly.high == evenly.value == pytest.approx(1 / 6)
    assert by_label.high - by_label.low > 0.2


def test_the_best_threshold_counts_shares_not_pairs() -> None:
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.25], dtype=np.float32)
    same = np.array([True, True, True, True, False])
    # All four of one label outnumber the other pair, but weigh no more than it.
    assert best_threshold(scores, same, 0.8) > 0.4
    assert 0.2 < best_threshold(scores, same, 0.5) <= 0.25


def test_losses() -> None:
    told, same = np.array([0.9, 0.2]), np.array([True, False])
    np.testing.assert_allclose(brier_losses(told, same), [0.01, 0.04])
    np.testing.assert_allclose(log_losses(told, same), [-np.log(0.9), -np.log(0.8)])
