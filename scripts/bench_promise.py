#!/usr/bin/env python
"""Are promises about strangers kept?

    .venv/bin/python scripts/bench_promise.py PHOTOS

Real photos: the labels of PHOTOS are divided at random into a gallery and strangers, over and
over; thresholds are tuned on the gallery, or on half of the strangers, and judged on the others.
Simulated identities: there the true FPIR of every threshold is known in closed form.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from retrieval.embedding import Embedded, embed
from retrieval.encoders import open_encoder
from retrieval.encoders.factory import make_artifact
from retrieval.evaluation.conformal import (
    confident_threshold,
    forecast,
    promised_threshold,
)
from retrieval.evaluation.decisions import Searches
from retrieval.evaluation.distances import distance_rows
from retrieval.evaluation.intervals import labelled_rate
from retrieval.evaluation.tuning import candidate_thresholds, tune_fpir
from retrieval.gallery import DEFAULT_ENCODER
from retrieval.rules import RULES, Rule
from retrieval.sources import Source, find_photos

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def load_vectors(folder: Path) -> tuple[NDArray[np.float32], Ints]:
    """Embed a folder's photos: L2-normalised float32 (n, dim), and label codes (n,)."""
    sources = [Source(path) for path in find_photos(folder)]
    with tempfile.TemporaryDirectory() as scratch:
        encoder = open_encoder(make_artifact(DEFAULT_ENCODER, Path(scratch) / "encoder"))
        read = [one for one in embed(sources, encoder) if isinstance(one, Embedded)]
        encoder.close()
    _, codes = np.unique([one.source.path.parent.name for one in read], return_inverse=True)
    return np.stack([one.vector for one in read]), codes


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Print a Markdown table."""
    head = list(head)
    print("\n| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(f"{c:.3f}" if isinstance(c, float) else str(c) for c in row) + " |")
    print()


def by_label(hits: NDArray[np.bool_], codes: Ints) -> float:
    """Mean over labels of the share of hits."""
    sizes = np.bincount(codes)
    shares = np.bincount(codes, weights=hits)[sizes > 0] / sizes[sizes > 0]
    return float(shares.mean())


def label_average_threshold(scores: NDArray[np.float32], codes: Ints, target: float) -> float:
    """The largest τ at which the label-averaged FPIR of these very photos is within the target."""
    kept = 0.0
    for threshold in candidate_thresholds(scores[np.argsort(scores)[: len(scores) // 2]]).tolist():
        if by_label(scores.astype(np.float64) < threshold, codes) > target + 1e-12:
            break
        kept = threshold
    return kept


# Real photos ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Division:
    """One gallery with its queries: scores float32, label codes int64."""

    own: NDArray[np.float32]  # of gallery items, their label left out
    own_codes: Ints
    strangers: NDArray[np.float32]
    stranger_codes: Ints
    known: Searches

    def dir(self, threshold: float) -> float:
        """Share of mated queries accepted with the right label."""
        found = self.known.right & (self.known.score.astype(np.float64) < threshold)
        return float(found.mean())


def to_labels(
    distances: NDArray[np.float32], codes: Ints, items: NDArray[np.bool_], n_labels: int
) -> NDArray[np.float32]:
    """Distance of every photo to the nearest chosen item of each label; float32 (n, n_labels)."""
    result = np.full((len(distances), n_labels), np.inf, dtype=np.float32)
    for label in np.unique(codes[items]):
        result[:, label] = distances[:, items & (codes == label)].min(axis=1)
    return result


def divide(
    distances: NDArray[np.float32],
    codes: Ints,
    generator: np.random.Generator,
    held_out: float,
    rule: Rule,
) -> Division:
    """Half of the labels become a gallery, of it a share mated queries; the rest are strangers."""
    n_labels = int(codes.max()) + 1
    known = np.isin(codes, generator.permutation(n_labels)[: n_labels // 2])
    mated = np.zeros(len(codes), dtype=bool)
    for label in np.unique(codes[known]):
        photos = generator.permutation(np.flatnonzero(codes == label))
        mated[photos[: round(held_out * len(photos))]] = True
    items = known & ~mated
    near = to_labels(distances, codes, items, n_labels)
    row = np.arange(len(codes))
    mates = near[row, codes].copy()
    near[row, codes] = np.inf
    rivals = np.sort(near, axis=1)
    return Division(
        rule(rivals[items]).astype(np.float32),
        codes[items],
        rule(rivals[~known]).astype(np.float32),
        codes[~known],
        Searches.of(mates[mated], rivals[mated], rule),
    )


def next_score(scores: NDArray[np.float32], codes: Ints, target: float) -> float:
    """The smallest score `promised_threshold` rejects: promised as well, as matching is strict."""
    value = promised_threshold(scores, codes, target).value
    return float(scores[scores.astype(np.float64) >= value].min(initial=np.float32(np.inf)))


Tune = Callable[[NDArray[np.float32], Ints, float], float]
FROM_GALLERY: dict[str, Tune] = {
    "pooled quantile": lambda s, _, x: tune_fpir(s, x).value,
    "label-averaged quantile": label_average_threshold,
    "promised": lambda s, k, x: promised_threshold(s, k, x).value,
    "promised, τ not midway but at the next score": next_score,
    "promised, leave_one_out": lambda s, k, x: (
        promised_threshold(s, k, x, leave_one_out=True).value
    ),
}
FROM_STRANGERS: dict[str, Tune] = {
    key: tune for key, tune in FROM_GALLERY.items() if "leave_one_out" not in key
}


def real(distances: NDArray[np.float32], codes: Ints, target: float, runs: int, rule: Rule) -> None:
    """Tune on a gallery or on some strangers, judge on (other) strangers."""
    rows: dict[str, list[list[float]]] = {}
    for run in range(runs):
        generator = np.random.default_rng(run)
        one = divide(distances, codes, generator, held_out=0.3, rule=rule)

        def judge(name: str, value: float, judged: NDArray[np.bool_], one: Division = one) -> None:
            strangers, stranger_codes = one.strangers[judged], one.stranger_codes[judged]
            hits = strangers.astype(np.float64) < value
            best = one.dir(label_average_threshold(strangers, stranger_codes, target))
            rows.setdefault(name, []).append(
                [by_label(hits, stranger_codes), float(hits.mean()), one.dir(value), best]
            )

        everyone = np.ones(len(one.strangers), dtype=bool)
        for name, tune in FROM_GALLERY.items():
            judge(f"gallery: {name}", tune(one.own, one.own_codes, target), everyone)
        unseen = generator.permutation(np.unique(one.stranger_codes))
        given = np.isin(one.stranger_codes, unseen[: len(unseen) // 2])
        for name, tune in FROM_STRANGERS.items():
            value = tune(one.strangers[given], one.stranger_codes[given], target)
            judge(f"strangers: {name}", value, ~given)
    print(f"### {runs} divisions of the photos, fpir={target}, rule {rule.name}")
    head = "threshold from|FPIR by label|FPIR by photo|divisions above target|DIR|"
    head += "DIR in hindsight|DIR / hindsight"
    table(
        head.split("|"),
        (
            [name, *m[:2], float((np.array(r)[:, 0] > target).mean()), *m[2:], m[2] / m[3]]
            for name, r in rows.items()
            for m in [np.mean(r, axis=0).tolist()]
        ),
    )


def beta_binomial(counts: Floats, weights: Floats, trials: int, labels: int) -> float:
    """FPIR with `labels` labels if a photo's chance of a label being near is Beta-distributed.

    Args:
        counts: (n,), how many of `trials` labels were near each photo.
        weights: (n,), summing to 1.
        trials: Labels of the gallery that was measured.
        labels: Labels of the gallery to forecast.
    """
    first = float(weights @ counts) / trials
    second = float(weights @ (counts * (counts - 1))) / (trials * (trials - 1))
    if second <= first**2 or first == 0:
        return -math.expm1(labels * math.log1p(-first))
    # E q = a/(a+b) and E q² = a(a+1)/((a+b)(a+b+1))
    total = (first - second) / (second - first**2)
    a, b = first * total, (1 - first) * total
    lg = math.lgamma
    return -math.expm1(lg(b + labels) - lg(b) + lg(a + b) - lg(a + b + labels))


def growth(distances: NDArray[np.float32], codes: Ints, runs: int) -> None:
    """Strangers stay, the gallery's labels grow from 15 to 30 to 60, τ is fixed."""
    n_labels = int(codes.max()) + 1
    sizes = (15, 30, 60)
    thresholds: list[float] = []
    results: list[list[list[float]]] = []
    everything = to_labels(distances, codes, np.ones(len(codes), dtype=bool), n_labels)
    for run in range(runs):
        order = np.random.default_rng(run).permutation(n_labels)
        strange = np.isin(codes, order[sizes[-1] :])
        near = everything[strange]
        weights = 1 / np.bincount(codes)[codes[strange]]
        weights /= weights.sum()
        if not thresholds:
            nearest = near[:, order[: sizes[0]]].min(axis=1)
            thresholds = np.quantile(nearest, [0.01, 0.02, 0.05, 0.1, 0.2]).tolist()
        results.append([])
        for threshold in thresholds:
            below = near < threshold
            true = [float(weights @ below[:, order[:n]].any(axis=1)) for n in sizes]
            counts = below[:, order[: sizes[0]]].sum(axis=1).astype(np.float64)
            later = [(n, n // sizes[0]) for n in sizes[1:]]
            results[-1].append(
                [
                    *true,
                    *(forecast(true[0], g) for _, g in later),
                    *(beta_binomial(counts, weights, sizes[0], n) for n, _ in later),
                ]
            )
    print(f"### Growing the gallery's labels at a fixed τ, {runs} divisions, FPIR by label")
    means = np.mean(results, axis=0)
    ways = ["forecast", "beta-binomial"]
    head = ["τ", "FPIR at 15 labels", "at 30", *ways, "at 60", *ways]
    table(
        head,
        (
            [t, m[0], m[1], m[3], m[5], m[2], m[4], m[6]]
            for t, m in zip(thresholds, means.tolist(), strict=True)
        ),
    )


# Simulated identities ---------------------------------------------------------------------------


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


def simulated(target: float, confidence: float, n_labels: int, runs: int) -> None:
    """Break promises if that can be done."""
    rows = []
    mean_rows = []
    for w, world in enumerate(WORLDS):
        reached: dict[str, list[float]] = {}
        promised = []
        for run in range(runs):
            generator = np.random.default_rng([w, run])
            scores, codes = world.draw(generator, n_labels)
            scores = scores.astype(np.float32).astype(np.float64)
            ours = confident_threshold(scores, codes, target, confidence).value
            reached.setdefault("one bet (ours)", []).append(world.fpir(ours))
            others = rivals(scores, codes, target, confidence, generator)
            for name, value in others.items():
                reached.setdefault(name, []).append(world.fpir(value))
            promised.append(world.fpir(promised_threshold(scores, codes, target).value))
        cells = [
            f"{np.mean(np.array(v) > target + 1e-9):.3f} ({np.mean(v):.4f})"
            for v in reached.values()
        ]
        rows.append([world.name, *cells])
        mean = np.array(promised)
        mean_rows.append([world.name, f"{mean.mean():.4f}", float((mean > target).mean())])
    what = f"{n_labels} calibration labels, {runs} runs, fpir={target}"
    print(f"### confidence={confidence}: share of runs broken (mean true FPIR); {what}")
    table(["identities", *reached], rows)
    print(f"### The plain promise: mean true FPIR; {what}")
    table(["identities", "mean true FPIR", "share of runs above"], mean_rows)


def coverage(n_labels: int, runs: int) -> None:
    """How often the bootstrap's 95 % interval by label holds the true FPIR at τ with FPIR ≈ 5 %."""
    rows = []
    for w, world in enumerate(WORLDS):
        candidates = np.linspace(-12, 1, 20001)
        rates = np.array([world.fpir(float(t)) for t in candidates])
        threshold = float(candidates[np.argmin(np.abs(rates - 0.05))])
        truth = world.fpir(threshold)
        held = 0
        for run in range(runs):
            scores, codes = world.draw(np.random.default_rng([7, w, run]), n_labels)
            low_high = labelled_rate(scores < threshold, codes, resamples=300).by_label
            held += low_high.low <= truth <= low_high.high
        rows.append([world.name, truth, held / runs])
    print(f"### Bootstrap over {n_labels} labels, nominal 0.95, {runs} runs")
    table(["identities", "true FPIR", "coverage"], rows)


@click.command(help=__doc__)
@click.argument("photos", type=click.Path(path_type=Path, exists=True))
@click.option("--runs", default=200, show_default=True)
@click.option("--simulated/--photos-only", "simulate", default=True, show_default=True)
def main(photos: Path, runs: int, simulate: bool) -> None:
    """Print all tables."""
    vectors, codes = load_vectors(photos)
    distances = distance_rows(vectors, vectors)
    for rule in (RULES["margin"], RULES["nearest"]):
        for target in (0.05, 0.1):
            real(distances, codes, target, runs, rule)
    if simulate:
        growth(distances, codes, runs)
        simulated(0.05, 0.95, 500, runs)
        for labels in (40, 500):
            coverage(labels, runs)


if __name__ == "__main__":
    main()
