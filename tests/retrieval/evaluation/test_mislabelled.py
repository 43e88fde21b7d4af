"""Suspicion: the score is what its two halves say by hand, and planted mistakes come first."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.evaluation.mislabelled import SUSPICIOUS, Suspicion, suspicion
from retrieval.evaluation.neighbourhoods import NeighbourGatherer

LEVELS = st.sampled_from([0.0, 0.1, 0.2, 0.5, 1.0])


def judge(square: list[list[float]], labels: list[int], k: int = 5) -> Suspicion:
    """Judge items by a square of distances; only what is right of the diagonal counts."""
    n = len(labels)
    upper = np.array(square, dtype=np.float32).reshape(n, n)
    upper[np.tri(n, dtype=np.bool_)] = np.inf
    codes = np.array(labels, dtype=np.int64)
    gatherer = NeighbourGatherer(codes, k)
    gatherer.take(slice(0, n), slice(0, n), upper)
    return suspicion(gatherer.neighbourhoods(), codes)


def by_hand(
    square: list[list[float]], labels: list[int], item: int, k: int
) -> tuple[float, int, int]:
    """Return score, rival and votes of one item."""
    others = [j for j in range(len(labels)) if j != item]
    apart = {j: float(np.float32(square[min(item, j)][max(item, j)])) for j in others}
    near = sorted(others, key=lambda j: (apart[j], j))[:k]
    tally = Counter(labels[j] for j in near)
    mine = tally.pop(labels[item], 0)
    mates = [apart[j] for j in others if labels[j] == labels[item]]
    rival = next((j for j in near if tally and tally[labels[j]] == max(tally.values())), -1)
    votes = tally[labels[rival]] if rival >= 0 else 0
    if not mates:
        return math.nan, rival, votes
    if votes == 0 or votes < mine:
        return -math.inf, rival, votes
    m, o = min(mates), apart[rival]
    relative = (m - o) / (m + o) if m + o else 0.0
    return relative + (votes / len(near) - mine / min(len(near), len(mates))) / 4, rival, votes


@st.composite
def galleries(draw: st.DrawFn) -> tuple[list[list[float]], list[int]]:
    n = draw(st.integers(1, 8))
    square = [[draw(LEVELS) for _ in range(n)] for _ in range(n)]
    return square, draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))


@given(galleries(), st.integers(1, 6))
def test_the_score_is_what_its_halves_say(
    drawn: tuple[list[list[float]], list[int]], k: int
) -> None:
    square, labels = drawn
    found = judge(square, labels, k)
    expected = [by_hand(square, labels, item, k) for item in range(len(labels))]
    assert found.score.tolist() == pytest.approx([one[0] for one in expected], nan_ok=True)
    assert found.rival.tolist() == [one[1] for one in expected]
    assert found.votes.tolist() == [one[2] for one in expected]
    suspicious = [item for item, one in enumerate(expected) if one[0] > SUSPICIOUS + 1e-9]
    assert set(suspicious) <= set(found.suspects().tolist())
    assert found.suspects(above=2.0).tolist() == []


def test_suspects_come_worst_first_and_ties_by_position() -> None:
    score = np.array([0.3, 0.9, np.nan, -np.inf, 0.3, SUSPICIOUS])
    nothing = np.zeros(6, dtype=np.int64)
    found = Suspicion(score, nothing, nothing.astype(np.float32), nothing)
    assert found.suspects().tolist() == [1, 0, 4]


def test_an_item_among_another_label_is_suspicious_and_its_neighbours_are_not() -> None:
    # 0 to 3 lie together and 4 to 7 do; item 3 says the label of the others.
    square = [[0.1 if (i < 4) == (j < 4) else 0.9 for j in range(8)] for i in range(8)]
    found = judge(square, [0, 0, 0, 1, 1, 1, 1, 1])
    assert found.suspects().tolist() == [3]
    assert found.rival[3] == 0
    # By hand: (0.9 − 0.1) / (0.9 + 0.1) + (3 of 5 say 0 − 2 of 4 that could say 1) / 4.
    assert found.score[3] == pytest.approx(0.8 + (3 / 5 - 2 / 4) / 4)


def test_the_right_copy_of_a_mislabelled_picture_is_no_suspect() -> None:
    # 0 and 1 are the same picture, and 1 is mislabelled; 2 to 5 are mates of 0.
    square = [[0.2] * 8 for _ in range(8)]
    square[0][1] = 0.001
    for item in range(6):
        square[item][6] = square[item][7] = 1.0
    found = judge(square, [0, 1, 0, 0, 0, 0, 1, 1])
    assert found.suspects().tolist() == [1]


def test_a_label_of_one_item_is_not_judged() -> None:
    found = judge([[0, 0.01, 0.01], [0, 0, 0.01], [0, 0, 0]], [0, 1, 1])
    assert math.isnan(found.score[0])
    assert found.suspects().tolist() == []


@pytest.mark.parametrize("labels", [[], [0, 0, 0]])
def test_one_label_or_none_has_no_suspects(labels: list[int]) -> None:
    n = len(labels)
    found = judge([[0.5] * n for _ in range(n)], labels)
    assert found.suspects().tolist() == []
    assert np.isinf(found.rival_distance).all()
