"""A training run from photos to an encoder's folder; stopped at any moment, it goes on from there.

OUT.training/               while it runs
    plan.json               what was asked, what was planned, and on which photos
    cache/                  what the frozen part of the network made of each view
    rehearsal/, whole/      checkpoints: trained on a part of the photos, then on all
OUT/                        in the end, in one step: the encoder, and training/ with plan and curves
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.embedding import FailedPhoto
from retrieval.encoders.factory import save_network
from retrieval.encoders.features import compile_features
from retrieval.encoders.networks import Network
from retrieval.errors import LookalikeError
from retrieval.pages.training_page import metrics_csv, training_page
from retrieval.training import planning
from retrieval.training.augmenting import Augmentation
from retrieval.training.caching import CLEAN, CachedViews, Pixels
from retrieval.training.judging import HeldOut, beside_pretrained
from retrieval.training.learner import Learner
from retrieval.training.live import LiveViews
from retrieval.training.losses import make_loss
from retrieval.training.photos import Division, TrainingPhotos, divide, inspect, read_photos
from retrieval.training.planning import Plan, Wishes, make_plan
from retrieval.training.starting import starting_network
from retrieval.training.trainer import Moment, Trainer

PLAN = "plan.json"
REHEARSAL, WHOLE = "rehearsal", "whole"
_EMBEDDED = 64


@dataclass(frozen=True)
class Trained:
    """What came of a training run.

    Attributes:
        path: The encoder's folder.
        fingerprint: Its fingerprint.
        dim: Length of its embeddings.
        plan: What was done.
        epochs: Passes over all photos.
        before: Figures of the network as it was, on the photos kept back; empty without any.
        after: The same figures after the rehearsal.
        threshold: The threshold that travels with the encoder, with rule and objective.
        failed: Photos that could not be read.
        seconds: How long it took in this process.
    """

    path: str
    fingerprint: str
    dim: int
    plan: Plan
    epochs: int
    before: dict[str, float]
    after: dict[str, float]
    threshold: dict[str, Any] | None
    failed: tuple[FailedPhoto, ...]
    seconds: float


class Watcher:
    """Is told how a run gets on; does nothing."""

    def planned(self, plan: Plan, failed: list[FailedPhoto]) -> None:
        """Before anything is done."""

    def cached(self, done: int, total: int) -> None:
        """While views are put through the frozen part."""

    def stepped(self, part: str, moment: Moment) -> None:
        """After each step."""

    def judged(self, before: dict[str, float], after: dict[str, float]) -> None:
        """After the rehearsal."""


def plan_training(data: Path, wishes: Wishes) -> tuple[Plan, list[FailedPhoto]]:
    """Say what `train` would do, and which photos it could not read; nothing is written.

    Raises:
        LookalikeError: It could not do it.
    """
    photos, failed, _ = inspect(read_photos(data))
    network = starting_network(wishes)
    return make_plan(wishes, network, photos, divide(photos, seed=wishes.seed)), failed


def train(
    data: Path, out: Path, wishes: Wishes, *, resume: bool = False, watcher: Watcher | None = None
) -> Trained:
    """Train an encoder.

    Args:
        data: See `photos.read_photos`.
        out: The encoder's folder; must not exist yet, or be empty.
        wishes: What is asked for.
        resume: Go on with a run that was stopped, to the end it would have had.
        watcher: Is told how it gets on.

    Raises:
        LookalikeError: It can't be done; nothing is lost.
    """
    began = datetime.now(UTC)
    watcher = watcher or Watcher()
    work = out.with_name(f"{out.name}.training")
    _require_places(out, work, resume=resume)
    photos, failed, digest = inspect(read_photos(data))
    network = starting_network(wishes)
    division = divide(photos, seed=wishes.seed)
    plan = _begin(work, wishes, network, photos, division, digest)
    watcher.planned(plan, failed)
    run = _Run(plan, photos, division, network, work, wishes.device, watcher)
    run.fill_cache()
    result = run.rehearse() if plan.rehearsal and len(division.known) else None
    epochs = result.epochs if result else plan.recipe.epochs
    learner, history = run.train_on_all(epochs)
    provenance = {
        "weights": network.provenance.get("weights"),
        "training": {
            "data": digest,
            "photos": plan.photos,
            "labels": list(photos.labels),
            "encoder": wishes.encoder,
            "plan": planning.as_json(plan),
            "epochs": epochs,
            "before": result.before if result else {},
            "after": result.after if result else {},
            "date": began.date().isoformat(),
            "versions": {
                name: version(name)
                for name in ("lookalike", "torch", "timm", "pytorch-metric-learning")
            },
        },
        "threshold": result.threshold if result else None,
    }
    with TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as made:
        folder = Path(made) / "encoder"
        artifact = save_network(out.name, learner.network(provenance), folder)
        kept = folder / "training"
        kept.mkdir()
        shutil.copyfile(work / PLAN, kept / PLAN)
        parts = {WHOLE: history} if result is None else {REHEARSAL: result.history, WHOLE: history}
        (kept / "metrics.csv").write_text(metrics_csv(parts), encoding="utf-8")
        (kept / "curves.html").write_text(
            training_page(out.name, plan.reasons, parts), encoding="utf-8"
        )
        folder.replace(out)
    shutil.rmtree(work)
    return Trained(
        path=str(out),
        fingerprint=artifact.spec.fingerprint,
        dim=artifact.spec.dim,
        plan=plan,
        epochs=epochs,
        before=result.before if result else {},
        after=result.after if result else {},
        threshold=result.threshold if result else None,
        failed=tuple(failed),
        seconds=(datetime.now(UTC) - began).total_seconds(),
    )


@dataclass(frozen=True)
class _Rehearsed:
    epochs: int
    before: dict[str, float]
    after: dict[str, float]
    threshold: dict[str, Any] | None
    history: list[dict[str, float]]


@dataclass(frozen=True, eq=False)
class _Run:
    """What the parts of a run share."""

    plan: Plan
    photos: TrainingPhotos
    division: Division
    network: Network
    work: Path
    device: str
    watcher: Watcher

    @property
    def pixels(self) -> Pixels:
        return Pixels(
            self.photos.paths,
            self.network.preprocessing,
            Augmentation(),
            self.plan.recipe.seed,
        )

    @property
    def inputs(self) -> CachedViews | LiveViews:
        if self.plan.shape.mode == "full":
            return LiveViews(self.pixels)
        return CachedViews(self.work / "cache")

    def fill_cache(self) -> None:
        """Put all views through the frozen part of the network, where there is one."""
        frozen = self.learner().frozen
        inputs = self.inputs
        if frozen is not None and isinstance(inputs, CachedViews):
            numbers = [CLEAN, *range(self.plan.recipe.views)]
            features = compile_features(frozen, self.network.preprocessing, "float32")
            inputs.fill(self.pixels, features, numbers, self.watcher.cached)

    def learner(self) -> Learner:
        return Learner(self.network, self.plan.shape, seed=self.plan.recipe.seed)

    def rehearse(self) -> _Rehearsed:
        """Train on a part of the photos, and judge by the others."""
        division, codes = self.division, self.photos.codes
        learner = self.learner()
        trainer = self._trainer(learner, division.train, REHEARSAL, self.plan.recipe.epochs)
        pretrained = self._pretrained(learner)
        judged = np.sort(np.concatenate([division.train, division.known, division.strangers]))

        def held_out(learnt: NDArray[np.float32] | None) -> HeldOut:
            vectors = np.zeros(
                (len(codes), 0 if learnt is None else learnt.shape[1]), dtype=np.float32
            )
            if learnt is None:
                return HeldOut(pretrained, codes, division)
            vectors[judged] = learnt
            mixed = beside_pretrained(vectors, pretrained, self.plan.shape.share)
            return HeldOut(mixed, codes, division)

        every = max(1, self.plan.recipe.epochs // planning.JUDGEMENTS)
        epochs = trainer.run(
            tell=lambda moment: self.watcher.stepped(REHEARSAL, moment),
            judge=lambda: held_out(trainer.embed(judged)).figures(),
            judge_every=every,
        )
        before = held_out(None).figures()
        last = held_out(trainer.embed(judged))
        self.watcher.judged(before, last.figures())
        return _Rehearsed(epochs, before, last.figures(), last.threshold(), trainer.history)

    def train_on_all(self, epochs: int) -> tuple[Learner, list[dict[str, float]]]:
        """Train on all photos, as long as the rehearsal gained from it."""
        learner = self.learner()
        everything = np.arange(len(self.photos))
        trainer = self._trainer(learner, everything, WHOLE, epochs)
        trainer.run(tell=lambda moment: self.watcher.stepped(WHOLE, moment))
        learner.trained.to("cpu")
        return learner, trainer.history

    def _trainer(
        self, learner: Learner, places: NDArray[np.int64], part: str, epochs: int
    ) -> Trainer:
        codes = np.unique(self.photos.codes[places], return_inverse=True)[1].astype(np.int64)
        recipe = planning.with_epochs(self.plan.recipe, epochs)
        loss = make_loss(
            recipe.loss,
            dim=learner.dim,
            classes=int(codes.max()) + 1,
            seed=recipe.seed,
            **recipe.loss_options,
        )
        folder = self.work / part
        folder.mkdir(exist_ok=True)
        return Trainer(learner, loss, self.inputs, places, codes, recipe, folder, self.device)

    def _pretrained(self, learner: Learner) -> NDArray[np.float32]:
        """Embed all photos by the network as it was: float32 `(n, dim)`, L2-normalised."""
        import torch
        from torch.nn.functional import normalize

        made = []
        with torch.inference_mode():
            for first in range(0, len(self.photos), _EMBEDDED):
                some = range(first, min(first + _EMBEDDED, len(self.photos)))
                inputs = self.inputs.take(some, [CLEAN] * len(some))
                made.append(normalize(learner.pretrained(inputs)))
        return torch.cat(made).numpy()


def _require_places(out: Path, work: Path, *, resume: bool) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise LookalikeError(f"{out} exists and is not empty: choose another place.")
    if not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        raise LookalikeError(f"{out} can't be made in {out.parent}: choose another place.")
    if resume and not (work / PLAN).is_file():
        raise LookalikeError(f"There is no run to go on with at {work}: leave --resume out.")
    if not resume and work.exists():
        raise LookalikeError(
            f"{work} holds a run that was not finished: go on with --resume, or delete it."
        )


def _begin(
    work: Path,
    wishes: Wishes,
    network: Network,
    photos: TrainingPhotos,
    division: Division,
    digest: str,
) -> Plan:
    """Make the plan and write it down; or read the one of the run that goes on."""
    asked = json.loads(json.dumps(asdict(wishes), default=str))
    path = work / PLAN
    if path.is_file():
        stored = json.loads(path.read_bytes())
        if stored["data"] != digest:
            raise LookalikeError(
                f"The photos are not those that {work} was begun with: restore them, or delete it."
            )
        for name, value in stored["asked"].items():
            if asked.get(name) != value:
                raise LookalikeError(
                    f"{work} was begun with {name}={value}, not {asked.get(name)}: go on with the "
                    "same options, or delete it."
                )
        return planning.from_json(stored["plan"])
    plan = make_plan(wishes, network, photos, division)
    work.mkdir()
    unfinished = path.with_suffix(".part")
    unfinished.write_text(
        json.dumps({"data": digest, "asked": asked, "plan": planning.as_json(plan)}, indent=2),
        encoding="utf-8",
    )
    unfinished.replace(path)
    return plan
