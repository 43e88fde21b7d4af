#!/usr/bin/env python
"""Which rule identifies most known photos at the same share of strangers let pass?

    .venv/bin/python scripts/bench_rules.py TRAIN VAL

One fifth of the labels is hidden from the gallery, over and over; all rules judge the same queries.
Three protocols: queries are VAL's photos; queries are the second half of each label's photos in
TRAIN, near-duplicates of the gallery's first half; queries are VAL's photos and strangers TRAIN's.
Two encoders: the default one, and a linear head trained on the gallery's own labels (ArcFace).
Rules that lookalike does not offer are computed here, from all distances.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from retrieval.embedding import Embedded, embed
from retrieval.encoders import open_encoder
from retrieval.encoders.factory import make_artifact
from retrieval.evaluation.decisions import Searches, decision_curve
from retrieval.evaluation.distances import distance_rows
from retrieval.gallery import DEFAULT_ENCODER
from retrieval.rules import RULES
from retrieval.sources import Source, find_photos

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
FPIRS = (0.01, 0.05, 0.1)
# What a head is trained with, as in the margins of the literature: arXiv 1801.07698.
_MARGIN, _SCALE, _EPOCHS, _BATCH, _DIM = 0.3, 24.0, 40, 64, 256


@dataclass(frozen=True)
class Photos:
    """Vectors float32 (n, dim), L2-normalised, and label codes (n,)."""

    vectors: Floats
    codes: Ints

    def __getitem__(self, chosen: NDArray[np.bool_]) -> Photos:
        return Photos(self.vectors[chosen], self.codes[chosen])

    def and_(self, other: Photos) -> Photos:
        """Both."""
        return Photos(
            np.concatenate([self.vectors, other.vectors]), np.concatenate([self.codes, other.codes])
        )


def load(folders: list[Path]) -> list[Photos]:
    """Embed folders; equal parent folders get equal codes."""
    with tempfile.TemporaryDirectory() as scratch:
        encoder = open_encoder(make_artifact(DEFAULT_ENCODER, Path(scratch) / "encoder"))
        read = [
            [
                one
                for one in embed([Source(path) for path in find_photos(folder)], encoder)
                if isinstance(one, Embedded)
            ]
            for folder in folders
        ]
        encoder.close()
    names = sorted({one.source.path.parent.name for part in read for one in part})
    codes = {name: code for code, name in enumerate(names)}
    return [
        Photos(
            np.stack([one.vector for one in part]),
            np.array([codes[one.source.path.parent.name] for one in part]),
        )
        for part in read
    ]


# Rules ------------------------------------------------------------------------------------------


def by_rank(distances: Floats, codes: Ints) -> tuple[Ints, NDArray[np.float32]]:
    """Sort each label's distances: labels (l,) and (n, l, most items), padded with +inf."""
    labels, sizes = np.unique(codes, return_counts=True)
    near = np.full((len(distances), len(labels), int(sizes.max())), np.inf, dtype=np.float32)
    for place, label in enumerate(labels):
        near[:, place, : sizes[place]] = np.sort(distances[:, codes == label], axis=1)
    return labels, near


def mean_of(near: NDArray[np.float32], count: int) -> Floats:
    """The mean of a label's nearest items, `count` of them or all it has."""
    first = near[:, :, :count].astype(np.float64)
    there = np.isfinite(first)
    return (np.where(there, first, 0).sum(axis=2) / there.sum(axis=2)).astype(np.float32)


def to_means(queries: Photos, gallery: Photos, labels: Ints) -> Floats:
    """Distances to each label's mean vector, made as long as the others."""
    means = np.stack([gallery.vectors[gallery.codes == label].mean(axis=0) for label in labels])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    return distance_rows(queries.vectors, means)


def neighbourhood(distances: Floats, count: int) -> NDArray[np.float64]:
    """Mean and standard deviation of the nearest labels but the first; (2, n)."""
    others = np.sort(distances, axis=1)[:, 1 : count + 1].astype(np.float64)
    return np.stack([others.mean(axis=1), others.std(axis=1) + 1e-6])


def vote(near: NDArray[np.float32], k: int, temperature: float) -> Floats:
    """One minus each label's share of the k nearest items' weights exp(-d / temperature)."""
    flat = near.reshape(len(near), -1)
    limit = np.partition(flat, k - 1, axis=1)[:, k - 1, np.newaxis, np.newaxis]
    there = np.where(near <= limit, near, 0).astype(np.float64)
    weights = np.where(near <= limit, np.exp(-there / temperature), 0).sum(axis=2)
    return (1 - weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def extreme_values(distances: Floats, gallery: Photos, tail: int) -> Floats:
    """One minus the probability that a query is nearer than a label's margin (arXiv 1506.06112).

    Each gallery item's half distances to the nearest items of other labels are the tail of a
    Weibull distribution; the label's surest item speaks.
    """
    between = distance_rows(gallery.vectors, gallery.vectors)
    between[gallery.codes[:, np.newaxis] == gallery.codes] = np.inf
    halves = np.partition(between, tail, axis=1)[:, :tail].astype(np.float64) / 2
    shapes, scales = weibull(halves)
    inside = np.exp(-((distances.astype(np.float64) / scales) ** shapes))
    labels = np.unique(gallery.codes)
    best = [inside[:, gallery.codes == label].max(axis=1) for label in labels]
    return (1 - np.stack(best, axis=1)).astype(np.float32)


def weibull(tails: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit shape and scale to each row, by maximum likelihood (Newton's steps on the shape)."""
    logs = np.log(np.maximum(tails, 1e-9))
    shape = 1.2 / np.maximum(logs.std(axis=1), 1e-6)
    for _ in range(30):
        powers = np.exp(shape[:, np.newaxis] * (logs - logs.max(axis=1, keepdims=True)))
        first = (powers * logs).sum(axis=1) / powers.sum(axis=1)
        second = (powers * logs**2).sum(axis=1) / powers.sum(axis=1)
        slope = first - 1 / shape - logs.mean(axis=1)
        shape = np.maximum(shape - slope / (second - first**2 + shape**-2), shape / 2)
    powers = np.exp(shape[:, np.newaxis] * (logs - logs.max(axis=1, keepdims=True)))
    scale = np.exp(logs.max(axis=1) + np.log(powers.mean(axis=1)) / shape)
    return shape, scale


def judged(distances: Floats, labels: Ints, codes: Ints, score: NDArray[np.float64]) -> Searches:
    """Name the label with the smallest distance, and believe it by the score."""
    named = labels[distances.argmin(axis=1)]
    return Searches(score.astype(np.float32), named == codes, np.isin(codes, labels))


def all_rules(queries: Photos, gallery: Photos) -> Iterator[tuple[str, Searches]]:
    """Judge the queries by each rule."""
    distances = distance_rows(queries.vectors, gallery.vectors)
    labels, near = by_rank(distances, gallery.codes)
    means = to_means(queries, gallery, labels)
    nearest = near[:, :, 0]
    measures = {
        "nearest item": nearest,
        "mean of 5 nearest": mean_of(near, 5),
        "mean vector": means,
        "nearest item and mean vector, halves": (nearest + means) / 2,
    }
    first = RULES["nearest"]

    def told(measure: Floats, score: NDArray[np.float64]) -> Searches:
        return judged(measure, labels, queries.codes, score)

    for name, measure in measures.items():
        ordered = np.sort(measure, axis=1)
        yield name, told(measure, first(ordered))
        for rule in ("margin", "rivals", "ratio", "nac"):
            yield f"{name}: {rule}", told(measure, RULES[rule](ordered))
    for k, temperature in ((10, math.inf), (50, 0.05)):
        votes = vote(near, k, temperature)
        weighted = "plain" if math.isinf(temperature) else f"weighted, T {temperature}"
        yield f"vote of {k} items, {weighted}", told(votes, votes.min(axis=1).astype(np.float64))
    d1 = nearest.min(axis=1).astype(np.float64)
    mean, spread = neighbourhood(nearest, 20)
    yield "z-norm, 20 labels", told(nearest, (d1 - mean) / spread)
    own = distance_rows(gallery.vectors, gallery.vectors)
    own[gallery.codes[:, np.newaxis] == gallery.codes] = np.inf
    own_mean, own_spread = neighbourhood(np.partition(own, 21, axis=1)[:, :21], 20)
    winner = distances.argmin(axis=1)
    theirs = (d1 - own_mean[winner]) / own_spread[winner]
    yield "s-norm, 20", told(nearest, ((d1 - mean) / spread + theirs) / 2)
    surest = extreme_values(distances, gallery, 100)
    yield "extreme values (EVM), tail 100", told(surest, surest.min(axis=1).astype(np.float64))


# Protocols --------------------------------------------------------------------------------------


def first_halves(codes: Ints) -> NDArray[np.bool_]:
    """The first half of each label's photos, in the order of their names."""
    first = np.zeros(len(codes), dtype=bool)
    for label in np.unique(codes):
        places = np.flatnonzero(codes == label)
        first[places[: (len(places) + 1) // 2]] = True
    return first


def protocols(
    train: Photos, val: Photos, hidden: Ints
) -> dict[str, tuple[NDArray[np.bool_], Callable[[Photos, Photos], Photos]]]:
    """Which of TRAIN's photos are the gallery, and what the queries are, by protocol."""
    strange, first = np.isin(train.codes, hidden), first_halves(train.codes)
    known = ~np.isin(val.codes, hidden)
    return {
        "queries from VAL": (~strange, lambda _, val: val),
        "queries near-duplicates": (~strange & first, lambda train, _: train[~first]),
        "known from VAL, strangers from TRAIN": (
            ~strange,
            lambda train, val: val[known].and_(train[strange]),
        ),
    }


def train_head(gallery: Photos, seed: int) -> Callable[[Photos], Photos]:
    """Train a linear projection of the vectors by ArcFace, and return it."""
    import torch
    from torch import nn
    from torch.nn import functional

    torch.manual_seed(seed)
    labels, codes = np.unique(gallery.codes, return_inverse=True)
    # Batch normalisation expects features of about unit variance.
    features = torch.tensor(gallery.vectors) * gallery.vectors.shape[1] ** 0.5
    targets = torch.tensor(codes)
    head = nn.Sequential(
        nn.BatchNorm1d(features.shape[1]),
        nn.Dropout(0.2),
        nn.Linear(features.shape[1], _DIM, bias=False),
    )
    proxies = nn.Parameter(torch.randn(len(labels), _DIM) * 0.01)
    steps = _EPOCHS * (len(features) // _BATCH)
    optimiser = torch.optim.AdamW([*head.parameters(), proxies], lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    for _ in range(_EPOCHS):
        shuffled = torch.randperm(len(features))[: len(features) // _BATCH * _BATCH]
        for batch in shuffled.split(_BATCH):
            cosines = functional.normalize(head(features[batch])) @ functional.normalize(proxies).T
            own = cosines.gather(1, targets[batch, None]).clamp(-1 + 1e-6, 1 - 1e-6)
            harder = torch.cos(torch.acos(own) + _MARGIN)
            logits = _SCALE * cosines.scatter(1, targets[batch, None], harder)
            loss = functional.cross_entropy(logits, targets[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    head.eval()

    def project(photos: Photos) -> Photos:
        with torch.no_grad():
            scaled = torch.tensor(photos.vectors) * photos.vectors.shape[1] ** 0.5
            return Photos(functional.normalize(head(scaled)).numpy(), photos.codes)

    return project


def dir_at(searches: Searches, fpir: float) -> float:
    """DIR at the largest threshold with that FPIR, 0 false positives where there are too few."""
    curve = decision_curve(searches)
    return float(curve.dir[np.flatnonzero(curve.fpir <= fpir + 1e-12)[-1]])


def compare(train: Photos, val: Photos, runs: int, *, trained: bool) -> None:
    """Print one table a protocol."""
    found: dict[str, dict[str, list[list[float]]]] = {}
    labels = np.unique(train.codes)
    for run in range(runs):
        generator = np.random.default_rng([4242, run])
        hidden = generator.choice(labels, round(0.2 * len(labels)), replace=False)
        for name, (in_gallery, asked) in protocols(train, val, hidden).items():
            pair = train, val
            if trained:
                project = train_head(train[in_gallery], run)
                pair = project(train), project(val)
            for rule, searches in all_rules(asked(*pair), pair[0][in_gallery]):
                rows = found.setdefault(name, {}).setdefault(rule, [])
                rows.append([dir_at(searches, fpir) for fpir in FPIRS])
    encoder = "a linear head trained on the gallery's labels" if trained else DEFAULT_ENCODER
    for name, by_rule in found.items():
        print(f"\n### {encoder}, {name}, {runs} divisions\n")
        head = [f"DIR at FPIR {fpir:.0%}" for fpir in FPIRS]
        print(f"| rule | {' | '.join(head)} | times the nearest item's |")
        print("|---|" + "---|" * (len(FPIRS) + 1))
        base = np.array(by_rule["nearest item"])
        for rule, rows in by_rule.items():
            values = np.array(rows)
            wide = 1.96 * (values - base).std(axis=0) / math.sqrt(runs)
            cells = [f"{m:.3f} ± {w:.3f}" for m, w in zip(values.mean(axis=0), wide, strict=True)]
            times = " / ".join(f"{x:.2f}" for x in values.mean(axis=0) / base.mean(axis=0))
            print(f"| {rule} | {' | '.join(cells)} | {times} |")


def few_labels(train: Photos, val: Photos, runs: int) -> None:
    """Print how the rules fare in galleries of few labels, all of VAL's other photos strangers."""
    print(f"\n### {DEFAULT_ENCODER}, queries from VAL, {runs} galleries of few labels\n")
    print("| labels | nearest: DIR at FPIR 5% | margin | times |")
    print("|---|---|---|---|")
    asked = np.intersect1d(train.codes, val.codes)
    for count in (2, 3, 5, 8, 10, 12, 20, 40):
        rows = []
        for run in range(runs):
            known = np.random.default_rng([count, run]).choice(asked, count, replace=False)
            gallery = train[np.isin(train.codes, known)]
            labels, near = by_rank(distance_rows(val.vectors, gallery.vectors), gallery.codes)
            nearest = near[:, :, 0]
            ordered = np.sort(nearest, axis=1)
            rows.append(
                [
                    dir_at(judged(nearest, labels, val.codes, RULES[rule](ordered)), 0.05)
                    for rule in ("nearest", "margin")
                ]
            )
        values = np.array(rows)
        plain, margin = values.mean(axis=0)
        wide = 1.96 * (values[:, 1] - values[:, 0]).std() / math.sqrt(runs)
        print(f"| {count} | {plain:.3f} | {margin:.3f} ± {wide:.3f} | {margin / plain:.2f} |")


@click.command(help=__doc__)
@click.argument("train", type=click.Path(path_type=Path, exists=True))
@click.argument("val", type=click.Path(path_type=Path, exists=True))
@click.option("--runs", default=100, show_default=True, help="Divisions with the default encoder.")
@click.option("--heads", default=24, show_default=True, help="Divisions with a trained head each.")
def main(train: Path, val: Path, runs: int, heads: int) -> None:
    """Print all tables; ± is half a 95 % interval of the difference to the nearest item."""
    photos = load([train, val])
    compare(*photos, runs, trained=False)
    few_labels(*photos, 2 * runs)
    if heads:
        compare(*photos, heads, trained=True)


if __name__ == "__main__":
    main()
