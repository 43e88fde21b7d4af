"""The examples that docs/evaluation.md works out by hand."""

from __future__ import annotations

import pytest

from retrieval.evaluation.decisions import Searches, decision_curve, decision_rates, dir_at_fpir
from retrieval.evaluation.metrics import (
    mean_average_precision_at_r,
    recall_at_k,
    search_outcomes,
)
from retrieval.rules import NEAREST

INF = float("inf")


def test_ranks() -> None:
    outcomes = search_outcomes([[0.1, 0.2, 0.2, 0.4]], [[False, True, False, True]])
    assert outcomes.mate_rank.tolist() == [3]
    assert [recall_at_k(outcomes, k).value for k in (1, 5)] == [0, 1]  # type: ignore[union-attr]
    assert mean_average_precision_at_r(outcomes) == 0


def test_decisions() -> None:
    mate = [0.2, 0.4, 0.6, 0.3, INF, INF, INF]
    others = [[0.4], [0.2], [0.8], [0.3], [0.2], [0.6], [0.5]]
    rates = decision_rates(Searches.of(mate, others, NEAREST), 0.5)
    assert (rates.dir, rates.misidentification) == (1 / 4, 2 / 4)
    assert rates.fpir == 1 / 3
    assert (rates.precision, rates.f1, rates.accuracy) == (1 / 4, 1 / 4, 3 / 7)


def test_dir_at_fpir() -> None:
    mate = [0.1, 0.3, 0.45, INF, INF, INF, INF]
    others = [[0.9], [0.9], [0.9], [0.2], [0.4], [0.6], [0.8]]
    curve = decision_curve(Searches.of(mate, others, NEAREST))
    found = dir_at_fpir(curve, 0.25)
    assert found.dir == pytest.approx(2 / 3)
    assert found.threshold is not None
    assert 0.3 < found.threshold <= 0.4
    assert dir_at_fpir(curve, 0.1).dir is None
