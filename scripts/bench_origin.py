#!/usr/bin/env python
"""The first origin, reproduced and beaten: one table of encoders judged on the same pairs.

    .venv/bin/python scripts/bench_origin.py TRAIN VAL --work FOLDER

Every fifth label is withheld from training and gallery. `siamese` is trained from nothing with the
contrastive loss on 7,000 pairs of TRAIN's other photos, half of them of one label, drawn by
`make-pairs`, a share of them hard; the others by the losses named, with weights where a package
brings them, from nothing where none does. All are judged on the same 1,000 pairs of VAL (500 / 500)
at the origin's distances and at a tuned one: of the labels in two halves each half is judged at the
most accurate threshold of the other. recall@1 and DIR: gallery TRAIN, queries VAL, strangers the
withheld labels' photos in both; DIR by the default rule. FOLDER keeps what was computed.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from bench_rules import Photos, by_rank, dir_at, judged
from numpy.typing import NDArray

from retrieval import Gallery
from retrieval.encoders.features import compile_features
from retrieval.encoders.protocol import normalise
from retrieval.evaluation.distances import distance_rows
from retrieval.evaluation.objectives import pick_threshold
from retrieval.evaluation.pairs import area_under_curve, equal_error, pair_rates
from retrieval.pairing import ListedPairs, make_pairs, read_pairs
from retrieval.rules import RULES, default_rule
from retrieval.training.augmenting import Augmentation
from retrieval.training.caching import CLEAN, CachedViews, Pixels
from retrieval.training.learner import Learner, Shape
from retrieval.training.live import LiveViews
from retrieval.training.loss_kinds import Parts
from retrieval.training.losses import Loss, make_loss
from retrieval.training.photos import TrainingPhotos, read_photos
from retrieval.training.recipe import Recipe
from retrieval.training.starting import starting_network
from retrieval.training.trainer import Trainer
from retrieval.training.wishes import Wishes

WITHHELD = 5
THRESHOLDS = (0.05, 0.1, 0.15, 0.2)
FPIRS = (0.01, 0.05)
HARD = 0.5


@dataclass(frozen=True)
class Row:
    """One encoder of the table.

    Attributes:
        encoder: What is trained.
        loss: By which loss.
        shape: What is learnt.
        recipe: How.
        pairs: Whether the loss sees the listed pairs alone.
    """

    encoder: str
    loss: str
    shape: Shape
    recipe: Recipe
    pairs: bool = False

    @property
    def name(self) -> str:
        """What the row is called."""
        return f"{self.encoder.replace(':', '-')}-{self.loss}-{self.shape.mode}"


def rows(scale: float) -> list[Row]:
    """List the table's rows; `scale` shortens the schedules."""

    def times(epochs: int) -> int:
        return max(1, round(scale * epochs))

    scratch = Shape("full", 0, 0, 1.0, 0.0, "learnt")
    small = replace(scratch, dim=256, dropout=0.2)
    head = Shape("head", 0, 256, 1.0, 0.2, "frozen")
    pairs = Recipe(
        loss="contrastive", epochs=times(20), batch=64, views=0, rate=5e-4, precision="bfloat16"
    )
    found = [Row("siamese", "contrastive", scratch, pairs, pairs=True)]
    for encoder, shape, epochs in (
        ("timm:mobilenetv3_small_100", small, times(3)),
        ("timm:deit_tiny_patch16_224", small, times(1)),
        ("efficientnet_lite0", head, times(40)),
        ("efficientnet_lite2", head, times(40)),
    ):
        for loss in ("contrastive", "triplet", "arcface"):
            recipe = Recipe(
                loss=loss,
                epochs=epochs,
                photos_per_label=0 if loss == "arcface" else 4,
                views=8 if shape.mode == "head" else 0,
                rate=5e-4 if "deit" in encoder else 1e-3,
            )
            found.append(Row(encoder, loss, shape, recipe))
    return found


def pair_loss(embeddings: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """Contrast the listed pairs alone: a batch's rows are the firsts, then the seconds.

    max(0, d) of same pairs and max(0, 0.5 - d) of others, averaged; d = 1 - a·b.
    """
    half = len(embeddings) // 2
    distances = 1 - (embeddings[:half] * embeddings[half:]).sum(dim=1)
    same = codes[:half] == codes[half:]
    return torch.where(same, distances, (0.5 - distances).clamp(min=0)).mean()


class PairTrainer(Trainer):
    """Draws batches of listed pairs."""

    pairs: ListedPairs

    def _batches(self, epoch: int) -> list[NDArray[np.int64]]:
        order = np.random.default_rng([self._recipe.seed, epoch]).permutation(len(self.pairs.first))
        parts = np.array_split(order, -(-2 * len(order) // self._recipe.batch))
        first, second = self.pairs.first, self.pairs.second
        return [np.concatenate([first[part], second[part]]) for part in parts]


class Bench:
    """The photos, divided, and the pairs."""

    def __init__(self, train: Path, val: Path, work: Path) -> None:
        self.work = work
        work.mkdir(parents=True, exist_ok=True)
        self.train, everything = train, read_photos(train)
        self.known = everything.only(np.flatnonzero(everything.codes % WITHHELD != 0))
        self.strange = everything.only(np.flatnonzero(everything.codes % WITHHELD == 0))
        self.val = read_photos(val)
        self.pairs = self._mined()
        if not (work / "held-out.csv").exists():
            make_pairs(val, work / "held-out.csv", count=1000, seed=1)
        self.held_out = read_pairs(work / "held-out.csv")

    def _mined(self) -> ListedPairs:
        """Draw the pairs to train on by the index of a gallery of the photos."""
        path, labels = self.work / "pairs.csv", self.work / "known.csv"
        if not path.exists():
            with labels.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(["path", "label"])
                for place, photo in enumerate(self.known.paths):
                    writer.writerow([photo, self.known.labels[self.known.codes[place]]])
            with Gallery.create(self.work / "gallery") as gallery:
                gallery.build(self.train, labels=str(labels))
                gallery.remove([item.id for item in gallery.items() if item.label is None])
                gallery.make_pairs(path, count=7000, hard=HARD)
        listed = read_pairs(path)
        place = {photo: number for number, photo in enumerate(self.known.paths)}
        places = np.array([place[photo] for photo in listed.photos])
        return ListedPairs(
            self.known.paths, places[listed.first], places[listed.second], listed.same
        )

    def made(self, row: Row, tell: Callable[[str], None]) -> dict[str, Any]:
        """Train a row's encoder, and judge it; a row that is there is read."""
        kept = self.work / f"{row.name}.json"
        if not kept.exists():
            network = starting_network(
                Wishes(encoder=row.encoder, from_scratch=row.shape.batch_norm == "learnt")
            )
            learner = Learner(network, row.shape, seed=0)
            pixels = Pixels(self.known.paths, network.preprocessing, Augmentation(), seed=0)
            inputs: CachedViews | LiveViews = LiveViews(pixels)
            began = time.monotonic()
            if learner.frozen is not None:
                # The features are the same for all of an encoder's losses: their time counts once.
                inputs = CachedViews(self.work / f"{row.encoder.replace(':', '-')}-cache")
                features = compile_features(learner.frozen, network.preprocessing, "float32")
                inputs.fill(
                    pixels, features, [CLEAN, *range(row.recipe.views)], lambda _done, _total: None
                )
            cached = time.monotonic() - began
            folder = self.work / row.name
            folder.mkdir(exist_ok=True)
            codes = self.known.codes
            places = np.arange(len(codes))
            options = {"dim": learner.dim, "classes": len(self.known.labels)}
            loss = make_loss(row.loss, **options)
            if row.pairs:
                loss = Loss("pairs", {}, Parts(pair_loss))
            kind = PairTrainer if row.pairs else Trainer
            if row.pairs:
                PairTrainer.pairs = self.pairs
            trainer = kind(learner, loss, inputs, places, codes, row.recipe, folder)
            began = time.monotonic()
            trainer.run(tell=lambda moment: tell(f"{row.name} {moment.step}/{moment.steps}"))
            seconds = time.monotonic() - began
            made = learner.network({})
            vectors = [
                self._embed(made.module, made.preprocessing, photos)
                for photos in (self.known, self.strange, self.val)
            ]
            figures = self._judge(*vectors)
            figures |= {"seconds": seconds, "cached": cached, "epochs": row.recipe.epochs}
            kept.write_text(json.dumps(figures), encoding="utf-8")
        return dict(json.loads(kept.read_text(encoding="utf-8")))

    def _embed(
        self, module: torch.nn.Module, preprocessing: Any, photos: TrainingPhotos
    ) -> NDArray[np.float32]:
        pixels = Pixels(photos.paths, preprocessing, Augmentation(), seed=0)
        features = compile_features(module, preprocessing, "float32")
        wanted = [(place, CLEAN) for place in range(len(photos))]
        return normalise(np.concatenate(list(features.over(pixels.batches(wanted, 16)))))

    def _judge(self, *vectors: NDArray[np.float32]) -> dict[str, Any]:
        known, strange, val = vectors
        place = {photo: number for number, photo in enumerate(self.val.paths)}
        places = np.array([place[photo] for photo in self.held_out.photos])
        first, second = places[self.held_out.first], places[self.held_out.second]
        distances = (1 - (val[first] * val[second]).sum(axis=1)).astype(np.float32)
        same = self.held_out.same
        figures: dict[str, Any] = {
            str(threshold): _rates(distances, same, threshold) for threshold in THRESHOLDS
        }
        # Of the labels in two halves, each is judged at the threshold of the other.
        half = self.val.codes[first] % 2 == 0
        tuned = []
        for mine in (half, ~half):
            picked = pick_threshold("accuracy", distances[~mine & same], distances[~mine & ~same])
            tuned.append([picked.value, *_rates(distances[mine], same[mine], picked.value)])
        weights = np.array([half.sum(), (~half).sum()])
        figures["tuned"] = np.average(tuned, axis=0, weights=weights).tolist()
        figures["auc"] = area_under_curve(distances[same], distances[~same])
        equal = equal_error(distances[same], distances[~same])
        figures["eer"] = equal.value if equal else None
        return figures | self._identify(known, strange, val)

    def _identify(
        self, known: NDArray[np.float32], strange: NDArray[np.float32], val: NDArray[np.float32]
    ) -> dict[str, Any]:
        names = {name: code for code, name in enumerate(self.known.labels)}
        codes = np.array([names.get(self.val.labels[code], -1) for code in self.val.codes])
        queries = Photos(val, codes).and_(Photos(strange, np.full(len(strange), -1)))
        distances = distance_rows(queries.vectors, known)
        labels, near = by_rank(distances, self.known.codes)
        nearest = near[:, :, 0]
        rule = default_rule(len(labels))
        score = RULES[rule.name](np.sort(nearest, axis=1))
        searches = judged(nearest, labels, queries.codes, score)
        found = {f"dir@{fpir}": dir_at(searches, fpir) for fpir in FPIRS}
        return found | {"recall@1": float(searches.right[searches.mated].mean())}


def _rates(
    distances: NDArray[np.float32], same: NDArray[np.bool_], threshold: float
) -> list[float]:
    """Return accuracy, precision, recall and F1."""
    rates = pair_rates(distances[same], distances[~same], threshold)
    return [
        value if value is not None else float("nan")
        for value in (rates.accuracy, rates.precision, rates.recall, rates.f1)
    ]


@click.command(help=__doc__)
@click.argument("train", type=click.Path(path_type=Path, exists=True))
@click.argument("val", type=click.Path(path_type=Path, exists=True))
@click.option("--work", type=click.Path(path_type=Path), required=True)
@click.option("--scale", default=1.0, show_default=True, help="Shortens or lengthens schedules.")
def main(train: Path, val: Path, work: Path, scale: float) -> None:
    """Print the table."""
    bench = Bench(train, val, work)
    click.echo(
        f"{len(bench.pairs.first)} pairs to train on, {len(bench.held_out.first)} to judge by"
    )
    found = []
    for row in rows(scale):
        made = bench.made(row, lambda text: click.echo(f"\r{text}", nl=False, err=True))
        found.append((row, made))
    print("\n| encoder | loss | epochs | seconds | AUC | EER | recall@1 | DIR at FPIR 1% | 5% |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row, one in found:
        cells = [one[name] for name in ("auc", "eer", "recall@1", "dir@0.01", "dir@0.05")]
        made = f"{one['seconds']:.0f}" + (f" + {one['cached']:.0f}" if one["cached"] > 1 else "")
        shown = " | ".join(f"{value:.3f}" for value in cells)
        print(f"| {row.encoder} | {row.loss} | {one['epochs']} | {made} | {shown} |")
    print("\naccuracy / precision / recall / F1 at each distance:\n")
    heads = [f"{threshold:g}" for threshold in THRESHOLDS]
    print(f"| encoder | loss | {' | '.join(heads)} | tuned |")
    print("|---" * (len(heads) + 3) + "|")
    for row, one in found:
        cells = [one[str(threshold)] for threshold in THRESHOLDS]
        shown = [" / ".join(f"{value:.3f}" for value in cell) for cell in cells]
        value, *rates = one["tuned"]
        shown.append(f"{value:.3f}: " + " / ".join(f"{rate:.3f}" for rate in rates))
        print(f"| {row.encoder} | {row.loss} | {' | '.join(shown)} |")


if __name__ == "__main__":
    main()
