"""Drawing evenly over labels, so that none with many photos has most of the say."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def in_turns(identities: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Order photos at random, one of every label before a second of any.

    Args:
        identities: int64 (n,); equal numbers show the same label.
        rng: Draws the order.

    Returns:
        int64 (n,), places in `identities`.

    >>> order = in_turns(np.array([7, 7, 7, 8, 9]), np.random.default_rng(0))
    >>> sorted(np.array([7, 7, 7, 8, 9])[order[:3]].tolist())
    [7, 8, 9]
    """
    shuffled = rng.permutation(len(identities))
    shown = identities[shuffled]
    order = np.argsort(shown, kind="stable")
    _, starts, sizes = np.unique(shown[order], return_index=True, return_counts=True)
    turn = np.empty(len(order), dtype=np.int64)
    turn[order] = np.arange(len(order)) - np.repeat(starts, sizes)
    return shuffled[np.argsort(turn, kind="stable")]


def even_shares(
    capacities: NDArray[np.int64], count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Divide a count as evenly as what each can give allows.

    Everybody gives all it has up to a common level; who gives one more is drawn.

    Args:
        capacities: int64 (n,), what each can give, ≥ 0.
        count: How many are wanted, at most the sum of them.
        rng: Draws who gives one more.

    Returns:
        int64 (n,), what each gives; the sum is `count`.

    Raises:
        ValueError: They can't give so many.

    >>> even_shares(np.array([1, 5, 0, 3]), 7, np.random.default_rng(0)).tolist()
    [1, 3, 0, 3]
    """
    if not 0 <= count <= capacities.sum():
        raise ValueError(f"{count} are more than the {capacities.sum()} that can be given")
    ascending = np.sort(capacities)
    n = len(ascending)
    # What all give together at the level of each capacity.
    given = np.cumsum(ascending) + ascending * (n - 1 - np.arange(n))
    full = int(np.searchsorted(given, count, side="right"))  # so many give all they have
    if full == n:
        return capacities.copy()
    level = int((count - ascending[:full].sum()) // (n - full))
    shares = np.minimum(capacities, level)
    more = np.flatnonzero(capacities > level)
    shares[rng.choice(more, count - int(shares.sum()), replace=False)] += 1
    return shares


def draw_without(
    total: int, count: int, taken: set[int], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw different numbers below `total` that are not taken, each as likely as the others.

    Args:
        total: How many numbers there are.
        count: How many are wanted, at most `total - len(taken)`.
        taken: Numbers below `total`.
        rng: Draws them.

    Returns:
        int64 (count,), in random order.
    """
    drawn = rng.choice(total, min(total, count + len(taken)), replace=False)
    if taken:
        drawn = drawn[~np.isin(drawn, list(taken))]
    return drawn[:count].astype(np.int64)


def pair_number(low: NDArray[np.int64], high: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the pairs of two different numbers, `low` < `high`, row by row of a triangle.

    >>> pair_number(np.array([0, 0, 1, 0]), np.array([1, 2, 2, 3])).tolist()
    [0, 1, 2, 3]
    """
    return high * (high - 1) // 2 + low


def used_only(
    first: NDArray[np.int64], second: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the places that pairs name, ascending, and the pairs by their place among these.

    >>> [one.tolist() for one in used_only(np.array([7, 2]), np.array([2, 9]))]
    [[2, 7, 9], [1, 0], [0, 2]]
    """
    used, places = np.unique(np.stack([first, second]), return_inverse=True)
    one, other = places.reshape(2, -1)
    return used, one, other


def numbered_pair(number: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pairs that `pair_number` gives these numbers: the low ones, and the high ones.

    >>> [one.tolist() for one in numbered_pair(np.array([0, 1, 2, 3]))]
    [[0, 0, 1, 0], [1, 2, 2, 3]]
    """
    high = ((1 + np.sqrt(1 + 8 * number.astype(np.float64))) / 2).astype(np.int64)
    # Of large numbers float64 may make the next row's first, never one of the row before.
    high -= high * (high - 1) // 2 > number
    return number - high * (high - 1) // 2, high
