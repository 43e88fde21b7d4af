"""The parts of a run: views are cached, a rehearsal judged, and all photos trained on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.embedding import FailedPhoto
from retrieval.encoders.features import compile_features
from retrieval.encoders.networks import Network
from retrieval.training.augmenting import Augmentation
from retrieval.training.caching import CLEAN, CachedViews, Pixels
from retrieval.training.inputs import embeddings
from retrieval.training.judging import HeldOut, beside_pretrained
from retrieval.training.learner import Learner
from retrieval.training.live import LiveViews
from retrieval.training.losses import make_loss
from retrieval.training.photos import Division, TrainingPhotos
from retrieval.training.planning import JUDGEMENTS, Plan
from retrieval.training.trainer import History, Moment, Trainer

REHEARSAL, WHOLE = "rehearsal", "whole"


class Watcher:
    """Is told how a run gets on; does nothing."""

    def planned(self, plan: Plan, failed: list[FailedPhoto]) -> None:
        """Before anything is done: the plan, and the photos that can't be read."""

    def cached(self, done: int, total: int) -> None:
        """While views are put through the frozen part."""

    def stepped(self, part: str, moment: Moment) -> None:
        """After each step of `REHEARSAL` or `WHOLE`."""


@dataclass(frozen=True)
class Rehearsed:
    """What a rehearsal told.

    Attributes:
        epochs: The epochs after which it judged best.
        before: Figures of the network as it was.
        after: The same figures when it judged best.
        threshold: See `HeldOut.threshold`.
        history: What each epoch told.
    """

    epochs: int
    before: dict[str, float]
    after: dict[str, float]
    threshold: dict[str, Any] | None
    history: History


class Run:
    """What the parts of a run share."""

    def __init__(
        self,
        plan: Plan,
        photos: TrainingPhotos,
        network: Network,
        work: Path,
        device: str,
        watcher: Watcher,
    ) -> None:
        """Prepare.

        Args:
            plan: What will be done.
            photos: All photos.
            network: The network to begin with; left as it is.
            work: Folder of the cache and the checkpoints.
            device: `cpu`, `cuda` or `mps`.
            watcher: Is told how it gets on.
        """
        self._plan, self._photos, self._network = plan, photos, network
        self._work, self._device, self._watcher = work, device, watcher
        seed = plan.recipe.seed
        self._pixels = Pixels(photos.paths, network.preprocessing, Augmentation(), seed)

    @cached_property
    def _inputs(self) -> CachedViews | LiveViews:
        if self._plan.shape.mode == "full":
            return LiveViews(self._pixels)
        return CachedViews(self._work / "cache")

    def fill_cache(self) -> None:
        """Put all views through the frozen part of the network, where there is one."""
        frozen = self._learner().frozen
        if frozen is not None and isinstance(self._inputs, CachedViews):
            features = compile_features(frozen, self._network.preprocessing, "float32")
            numbers = [CLEAN, *range(self._plan.recipe.views)]
            self._inputs.fill(self._pixels, features, numbers, self._watcher.cached)

    def rehearse(self, division: Division) -> Rehearsed:
        """Train on a part of the photos, and judge by the others."""
        learner = self._learner()
        epochs = self._plan.recipe.epochs
        trainer = self._trainer(learner, division.train, REHEARSAL, epochs)
        everything, codes = np.arange(len(self._photos)), self._photos.codes
        pretrained = embeddings(learner.pretrained, self._inputs, everything)

        def judged() -> HeldOut:
            learnt = trainer.embed(everything)
            vectors = beside_pretrained(learnt, pretrained, self._plan.shape.share)
            return HeldOut(vectors, codes, division)

        best = trainer.run(
            tell=lambda moment: self._watcher.stepped(REHEARSAL, moment),
            judge=lambda: judged().figures(),
            judge_every=-(-epochs // JUDGEMENTS),
        )
        before, after = HeldOut(pretrained, codes, division), judged()
        threshold = after.threshold()
        if threshold is not None:
            # A gallery of all that is trained on in the end is what it is meant for.
            threshold["details"]["items"] = self._plan.whole
        return Rehearsed(best, before.figures(), after.figures(), threshold, trainer.history)

    def train_on_all(self, epochs: int) -> tuple[Learner, History]:
        """Train on all photos, but for those that a CSV keeps for judging.

        Args:
            epochs: As many as the rehearsal gained from.
        """
        learner = self._learner()
        places = np.flatnonzero(~self._photos.validation)
        trainer = self._trainer(learner, places, WHOLE, epochs)
        trainer.run(tell=lambda moment: self._watcher.stepped(WHOLE, moment))
        learner.trained.to("cpu")
        return learner, trainer.history

    def _learner(self) -> Learner:
        return Learner(self._network, self._plan.shape, seed=self._plan.recipe.seed)

    def _trainer(
        self, learner: Learner, places: NDArray[np.int64], part: str, epochs: int
    ) -> Trainer:
        shown, codes = np.unique(self._photos.codes[places], return_inverse=True)
        recipe = replace(self._plan.recipe, epochs=epochs)
        loss = make_loss(
            recipe.loss,
            dim=learner.dim,
            classes=len(shown),
            seed=recipe.seed,
            **recipe.loss_options,
        )
        folder = self._work / part
        folder.mkdir(exist_ok=True)
        return Trainer(
            learner,
            loss,
            self._inputs,
            places,
            codes.astype(np.int64),
            recipe,
            folder,
            self._device,
        )
