"""Promises about strangers, of thresholds tuned with each label left out in turn."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from scored_photos import INF, excess

from retrieval.evaluation.conformal import p_value, promised_threshold


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
