#!/usr/bin/env python
"""What training does to identification with strangers about, over five divisions of the labels.

    .venv/bin/python scripts/bench_training.py TRAIN VAL --work FOLDER

Every fifth label is withheld from training and gallery, in five ways; its photos are the
strangers. Of each other label the photos are divided by their names' order into five blocks, as
photos of one visit are numbered one after another, and one block is not trained on: recall@1 of its
photos against the other blocks is the cross-validation within TRAIN. VAL's photos are the other
known queries. Single labels decide a figure at 1 %, so half of the strangers' labels are also drawn
200 times in each division: eight in ten of the ratios so found lie in the range of the last column.
FOLDER keeps what was computed, so that a run which was stopped goes on.
"""

from __future__ import annotations

import time
from itertools import product
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from bench_rules import Photos, all_rules, dir_at
from numpy.typing import NDArray
from torch.nn.functional import normalize

from retrieval.encoders.features import compile_features
from retrieval.evaluation.decisions import Searches
from retrieval.evaluation.distances import distance_rows
from retrieval.training.augmenting import Augmentation
from retrieval.training.caching import CLEAN, CachedViews, Pixels
from retrieval.training.judging import beside_pretrained
from retrieval.training.learner import Learner
from retrieval.training.losses import make_loss
from retrieval.training.photos import TrainingPhotos, divide, read_photos
from retrieval.training.planning import make_plan
from retrieval.training.starting import starting_network
from retrieval.training.trainer import Trainer
from retrieval.training.wishes import Wishes

FOLDS = 5
FPIRS = (0.01, 0.05)
RULES = (
    "nearest item",
    *(f"nearest item: {rule}" for rule in ("margin", "rivals", "ratio", "nac")),
)
# How often half of the strangers' labels are drawn: what a figure owes to single labels.
DRAWS = 200


def blocks(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which of five blocks each photo is in, by the order of names within its label."""
    block = np.zeros(len(codes), dtype=np.int64)
    for code in np.unique(codes):
        places = np.flatnonzero(codes == code)
        block[places] = np.arange(len(places)) * FOLDS // len(places)
    return block


class Bench:
    """Photos, their cached views, and what is trained on them."""

    def __init__(self, train: Path, val: Path, work: Path, wishes: Wishes) -> None:
        """Prepare; what is computed is kept in `work`."""
        self.train, self.val = read_photos(train), read_photos(val)
        self.network = starting_network(wishes)
        plan = make_plan(wishes, self.network, self.train, divide(self.train, seed=wishes.seed))
        self.shape, self.recipe = plan.shape, plan.recipe
        self.work = work
        work.mkdir(parents=True, exist_ok=True)
        self.views, self.asked = CachedViews(work / "cache"), CachedViews(work / "val")
        frozen = Learner(self.network, self.shape, seed=0).frozen
        if frozen is None:
            raise click.UsageError("Nothing is frozen in this mode.")
        features = compile_features(frozen, self.network.preprocessing, "float32")
        numbers = [CLEAN, *range(self.recipe.views)]
        self.views.fill(self._pixels(self.train), features, numbers, _quiet)
        self.asked.fill(self._pixels(self.val), features, [CLEAN], _quiet)
        names = {name: code for code, name in enumerate(self.train.labels)}
        self.val_codes = np.array([names[self.val.labels[code]] for code in self.val.codes])

    def pretrained(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Embed TRAIN and VAL by the network as it was."""
        learner = Learner(self.network, self.shape, seed=0)
        return tuple(  # type: ignore[return-value]
            self._embed(learner.pretrained, views, len(photos))
            for views, photos in ((self.views, self.train), (self.asked, self.val))
        )

    def trained(self, division: str, known: NDArray[np.bool_]) -> tuple[NDArray[np.float32], ...]:
        """Train on the known photos of a division, and embed TRAIN and VAL."""
        kept = self.work / f"{division}.npz"
        if not kept.exists():
            learner = Learner(self.network, self.shape, seed=self.recipe.seed)
            places = np.flatnonzero(known)
            codes = np.unique(self.train.codes[places], return_inverse=True)[1].astype(np.int64)
            loss = make_loss(
                self.recipe.loss,
                dim=learner.dim,
                classes=int(codes.max()) + 1,
                seed=self.recipe.seed,
                **self.recipe.loss_options,
            )
            folder = self.work / division
            folder.mkdir(exist_ok=True)
            trainer = Trainer(learner, loss, self.views, places, codes, self.recipe, folder)
            began = time.monotonic()
            trainer.run(tell=lambda _moment: None)
            click.echo(f"{division}: {time.monotonic() - began:.0f} s", err=True)
            learner.trained.eval()
            vectors = [
                self._embed(learner.trained, views, len(photos))
                for views, photos in ((self.views, self.train), (self.asked, self.val))
            ]
            np.savez(kept, *vectors)
        with np.load(kept) as stored:
            return tuple(stored.values())

    def _pixels(self, photos: TrainingPhotos) -> Pixels:
        return Pixels(photos.paths, self.network.preprocessing, Augmentation(), self.recipe.seed)

    def _embed(self, module: object, views: CachedViews, count: int) -> NDArray[np.float32]:
        made = []
        with torch.inference_mode():
            for first in range(0, count, 64):
                some = range(first, min(first + 64, count))
                inputs = views.take(some, [CLEAN] * len(some))
                inputs = inputs.to(memory_format=torch.channels_last)
                made.append(normalize(module(inputs)))  # type: ignore[operator]
        return torch.cat(made).numpy()


def recall(gallery: Photos, queries: Photos) -> float:
    """recall@1 of mated queries."""
    queries = queries[np.isin(queries.codes, gallery.codes)]
    nearest = distance_rows(queries.vectors, gallery.vectors).argmin(axis=1)
    return float((gallery.codes[nearest] == queries.codes).mean())


def judge(
    train: Photos, val: Photos, hidden: NDArray[np.bool_], back: NDArray[np.bool_], row: list[float]
) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Return DIR by protocol and rule; appends recall@1 of VAL and of the block kept back.

    DIR at each FPIR is in the first row, with half of the strangers' labels in the others.
    """
    gallery = train[~hidden]
    row += [recall(gallery, val), recall(train[~hidden & ~back], train[~hidden & back])]
    protocols = {
        "strangers from VAL": (gallery, val),
        "strangers from TRAIN and VAL": (gallery, val.and_(train[hidden])),
        "near-duplicates, strangers from TRAIN": (train[~hidden & ~back], train[hidden | back]),
    }
    return {
        protocol: {
            rule: dirs(searches, queries.codes, DRAWS if rule in RULES else 0)
            for rule, searches in all_rules(queries, known)
        }
        for protocol, (known, queries) in protocols.items()
    }


def dirs(searches: Searches, codes: NDArray[np.int64], draws: int) -> NDArray[np.float64]:
    """Return DIR at each FPIR, and at each draw of half of the strangers' labels."""
    rng = np.random.default_rng(0)  # the same draws for every rule
    strangers = np.unique(codes[~searches.mated])
    rows = [[dir_at(searches, fpir) for fpir in FPIRS]]
    for _ in range(draws):
        left_out = rng.choice(strangers, len(strangers) // 2, replace=False)
        kept = ~np.isin(codes, left_out)
        some = Searches(searches.score[kept], searches.right[kept], searches.mated[kept])
        rows.append([dir_at(some, fpir) for fpir in FPIRS])
    return np.array(rows)


def _quiet(_done: int, _total: int) -> None:
    """Say nothing."""


@click.command(help=__doc__)
@click.argument("train", type=click.Path(path_type=Path, exists=True))
@click.argument("val", type=click.Path(path_type=Path, exists=True))
@click.option("--work", type=click.Path(path_type=Path), required=True)
@click.option("--encoder", default="efficientnet_lite0", show_default=True)
@click.option("--mode", type=click.Choice(["head", "partial"]), default="partial")
@click.option("--epochs", default=12, show_default=True)
@click.option("--loss", default="arcface", show_default=True)
@click.option(
    "--folds", default=FOLDS, show_default=True, help="How many ways to divide the labels."
)
@click.option(
    "--shuffle",
    "shuffles",
    type=int,
    multiple=True,
    help="Shuffle the labels by this seed before every fifth; each seed has divisions of its own.",
)
@click.option("--every-rule", is_flag=True, help="Show all rules of bench_rules.py.")
def main(
    train: Path,
    val: Path,
    work: Path,
    *,
    folds: int,
    shuffles: tuple[int, ...],
    every_rule: bool,
    **wishes: Any,
) -> None:
    """Print the tables."""
    chosen = Wishes(**wishes)
    bench = Bench(train, val, work, chosen)
    codes = bench.train.codes
    labels = np.arange(codes.max() + 1)
    orders = {
        f"shuffled-{seed}": np.random.default_rng(seed).permutation(labels) for seed in shuffles
    } or {"fold": labels}
    block = blocks(codes)
    pretrained = bench.pretrained()
    recalls: dict[str, list[list[float]]] = {}
    judged: dict[str, dict[str, dict[str, list[NDArray[np.float64]]]]] = {}
    for (order, places), fold in product(orders.items(), range(folds)):
        hidden, back = places[codes] % FOLDS == fold, block == fold
        learnt = bench.trained(f"{order}-{fold}", ~hidden & ~back)
        encoders = {
            "pretrained": pretrained,
            **{
                f"share {share:g}": tuple(
                    beside_pretrained(one, other, share)
                    for one, other in zip(learnt, pretrained, strict=True)
                )
                for share in (0.3, 0.5, 0.7, 1.0)
            },
        }
        for name, (vectors, asked) in encoders.items():
            row: list[float] = []
            found = judge(Photos(vectors, codes), Photos(asked, bench.val_codes), hidden, back, row)
            recalls.setdefault(name, []).append(row)
            for protocol, by_rule in found.items():
                for rule, values in by_rule.items():
                    kept = judged.setdefault(protocol, {}).setdefault(name, {})
                    kept.setdefault(rule, []).append(values)
    print(f"\n{chosen.encoder}, mode {chosen.mode}, {chosen.loss}, {chosen.epochs} epochs\n")
    print("| encoder | recall@1 of VAL | recall@1 of a block of TRAIN |")
    print("|---|---|---|")
    for name, rows in recalls.items():
        print(f"| {name} | {' | '.join(f'{value:.3f}' for value in np.mean(rows, axis=0))} |")
    for protocol, by_encoder in judged.items():
        base = np.mean(by_encoder["pretrained"][RULES[0]], axis=0)[0]
        print(f"\n### {protocol}\n")
        head = "DIR at FPIR 1% | 5% | × pretrained, nearest | × its nearest | drawn"
        print(f"| encoder | rule | {head} |")
        print("|---|---|---|---|---|---|---|")
        for name, by_rule in by_encoder.items():
            own = np.mean(by_rule[RULES[0]], axis=0)
            for rule, values in by_rule.items():
                if not every_rule and rule not in RULES:
                    continue
                mean = np.mean(values, axis=0)
                shown = " | ".join(f"{value:.3f}" for value in mean[0])
                times = " / ".join(f"{value:.1f}" for value in mean[0] / base)
                mine = " / ".join(f"{value:.2f}" for value in mean[0] / own[0])
                drawn = ""
                if rule in RULES[1:]:
                    low, high = np.quantile(mean[1:] / own[1:], [0.1, 0.9], axis=0)
                    drawn = " / ".join(f"{a:.2f}–{b:.2f}" for a, b in zip(low, high, strict=True))
                short = rule.removeprefix("nearest item: ")
                print(f"| {name} | {short} | {shown} | {times} | {mine} | {drawn} |")


if __name__ == "__main__":
    main()
