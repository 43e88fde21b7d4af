"""What a training run will do: decided before it begins, by wishes, hardware and data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from retrieval.encoders.networks import SIAMESE, Network
from retrieval.encoders.splitting import stages
from retrieval.errors import EncoderError
from retrieval.training.learner import MODES, Mode, Shape, default_stage, require_fit
from retrieval.training.photos import Division, TrainingPhotos
from retrieval.training.probing import Speed, probe
from retrieval.training.recipe import Recipe
from retrieval.training.wishes import (
    BY_PROXY,
    PER_LABEL,
    SMALLEST_OF_PAIRS,
    Wishes,
    require_possible,
    require_use,
)

# Fewer photos or labels than these teach a projection at most.
_PHOTOS_FOR_PARTIAL, _LABELS_FOR_PARTIAL = 200, 5
_EPOCHS: dict[Mode, int] = {"head": 40, "partial": 12, "full": 20}
_FEWEST_EPOCHS = 4
JUDGEMENTS = 4
"""How often a rehearsal is judged at most, the end included."""
# Mixing maps costs a little recall and tells strangers better: docs/training.md.
_MIX = 0.5


@dataclass(frozen=True)
class Plan:
    """What will be done.

    Attributes:
        shape: What is learnt of the network.
        recipe: How.
        rehearsal: Whether a part of the photos is trained on first, and judged by the others.
        whole: Photos that are trained on in the end: all but those that a CSV keeps for judging.
        photos: How many photos there are.
        labels: How many labels they show.
        train: Photos that the rehearsal trains on.
        known: Photos it is judged by, of known labels.
        strangers: Photos of labels that the rehearsal does not see.
        stranger_labels: How many labels those show.
        steps: Steps in all, rehearsal and the rest.
        cache_bytes: Bytes on disk for the frozen part's outputs.
        seconds: Estimated time in all.
        reasons: Why it was planned so, in a few words each.
    """

    shape: Shape
    recipe: Recipe
    rehearsal: bool
    whole: int
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


def make_plan(wishes: Wishes, network: Network, photos: TrainingPhotos, division: Division) -> Plan:
    """Decide what will be done.

    Raises:
        LookalikeError: What was asked for can't be done.
    """
    require_possible(wishes)
    reasons: list[str] = []
    if photos.unlabelled:
        reasons.append(f"photos without a label are left out: {photos.unlabelled}")
    rehearsal = wishes.rehearsal and len(division.known) > 0
    if wishes.rehearsal and not rehearsal:
        reasons.append("no rehearsal: no label has photos enough to keep some back")
    parts = [len(division.train)] if rehearsal else []
    parts.append(int((~photos.validation).sum()))
    work = _Work(wishes, len(photos), sum(parts), rehearsal)
    mode, reason = _mode(wishes, network, photos)
    shape = _shape(wishes, network, mode)
    speed = probe(network, shape, photos, wishes.device, wishes.precision)
    if wishes.mode == "auto" and mode == "partial" and wishes.epochs is None:
        affordable = work.affordable(mode, speed)
        if affordable < _FEWEST_EPOCHS:
            mode = "head"
            reason = (
                f"mode head: {wishes.minutes:g} minutes allow {affordable} epochs of training the "
                f"last stages, at {speed.trained:.0f} photos/s"
            )
            shape = _shape(wishes, network, mode)
            speed = probe(network, shape, photos, wishes.device, wishes.precision)
    reasons += [reason] if reason else []
    require_use(wishes, mode)
    epochs = wishes.epochs
    if epochs is None:
        epochs = max(1, min(_EPOCHS[mode], work.affordable(mode, speed)))
        if epochs < _EPOCHS[mode]:
            reasons.append(
                f"{epochs} epochs: {wishes.minutes:g} minutes allow no more, at "
                f"{speed.trained:.0f} photos/s"
            )
    by_proxy = wishes.loss in BY_PROXY
    recipe = Recipe(
        loss=wishes.loss,
        loss_options=dict(wishes.loss_options),
        epochs=epochs,
        batch=max(min(wishes.batch, len(photos)), 0 if by_proxy else SMALLEST_OF_PAIRS),
        photos_per_label=0 if by_proxy else PER_LABEL,
        hard_every=wishes.hard_every,
        rate=_rate(wishes, shape),
        views=_views(wishes, mode),
        mix=_MIX if mode == "partial" and by_proxy else 0.0,
        precision=speed.precision,
        seed=wishes.seed,
    )
    return Plan(
        shape,
        recipe,
        rehearsal,
        whole=parts[-1],
        photos=len(photos),
        labels=len(photos.labels),
        train=len(division.train),
        known=len(division.known),
        strangers=len(division.strangers),
        stranger_labels=len(set(photos.codes[division.strangers].tolist())),
        steps=epochs * sum(-(-part // recipe.batch) for part in parts),
        cache_bytes=work.cached(mode) * speed.outputs,
        seconds=work.seconds(mode, speed, epochs),
        reasons=tuple(reasons),
    )


@dataclass(frozen=True)
class _Work:
    """What a run has to do: `photos` to cache, `seen` photos to step through in an epoch."""

    wishes: Wishes
    photos: int
    seen: int
    rehearsal: bool

    def cached(self, mode: Mode) -> int:
        """Return how many views are put through the frozen part."""
        return 0 if mode == "full" else (_views(self.wishes, mode) + 1) * self.photos

    def affordable(self, mode: Mode, speed: Speed) -> int:
        """Return the epochs that fit into the time."""
        left = 60 * self.wishes.minutes - self.seconds(mode, speed, 0)
        return max(0, int(left * speed.trained / self.seen))

    def seconds(self, mode: Mode, speed: Speed, epochs: int) -> float:
        """Estimate the time that the views, the epochs and the rehearsal's judgements take."""
        # To embed a photo takes a third of a step.
        judged = (JUDGEMENTS + 2) * self.photos / 3 if self.rehearsal else 0
        return self.cached(mode) / speed.made + (epochs * self.seen + judged) / speed.trained


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


def _mode(wishes: Wishes, network: Network, photos: TrainingPhotos) -> tuple[Mode, str]:
    """Return the mode, and why, where it wasn't asked for."""
    if wishes.mode in MODES:
        return wishes.mode, ""
    if network.untrained:
        return "full", f"mode full: {wishes.encoder} begins without weights"
    if wishes.device != "cpu":
        return "full", f"mode full: {wishes.device} trains all of the network in minutes"
    if len(photos) < _PHOTOS_FOR_PARTIAL or len(photos.labels) < _LABELS_FOR_PARTIAL:
        few = f"{len(photos)} photos of {len(photos.labels)} labels"
        return "head", f"mode head: {few} teach no more than a projection"
    try:
        stages(network.module)
    except EncoderError:
        return "head", f"mode head: {wishes.encoder} can't be split into stages"
    return "partial", "mode partial: a CPU trains the last stages in minutes, all of them in hours"


def _shape(wishes: Wishes, network: Network, mode: Mode) -> Shape:
    stage = 0
    if mode == "partial":
        stage = default_stage(network) if wishes.stage is None else wishes.stage
    # The last dense layer of siamese is a projection already.
    own = network.architecture["model"] == SIAMESE and mode == "full"
    dim = (0 if own else 256) if wishes.dim is None else wishes.dim
    share = 0.5 if wishes.share is None else wishes.share
    shape = Shape(
        mode=mode,
        stage=stage,
        dim=dim,
        share=1.0 if mode == "full" else share,
        dropout=0.2,
        batch_norm="learnt" if network.untrained else "frozen",
    )
    require_fit(network, shape)
    return shape


def _views(wishes: Wishes, mode: Mode) -> int:
    if mode == "full":
        return 0
    return 8 if wishes.views is None else wishes.views


def _rate(wishes: Wishes, shape: Shape) -> float:
    if wishes.rate is not None:
        return wishes.rate
    return 1e-3 if shape.mode != "full" or shape.batch_norm == "learnt" else 3e-4
