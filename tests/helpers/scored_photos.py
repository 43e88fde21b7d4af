"""Drawn photos with scores and labels, and what is counted of them."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import strategies as st

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
