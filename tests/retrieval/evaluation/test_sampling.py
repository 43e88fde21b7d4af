"""Drawing evenly: what is promised holds for every draw."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from retrieval.evaluation.sampling import (
    draw_without,
    even_shares,
    in_turns,
    numbered_pair,
    pair_number,
)

SEEDS = st.integers(0, 1000)


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(st.lists(st.integers(-3, 3), max_size=20), SEEDS)
def test_every_label_has_its_turn_before_any_has_another(labels: list[int], seed: int) -> None:
    identities = np.array(labels, dtype=np.int64)
    order = in_turns(identities, rng(seed))
    assert sorted(order.tolist()) == list(range(len(labels)))
    turns = []
    for place, one in enumerate(order.tolist()):
        turns.append([labels[other] for other in order[:place].tolist()].count(labels[one]))
    assert turns == sorted(turns)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=8), st.integers(0, 50), SEEDS)
def test_shares_are_as_even_as_capacities_allow(
    capacities: list[int], count: int, seed: int
) -> None:
    given_all = np.array(capacities, dtype=np.int64)
    if count > sum(capacities):
        with pytest.raises(ValueError, match="more than the"):
            even_shares(given_all, count, rng(seed))
        return
    shares = even_shares(given_all, count, rng(seed)).tolist()
    assert sum(shares) == count
    assert given_all.tolist() == capacities
    for share, capacity in zip(shares, capacities, strict=True):
        assert 0 <= share <= capacity
        # Nobody who could give more gives less than any other gives, but for one.
        assert share == capacity or share >= max(shares) - 1


def test_who_gives_one_more_is_drawn() -> None:
    capacities = np.full(5, 3)
    givers = {even_shares(capacities, 1, rng(seed)).argmax() for seed in range(50)}
    assert givers == set(range(5))


@given(st.integers(1, 30), st.sets(st.integers(0, 29)), st.integers(0, 30), SEEDS)
def test_numbers_drawn_are_different_and_not_taken(
    total: int, taken: set[int], count: int, seed: int
) -> None:
    taken = {one for one in taken if one < total}
    count = min(count, total - len(taken))
    drawn = draw_without(total, count, taken, rng(seed)).tolist()
    assert len(drawn) == len(set(drawn)) == count
    assert set(drawn) <= set(range(total)) - taken


def test_every_number_is_as_likely_as_the_others() -> None:
    counts = np.bincount(
        np.concatenate([draw_without(6, 2, {1, 4}, rng(seed)) for seed in range(2000)])
    )
    assert counts[[1, 4]].sum() == 0
    assert counts[[0, 2, 3, 5]] == pytest.approx([1000] * 4, rel=0.15)


@given(st.integers(0, 2**58))
def test_a_pairs_number_leads_back_to_it(number: int) -> None:
    low, high = numbered_pair(np.array([number]))
    assert 0 <= low[0] < high[0]
    assert pair_number(low, high).tolist() == [number]


@given(st.integers(2, 2**30), st.integers(-2, 1))
@example(2**29, -1)
def test_the_ends_of_a_row_are_told_apart(high: int, beside: int) -> None:
    number = high * (high - 1) // 2 + beside
    low, found = numbered_pair(np.array([max(number, 0)]))
    assert 0 <= low[0] < found[0]
    assert pair_number(low, found).tolist() == [max(number, 0)]


def test_numbers_count_all_pairs() -> None:
    low, high = numbered_pair(np.arange(10))
    pairs = [(a, b) for b in range(5) for a in range(b)]
    assert list(zip(low.tolist(), high.tolist(), strict=True)) == pairs
