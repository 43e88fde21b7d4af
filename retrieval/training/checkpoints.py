"""Where a training run stands, on disk: all that it takes to go on to the very same end.

A checkpoint replaces the one before it in one step, so a kill at any moment leaves the old one or
the new one. Random states are not in it: whatever is drawn is a function of seed and step.
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

from retrieval.errors import LookalikeError


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint, flushed to the disk before it takes its name.

    Args:
        path: Its place.
        state: Tensors, numbers, texts, and lists and dictionaries of them.
    """
    import torch

    unfinished = path.with_suffix(".part")
    with unfinished.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint; `None` where there is none yet. Nothing in it is ever executed.

    Raises:
        LookalikeError: It is damaged.
    """
    import torch

    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
        raise LookalikeError(
            f"{path} is damaged: delete it, and --resume begins this part of the run again."
        ) from error
    return state
