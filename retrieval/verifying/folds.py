"""Folds of labels: what is learnt is judged on labels that took no part in it. Pure NumPy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import LookalikeError

FOLDS = 5
# Two labels a fold are the fewest that make a pair of different ones.
LABELS_NEEDED = 2 * FOLDS


class TooFewPairs(LookalikeError):  # noqa: N818 - a state, not a fault
    """The pairs are too few, or of too few labels, to learn from some and judge by others."""


@dataclass(frozen=True, eq=False)
class Fold:
    """One division of pairs; a pair with a photo on either side is in neither part.

    Attributes:
        number: Which of the folds is held out.
        learn: bool, shape `(n,)`, pairs of which no photo shows a label of this fold.
        held_out: bool, shape `(n,)`, pairs of which both photos do.
    """

    number: int
    learn: NDArray[np.bool_]
    held_out: NDArray[np.bool_]


def label_folds(
    identities: NDArray[np.int64],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    *,
    seed: int,
) -> NDArray[np.int64]:
    """Deal labels out to folds, so that each gets about as many pairs of one label.

    Args:
        identities: int64, shape `(n_photos,)`, what each photo shows.
        first: int64, shape `(n,)`, place of each pair's first photo.
        second: int64, shape `(n,)`, place of its second.
        seed: Orders labels that have equally many pairs.

    Returns:
        int64, shape `(n_photos,)`, the fold of each photo: equal for those of one label.

    Raises:
        TooFewPairs: There are fewer than ten labels.
    """
    labels, codes = np.unique(identities, return_inverse=True)
    if len(labels) < LABELS_NEEDED:
        raise TooFewPairs(
            f"A classifier is judged by labels it has not learnt from, which takes {LABELS_NEEDED} "
            f"labels; these pairs show {len(labels)}: add photos of others."
        )
    within = codes[first][codes[first] == codes[second]]
    pairs = np.bincount(within, minlength=len(labels))
    order = np.random.default_rng(seed).permutation(len(labels))
    fold_of = np.empty(len(labels), dtype=np.int64)
    given, sizes = np.zeros(FOLDS, dtype=np.int64), np.zeros(FOLDS, dtype=np.int64)
    for label in order[np.argsort(-pairs[order], kind="stable")].tolist():
        fold = int(np.lexsort([sizes, given])[0])  # the fewest pairs, then the fewest labels
        fold_of[label] = fold
        given[fold] += pairs[label]
        sizes[fold] += 1
    return fold_of[codes]


def divisions(
    folds: NDArray[np.int64], first: NDArray[np.int64], second: NDArray[np.int64]
) -> Iterator[Fold]:
    """Yield each fold with the pairs to learn from and the pairs held out.

    Args:
        folds: int64, shape `(n_photos,)`, as `label_folds` gives them.
        first: int64, shape `(n,)`, place of each pair's first photo.
        second: int64, shape `(n,)`, place of its second.
    """
    for number in range(FOLDS):
        one, other = folds[first] == number, folds[second] == number
        yield Fold(number, ~one & ~other, one & other)


def joined(n: int, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number photos so that two have equal numbers iff a chain of links leads between them.

    Args:
        n: How many photos.
        first: int64, shape `(m,)`, one end of each link.
        second: int64, shape `(m,)`, its other end.

    Returns:
        int64, shape `(n,)`, the smallest place in each chain.

    >>> joined(5, np.array([0, 3]), np.array([3, 4])).tolist()
    [0, 1, 2, 0, 0]
    """
    numbers = np.arange(n)
    while True:
        before = numbers.copy()
        np.minimum.at(numbers, first, numbers[second])
        np.minimum.at(numbers, second, numbers[first])
        numbers = numbers[numbers]
        if np.array_equal(numbers, before):
            return numbers
