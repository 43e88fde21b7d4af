"""Ranking candidates: which ones to look at, and their order by stored vectors."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from db import Candidate
from retrieval.identification import NearestItem
from retrieval.rules import UNRELATED

# A distance by stored vectors, the item's id, and the candidate.
Ranked = tuple[float, int, Candidate]
# What so many vectors show is asked for at a time.
_SHOWN = 40


def exact_distances(query: NDArray[np.float32], stored: NDArray[np.float16]) -> NDArray[np.float64]:
    """Compute the cosine distances that are compared with a threshold.

    In float64, so that the order of summation, and with it the size of a batch, can't move a
    distance across a threshold.

    Args:
        query: float32, shape `(dim,)`, L2-normalised.
        stored: float16, shape `(n, dim)`, as the store keeps vectors.

    Returns:
        float64, shape `(n,)`, in [0, 2].
    """
    products = stored.astype(np.float64) @ query.astype(np.float64)
    return np.minimum(np.maximum(1 - products, 0), 2)  # np.clip takes longer for few


def rank(query: NDArray[np.float32], candidates: list[Candidate]) -> list[Ranked]:
    """Order candidates by their exact distance, ties by item, which comes second."""
    if not candidates:
        return []
    data = np.frombuffer(b"".join([one.data for one in candidates]), dtype="<f2")
    distances = exact_distances(query, data.reshape(len(candidates), -1)).tolist()
    item_ids = [one.item_id for one in candidates]
    return sorted(zip(distances, item_ids, candidates, strict=True))


def nearest_of_each(ranked: list[Ranked], identities: int) -> list[Ranked]:
    """Return the nearest candidate of each of the nearest identities, nearest first."""
    if identities == 1:
        return ranked[:1]
    best: dict[str | int, Ranked] = {}
    for one in ranked:
        label = one[2].label
        best.setdefault(one[1] if label is None else label, one)
        if len(best) == identities:
            break
    return list(best.values())


def nearest_items(ranked: list[Ranked]) -> list[NearestItem]:
    """Tell of candidates as a user knows them."""
    return [
        NearestItem(
            candidate.item_id,
            candidate.label,
            distance,
            candidate.path,
            json.loads(candidate.metadata) if candidate.metadata != "{}" else {},
        )
        for distance, _, candidate in ranked
    ]


def identity_candidates(
    shown: Callable[[int, int], Sequence[str | int]],
    distances: list[float],
    count: int,
    *,
    error: float,
    complete: bool,
) -> list[int] | None:
    """Choose the vectors among which the nearest of each of the nearest identities must be.

    No distance is off by more than the error. So an identity's nearest lies among those that are
    told to be within twice the error of its first; and once enough identities were met, one that
    comes in still lies within twice the error of the last of them. Identities farther off than
    anything unrelated are of no interest, but for the nearest.

    Args:
        shown: Says what the vectors from one place up to another show.
        distances: What the index told, ascending, +inf where there are no more.
        count: How many identities, at least 1.
        error: Of these distances.
        complete: Whether these are all vectors.

    Returns:
        Places, ascending; `None` where the index must tell more to be sure.
    """
    first: dict[str | int, float] = {}
    last, slack = UNRELATED + 2 * error, 2 * error
    chosen: list[int] = []
    told: Sequence[str | int] = ()
    for place, distance in enumerate(distances):
        if distance > last:
            return chosen
        if place % _SHOWN == 0:
            told = shown(place, place + _SHOWN)
        identity = told[place % _SHOWN]
        nearest = first.setdefault(identity, distance)
        if nearest == distance and len(first) == count:
            last = min(last, distance + slack)
        if distance <= nearest + slack:
            chosen.append(place)
    return chosen if complete else None
