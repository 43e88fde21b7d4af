"""Decisions against hand-worked cases and against their definitions, spelt out query by query."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.evaluation.decisions import (
    Searches,
    decision_curve,
    decision_rates,
    dir_at_fpir,
)
from retrieval.rules import NEAREST, RULES, Rule

INF = float("inf")
# A handful of levels, so that most queries have ties; 0.1 is inexact in binary.
LEVELS = (0.0, 0.1, 0.25, 0.5, 2.0)


class Query(NamedTuple):
    """Distances of a query's own identity, if it is there, and of the others."""

    mate: float | None
    rivals: list[float]

    @property
    def score(self) -> float:
        return min([*self.rivals, *([] if self.mate is None else [self.mate])], default=INF)

    @property
    def right(self) -> bool:
        return self.mate is not None and all(rival > self.mate for rival in self.rivals)


queries = st.lists(
    st.builds(
        Query,
        st.none() | st.sampled_from(LEVELS),
        st.lists(st.sampled_from(LEVELS), max_size=3).map(sorted),
    ),
    max_size=12,
)


def searches(asked: list[Query], rule: Rule = NEAREST) -> Searches:
    mate = [INF if one.mate is None else one.mate for one in asked]
    rivals = np.full((len(asked), 3), np.inf)
    for row, one in zip(rivals, asked, strict=True):
        row[: len(one.rivals)] = one.rivals
    return Searches.of(mate, rivals, rule)


def share(hits: list[bool]) -> float | None:
    return sum(hits) / len(hits) if hits else None


def rates_by_hand(asked: list[Query], threshold: float) -> dict[str, float | None]:
    told = [
        (one.mate is not None, float(np.float32(one.score)) < threshold, one.right) for one in asked
    ]
    good = [accepted and right if mated else not accepted for mated, accepted, right in told]
    precision = share([mated and right for mated, accepted, right in told if accepted])
    recall = share([accepted and right for mated, accepted, right in told if mated])
    f1 = None
    if precision is not None and recall is not None:
        both = precision + recall
        f1 = 2 * precision * recall / both if both else 0.0
    return {
        "threshold": threshold,
        "n_mated": sum(mated for mated, _, _ in told),
        "n_non_mated": sum(not mated for mated, _, _ in told),
        "accuracy": share(good),
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "fpir": share([accepted for mated, accepted, _ in told if not mated]),
        "fnir": share([not (accepted and right) for mated, accepted, right in told if mated]),
        "dir": recall,
        "misidentification": share(
            [accepted and not right for mated, accepted, right in told if mated]
        ),
    }


@given(queries, st.sampled_from([*LEVELS, 0.3, -1.0, 3.0, INF, float(np.float32(0.1))]))
def test_decision_rates_follow_their_definitions(asked: list[Query], threshold: float) -> None:
    actual = dataclasses.asdict(decision_rates(searches(asked), threshold))
    assert actual == pytest.approx(rates_by_hand(asked, threshold))


@given(queries)
def test_a_curve_holds_the_rates_at_each_of_its_thresholds(asked: list[Query]) -> None:
    curve = decision_curve(searches(asked))
    assert np.all(np.diff(curve.thresholds) > 0)
    for place, threshold in enumerate(curve.thresholds.tolist()):
        expected = rates_by_hand(asked, threshold)
        for name in ("fpir", "dir", "misidentification"):
            told = float(getattr(curve, name)[place])
            assert (None if np.isnan(told) else told) == expected[name]
    # Between and beyond them nothing changes.
    for threshold in (-1.0, 0.05, 0.2, 0.3, 3.0):
        fpir, found, _ = (float(one) for one in curve.at(threshold))
        expected = rates_by_hand(asked, threshold)
        assert np.isnan(fpir) if expected["fpir"] is None else fpir == expected["fpir"]
        assert np.isnan(found) if expected["dir"] is None else found == expected["dir"]


@given(queries, st.sampled_from([0.05, 0.25, 0.29, 1 / 3, 0.5, 1.0]))
def test_dir_at_fpir_is_that_of_the_largest_threshold_that_keeps_it(
    asked: list[Query], fpir: float
) -> None:
    found = dir_at_fpir(decision_curve(searches(asked)), fpir)
    strangers = sum(one.mate is None for one in asked)
    if strangers * fpir < 1 - 1e-9:
        assert (found.dir, found.threshold) == (None, None)
        assert found.note is not None
        assert "not enough non-mated searches" in found.note
        return
    kept = [
        rates
        for threshold in [0, *np.linspace(0, 3, 301)]
        if (rates := rates_by_hand(asked, threshold))["fpir"] <= fpir + 1e-12
    ]
    assert found.dir == kept[-1]["dir"]
    assert found.note is None


def test_hand_worked_decisions() -> None:
    # Threshold 0.5. Of four known queries one is found, one mistaken, one found too far, one tied;
    # of three strangers one is accepted, two rejected, one of them as its distance equals τ.
    asked = [
        Query(0.2, [0.4]),
        Query(0.4, [0.2]),
        Query(0.6, [0.8]),
        Query(0.3, [0.3]),
        Query(None, [0.2, 0.4]),
        Query(None, [0.6]),
        Query(None, [0.5, 0.5]),
    ]
    rates = decision_rates(searches(asked), 0.5)
    assert (rates.n_mated, rates.n_non_mated) == (4, 3)
    assert rates.accuracy == 3 / 7
    assert rates.precision == rates.recall == rates.dir == rates.f1 == 1 / 4
    assert (rates.fpir, rates.fnir, rates.misidentification) == (1 / 3, 3 / 4, 2 / 4)


def test_a_rule_changes_scores_and_never_names() -> None:
    asked = [Query(0.2, [0.4]), Query(0.4, [0.2]), Query(None, [0.6]), Query(0.5, [])]
    plain = searches(asked)
    for name in ("margin", "rivals", "ratio", "nac"):
        other = searches(asked, RULES[name])
        assert other.right.tolist() == plain.right.tolist()
        assert other.mated.tolist() == plain.mated.tolist()
    margin = searches(asked, RULES["margin"])
    assert margin.score.tolist() == pytest.approx([0.5, 0.5, 0.6, 0.5])


def test_rates_without_a_denominator_are_none() -> None:
    nobody = decision_rates(searches([]), 0.5)
    counts = {"threshold": 0.5, "n_mated": 0, "n_non_mated": 0}
    assert {k: v for k, v in dataclasses.asdict(nobody).items() if v is not None} == counts
    known = decision_rates(searches([Query(0.2, [])]), 0.5)
    assert known.fpir is None
    assert known.f1 == 1.0


def test_too_few_strangers_are_told_with_the_bound_they_give() -> None:
    curve = decision_curve(searches([Query(0.1, []), *[Query(None, [0.5])] * 30]))
    found = dir_at_fpir(curve, 0.01)
    assert found.note == "not enough non-mated searches: 30 only show FPIR below 0.1"
    nobody = dir_at_fpir(decision_curve(searches([Query(0.1, [])])), 0.01)
    assert nobody.note == "not enough non-mated searches: 0 only show FPIR below 1"


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        decision_rates(searches([]), float("nan"))
    with pytest.raises(ValueError, match="NaN"):
        Searches.of([float("nan")], [[0.5]], NEAREST)
    with pytest.raises(ValueError, match="NaN"):
        Searches.of([0.5], [[float("nan")]], NEAREST)
