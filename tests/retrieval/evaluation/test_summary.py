"""A report's numbers, against counting search by search."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from retrieval.evaluation.cases import CASES, Case, label_rows, worst_accepts, worst_misses
from retrieval.evaluation.protocol import Evaluation, Judged, OpenSetPlan
from retrieval.evaluation.summary import (
    at_threshold,
    at_threshold_over,
    score_histograms,
    summarise_evaluation,
)

Judge = Callable[..., tuple[Evaluation, Judged]]
# `a` to `e` have mates; `f` and `g` are strangers.
LABELS = [*"aaaaaa", *"bbbbb", *"cccc", *"ddd", *"ee", "f", "g", None]


def one_by_one(judged: Judged, tau: float | None) -> list[dict[str, Any]]:
    """Search with each item among the others, in plain Python."""
    items = judged.gallery.items
    vectors = judged.gallery.vectors.astype(np.float32)
    rows = []
    for q, query in enumerate(items):
        if query.label is None:
            continue
        near = [
            (float(np.float32(1) - vectors[q] @ vectors[i]), item.label == query.label, item)
            for i, item in enumerate(items)
            if i != q
        ]
        distance, right, nearest = min(near, key=lambda one: one[0])
        mates = sorted((one for one in near if one[1]), key=lambda one: one[0])
        rows.append(
            {
                "path": query.path,
                "label": query.label,
                "known": bool(mates),
                "score": distance,
                "right": right,
                "nearest": nearest.id,
                "mate": mates[0][2].id if mates else None,
                "accepted": None if tau is None else distance < tau,
            }
        )
    return rows


def told(case: Case) -> dict[str, Any]:
    return {
        "path": str(case.path),
        "label": case.label,
        "known": case.known,
        "score": pytest.approx(case.score, abs=1e-6),
        "right": case.right,
        "nearest": case.nearest.item.id,
        "mate": None if case.mate is None else case.mate.item.id,
        "accepted": case.accepted,
    }


def middle(judged: Judged) -> float:
    return float(np.median(judged.searches.score)) + 1e-4


@pytest.mark.parametrize("decided", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_labels_are_counted_and_the_worst_come_first(
    judge: Judge, seed: int, decided: bool
) -> None:
    _, judged = judge(LABELS, seed=seed)
    tau = middle(judged) if decided else None
    rows = label_rows(judged, tau)
    searches = one_by_one(judged, tau)
    assert sorted(row.label or "" for row in rows) == list("abcdefg")
    shares = []
    for row in rows:
        mine = [one for one in searches if one["label"] == row.label]
        right = [one for one in mine if one["known"] and one["right"]]
        assert (row.n, row.known) == (len(mine), mine[0]["known"])
        assert (None if row.recall_at_1 is None else row.recall_at_1.count) == (
            len(right) if row.known else None
        )
        if tau is None:
            assert (row.accepted_right, row.accepted_wrong, row.rejected) == (None, None, None)
            shares.append(len(right) / len(mine) if row.known else 2.0)
        else:
            accepted = [one for one in mine if one["accepted"]]
            named = sum(one["accepted"] for one in right)
            assert row.accepted_right == named
            assert row.accepted_wrong == len(accepted) - named
            assert row.rejected == len(mine) - len(accepted)
            shares.append((named if row.known else row.rejected) / row.n)
    assert shares == sorted(shares)


@pytest.mark.parametrize("decided", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_the_worst_photos_are_those_found_one_by_one(
    judge: Judge, seed: int, decided: bool
) -> None:
    _, judged = judge(LABELS, seed=seed, apart=0.5)
    tau = middle(judged) if decided else None
    searches = one_by_one(judged, tau)
    missed = [
        one
        for one in searches
        if one["known"] and not (one["right"] and one["accepted"] in (None, True))
    ]
    missed.sort(key=lambda one: -one["score"])
    assert [told(case) for case in worst_misses(judged, tau)] == missed[:CASES]
    wrong = [one for one in searches if not (one["known"] and one["right"])]
    passed = [one for one in wrong if one["accepted"]]
    wrong = sorted(passed or wrong, key=lambda one: one["score"])
    assert wrong
    assert [told(case) for case in worst_accepts(judged, tau)] == wrong[:CASES]


def test_where_no_wrong_one_is_accepted_the_first_to_be_are_shown(judge: Judge) -> None:
    _, judged = judge(LABELS)
    cases = worst_accepts(judged, 0.0)
    assert cases
    assert {case.accepted for case in cases} == {False}


def test_a_gallery_without_mistakes_has_no_worst_photos(judge: Judge) -> None:
    _, judged = judge([*"aaaa", *"bbbb"], apart=50.0)
    assert worst_misses(judged, 1.0) == worst_accepts(judged, 1.0) == []


@pytest.mark.parametrize("repeats", [0, 3])
def test_every_score_is_in_one_bin(judge: Judge, repeats: int) -> None:
    plan = OpenSetPlan(0.4, repeats) if repeats else None
    _, judged = judge(LABELS, open_set=plan)
    searches = judged.open_set or (judged.searches,)
    found = score_histograms(searches, repeats, 1.9)
    assert found is not None
    assert (found.repeats, found.without_score, found.edges[-1]) == (repeats, 0, 1.9)
    for place, (low, high) in enumerate(zip(found.edges[:-1], found.edges[1:], strict=True)):
        inside = [
            (bool(mated), bool(right))
            for one in searches
            for score, mated, right in zip(one.score, one.mated, one.right, strict=True)
            if low <= score < high
        ]
        assert found.right[place] == inside.count((True, True))
        assert found.wrong[place] == inside.count((True, False))
        assert found.non_mated[place] == inside.count((False, False))
    assert found.right.sum() + found.wrong.sum() + found.non_mated.sum() == sum(
        len(one) for one in searches
    )


def test_searches_among_nothing_are_counted_beside_the_bins(judge: Judge) -> None:
    _, judged = judge(["a"])
    assert score_histograms([judged.searches], 0, 0.5) is None
    _, others = judge(["a", "a"])
    found = score_histograms([others.searches, judged.searches], 2, None)
    assert found is not None
    assert (found.without_score, found.right.sum()) == (1, 2)
    assert (np.diff(found.edges) > 0).all()


def test_the_threshold_is_judged_with_intervals_over_labels(judge: Judge) -> None:
    evaluation, judged = judge(LABELS, threshold=0.4, rule="nearest")
    rates = at_threshold(judged.searches, judged.labels, 0.4)
    (decided,) = [one for one in evaluation.decisions if one.threshold == 0.4]
    assert rates.dir is not None
    assert rates.misidentification is not None
    assert rates.fpir is not None
    assert rates.dir.value == decided.dir
    assert rates.misidentification.value == decided.misidentification
    assert rates.fpir.value == decided.fpir
    assert rates.dir.low < rates.dir.value < rates.dir.high
    assert (rates.n_mated, rates.n_non_mated) == (20, 2)


def test_over_repeats_the_threshold_has_a_mean_and_a_spread(judge: Judge) -> None:
    _, judged = judge(LABELS, threshold=0.4, open_set=OpenSetPlan(0.4, 6))
    rates = at_threshold_over(judged.open_set, 0.4)
    single = [
        np.mean((one.score[one.mated] < 0.4) & one.right[one.mated]) for one in judged.open_set
    ]
    assert rates.dir is not None
    assert rates.dir.value == pytest.approx(np.mean(single))
    assert (rates.dir.low, rates.dir.high) == pytest.approx(
        tuple(np.quantile(single, [0.025, 0.975]))
    )
    assert rates.n_mated == np.mean([one.mated.sum() for one in judged.open_set])


def test_a_summary_speaks_of_the_repeats_where_there_are_any(judge: Judge) -> None:
    once = summarise_evaluation(*judge(LABELS, threshold=0.4))
    again = summarise_evaluation(*judge(LABELS, threshold=0.4, open_set=OpenSetPlan(0.4, 6)))
    assert once.band is not None
    assert again.band is not None
    assert (once.band.repeats, again.band.repeats) == (None, 6)
    assert once.histograms is not None
    assert again.histograms is not None
    assert (once.histograms.repeats, again.histograms.repeats) == (0, 6)
    for found, times in ((once.histograms, 1), (again.histograms, 6)):
        assert (found.right + found.wrong + found.non_mated).sum() == times * 22
    assert once.open_set_at_threshold is None
    assert again.open_set_at_threshold is not None
    assert once.labels == again.labels


@pytest.mark.parametrize("labels", [["a"], ["a", "a"], ["a", "b"], ["a", None], ["a", "a", "b"]])
@pytest.mark.parametrize("tau", [None, 0.5])
def test_small_galleries_have_no_more_than_there_is(
    judge: Judge, labels: list[str | None], tau: float | None
) -> None:
    evaluation, judged = judge(labels, threshold=tau)
    summary = summarise_evaluation(evaluation, judged)
    both = evaluation.n_mated > 0 and evaluation.n_non_mated > 0
    assert (summary.band is not None) == both
    assert (summary.roc is not None) == (labels == ["a", "a", "b"])
    assert (summary.histograms is not None) == (len(labels) > 1)
    assert (summary.at_threshold is not None) == (tau is not None)
