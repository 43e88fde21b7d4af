"""Objectives: the threshold picked is the one that trying all of them finds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import LookalikeError
from retrieval.evaluation.decisions import Searches, decision_rates
from retrieval.evaluation.objectives import Objective, UnattainableObjective, pick_threshold
from retrieval.evaluation.tuning import NotEnoughSearches, candidate_thresholds
from retrieval.rules import NEAREST

INF, NAN = float("inf"), float("nan")
LEVELS = st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 2.0])
SCORES = st.lists(LEVELS | st.just(INF), max_size=12)
OBJECTIVES = st.sampled_from(
    [
        "far=0.1",
        "far=0.25",
        "far=0.5",
        "far=1",
        "precision=0.5",
        "precision=0.8",
        "precision=1",
        "f1",
        "accuracy",
        "eer",
    ]
)


@dataclass
class Tried:
    """What one threshold does, counted one distance after the other."""

    tau: float
    right: int
    wrong: int
    misidentified: int
    n_mated: int
    n_non_mated: int

    @property
    def accepted(self) -> int:
        return self.right + self.wrong + self.misidentified

    @property
    def far(self) -> float:
        return self.wrong / self.n_non_mated

    @property
    def frr(self) -> float:
        return (self.n_mated - self.right) / self.n_mated

    @property
    def precision(self) -> float:
        return self.right / self.accepted if self.accepted else 0.0

    @property
    def f1(self) -> float:
        recall = self.right / self.n_mated
        return 2 * self.precision * recall / (self.precision + recall) if self.right else 0.0

    @property
    def accuracy(self) -> float:
        return (self.right + self.n_non_mated - self.wrong) / (self.n_mated + self.n_non_mated)


def try_all(mated: list[float], non_mated: list[float], misidentified: list[float]) -> list[Tried]:
    tried = []
    for tau in candidate_thresholds([*mated, *non_mated, *misidentified]).tolist():
        right, wrong, mistaken = (
            sum(float(np.float32(d)) < tau for d in ds) for ds in (mated, non_mated, misidentified)
        )
        tried.append(Tried(tau, right, wrong, mistaken, len(mated), len(non_mated)))
    return tried


def best_of(name: str, target: float, tried: list[Tried]) -> Tried | None:
    """Name the threshold that an objective asks for; None if there is none."""
    if name == "far":
        return max((one for one in tried if one.far <= target), key=lambda one: one.tau)
    if name == "precision":
        enough = [one for one in tried if one.accepted and one.precision >= target]
        return max(enough, key=lambda one: (one.right, -one.tau), default=None)
    if name == "eer":
        return min(
            tried,
            key=lambda one: (
                round(max(one.far, one.frr), 9),
                round(one.far + one.frr, 9),
                one.tau,
            ),
        )
    best = max(tried, key=lambda one: (round(getattr(one, name), 9), -one.tau))
    return best if name == "accuracy" or best.f1 else None


@given(OBJECTIVES, SCORES, SCORES, SCORES)
def test_the_threshold_is_the_one_found_by_trying_all(
    objective: str, mated: list[float], non_mated: list[float], misidentified: list[float]
) -> None:
    name, _, target = objective.partition("=")
    needed = {"far=0.1": 10, "far=0.25": 4, "far=0.5": 2}.get(objective, 1)
    if len(non_mated) < needed or (name != "far" and not mated):
        with pytest.raises(NotEnoughSearches):
            pick_threshold(objective, mated, non_mated, misidentified=misidentified)
        return
    expected = best_of(name, float(target or 0), try_all(mated, non_mated, misidentified))
    if expected is None:
        with pytest.raises(UnattainableObjective):
            pick_threshold(objective, mated, non_mated, misidentified=misidentified)
        return
    picked = pick_threshold(objective, mated, non_mated, misidentified=misidentified)
    assert picked.value == expected.tau
    assert (picked.n_mated, picked.n_non_mated) == (len(mated), len(non_mated))
    assert (picked.far, picked.frr) == (expected.far, expected.frr if mated else None)
    achieved = max(expected.far, expected.frr) if name == "eer" else float(getattr(expected, name))
    assert picked.achieved == pytest.approx(achieved, abs=1e-12)


def test_a_hand_worked_example() -> None:
    mated, non_mated = [0.1, 0.2, 0.4, 0.6], [0.3, 0.5, 0.7, 0.9]
    middle = {
        "far=0.25": 0.45,  # 0.3 may be accepted, 0.5 not; above the mated at 0.4
        "precision=1": 0.25,  # nothing wrong below 0.3
        "precision=0.75": 0.45,  # three of four
        "f1": 0.65,  # 2 · 4 / (6 + 4) = 0.8, against 2 · 3 / (4 + 4) = 0.75 at 0.45
        "accuracy": 0.25,  # 6 of 8, as also at 0.45 and 0.65
        "eer": 0.45,  # one of four wrongly accepted, one of four wrongly rejected
    }
    for objective, value in middle.items():
        assert pick_threshold(objective, mated, non_mated).value == pytest.approx(value), objective


@given(st.integers(0, 2**32 - 1), st.sampled_from(["f1", "accuracy", "precision=0.6", "far=0.5"]))
def test_on_searches_the_figures_are_those_of_decisions(seed: int, objective: str) -> None:
    rng = np.random.default_rng(seed)
    mate = np.where(rng.random(12) < 0.3, np.inf, rng.integers(0, 6, 12) / 4)
    mate[:2], mate[2:4] = np.inf, 0.5
    searches = Searches.of(mate, rng.integers(0, 6, (12, 1)) / 4, NEAREST)
    try:
        picked = pick_threshold(
            objective,
            np.where(searches.right, searches.score, np.inf)[searches.mated],
            searches.score[~searches.mated],
            misidentified=searches.score[searches.mated & ~searches.right],
        )
    except UnattainableObjective:
        return
    rates = decision_rates(searches, picked.value)
    figure = getattr(rates, {"far": "fpir"}.get(objective.split("=")[0], objective.split("=")[0]))
    assert picked.achieved == pytest.approx(figure)
    assert (picked.far, picked.frr) == (rates.fpir, rates.fnir)


def test_of_searches_far_is_fpir() -> None:
    far, fpir = (pick_threshold(f"{one}=0.5", [0.1], [0.25, 0.75]) for one in ("far", "fpir"))
    assert (fpir.value, fpir.far, fpir.objective) == (far.value, far.far, "fpir=0.5")


def test_far_needs_no_mated() -> None:
    picked = pick_threshold("far=0.5", [], [0.25, 0.75])
    assert (picked.value, picked.far, picked.frr, picked.n_mated) == (0.5, 0.5, None, 0)


def test_what_is_missing_is_said() -> None:
    with pytest.raises(NotEnoughSearches, match="there are 19 and 20 are needed"):
        pick_threshold("far=0.05", [0.1], [0.5] * 19)
    with pytest.raises(NotEnoughSearches, match=r"for f1 takes some .* there are 0 and 2"):
        pick_threshold("f1", [], [0.5, 0.5])
    with pytest.raises(NotEnoughSearches, match=r"for eer takes some .* there are 1 and 0"):
        pick_threshold("eer", [0.5], [])
    with pytest.raises(
        UnattainableObjective, match=r"reaches precision=0\.9: the best, .* has 0\.5 "
    ):
        pick_threshold("precision=0.9", [0.5], [0.5])
    with pytest.raises(UnattainableObjective, match="any of the 2 mated"):
        pick_threshold("f1", [INF, INF], [0.5])
    assert issubclass(UnattainableObjective, LookalikeError)


@pytest.mark.parametrize("objective", ["far=1", "f1"])
def test_nan_is_refused_with_its_place(objective: str) -> None:
    with pytest.raises(ValueError, match="non-mated distance 1 is NaN"):
        pick_threshold(objective, [0.5], [0.5, NAN])
    with pytest.raises(ValueError, match=r"^mated distance 0 is NaN"):
        pick_threshold(objective, [NAN], [0.5])
    with pytest.raises(ValueError, match="misidentified distance 0 is NaN"):
        pick_threshold(objective, [0.5], [0.5], misidentified=[NAN])


@pytest.mark.parametrize("text", ["far=0.01", "precision=0.95", "f1", "accuracy", "eer"])
def test_an_objective_is_written_as_it_is_read(text: str) -> None:
    assert str(Objective.parse(text)) == text
    assert pick_threshold(Objective.parse(text), [0.1], [0.5] * 100).objective == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        *[
            "f2",
            "far",
            "far=",
            "far=0",
            "far=1.1",
            "far=x",
            "far=nan",
            "precision=-1",
            "f1=0.5",
            "eer=",
            "=1",
            "FAR=0.1",
        ],
    ],
)
def test_what_is_no_objective_is_refused(text: str) -> None:
    with pytest.raises(LookalikeError, match="is no objective: say fpir=X, far=X"):
        Objective.parse(text)
