"""Thresholds of bounds that are valid too, to compare `confident_threshold` with."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from made_up_identities import Floats, Ints

from retrieval.evaluation.tuning import candidate_thresholds


def binomial_cdf(count: int, n: int, p: float) -> float:
    """P(Bin(n, p) ≤ count)."""
    terms = (math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(count + 1))
    return sum(terms)


def poisson_binomial_cdf(shares: Floats, count: int) -> float:
    """P(Σ of independent Bernoulli(share) ≤ count)."""
    law = np.zeros(count + 1)
    law[0] = 1
    for share in shares[shares > 0].tolist():
        law[1:] = law[1:] * (1 - share) + law[:-1] * share
        law[0] *= 1 - share
    return float(law.sum())


def hoeffding_bentkus(shares: Floats, target: float) -> float:
    """The p-value of Bates et al. (arXiv 2101.02703) for the mean being above the target."""
    n, mean = len(shares), float(shares.mean())
    if mean >= target:
        return 1.0
    kl = (1 - mean) * math.log((1 - mean) / (1 - target))
    kl += mean * math.log(mean / target) if mean else 0.0
    ceiling = math.ceil(n * mean - 1e-9)
    return min(math.exp(-n * kl), math.e * binomial_cdf(ceiling, n, target))


def betting_in_order(shares: Floats, target: float, confidence: float) -> float:
    """1 / the largest wealth of the predictable plug-in bets of arXiv 2101.02703, in this order."""
    n, k = len(shares), np.arange(1, len(shares) + 1)
    mean = (0.5 + np.cumsum(shares)) / (k + 1)
    variance = (0.25 + np.cumsum((shares - mean) ** 2)) / (k + 1)
    before = np.concatenate([[0.25], variance[:-1]])
    bets = np.minimum(1, np.sqrt(2 * -math.log(1 - confidence) / (n * before)))
    return float(np.exp(-np.cumsum(np.log1p(bets * (target - shares))).max()))


def rivals(
    scores: Floats, codes: Ints, target: float, confidence: float, g: np.random.Generator
) -> dict[str, float]:
    """Thresholds of other valid bounds, each scanned from strict to lax."""
    sizes = np.bincount(codes)
    # Photos come label after label, so this draws one of each label.
    first = np.cumsum(sizes) - sizes
    single = scores[first + g.integers(sizes)]
    closest = np.minimum.reduceat(scores, first)
    most = 0
    while binomial_cdf(most, len(sizes), target) <= 1 - confidence:
        most += 1  # so many acceptances are one too many

    def shares(threshold: float) -> Floats:
        return np.bincount(codes[scores < threshold], minlength=len(sizes)) / sizes

    candidates = [
        c for c in candidate_thresholds(scores).tolist() if shares(c).mean() <= 2 * target
    ]
    steps = candidates[:: max(1, len(candidates) // 400)]
    found = {}
    tests: dict[str, Callable[[Floats], bool]] = {
        "Hoeffding–Bentkus": lambda s: hoeffding_bentkus(s, target) <= 1 - confidence,
        "binomial, photo drawn, averaged": lambda s: (
            poisson_binomial_cdf(s, most - 1)
            >= binomial_cdf(most - 1, len(sizes), target) / (1 - confidence)
        ),
        "betting in order": lambda s: betting_in_order(s, target, confidence) <= 1 - confidence,
    }
    for name, refuted in tests.items():
        kept = steps[0]
        for step in steps:
            if not refuted(shares(step)):
                break
            kept = step
        found[name] = kept
    for name, values in {
        "binomial, a random photo": single,
        "binomial, any photo": closest,
    }.items():
        within = [c for c in candidate_thresholds(values).tolist() if (values < c).sum() < most]
        found[name] = within[-1]
    return found
