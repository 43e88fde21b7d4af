"""The training loop: batches, steps, checkpoints; interrupted or not, it ends the same."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import LookalikeError
from retrieval.training.batches import balanced_batches, hard_batches, shuffled_batches
from retrieval.training.checkpoints import load_checkpoint, save_checkpoint
from retrieval.training.inputs import Inputs, as_convolutions_like, embeddings
from retrieval.training.learner import Learner
from retrieval.training.losses import Loss
from retrieval.training.mixing import cut_and_mixed
from retrieval.training.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor

# A checkpoint is written at the end of an epoch, and where one takes longer, so often.
_CHECKPOINT_SECONDS = 60.0
# The share of the steps in which the learning rate rises.
_RISING = 0.2
# A figure below the highest by no more than chance makes it is as good: the later epoch is taken.
_NOISE = 0.02


@dataclass(frozen=True)
class Moment:
    """How far training is.

    Attributes:
        step: Steps taken.
        steps: Steps in all.
        epoch: Epochs ended.
        loss: Mean over the epoch so far.
        photos_per_second: Since the last moment told.
    """

    step: int
    steps: int
    epoch: int
    loss: float
    photos_per_second: float


Judge = Callable[[], dict[str, float]]
History = list[dict[str, float]]


@dataclass
class _Standing:
    """Where a run stands: epochs ended, steps taken, the loss of the epoch so far, the best yet."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    best: dict[str, Any] | None = None
    stopped: bool = False
    # Of the epoch that goes on: what was mined for them may be gone.
    batches: list[NDArray[np.int64]] | None = None


class Trainer:
    """Trains a learner on some photos."""

    def __init__(
        self,
        learner: Learner,
        loss: Loss,
        inputs: Inputs,
        places: NDArray[np.int64],
        codes: NDArray[np.int64],
        recipe: Recipe,
        folder: Path,
        device: str = "cpu",
    ) -> None:
        """Prepare.

        Args:
            learner: What is trained; changed in place.
            loss: What is made smaller.
            inputs: Gives what the learner takes.
            places: int64, shape `(n,)`: the photos to train on, by their numbers in `inputs`.
            codes: int64, shape `(n,)`: their labels, 0 to the number of labels - 1.
            recipe: How.
            folder: Of the checkpoint.
            device: `cpu`, `cuda` or `mps`.
        """
        import torch

        self._learner, self._loss, self._inputs = learner, loss.to(device), inputs
        self._places, self._codes, self._recipe = places, codes, recipe
        self._path = folder / "checkpoint.pt"
        self._device = torch.device(device)
        self._mined: NDArray[np.float32] | None = None
        self.history: History = []
        learner.trained.to(self._device)
        groups = learner.parameter_groups(
            rate=recipe.rate, head_rate=recipe.head_rate, decay=recipe.decay
        )
        groups.append({"params": list(loss.parameters()), "lr": recipe.head_rate})
        groups = [group for group in groups if group["params"]]
        self._optimiser = torch.optim.AdamW(groups, weight_decay=recipe.decay)
        self._steps = recipe.epochs * len(self._batches(0))
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser,
            [group["lr"] for group in groups],
            total_steps=max(self._steps, 2),
            pct_start=_RISING,
        )
        self._scaler = torch.amp.GradScaler(device, enabled=recipe.precision == "float16")

    def run(
        self,
        *,
        tell: Callable[[Moment], None],
        judge: Judge | None = None,
        judge_every: int = 0,
        patience: int = 2,
    ) -> int:
        """Train to the end, or until the judge has seen no gain for a while.

        Args:
            tell: Called after each step.
            judge: Returns figures of the learner as it is; the first one decides, larger is better.
            judge_every: Epochs between judgements; the last epoch is always judged.
            patience: Judgements without a gain after which training stops.

        Returns:
            The epochs after which the learner was best. It is left as it was then.

        Raises:
            LookalikeError: The loss is no number any more, or the checkpoint is damaged.
        """
        import torch

        # Steps set torch's seed; the caller's own goes on undisturbed.
        devices = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            return self._run(tell, judge, judge_every, patience)

    def _run(
        self, tell: Callable[[Moment], None], judge: Judge | None, judge_every: int, patience: int
    ) -> int:
        standing = self._load()
        while standing.epoch < self._recipe.epochs and not standing.stopped:
            mean = self._epoch(standing, tell)
            standing.epoch += 1
            standing.loss_sum = 0.0
            rate = float(self._schedule.get_last_lr()[0])
            row: dict[str, float] = {"epoch": standing.epoch, "loss": mean, "rate": rate}
            due = judge_every and standing.epoch % judge_every == 0
            if judge is not None and (due or standing.epoch == self._recipe.epochs):
                self._learner.trained.eval()
                figures = judge()
                row |= figures
                standing.best = self._best(standing, next(iter(figures.values())))
                standing.stopped = standing.best["without"] >= patience
            self.history.append(row)
            self._save(standing, None)
        self._learner.trained.eval()
        if standing.best is None:
            return standing.epoch
        self._learner.trained.load_state_dict(standing.best["model"])
        return int(standing.best["epoch"])

    def _epoch(self, standing: _Standing, tell: Callable[[Moment], None]) -> float:
        """Take the steps of an epoch that are left, and return its mean loss."""
        batches = standing.batches or self._batches(standing.epoch)
        standing.batches = None
        views = self._views(standing.epoch, batches)
        saved = time.monotonic()
        for place in range(standing.step - standing.epoch * len(batches), len(batches)):
            since = time.monotonic()
            standing.loss_sum += self._step(standing.step, batches[place], views[place])
            standing.step += 1
            rate = len(batches[place]) / (time.monotonic() - since)
            mean = standing.loss_sum / (place + 1)
            tell(Moment(standing.step, self._steps, standing.epoch, mean, rate))
            if place + 1 < len(batches) and time.monotonic() - saved > _CHECKPOINT_SECONDS:
                self._save(standing, batches)
                saved = time.monotonic()
        return standing.loss_sum / len(batches)

    def _best(self, standing: _Standing, figure: float) -> dict[str, Any]:
        best = standing.best
        highest = figure if best is None else max(best["highest"], figure)
        if best is not None and figure < highest - _NOISE:
            return best | {"without": best["without"] + 1}
        return {"highest": highest, "epoch": standing.epoch, "without": 0, "model": self._model()}

    def embed(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the embeddings of photos by what is learnt: float32 `(n, dim)`, L2-normalised."""
        trained = self._learner.trained.eval()
        return embeddings(trained, self._inputs, places, self._device.type)

    def _step(self, step: int, batch: NDArray[np.int64], views: NDArray[np.int64]) -> float:
        import torch
        from torch.nn.functional import normalize

        recipe = self._recipe
        # What a step draws depends on nothing before it, so a resumed run draws the same.
        torch.manual_seed((recipe.seed * 1_000_003 + step) % 2**63)
        inputs = self._inputs.take(self._places[batch].tolist(), views.tolist())
        if recipe.views and inputs.ndim == 4:  # maps of few cached views: mirrored they are more
            mirrored = torch.rand(len(inputs)) < 0.5
            inputs[mirrored] = inputs[mirrored].flip(3)
        codes = torch.from_numpy(self._codes[batch])
        other, weight = codes, 1.0  # what else the photos show, and how much of them is their own
        if inputs.ndim == 4 and torch.rand(()) < recipe.mix:
            inputs, partners, weight = cut_and_mixed(inputs)
            other = codes[partners]
        inputs = inputs.to(self._device, non_blocking=True)
        self._learner.train()
        mixed = recipe.precision != "float32"
        dtype = getattr(torch, recipe.precision)
        with torch.autocast(self._device.type, dtype) if mixed else nullcontext():
            made = self._learner.trained(as_convolutions_like(inputs))
        made = normalize(made.float())
        loss = self._loss(made, codes.to(self._device))
        if weight < 1:
            loss = weight * loss + (1 - weight) * self._loss(made, other.to(self._device))
        self._optimiser.zero_grad()
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.step(self._optimiser)
        self._scaler.update()
        if step + 1 < self._schedule.total_steps:
            self._schedule.step()
        told = float(loss.detach())
        # Sixteen bits may overflow now and then: the scaler leaves such a step out.
        if not math.isfinite(told) and not self._scaler.is_enabled():
            raise LookalikeError(
                f"The loss is {told} at step {step + 1} of {self._steps}: delete "
                f"{self._path.parent.parent}, and train anew with a smaller --rate."
            )
        return told

    def _batches(self, epoch: int) -> list[NDArray[np.int64]]:
        recipe = self._recipe
        draw = {"seed": recipe.seed, "epoch": epoch}
        if not recipe.photos_per_label:
            return shuffled_batches(len(self._places), recipe.batch, **draw)
        labels = min(recipe.batch // recipe.photos_per_label, len(np.unique(self._codes)))
        shape = {"labels_per_batch": labels, "photos_per_label": recipe.photos_per_label}
        if recipe.hard_every and epoch >= recipe.hard_every:
            # Mined anew on schedule; between, other batches of the same neighbours are drawn.
            if epoch % recipe.hard_every == 0 or self._mined is None:
                self._mined = self.embed(self._places)
            return hard_batches(self._mined, self._codes, **shape, **draw)
        return balanced_batches(self._codes, **shape, **draw)

    def _views(self, epoch: int, batches: Sequence[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
        if not self._recipe.views:
            return [np.full(len(batch), epoch) for batch in batches]
        rng = np.random.default_rng([self._recipe.seed, epoch, 1])
        return [rng.integers(0, self._recipe.views, len(batch)) for batch in batches]

    def _model(self) -> dict[str, Tensor]:
        return {
            name: value.detach().cpu().clone()
            for name, value in self._learner.trained.state_dict().items()
        }

    def _load(self) -> _Standing:
        state = load_checkpoint(self._path)
        if state is None:
            return _Standing()
        self._learner.trained.load_state_dict(state["model"])
        self._loss.load_state_dict(state["loss"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        self._scaler.load_state_dict(state["scaler"])
        self.history = state["history"]
        self._mined = None if state["mined"] is None else state["mined"].numpy()
        standing = _Standing(**state["standing"])
        if state["batches"] is not None:
            standing.batches = [batch.numpy() for batch in state["batches"]]
        return standing

    def _save(self, standing: _Standing, batches: list[NDArray[np.int64]] | None) -> None:
        import torch

        plain = {name: value for name, value in vars(standing).items() if name != "batches"}
        save_checkpoint(
            self._path,
            {
                "standing": plain,
                "batches": batches and [torch.from_numpy(batch) for batch in batches],
                "mined": None if self._mined is None else torch.from_numpy(self._mined),
                "model": self._model(),
                "loss": self._loss.state_dict(),
                "optimiser": self._optimiser.state_dict(),
                "schedule": self._schedule.state_dict(),
                "scaler": self._scaler.state_dict(),
                "history": self.history,
            },
        )
