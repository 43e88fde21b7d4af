#!/usr/bin/env python
"""Does a classifier of pairs, ordering a query's nearest items anew, identify more known photos?

    .venv/bin/python scripts/bench_verifier.py TRAIN VAL

One fifth of the labels is hidden from the gallery, over and over. A verifier learns from pairs of
the rest; queries are VAL's photos, those of hidden labels strangers. All rules judge the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
from bench_rules import FPIRS, Photos, by_rank, dir_at, judged, load

from retrieval.evaluation.decisions import Searches
from retrieval.evaluation.distances import distance_rows
from retrieval.evaluation.pair_lists import draw_pairs
from retrieval.rules import RULES
from retrieval.verifying.features import Projection, pair_features
from retrieval.verifying.fitting import FIT
from retrieval.verifying.reranking import DEPTH
from retrieval.verifying.training import COMPONENTS


def all_rules(queries: Photos, gallery: Photos, seed: int) -> Iterator[tuple[str, Searches]]:
    """Judge the queries by each rule, and by each classifier."""
    distances = distance_rows(queries.vectors, gallery.vectors)
    labels, near = by_rank(distances, gallery.codes)
    ordered = np.sort(near[:, :, 0], axis=1)
    for name in ("nearest", "margin"):
        yield name, judged(near[:, :, 0], labels, queries.codes, RULES[name](ordered))
    pairs = draw_pairs(gallery.codes, 7000, seed=seed)
    projection = Projection.fit(gallery.vectors, COMPONENTS)
    learnt = pair_features(gallery.vectors, pairs.first, pairs.second, projection)
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :DEPTH]
    both = np.concatenate([queries.vectors, gallery.vectors])
    query = np.repeat(np.arange(len(nearest)), nearest.shape[1])
    asked = pair_features(both, query, nearest.ravel() + len(nearest), projection)
    for name, fit in FIT.items():
        scores = fit(learnt, pairs.same, seed)(asked).reshape(nearest.shape)
        best = np.take_along_axis(nearest, scores.argmin(axis=1)[:, np.newaxis], axis=1)[:, 0]
        right = gallery.codes[best] == queries.codes
        yield (
            f"verifier, {name}",
            Searches(scores.min(axis=1), right, np.isin(queries.codes, labels)),
        )


@click.command()
@click.argument("train", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("val", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--runs", default=20, show_default=True, help="Divisions.")
def main(train: Path, val: Path, runs: int) -> None:
    """Measure the rule verifier on TRAIN's photos, asked for VAL's."""
    gallery, queries = load([train, val])
    found: dict[str, list[list[float]]] = {}
    for run in range(runs):
        labels = np.unique(gallery.codes)
        generator = np.random.default_rng([4242, run])
        hidden = generator.choice(labels, round(0.2 * len(labels)), replace=False)
        for rule, searches in all_rules(queries, gallery[~np.isin(gallery.codes, hidden)], run):
            named = float(searches.right[searches.mated].mean())
            rows = found.setdefault(rule, [])
            rows.append([named, *(dir_at(searches, fpir) for fpir in FPIRS[1:])])
    print(f"| rule | recall@1 | {' | '.join(f'DIR at FPIR {fpir:.0%}' for fpir in FPIRS[1:])} |")
    print("|---|---|" + "---|" * len(FPIRS[1:]))
    base = np.array(found["margin"])
    for rule, rows in found.items():
        values = np.array(rows)
        wide = 1.96 * (values - base).std(axis=0) / math.sqrt(runs)
        cells = [f"{m:.3f} ± {w:.3f}" for m, w in zip(values.mean(axis=0), wide, strict=True)]
        print(f"| {rule} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
