"""The losses an encoder may be trained with, by name; `loss_kinds` says what each computes."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Self

from retrieval.errors import LookalikeError
from retrieval.training.loss_kinds import KINDS, Kind, Parts

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

LOSSES = {name: kind.text for name, kind in KINDS.items()}
"""What each loss does, by name."""


class Loss:
    """What training makes smaller.

    Attributes:
        name: One of `LOSSES`.
        options: All its options, defaults too; numbers, texts and lists of numbers.
    """

    def __init__(self, name: str, options: Mapping[str, Any], parts: Parts) -> None:
        from torch import nn

        self.name = name
        self.options = dict(options)
        self._compute = parts.compute
        self._held = nn.ModuleDict(parts.modules)

    def __call__(self, embeddings: Tensor, codes: Tensor) -> Tensor:
        """Return the loss of a batch.

        Args:
            embeddings: Floating, shape `(n, dim)`, L2-normalised. What is shorter than float32 is
                computed in float32, under autocast too.
            codes: int64, shape `(n,)`, labels' numbers below `classes`; on the same device.

        Returns:
            A scalar, float32 or longer, with a gradient even where there is nothing to learn.
        """
        import torch

        kind = embeddings.device.type
        enabled = torch.is_autocast_enabled(kind)
        with torch.autocast(kind, enabled=False) if enabled else nullcontext():
            full = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
            return self._compute(full, codes)

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield what is learned beside the encoder: proxies, or nothing."""
        return self._held.parameters()

    def state_dict(self) -> dict[str, Tensor]:
        """Return all that a loss of the same name, options and classes goes on from."""
        return self._held.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state.

        Raises:
            LookalikeError: It is the state of another loss, or of other classes or dimensions.
        """
        try:
            self._held.load_state_dict(state)
        except RuntimeError as error:
            reason = " ".join(str(error).split()).partition(": ")[2]
            raise LookalikeError(
                f"The state does not fit the loss {self.name} ({reason}): go on with the same "
                "loss, options and labels."
            ) from error

    def to(self, device: torch.device | str) -> Self:
        """Move its parameters and buffers to a device."""
        self._held.to(device)
        return self


def make_loss(name: str, *, dim: int, classes: int, seed: int = 0, **options: Any) -> Loss:
    """Make a loss.

    Args:
        name: One of `LOSSES`.
        dim: Length of the embeddings.
        classes: How many labels there are to tell apart.
        seed: Equal seeds draw equal proxies and equal divisions; nothing else is drawn from.
        options: See `loss_options`.

    Raises:
        LookalikeError: There is no such loss or option, or the option can't have that value.
    """
    kind = _kind(name)
    for option, value in options.items():
        if option not in kind.options:
            raise LookalikeError(
                f"The loss {name} has no option {option!r}{_hint(option, kind.options)}: it "
                f"has {', '.join(kind.options)}."
            )
        problem = kind.options[option].problem(value)
        if problem:
            raise LookalikeError(f"{option} of the loss {name} must {problem}, not {value!r}.")
    values = loss_options(name) | options
    return Loss(name, values, kind.build(dim, classes, seed, **values))


def loss_options(name: str) -> dict[str, Any]:
    """Return a loss's options with their defaults.

    Raises:
        LookalikeError: There is no such loss.
    """
    return {option: allowed.default for option, allowed in _kind(name).options.items()}


def _kind(name: str) -> Kind:
    if name not in KINDS:
        raise LookalikeError(
            f"There is no loss {name!r}{_hint(name, KINDS)}: say one of {', '.join(KINDS)}."
        )
    return KINDS[name]


def _hint(word: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(word, known, n=2)
    return f" (did you mean {' or '.join(near)}?)" if near else ""
