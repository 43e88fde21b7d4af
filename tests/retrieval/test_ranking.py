"""Which candidates have to be looked at, when distances are only told to within an error."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from retrieval.ranking import identity_candidates


@given(
    st.lists(st.tuples(st.integers(0, 5), st.floats(0, 1.5)), max_size=60),
    st.integers(1, 4),
    st.sampled_from([0.0, 0.05, 0.3]),
    st.integers(0, 60),
    st.integers(0, 1000),
)
def test_the_nearest_of_each_identity_are_among_the_candidates(
    items: list[tuple[int, float]], count: int, error: float, depth: int, seed: int
) -> None:
    """Distances are told off by anything within the error; the index tells `depth` of them."""
    off = np.random.default_rng(seed).uniform(-error, error, len(items))
    told = sorted((true + wrong, true, who) for (who, true), wrong in zip(items, off, strict=True))
    seen = told[:depth]
    places = identity_candidates(
        lambda first, last: [who for _, _, who in seen[first:last]],
        [distance for distance, _, _ in seen],
        count,
        error=error,
        complete=depth >= len(told),
    )
    if places is None:
        assert depth < len(told)
        return
    best: dict[int, float] = {}
    for _, true, who in told:
        best[who] = min(best.get(who, true), true)
    # Of those beyond what is unrelated only the first few are promised.
    expected = [true for true in sorted(best.values())[:count] if true <= 1]
    found: dict[int, float] = {}
    for place in places:
        _, true, who = seen[place]
        found[who] = min(found.get(who, true), true)
    assert sorted(found.values())[: len(expected)] == expected


def test_few_are_looked_at() -> None:
    shown = [0] * 30 + [1] * 30 + [2] * 40
    distances = [0.2 + place / 1000 for place in range(100)]
    places = identity_candidates(
        lambda first, last: shown[first:last], distances, 2, error=0.001, complete=False
    )
    assert places == [0, 1, 2, 30, 31, 32]


def test_more_is_asked_for_while_a_nearer_one_may_be_missing() -> None:
    def ask(distances: list[float], complete: bool) -> list[int] | None:
        return identity_candidates(
            lambda first, last: [0] * (last - first), distances, 2, error=0.0, complete=complete
        )

    assert ask([0.1, 0.2], complete=False) is None
    assert ask([0.1, 0.2], complete=True) == [0]
    # What lies farther off than anything unrelated need not be seen.
    assert ask([0.1, 1.2], complete=False) == [0]
    assert ask([], complete=True) == []
