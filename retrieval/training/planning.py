"""What a training run will do: decided before it begins, by wishes, hardware and data."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from retrieval.encoders.features import compile_features
from retrieval.encoders.networks import SIAMESE, Network
from retrieval.encoders.splitting import stages
from retrieval.errors import EncoderError, LookalikeError
from retrieval.training.augmenting import Augmentation
from retrieval.training.caching import Pixels
from retrieval.training.learner import MODES, Learner, Mode, Shape, default_stage, require_fit
from retrieval.training.live import LiveViews
from retrieval.training.losses import LOSSES, loss_options
from retrieval.training.photos import Division, TrainingPhotos
from retrieval.training.trainer import Recipe

if TYPE_CHECKING:
    from torch import Tensor

# Fewer photos or labels than these teach a projection at most.
_PHOTOS_FOR_PARTIAL, _LABELS_FOR_PARTIAL = 200, 5
# Losses of pairs and triplets need several photos of a label in a batch.
_BY_PROXY = frozenset({"arcface", "subcenter-arcface"})
_EPOCHS: dict[Mode, int] = {"head": 40, "partial": 12, "full": 20}
_FEWEST_EPOCHS = 4
_PROBE = 32
JUDGEMENTS = 4
"""How often a rehearsal is judged, the end included."""
# Mixing maps costs a little recall and tells strangers better: docs/training.md.
_MIX = 0.5


@dataclass(frozen=True)
class Wishes:
    """What was asked for; `None` leaves it to the plan.

    Attributes:
        encoder: What to begin with: a packaged encoder, `timm:NAME`, `siamese`, or a folder.
        weights: A local checkpoint for a timm model.
        from_scratch: Begin a timm model without any weights.
        mode: How much of the network is trained; `auto` picks.
        loss: One of `LOSSES`.
        loss_options: Its options, where they are not the defaults.
        epochs: Passes over the photos.
        batch: Photos to a step.
        dim: Length of the projection.
        share: Share of the distance that what is learnt decides.
        stage: Behind how many blocks the network is frozen, in mode `partial`.
        views: Views of each photo that are cached.
        rate: Learning rate of the network.
        minutes: How long training may take; what isn't asked for is planned to fit.
        rehearsal: Whether to train on a part first, and judge by the others.
        hard_every: After so many epochs hard examples are mined anew; 0 never.
        seed: Draws everything.
        device: `cpu`, `cuda` or `mps`.
    """

    encoder: str = "efficientnet_lite0"
    weights: Path | None = None
    from_scratch: bool = False
    mode: Mode | Literal["auto"] = "auto"
    loss: str = "arcface"
    loss_options: Mapping[str, Any] = field(default_factory=dict)
    epochs: int | None = None
    batch: int = 64
    dim: int | None = None
    share: float | None = None
    stage: int | None = None
    views: int | None = None
    rate: float | None = None
    minutes: float = 25.0
    rehearsal: bool = True
    hard_every: int = 0
    seed: int = 0
    device: str = "cpu"


@dataclass(frozen=True)
class Plan:
    """What will be done.

    Attributes:
        shape: What is learnt of the network.
        recipe: How.
        rehearsal: Whether a part of the photos is trained on first, and judged by the others.
        photos: How many photos there are.
        labels: How many labels they show.
        train: Photos that the rehearsal trains on.
        known: Photos it is judged by, of known labels.
        strangers: Photos of labels that the rehearsal does not see.
        stranger_labels: How many labels those show.
        steps: Steps in all, rehearsal and the rest.
        cache_bytes: Bytes on disk for the frozen part's outputs.
        seconds: Estimated time in all.
        reasons: Why it was planned so, in sentences.
    """

    shape: Shape
    recipe: Recipe
    rehearsal: bool
    photos: int
    labels: int
    train: int
    known: int
    strangers: int
    stranger_labels: int
    steps: int
    cache_bytes: int
    seconds: float
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Speed:
    """What a probe measured.

    Attributes:
        made: Views made and put through the frozen part, per second.
        trained: Photos per second in training steps.
        precision: The arithmetic of the steps that is fastest here.
        outputs: Bytes of the frozen part's outputs for a view.
    """

    made: float
    trained: float
    precision: Literal["float32", "bfloat16", "float16"]
    outputs: int


def make_plan(wishes: Wishes, network: Network, photos: TrainingPhotos, division: Division) -> Plan:
    """Decide what will be done.

    Raises:
        LookalikeError: What was asked for can't be done.
    """
    _check(wishes)
    reasons: list[str] = []
    mode = _mode(wishes, network, photos, reasons)
    shape = _shape(wishes, network, mode)
    require_fit(network, shape)
    speed = probe(network, shape, photos, wishes.device)
    seen = len(photos) + (len(division.train) if wishes.rehearsal else 0)
    if wishes.mode == "auto" and mode == "partial" and wishes.epochs is None:
        affordable = _affordable(wishes, speed, photos, seen)
        if affordable < _FEWEST_EPOCHS:
            reasons.append(
                f"--mode head, as training part of the network at {speed.trained:.0f} photos/s "
                f"would get {max(affordable, 0)} epochs done in {wishes.minutes:g} minutes"
            )
            mode = "head"
            shape = _shape(wishes, network, mode)
            speed = probe(network, shape, photos, wishes.device)
    epochs = wishes.epochs
    if epochs is None:
        affordable = _affordable(wishes, speed, photos, seen)
        epochs = max(1, min(_EPOCHS[mode], affordable))
        if epochs < _EPOCHS[mode]:
            reasons.append(
                f"{epochs} epochs, as {wishes.minutes:g} minutes allow no more at "
                f"{speed.trained:.0f} photos/s"
            )
    recipe = Recipe(
        loss=wishes.loss,
        loss_options=dict(wishes.loss_options),
        epochs=epochs,
        batch=min(wishes.batch, len(photos)),
        photos_per_label=0 if wishes.loss in _BY_PROXY else 4,
        hard_every=wishes.hard_every,
        rate=_rate(wishes, shape),
        views=_views(wishes, mode),
        mix=_MIX if mode == "partial" and wishes.loss in _BY_PROXY else 0.0,
        precision=speed.precision,
        seed=wishes.seed,
    )
    views = (recipe.views + 1) * len(photos) if mode != "full" else 0
    return Plan(
        shape,
        recipe,
        wishes.rehearsal,
        photos=len(photos),
        labels=len(photos.labels),
        train=len(division.train),
        known=len(division.known),
        strangers=len(division.strangers),
        stranger_labels=len(set(photos.codes[division.strangers].tolist())),
        steps=epochs * -(-seen // recipe.batch),
        cache_bytes=views * speed.outputs,
        seconds=views / speed.made
        + epochs * seen / speed.trained
        + _judging(wishes, speed, photos),
        reasons=tuple(reasons),
    )


def probe(network: Network, shape: Shape, photos: TrainingPhotos, device: str) -> Speed:
    """Measure, in some seconds, how fast views are made, frozen and trained on here."""
    import torch

    learner = Learner(network, shape, seed=0)
    learner.trained.to(device)
    places = np.linspace(0, len(photos) - 1, _PROBE).round().astype(int).tolist()
    pixels = Pixels(photos.paths, network.preprocessing, Augmentation(), seed=0)
    made = float("inf")
    if learner.frozen is None:
        outputs = LiveViews(pixels).take(places, [0] * _PROBE)
    else:
        features = compile_features(learner.frozen, network.preprocessing, "float32")
        for number in range(2):  # the first time is slower
            since = time.monotonic()
            wanted = [(place, number) for place in places]
            parts = list(features.over(pixels.batches(wanted, _PROBE // 2)))
            made = _PROBE / (time.monotonic() - since)
        outputs = torch.from_numpy(np.concatenate(parts))
    inputs = outputs.to(device)
    if inputs.ndim == 4:
        inputs = inputs.to(memory_format=torch.channels_last)
    precisions: tuple[Literal["float32", "bfloat16", "float16"], ...]
    precisions = ("float32", "bfloat16") if device == "cpu" else ("float16",)
    rates = {one: _PROBE / _step_seconds(learner, inputs, one) for one in precisions}
    # Sixteen bits are worth it only where they are clearly faster.
    best = max(rates, key=lambda one: rates[one] / (1.1 if one == "bfloat16" else 1))
    return Speed(made, rates[best], best, outputs[0].numel() * 2)


def _step_seconds(learner: Learner, inputs: Tensor, precision: str) -> float:
    import torch

    learner.train()
    shortest = float("inf")
    for _ in range(3):
        since = time.monotonic()
        with torch.autocast(
            inputs.device.type, getattr(torch, precision), enabled=precision != "float32"
        ):
            embeddings = learner.trained(inputs)
        embeddings.float().square().mean().backward()
        if inputs.device.type == "cuda":
            torch.cuda.synchronize()
        shortest = min(shortest, time.monotonic() - since)
    return shortest


def as_json(plan: Plan) -> dict[str, Any]:
    """Return a plan's fields, for a file."""
    return asdict(plan)


def from_json(values: dict[str, Any]) -> Plan:
    """Read a plan back."""
    values = dict(values)
    values["shape"] = Shape(**values["shape"])
    values["recipe"] = Recipe(**values["recipe"])
    values["reasons"] = tuple(values["reasons"])
    return Plan(**values)


def with_epochs(recipe: Recipe, epochs: int) -> Recipe:
    """Return a recipe of another length."""
    return replace(recipe, epochs=epochs)


def _check(wishes: Wishes) -> None:
    if wishes.loss not in LOSSES:
        raise LookalikeError(f"There is no loss {wishes.loss!r}: say one of {', '.join(LOSSES)}.")
    unknown = set(wishes.loss_options) - set(loss_options(wishes.loss))
    if unknown:
        raise LookalikeError(
            f"The loss {wishes.loss} has no option {min(unknown)!r}: it has "
            f"{', '.join(loss_options(wishes.loss))}."
        )


def _mode(wishes: Wishes, network: Network, photos: TrainingPhotos, reasons: list[str]) -> Mode:
    if wishes.mode in MODES:
        return wishes.mode
    if network.architecture["model"] == SIAMESE:
        reasons.append("--mode full, as siamese is trained from nothing")
        return "full"
    if wishes.device != "cpu":
        reasons.append(f"--mode full, as there is a GPU ({wishes.device})")
        return "full"
    if len(photos) < _PHOTOS_FOR_PARTIAL or len(photos.labels) < _LABELS_FOR_PARTIAL:
        reasons.append(
            f"--mode head, as {len(photos)} photos of {len(photos.labels)} labels teach no more"
        )
        return "head"
    try:
        stages(network.module)
    except EncoderError:
        reasons.append(f"--mode head, as {network.architecture['model']} can't be split")
        return "head"
    reasons.append("--mode partial, as a CPU trains the last stages in minutes and all in hours")
    return "partial"


def _shape(wishes: Wishes, network: Network, mode: Mode) -> Shape:
    stage = 0
    if mode == "partial":
        stage = default_stage(network) if wishes.stage is None else wishes.stage
    own = network.architecture["model"] == SIAMESE
    dim = (0 if own else 256) if wishes.dim is None else wishes.dim
    share = 0.5 if wishes.share is None else wishes.share
    untrained = str(network.provenance.get("weights", "")).startswith("none")
    return Shape(
        mode=mode,
        stage=stage,
        dim=dim,
        share=1.0 if mode == "full" else share,
        dropout=0.2,
        batch_norm="learnt" if untrained else "frozen",
    )


def _views(wishes: Wishes, mode: Mode) -> int:
    if mode == "full":
        return 0
    return 8 if wishes.views is None else wishes.views


def _rate(wishes: Wishes, shape: Shape) -> float:
    if wishes.rate is not None:
        return wishes.rate
    return 1e-3 if shape.mode != "full" or shape.batch_norm == "learnt" else 3e-4


def _affordable(wishes: Wishes, speed: Speed, photos: TrainingPhotos, seen: int) -> int:
    """Return the epochs that fit into the time, what is made besides taken off."""
    made = (_views(wishes, "head") + 1) * len(photos) / speed.made
    left = 60 * wishes.minutes - made - _judging(wishes, speed, photos)
    return int(left * speed.trained / seen)


def _judging(wishes: Wishes, speed: Speed, photos: TrainingPhotos) -> float:
    """Estimate the seconds that the rehearsal's judgements take: a third of as many steps."""
    return (JUDGEMENTS + 2) * len(photos) / (3 * speed.trained) if wishes.rehearsal else 0.0
