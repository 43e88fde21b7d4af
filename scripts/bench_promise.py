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
from pathlib import Path

import click
import numpy as np
from divided_photos import Division, divide, to_labels
from made_up_identities import WORLDS, Floats, Ints
from numpy.typing import NDArray
from rival_bounds import rivals

from retrieval.embedding import Embedded, embed
from retrieval.encoders import open_encoder
from retrieval.encoders.factory import make_artifact
from retrieval.evaluation.conformal import confident_threshold, forecast, promised_threshold
from retrieval.evaluation.distances import distance_rows
from retrieval.evaluation.intervals import labelled_rate
from retrieval.evaluation.tuning import candidate_thresholds, tune_fpir
from retrieval.gallery import DEFAULT_ENCODER
from retrieval.rules import RULES, Rule
from retrieval.sources import Source, find_photos


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
