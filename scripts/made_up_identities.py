"""Made-up identities whose FPIR is known in closed form, some of them drawn to break promises."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class World:
    """Identities whose FPIR is known: `draw` gives scores and codes, `fpir` that of a threshold."""

    name: str
    draw: Callable[[np.random.Generator, int], tuple[Floats, Ints]]
    fpir: Callable[[float], float]


def normal_cdf(x: float) -> float:
    """P(N(0, 1) ≤ x)."""
    return 0.5 * math.erfc(-x / math.sqrt(2))


def repeat(sizes: Ints) -> Ints:
    """One code per photo: label k has sizes[k]."""
    return np.repeat(np.arange(len(sizes)), sizes)


def normal(correlation: float) -> Callable[[np.random.Generator, int], tuple[Floats, Ints]]:
    """Normal scores, correlated within labels of 1 + Poisson(7) photos."""

    def draw(g: np.random.Generator, n: int) -> tuple[Floats, Ints]:
        codes = repeat(1 + g.poisson(7, n))
        own = math.sqrt(1 - correlation) * g.standard_normal(len(codes))
        return math.sqrt(correlation) * g.standard_normal(n)[codes] + own, codes

    return draw


def lookalikes(g: np.random.Generator, n: int) -> tuple[Floats, Ints]:
    """8 % of labels are close and have one photo; the others are far and have 50."""
    close = g.random(n) < 0.08
    codes = repeat(np.where(close, 1, 50))
    return g.random(len(codes)) * np.where(close, 0.5, 1)[codes] + 0.4 * ~close[codes], codes


def levels(g: np.random.Generator, n: int) -> tuple[Floats, Ints]:
    """40 levels only; most photos of a label are on its own."""
    codes = repeat(1 + g.poisson(4, n))
    own = g.integers(40, size=n)[codes]
    return np.where(g.random(len(codes)) < 0.7, own, g.integers(40, size=len(codes))) / 40, codes


def jump(share: float) -> Callable[[np.random.Generator, int], tuple[Floats, Ints]]:
    """A share of the labels at one close score, the others at one far score."""

    def draw(g: np.random.Generator, n: int) -> tuple[Floats, Ints]:
        codes = repeat(1 + g.poisson(4, n))
        return np.where(g.random(n) < share, 0.1, 0.9)[codes], codes

    return draw


def heavy(g: np.random.Generator, n: int) -> tuple[Floats, Ints]:
    """Half of the labels are at infinity, the others Cauchy; the closer the more photos."""
    own = g.standard_cauchy(n)
    codes = repeat(1 + g.geometric(np.where(own < -3, 0.02, 0.5)))
    scores = own[codes] + 0.3 * g.standard_cauchy(len(codes))
    return np.where((g.random(n) < 0.5)[codes], np.inf, scores), codes


WORLDS = [
    World("normal, photos independent", normal(0), normal_cdf),
    World("normal, correlation 0.5", normal(0.5), normal_cdf),
    World("normal, correlation 0.9", normal(0.9), normal_cdf),
    World("normal, one score per label", normal(1), normal_cdf),
    World(
        "close labels have 1 photo, far ones 50",
        lookalikes,
        lambda t: 0.08 * min(max(2 * t, 0), 1) + 0.92 * min(max(t - 0.4, 0), 1),
    ),
    World("40 levels, ties", levels, lambda t: min(max(math.ceil(t * 40 - 1e-6), 0), 40) / 40),
    World("5.01 % of labels at one atom", jump(0.0501), lambda t: 0.0501 if t > 0.1 else 0.0),
    World("6 % of labels at one atom", jump(0.06), lambda t: 0.06 if t > 0.1 else 0.0),
    World(
        "Cauchy, half at infinity, close labels large",
        heavy,
        lambda t: 0.5 * (0.5 + math.atan(t / 1.3) / math.pi),
    ),
]
