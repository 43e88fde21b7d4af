"""What a user may ask of a training run; what can't be done is refused before it begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from retrieval.encoders.torch_runtime import require_device
from retrieval.errors import LookalikeError
from retrieval.training.learner import Mode
from retrieval.training.losses import make_loss
from retrieval.training.recipe import Precision

BY_PROXY = frozenset({"arcface", "subcenter-arcface"})
"""The losses that need no second photo of a label in a batch."""
PER_LABEL = 4
"""Photos of a label in a batch for the other losses."""
SMALLEST_OF_PAIRS = 2 * PER_LABEL
"""The smallest batch for them: two labels to tell apart."""
_SMALLEST = 4


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
        precision: Arithmetic of the steps; `auto` takes the fastest. Two runs that are to give the
            very same encoder must be told this, `mode` and `epochs`, which the plan else measures.
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
    precision: Precision | Literal["auto"] = "auto"


def require_possible(wishes: Wishes) -> None:
    """Refuse what no photos could change, before anything is measured.

    Raises:
        LookalikeError: It can't be done; the text says what can.
    """
    make_loss(wishes.loss, dim=2, classes=2, **wishes.loss_options)
    require_device(wishes.device)
    if wishes.precision == "float16" and wishes.device == "cpu":
        raise LookalikeError("--precision float16 needs a GPU: say float32 or bfloat16.")
    by_proxy = wishes.loss in BY_PROXY
    smallest = _SMALLEST if by_proxy else SMALLEST_OF_PAIRS
    if wishes.batch < smallest:
        raise LookalikeError(
            f"--batch {wishes.batch} is too small for the loss {wishes.loss}: say {smallest} or "
            "more."
        )
    if wishes.hard_every and by_proxy:
        raise LookalikeError(
            f"--hard-every goes with losses of pairs and triplets, and {wishes.loss} compares "
            "photos with proxies: leave it out."
        )


def require_use(wishes: Wishes, mode: Mode) -> None:
    """Refuse options that the mode would not heed.

    Raises:
        LookalikeError: There is one.
    """
    heeded: dict[str, tuple[Mode, ...]] = {
        "stage": ("partial",),
        "share": ("head", "partial"),
        "views": ("head", "partial"),
    }
    for name, modes in heeded.items():
        if getattr(wishes, name) is not None and mode not in modes:
            raise LookalikeError(
                f"--{name} goes with --mode {' or '.join(modes)}, and this is {mode}: leave it out."
            )
