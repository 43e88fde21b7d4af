"""Rules: what a query's score is, given how near the nearest identities lie."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.cli import options
from retrieval.rules import NEAREST, RULES, Rule, RuleName, default_rule, merge

INF = float("inf")
distances = st.lists(st.floats(0, 2, width=32), min_size=0, max_size=20).map(sorted)


def by_hand(rule: str, near: list[float]) -> float:
    if not near:
        return INF
    first, others = near[0], [min(one, 1.0) for one in [*near[1:], *[1.0] * 15]][:15]
    if rule == "nearest":
        return first
    if rule == "margin":
        return first + (1 - others[0]) / 2
    if rule == "rivals":
        return first + 0.9 * (1 - (others[0] + others[1]) / 2)
    if rule == "ratio":
        return first / max(others[0], 1.1754943508222875e-38)
    weights = [math.exp(-one / 0.07) for one in [first, *others]]
    return 1 - weights[0] / sum(weights)


@given(distances, st.sampled_from(sorted(RULES)), st.integers(1, 20))
def test_rules_follow_their_definitions(near: list[float], rule: str, width: int) -> None:
    padded = [*near, *[INF] * 20][: max(width, RULES[rule].identities)]
    (score,) = RULES[rule]([padded])
    assert score == pytest.approx(by_hand(rule, near), rel=1e-6, abs=1e-9)


@given(st.lists(distances, max_size=5), st.sampled_from(sorted(RULES)))
def test_many_queries_score_like_each_alone(queries: list[list[float]], rule: str) -> None:
    padded = [[*near, *[INF] * 20][:20] for near in queries]
    together = RULES[rule](np.array(padded).reshape(len(queries), 20))
    assert together.shape == (len(queries),)
    assert together.tolist() == [RULES[rule]([one])[0] for one in padded]


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.name)
def test_a_nearer_query_with_farther_rivals_is_surer(rule: Rule) -> None:
    near, far, crowded = [0.1, 0.5, 0.6], [0.2, 0.5, 0.6], [0.1, 0.2, 0.6]
    padded = [[*one, *[INF] * 13] for one in (near, far, crowded)]
    scores = rule(padded)
    assert scores[0] < scores[1]
    assert scores[0] <= scores[2]
    assert (scores[0] < scores[2]) == (rule is not NEAREST)


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.name)
def test_an_unrelated_rival_is_none(rule: Rule) -> None:
    alone = rule([[0.25, *[INF] * 15]])
    assert rule([[0.25, 1.0, 1.5, *[INF] * 13]]) == alone
    if rule.name != "nac":
        assert alone == 0.25


def test_rules_are_called_the_same_everywhere() -> None:
    assert list(RULES) == list(get_args(RuleName)) == list(options._RULES)


def test_a_gallery_without_items_gives_no_score() -> None:
    for rule in RULES.values():
        assert rule(np.full((2, 3), INF)).tolist() == [INF, INF]


def test_two_identities_at_no_distance_cannot_be_told_apart() -> None:
    assert RULES["ratio"]([[0.0, 0.0]])[0] == 0
    assert RULES["margin"]([[0.0, 0.0]])[0] == 0.5
    assert RULES["rivals"]([[0.0, 0.0, 0.0]])[0] == 0.9


def test_nac_tells_sure_scores_apart() -> None:
    scores = RULES["nac"]([[0.0, near, *[1.0] * 14] for near in (1.0, 0.99)]).astype(np.float32)
    assert 0 < scores[0] < scores[1]


def test_the_own_identity_takes_its_place_among_the_rivals() -> None:
    merged = merge([0.3, INF, 0.1], [[0.2, 0.4], [0.2, INF], [0.2, 0.4]])
    assert merged.tolist() == [[0.2, 0.3, 0.4], [0.2, INF, INF], [0.1, 0.2, 0.4]]


def test_few_labels_are_decided_by_the_nearest_item_alone() -> None:
    assert [default_rule(labels).name for labels in (0, 9, 10, 1000)] == [
        *("nearest", "nearest", "margin", "margin")
    ]


def test_an_encoder_that_was_trained_on_the_labels_has_a_rule_of_its_own() -> None:
    assert [default_rule(labels, learnt=True).name for labels in (9, 10)] == ["nearest", "rivals"]


@given(
    st.lists(st.floats(0, 2, width=32), min_size=2, max_size=20).map(sorted),
    st.integers(1, 19),
    st.sampled_from(sorted(RULES)),
)
def test_a_rival_that_goes_never_raises_a_score(near: list[float], gone: int, rule: str) -> None:
    """Promises made on a gallery's own labels rest on it (`evaluation.conformal`)."""
    left = [one for place, one in enumerate(near) if place != min(gone, len(near) - 1)]
    before, after = RULES[rule]([[*one, *[INF] * 20][:20] for one in (near, left)])
    assert after <= before * (1 + 1e-12)
