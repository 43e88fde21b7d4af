"""Intervals of rates equal their definitions, and weigh labels where labels are drawn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.evaluation.intervals import clopper_pearson, labelled_rate


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
