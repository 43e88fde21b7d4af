"""Drawing at random, by label: which items play queries, which labels are hidden."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import LookalikeError
from retrieval.evaluation.sampling import in_turns


def draw_items(identities: NDArray[np.int64], count: int, seed: int = 0) -> NDArray[np.int64]:
    """Draw items: one of every identity before a second of any.

    Args:
        identities: int64 (n,), what the items show.
        count: How many to draw at most.
        seed: Equal seeds draw alike.

    Returns:
        Positions, ascending.

    >>> draw_items(np.array([5, 5, 5, 6]), 2).tolist()[-1]
    3
    """
    return np.sort(in_turns(identities, np.random.default_rng(seed))[:count])


def draw_whole(identities: NDArray[np.int64], count: int, seed: int = 0) -> NDArray[np.int64]:
    """Draw items: all of an identity before one of another.

    Args:
        identities: int64 (n,), what the items show.
        count: How many to draw at most; of the last identity there may be some only.
        seed: Equal seeds draw alike.

    Returns:
        Positions, ascending.

    >>> draw_whole(np.array([5, 6, 5, 6]), 2).tolist() in ([0, 2], [1, 3])
    True
    """
    names, shown = np.unique(identities, return_inverse=True)
    turn = np.random.default_rng(seed).permutation(len(names))[shown]
    return np.sort(np.argsort(turn, kind="stable")[:count])


def draw_hidden(
    labels: NDArray[np.int64], share: float, repeats: int, seed: int
) -> list[NDArray[np.int64]]:
    """Draw the labels to hide, for each repeat.

    Args:
        labels: int64 (n,), the labels to choose from, each once.
        share: The share to hide, in (0, 1); at least one label is hidden and one stays.
        repeats: How often.
        seed: Equal seeds draw alike.

    Returns:
        For each repeat the hidden labels, sorted.

    Raises:
        LookalikeError: There are fewer than two labels.
    """
    if len(labels) < 2:
        raise LookalikeError(
            f"The open-set protocol hides some labels and keeps others; the gallery has "
            f"{len(labels)}: give it two or more."
        )
    count = min(max(round(share * len(labels)), 1), len(labels) - 1)
    generator = np.random.default_rng(seed)
    return [np.sort(generator.choice(labels, count, replace=False)) for _ in range(repeats)]
