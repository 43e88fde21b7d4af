"""Lists of pairs: half and half, no pair twice, every label its say, and the hard ones hard."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from retrieval.errors import LookalikeError
from retrieval.evaluation import pair_lists
from retrieval.evaluation.pair_lists import FEW, PairList, draw_pairs

# So few that all pairs of a label are among its photos' farthest.
LABELS = st.lists(st.integers(0, 4), min_size=3, max_size=7)
SHARES = st.sampled_from([0.0, 0.25, 0.5, 1.0])


def ids(labels: list[int]) -> NDArray[np.int64]:
    return np.array(labels, dtype=np.int64)


def most(labels: list[int]) -> int:
    """How many pairs a list can hold, counted one by one."""
    same = [a == b for a, b in combinations(labels, 2)]
    return 2 * min(sum(same), len(same) - sum(same))


def vectors_of(n: int, dim: int = 8) -> NDArray[np.float16]:
    """Draw unit vectors."""
    drawn = np.random.default_rng(n).normal(size=(n, dim))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float16)


def check(drawn: PairList, labels: list[int], count: int) -> set[frozenset[int]]:
    pairs = {
        frozenset(pair) for pair in zip(drawn.first.tolist(), drawn.second.tolist(), strict=True)
    }
    assert len(pairs) == len(drawn.same) == len(drawn.hard) == count
    assert all(len(pair) == 2 for pair in pairs)
    shown = ids(labels)
    assert drawn.same.tolist() == (shown[drawn.first] == shown[drawn.second]).tolist()
    assert drawn.same.sum() == count / 2
    return pairs


@given(LABELS, st.integers(1, 20), SHARES, st.integers(0, 9))
def test_a_list_is_what_it_says_or_is_refused(
    labels: list[int], half: int, hard: float, seed: int
) -> None:
    count = 2 * half
    vectors = vectors_of(len(labels))
    if count > most(labels):
        with pytest.raises(LookalikeError, match="can be had"):
            draw_pairs(ids(labels), count, seed=seed, vectors=vectors, hard=hard)
        return
    drawn = draw_pairs(ids(labels), count, seed=seed, vectors=vectors, hard=hard)
    check(drawn, labels, count)
    assert drawn.hard[drawn.same].sum() == drawn.hard[~drawn.same].sum() == round(half * hard)
    again = draw_pairs(ids(labels), count, seed=seed, vectors=vectors, hard=hard)
    for name in ("first", "second", "same", "hard"):
        assert (getattr(drawn, name) == getattr(again, name)).all()


@given(LABELS, st.integers(0, 9))
def test_all_pairs_that_can_be_had_are_had(labels: list[int], seed: int) -> None:
    count = most(labels)
    if count:
        check(draw_pairs(ids(labels), count, seed=seed), labels, count)
    with pytest.raises(LookalikeError, match=f"--count {count} or less" if count else "no list"):
        draw_pairs(ids(labels), count + 2, seed=seed)


def test_hard_pairs_and_others_share_out_what_there_is() -> None:
    labels = [0] * 6 + [1] * 6
    assert most(labels) == 60
    drawn = draw_pairs(ids(labels), 60, vectors=vectors_of(12), hard=0.5)
    check(drawn, labels, 60)


@pytest.mark.parametrize("listed", [0, 1_000_000])
def test_labels_have_the_same_say_however_many_photos_they_have(
    listed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pair_lists, "_LISTED", listed)
    labels = [0] * 300 + [label for label in range(1, 31) for _ in range(10)]
    drawn = draw_pairs(ids(labels), 310, seed=1)
    check(drawn, labels, 310)
    positive = np.bincount(ids(labels)[drawn.first[drawn.same]], minlength=31)
    assert positive.tolist() == [5] * 31
    shown = ids(labels)[np.concatenate([drawn.first[~drawn.same], drawn.second[~drawn.same]])]
    # Ten on average; without turns, label 0 would have half of all.
    assert np.bincount(shown, minlength=31).max() < 25


def test_too_many_labels_to_list_their_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_lists, "_LISTED", 0)
    labels = [*range(30), *range(30)]
    drawn = draw_pairs(ids(labels), 60, vectors=vectors_of(60), hard=0.5)
    check(drawn, labels, 60)
    ones = [0, 0, 0, 1, 2, 3]  # pairs of labels whose only pair of photos a hard one takes
    for seed in range(20):
        check(draw_pairs(ids(ones), 6, seed=seed, vectors=vectors_of(6), hard=0.67), ones, 6)


def test_hard_pairs_are_near_others_and_far_mates() -> None:
    labels = [number % 6 for number in range(60)]
    vectors = vectors_of(60)
    distances = 1 - vectors.astype(np.float64) @ vectors.astype(np.float64).T
    drawn = draw_pairs(ids(labels), 80, vectors=vectors, hard=0.5)
    check(drawn, labels, 80)
    assert drawn.hard.sum() == 40
    for first, second, same in zip(
        drawn.first[drawn.hard].tolist(),
        drawn.second[drawn.hard].tolist(),
        drawn.same[drawn.hard].tolist(),
        strict=True,
    ):
        ranks = []
        for one, other in ((first, second), (second, first)):
            rivals = [
                distances[one, place]
                for place in range(60)
                if place != one and (labels[place] == labels[one]) == same
            ]
            beyond = [
                r > distances[one, other] if same else r < distances[one, other] for r in rivals
            ]
            ranks.append(sum(beyond))
        assert min(ranks) < FEW
    easy = ~drawn.hard
    hardness = distances[drawn.first, drawn.second]
    assert hardness[drawn.hard & drawn.same].mean() > hardness[easy & drawn.same].mean() + 0.1
    assert hardness[drawn.hard & ~drawn.same].mean() < hardness[easy & ~drawn.same].mean() - 0.1


@pytest.mark.parametrize("seed", range(5))
def test_hard_pairs_come_from_all_labels(seed: int) -> None:
    labels = [0] * 60 + [label for label in range(1, 11) for _ in range(6)]
    drawn = draw_pairs(ids(labels), 44, seed=seed, vectors=vectors_of(120), hard=1)
    positive = np.bincount(ids(labels)[drawn.first[drawn.same]], minlength=11)
    assert positive.tolist() == [2] * 11
    # Two photos of each label chose their partners among the others.
    shown = ids(labels)[np.concatenate([drawn.first[~drawn.same], drawn.second[~drawn.same]])]
    assert np.bincount(shown, minlength=11).min() >= 2


def test_another_seed_draws_another_list() -> None:
    labels = [number % 5 for number in range(50)]
    lists = [check(draw_pairs(ids(labels), 40, seed=seed), labels, 40) for seed in range(3)]
    assert lists[0] != lists[1] != lists[2]


@pytest.mark.parametrize("count", [-2, 0, 1, 7])
def test_a_count_that_cannot_be_halved_is_refused(count: int) -> None:
    with pytest.raises(LookalikeError, match="an even number above 0"):
        draw_pairs(ids([0, 0, 1, 1]), count)


@pytest.mark.parametrize("labels", [[], [0], [0, 0, 0], [0, 1, 2]])
def test_without_two_labels_or_two_photos_of_one_there_is_no_list(labels: list[int]) -> None:
    with pytest.raises(LookalikeError, match="two labels, one of them with two photos"):
        draw_pairs(ids(labels), 2)


def test_too_few_hard_pairs_are_refused_with_the_share_there_is() -> None:
    labels = [0] * 20 + [1] * 20
    with pytest.raises(LookalikeError, match=r"say --hard (0\.\d+) or less") as refused:
        draw_pairs(ids(labels), 700, vectors=vectors_of(40), hard=1)
    share = float(str(refused.value).split("--hard ")[1].split()[0])
    drawn = draw_pairs(ids(labels), 700, vectors=vectors_of(40), hard=share)
    assert 100 < drawn.hard.sum() <= 400  # five at most for each photo, and each kind of pair


def test_hard_pairs_without_vectors_are_a_mistake_in_the_program() -> None:
    with pytest.raises(ValueError, match="take vectors"):
        draw_pairs(ids([0, 0, 1, 1]), 4, hard=0.5)
