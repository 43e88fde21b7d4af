"""The open-set protocol against a gallery from which the hidden labels are really removed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import LookalikeError
from retrieval.evaluation.comparing import compare
from retrieval.evaluation.decisions import Searches, decision_curve, dir_at_fpir
from retrieval.evaluation.drawing import draw_hidden, draw_items
from retrieval.evaluation.identities import NOBODY
from retrieval.evaluation.openset import FPIRS, Spread, TooFewRivals, hide, summarise
from retrieval.rules import NEAREST, RULES


def unit(seed: int, n: int, dim: int = 6) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((n, dim))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@given(
    st.integers(0, 1000),
    st.lists(st.integers(-3, 6), min_size=1, max_size=25),
    st.sets(st.integers(0, 6), max_size=4),
    st.sampled_from(sorted(RULES)),
)
def test_hiding_labels_is_like_removing_their_items(
    seed: int, shown: list[int], hidden: set[int], rule: str
) -> None:
    identities = np.array(shown)
    items = unit(seed, len(shown)).astype(np.float16)
    queries = unit(seed + 1, 8).astype(np.float32)
    own = np.random.default_rng(seed).choice([*range(7), NOBODY], 8)
    found = compare(queries, own, items, identities, rivals=30)
    gone = np.array(sorted(hidden), dtype=np.int64)
    judged = hide(
        own,
        found.outcomes.nearest_mate,
        found.rival_identities,
        found.rival_distances,
        gone,
        RULES[rule],
    )
    left = ~np.isin(identities, gone)
    really = compare(queries, own, items[left], identities[left], rivals=30)
    expected = Searches.of(really.outcomes.nearest_mate, really.rival_distances, RULES[rule])
    np.testing.assert_allclose(judged.score, expected.score, atol=1e-6)
    assert judged.right.tolist() == expected.right.tolist()
    assert judged.mated.tolist() == expected.mated.tolist()


def test_rivals_that_were_not_kept_are_asked_for() -> None:
    rivals = np.array([[3, 4]]), np.array([[0.25, 0.5]], np.float32)
    own, mate = np.array([1]), np.array([0.125], np.float32)
    both = np.array([3, 4])
    with pytest.raises(TooFewRivals):
        hide(own, mate, *rivals, both, RULES["margin"])
    # All there are, or all that lie nearer than anything unrelated.
    for last in (np.inf, 1.0):
        told = rivals[0], np.array([[0.25, last]], np.float32)
        assert hide(own, mate, *told, both, RULES["margin"]).score.tolist() == [0.125]


def test_points_are_those_of_the_repeats() -> None:
    generator = np.random.default_rng(0)
    repeats = [
        Searches(
            generator.random(400).astype(np.float32),
            generator.random(400) < 0.5,
            np.arange(400) < 250,
        )
        for _ in range(5)
    ]
    found = summarise(repeats, NEAREST, strangers=0.2, hidden_labels=3, seed=7)
    assert (found.rule, found.repeats, found.n_mated, found.n_non_mated) == ("nearest", 5, 250, 150)
    assert [point.fpir for point in found.points] == list(FPIRS)
    few, first, *_ = found.points
    assert (few.dir, few.misidentification, few.repeats) == (None, None, 0)
    assert few.note == "not enough non-mated searches: 150 only show FPIR below 0.02"
    singles = [dir_at_fpir(decision_curve(one), 0.01) for one in repeats]
    assert first.dir == Spread.of([one.dir for one in singles if one.dir is not None])
    assert first.repeats == 5
    wrong = [
        (one.score[:250][~one.right[:250]] < at.threshold).sum() / 250
        for one, at in zip(repeats, singles, strict=True)
    ]
    assert first.misidentification is not None
    assert first.misidentification.mean == pytest.approx(np.mean(wrong))


@pytest.mark.parametrize(("share", "count"), [(0.001, 1), (0.2, 4), (0.5, 10), (0.999, 19)])
def test_labels_are_hidden_by_share_but_never_all_or_none(share: float, count: int) -> None:
    labels = np.arange(20) * 3
    drawn = draw_hidden(labels, share, 6, seed=1)
    assert len(drawn) == 6
    for hidden in drawn:
        assert len(set(hidden)) == count
        assert set(hidden) <= set(labels)
        assert hidden.tolist() == sorted(hidden)
    assert len({tuple(hidden) for hidden in drawn}) > 1
    again = draw_hidden(labels, share, 6, seed=1)
    assert [one.tolist() for one in again] == [one.tolist() for one in drawn]


@pytest.mark.parametrize("labels", [0, 1])
def test_hiding_takes_two_labels(labels: int) -> None:
    with pytest.raises(LookalikeError, match=rf"the gallery has {labels}: give it two or more\."):
        draw_hidden(np.arange(labels), 0.5, 1, seed=0)


@given(st.lists(st.integers(0, 5), max_size=30), st.integers(0, 40))
def test_items_are_drawn_from_every_identity_in_turn(shown: list[int], count: int) -> None:
    identities = np.array(shown, dtype=np.int64)
    drawn = draw_items(identities, count)
    assert drawn.tolist() == sorted(set(drawn.tolist()))
    assert len(drawn) == min(count, len(shown))
    counts = {one: int((identities[drawn] == one).sum()) for one in set(shown)}
    most = max(counts.values(), default=0)
    for one, number in counts.items():
        assert number >= min(most - 1, shown.count(one))
