"""A training run from photos to an encoder's folder; stopped at any moment, it goes on from there.

`work_folder` says what lies where meanwhile. In the end OUT is there, in one step: the encoder, and
in its folder `training` the plan, the metrics and the curves.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from retrieval.embedding import FailedPhoto
from retrieval.encoders.artifact import Artifact
from retrieval.encoders.factory import save_network
from retrieval.encoders.networks import Network
from retrieval.pages.training_page import metrics_csv, training_page
from retrieval.paths import AnyPath
from retrieval.training.parts import REHEARSAL, WHOLE, Run, Watcher
from retrieval.training.photos import TrainingPhotos, divide, inspect, read_photos
from retrieval.training.planning import Plan, as_json, make_plan
from retrieval.training.starting import fingerprint, starting_network
from retrieval.training.wishes import Wishes
from retrieval.training.work_folder import (
    KEPT,
    PLAN,
    begin,
    clear,
    is_finished,
    require_places,
    work_folder,
)

_PACKAGES = ("lookalike", "torch", "timm", "pytorch-metric-learning")


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


def plan_training(data: AnyPath, wishes: Wishes) -> tuple[Plan, list[FailedPhoto]]:
    """Say what `train` would do, and which photos it could not read; nothing is written.

    Raises:
        LookalikeError: It could not do it.
    """
    photos, failed, _ = inspect(read_photos(data))
    network = starting_network(wishes)
    return make_plan(wishes, network, photos, divide(photos, seed=wishes.seed)), failed


def train(
    data: AnyPath,
    out: Path,
    wishes: Wishes,
    *,
    resume: bool = False,
    watcher: Watcher | None = None,
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
    began = time.monotonic()
    watcher = watcher or Watcher()
    require_places(out, resume=resume)
    photos, failed, digest = inspect(read_photos(data))
    network = starting_network(wishes)
    asked = json.loads(json.dumps(asdict(wishes), default=str))
    given = {"asked": asked, "photos": digest, "network": fingerprint(network)}
    division = divide(photos, seed=wishes.seed)
    plan = begin(out, given, lambda: make_plan(wishes, network, photos, division))
    watcher.planned(plan, failed)
    if not is_finished(out):
        run = Run(plan, photos, network, work_folder(out), wishes.device, watcher)
        run.fill_cache()
        rehearsed = run.rehearse(division) if plan.rehearsal else None
        epochs = rehearsed.epochs if rehearsed else plan.recipe.epochs
        learner, history = run.train_on_all(epochs)
        provenance = _provenance(given, plan, photos, network) | {
            "threshold": rehearsed.threshold if rehearsed else None
        }
        provenance["training"] |= {
            "epochs": epochs,
            "before": rehearsed.before if rehearsed else {},
            "after": rehearsed.after if rehearsed else {},
        }
        made = work_folder(out) / "encoder"
        if made.exists():  # of a run that was stopped while it wrote
            shutil.rmtree(made)
        save_network(out.name, learner.network(provenance), made)
        kept = made / KEPT
        kept.mkdir()
        parts = {REHEARSAL: rehearsed.history} if rehearsed else {}
        parts[WHOLE] = history
        page = training_page(out.name, plan.reasons, parts)
        (kept / "metrics.csv").write_text(metrics_csv(parts), encoding="utf-8")
        (kept / "curves.html").write_text(page, encoding="utf-8")
        shutil.copyfile(work_folder(out) / PLAN, kept / PLAN)
        made.replace(out)
    clear(out)
    spec = Artifact.load(out).spec
    told = spec.provenance["training"]
    return Trained(
        path=str(out),
        fingerprint=spec.fingerprint,
        dim=spec.dim,
        plan=plan,
        epochs=told["epochs"],
        before=told["before"],
        after=told["after"],
        threshold=spec.provenance["threshold"],
        failed=tuple(failed),
        seconds=time.monotonic() - began,
    )


def _provenance(
    given: dict[str, Any], plan: Plan, photos: TrainingPhotos, network: Network
) -> dict[str, Any]:
    """Say what an encoder was made from and how, so that it can be made again."""
    weights = "nothing" if network.untrained else network.provenance.get("weights")
    return {
        "weights": f"trained from {weights}",
        "training": {
            **given,
            "labels": list(photos.labels),
            "plan": as_json(plan),
            "date": datetime.now(UTC).date().isoformat(),
            "versions": {name: version(name) for name in _PACKAGES},
        },
    }
