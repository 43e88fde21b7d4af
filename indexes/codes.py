"""Vectors rounded to 8 bits, and how far that moves a distance.

Rounding is dithered: whether a coordinate goes up or down is decided by a die of its own, so that
errors have mean zero whatever the data. By Hoeffding's inequality ("Probability inequalities for
sums of bounded random variables", 1963, theorem 2) the product with a unit vector is then off by
more than `_SURE` steps with a probability below 1e-15.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Codes run from -127 to 127; FAISS stores them with 128 added.
STEPS, ZERO = 127, 128
# The throw of dice for queries; codes have 0, 1, …: one more each time they are rounded anew.
QUERIES = 2**32
# sqrt(ln(2 / 1e-15) / 2)
_SURE = 4.2


def largest(vectors: NDArray[Any]) -> float:
    """Return the largest absolute coordinate."""
    if vectors.dtype == np.float16:
        # Of these, the one with the largest bits but the sign.
        bits = vectors.view(np.uint16) & np.uint16(0x7FFF)
        return float(np.array(bits.max(initial=0)).view(np.float16))
    return float(np.abs(vectors).max(initial=0))


def encode(vectors: NDArray[Any], limit: float, throw: int = 0) -> NDArray[np.uint8]:
    """Round vectors, none of whose coordinates exceeds `limit`, to codes."""
    steps = dithered(vectors.astype(np.float32) * (STEPS / limit), throw)
    return (steps + ZERO).astype(np.uint8)


def dithered(values: NDArray[np.float32], throw: int) -> NDArray[np.float32]:
    """Round each value down or up, up the more likely the nearer it is to that."""
    rounded: NDArray[np.float32] = np.floor(values + _dice(values.shape[1], throw))
    return np.minimum(np.maximum(rounded, -STEPS, out=rounded), STEPS, out=rounded)


@cache
def _dice(dim: int, throw: int) -> NDArray[np.float32]:
    """Throw a die for each coordinate: independent within a vector is all that Hoeffding asks.

    Queries have a throw of their own, so that their errors are independent of the codes'.
    """
    return np.random.default_rng(throw).random(dim, dtype=np.float32)


def bound(limit: float, dim: int) -> float:
    """Return what the product of a unit vector with a code can be off by."""
    # In few dimensions the length of the error, at most a step per coordinate, is the better bound.
    return limit / STEPS * min(_SURE, math.sqrt(dim))
