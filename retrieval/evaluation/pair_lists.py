"""Drawing lists of pairs, half of them positive, half negative, some of them hard.

Every label has the same say as far as its photos go. No photo is paired with itself, and no pair
comes twice, in whatever order. A *hard* negative is one of the few nearest photos of other labels,
a hard positive one of the few farthest of the same label.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import LookalikeError
from retrieval.evaluation.distances import distance_rows
from retrieval.evaluation.sampling import (
    draw_without,
    even_shares,
    in_turns,
    numbered_pair,
    pair_number,
)

# Of so many nearest, or farthest, a hard pair is drawn: the very nearest may be mislabelled.
FEW = 5
# Photos whose distances to all others are held at a time: 50 MB for 100,000.
_CHUNK = 128
# Pairs of labels that may be listed: 1,414 labels.
_LISTED = 1_000_000

_Pair = tuple[int, int]


@dataclass(frozen=True, eq=False)
class PairList:
    """Pairs of photos, in random order.

    Attributes:
        first: int64 (n,), place of each pair's first photo.
        second: int64 (n,), place of its second, another one.
        same: bool (n,), whether both show the same label.
        hard: bool (n,), whether it was drawn for being hard.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    same: NDArray[np.bool_]
    hard: NDArray[np.bool_]


def draw_pairs(
    identities: NDArray[np.int64],
    count: int,
    *,
    seed: int = 0,
    vectors: NDArray[np.float16] | None = None,
    hard: float = 0.0,
) -> PairList:
    """Draw a list of pairs.

    Args:
        identities: int64 (n,), the label of each photo as a number.
        count: How many pairs, an even number.
        seed: Equal seeds draw equal lists.
        vectors: float16 (n, dim), L2-normalised; needed for hard pairs.
        hard: The share of hard ones among the positive and among the negative pairs, in [0, 1].

    Raises:
        LookalikeError: There are too few photos or labels, or too few hard pairs; the text says how
            many can be had.
        ValueError: Hard pairs are asked for without vectors.
    """
    _require_enough(identities, count)
    rng = np.random.default_rng(seed)
    codes = np.unique(identities, return_inverse=True)[1].astype(np.int64)
    half, n_hard = count // 2, round(count // 2 * hard)
    hard_positive: list[_Pair] = []
    hard_negative: list[_Pair] = []
    if n_hard:
        if vectors is None:
            raise ValueError("hard pairs take vectors")
        hard_positive = _draw_hard(_farthest_mates(vectors, codes, rng), n_hard, rng)
        hard_negative = _draw_hard(_nearest_others(vectors, codes, rng), n_hard, rng)
        found = min(len(hard_positive), len(hard_negative))
        if found < n_hard:
            raise LookalikeError(
                f"Of {count:,} pairs at most {2 * found:,} can be hard ones, half of them "
                f"positive, in these {len(codes):,} photos: say --hard "
                f"{np.floor(1000 * found / half) / 1000:g} or less, or a smaller --count."
            )
    members = _members(codes)
    positive = _draw_positive(members, hard_positive, codes, half - n_hard, rng)
    negative = _draw_negative(members, hard_negative, codes, half - n_hard, rng)
    pairs = np.array([*hard_positive, *positive, *hard_negative, *negative], dtype=np.int64)
    order = rng.permutation(count)
    place = np.arange(count)
    return PairList(
        first=pairs[order, 0],
        second=pairs[order, 1],
        same=(place < half)[order],
        hard=(place % half < n_hard)[order],
    )


def count_pairs(identities: NDArray[np.int64]) -> tuple[int, int]:
    """Count the pairs of one label, and those of two, that photos make.

    >>> count_pairs(np.array([7, 7, 8]))
    (1, 2)
    """
    n = len(identities)
    sizes = np.unique(identities, return_counts=True)[1].astype(np.int64)
    positive = int((sizes * (sizes - 1) // 2).sum())
    return positive, n * (n - 1) // 2 - positive


def _require_enough(identities: NDArray[np.int64], count: int) -> None:
    if count < 2 or count % 2:
        raise LookalikeError(f"{count} pairs can't be half positive: say an even number above 0.")
    n, n_labels = len(identities), len(np.unique(identities))
    positive, negative = count_pairs(identities)
    most = 2 * min(positive, negative)
    if count > most:
        advice = (
            f"at most {most:,} pairs can be had: say --count {most} or less, or add photos"
            if most
            else "no list can be had: it takes two labels, one of them with two photos"
        )
        raise LookalikeError(
            f"{n:,} labelled photos of {n_labels:,} labels make {positive:,} positive pairs and "
            f"{negative:,} negative ones, and a list takes as many of either, so {advice}."
        )


def _draw_hard(
    offers: Iterator[tuple[int, list[int]]], count: int, rng: np.random.Generator
) -> list[_Pair]:
    """Give photos, in turn, one of the partners they are offered, until there are enough pairs."""
    taken: dict[_Pair, None] = {}  # a set that keeps its order
    seen: list[tuple[int, list[int]]] = []
    turn: Iterator[tuple[int, list[int]]] = offers
    while len(taken) < count:
        for anchor, partners in turn:
            while partners:
                partner = partners.pop(rng.integers(len(partners)))
                pair = (min(anchor, partner), max(anchor, partner))
                if pair not in taken:
                    taken[pair] = None
                    break
            if partners:
                seen.append((anchor, partners))
            if len(taken) == count:
                break
        else:
            if not seen:
                break
            turn, seen = iter(seen), []  # another round, with what is left of the offers
    return list(taken)


def _nearest_others(
    vectors: NDArray[np.float16], codes: NDArray[np.int64], rng: np.random.Generator
) -> Iterator[tuple[int, list[int]]]:
    """Yield photos, in turns over labels, each with its few nearest of other labels."""
    order = in_turns(codes, rng)
    for start in range(0, len(order), _CHUNK):
        anchors = order[start : start + _CHUNK]
        distances = distance_rows(vectors[anchors].astype(np.float32), vectors)
        distances[codes[anchors, np.newaxis] == codes] = np.inf
        yield from _few_smallest(anchors, distances, np.arange(len(codes)))


def _farthest_mates(
    vectors: NDArray[np.float16], codes: NDArray[np.int64], rng: np.random.Generator
) -> Iterator[tuple[int, list[int]]]:
    """Yield photos, in turns over labels, each with its few farthest of the same label."""
    members = _members(codes)
    order = in_turns(codes, rng)
    for start in range(0, len(order), _CHUNK):
        offers: dict[int, list[int]] = {}
        chunk = order[start : start + _CHUNK]
        for code in np.unique(codes[chunk]).tolist():
            anchors, mates = chunk[codes[chunk] == code], members[code]
            nearness = -distance_rows(vectors[anchors].astype(np.float32), vectors[mates])
            nearness[anchors[:, np.newaxis] == mates] = np.inf
            offers |= _few_smallest(anchors, nearness, mates)
        yield from ((anchor, offers[anchor]) for anchor in chunk.tolist())


def _few_smallest(
    anchors: NDArray[np.int64], values: NDArray[np.float32], places: NDArray[np.int64]
) -> Iterator[tuple[int, list[int]]]:
    """Yield each anchor with the places of its smallest values, those at +inf left out."""
    few = min(FEW, values.shape[1])
    for anchor, row in zip(anchors.tolist(), values, strict=True):
        chosen = np.argpartition(row, few - 1)[:few]
        yield anchor, sorted(places[chosen[row[chosen] < np.inf]].tolist())


def _draw_positive(
    members: list[NDArray[np.int64]],
    taken: list[_Pair],
    codes: NDArray[np.int64],
    count: int,
    rng: np.random.Generator,
) -> list[_Pair]:
    """Draw pairs within labels, each label as many as the others as far as they go."""
    place = _places_within(members)
    gone: dict[int, set[int]] = defaultdict(set)
    for one, other in taken:
        gone[int(codes[one])].add(int(pair_number(place[one], place[other])))
    totals = np.array([len(one) * (len(one) - 1) // 2 for one in members], dtype=np.int64)
    left = totals.copy()
    for code, numbers in gone.items():
        left[code] -= len(numbers)
    shares = even_shares(left, count, rng)
    pairs: list[_Pair] = []
    for code in np.flatnonzero(shares).tolist():
        drawn = draw_without(int(totals[code]), int(shares[code]), gone.get(code, set()), rng)
        low, high = numbered_pair(drawn)
        of_label = members[code]
        pairs += zip(of_label[low].tolist(), of_label[high].tolist(), strict=True)
    return pairs


def _draw_negative(
    members: list[NDArray[np.int64]],
    taken: list[_Pair],
    codes: NDArray[np.int64],
    count: int,
    rng: np.random.Generator,
) -> list[_Pair]:
    """Draw pairs across labels, each pair of labels as many as the others as far as they go."""
    place = _places_within(members)
    sizes = np.array([len(one) for one in members], dtype=np.int64)
    gone: dict[int, set[int]] = defaultdict(set)
    for one, other in taken:
        low, high = (one, other) if codes[one] < codes[other] else (other, one)
        both = int(pair_number(codes[low], codes[high]))
        gone[both].add(int(place[low] * sizes[codes[high]] + place[high]))
    label_pairs = len(sizes) * (len(sizes) - 1) // 2
    if label_pairs <= max(_LISTED, 2 * count):
        low_codes, high_codes = numbered_pair(np.arange(label_pairs))
        left = sizes[low_codes] * sizes[high_codes]
        for both, numbers in gone.items():
            left[both] -= len(numbers)
        shares = even_shares(left, count, rng)
        asked = np.flatnonzero(shares)
        shares = shares[asked]
    else:  # too many to list, and one of each is more than enough
        low_codes, high_codes = numbered_pair(np.array(list(gone), dtype=np.int64))
        totals = (sizes[low_codes] * sizes[high_codes]).tolist()
        used_up = {
            both for both, total in zip(gone, totals, strict=True) if len(gone[both]) == total
        }
        asked = draw_without(label_pairs, count, used_up, rng)
        shares = np.ones(count, dtype=np.int64)
    pairs: list[_Pair] = []
    low_codes, high_codes = numbered_pair(asked)
    for both, share, low, high in zip(
        asked.tolist(), shares.tolist(), low_codes.tolist(), high_codes.tolist(), strict=True
    ):
        total = int(sizes[low] * sizes[high])
        drawn = draw_without(total, share, gone.get(both, set()), rng)
        first, second = np.divmod(drawn, sizes[high])
        pairs += zip(members[low][first].tolist(), members[high][second].tolist(), strict=True)
    return pairs


def _members(codes: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the places of each code's photos, ascending, by code."""
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.cumsum(np.bincount(codes))[:-1])


def _places_within(members: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return the place of each photo among those of its label."""
    place = np.empty(sum(map(len, members)), dtype=np.int64)
    for of_label in members:
        place[of_label] = np.arange(len(of_label))
    return place
