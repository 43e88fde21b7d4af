"""Which labels and which photos a gallery does worst on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from db import Item
from retrieval.evaluation.metrics import Rate
from retrieval.evaluation.protocol import Judged
from retrieval.paths import AnyPath

CASES = 12
"""How many of the worst photos to show of each kind, at most."""


@dataclass(frozen=True)
class LabelRow:
    """How the queries of one label fare.

    Attributes:
        label: `None` for the queries without one.
        known: Whether these are mated queries; a label's strangers have a row of their own.
        n: How many there are.
        recall_at_1: Share whose nearest item is a mate; `None` for strangers.
        accepted_right: Accepted under their own label; `None` without a threshold, like the next.
        accepted_wrong: Accepted under another label; of strangers, accepted at all.
        rejected: Not accepted.
    """

    label: str | None
    known: bool
    n: int
    recall_at_1: Rate | None
    accepted_right: int | None
    accepted_wrong: int | None
    rejected: int | None


@dataclass(frozen=True)
class Shown:
    """An item beside a query.

    Attributes:
        item: The item.
        distance: Its distance to the query.
    """

    item: Item
    distance: float


@dataclass(frozen=True)
class Case:
    """A query to look at.

    Attributes:
        path: Its photo.
        label: What it shows; `None` where nobody said.
        known: Whether it is mated.
        score: What is compared with the threshold.
        accepted: Whether it is accepted; `None` without a threshold.
        right: Whether the nearest item's identity is its own.
        nearest: The nearest item.
        mate: The nearest mate; `None` without one.
    """

    path: AnyPath
    label: str | None
    known: bool
    score: float
    accepted: bool | None
    right: bool
    nearest: Shown
    mate: Shown | None


def label_rows(judged: Judged, threshold: float | None) -> list[LabelRow]:
    """Count by label, worst first.

    Worst is the smallest share of right decisions at the threshold, or without one the smallest
    recall@1; of equals the smaller
    recall@1, then the label with more queries, comes first. Without a threshold nothing is
    decided about strangers, and they come last.
    """
    searches, ranks = judged.searches, judged.compared.outcomes.mate_rank
    mated = searches.mated
    accepted = _accepted(judged, threshold)
    groups: dict[tuple[str | None, bool], list[int]] = {}
    for place, key in enumerate(zip(judged.labels, mated.tolist(), strict=True)):
        groups.setdefault(key, []).append(place)
    rows = []
    for (label, known), places in groups.items():
        n = len(places)
        found = Rate.of(int(np.count_nonzero(ranks[places] == 1)), n) if known else None
        counts: tuple[int, int, int] | tuple[None, None, None] = (None, None, None)
        if accepted is not None:
            let_in = accepted[places]
            right = int(np.count_nonzero(let_in & mated[places] & searches.right[places]))
            wrong = int(np.count_nonzero(let_in)) - right
            counts = (right, wrong, n - right - wrong)
        rows.append(LabelRow(label, known, n, found, *counts))
    return sorted(rows, key=_goodness)


def worst_misses(judged: Judged, threshold: float | None) -> list[Case]:
    """Return known queries that are rejected or named wrongly, the highest scores first."""
    searches = judged.searches
    missed = searches.mated & ~searches.right
    accepted = _accepted(judged, threshold)
    if accepted is not None:
        missed |= searches.mated & ~accepted
    return _cases(judged, threshold, np.flatnonzero(missed), highest=True)


def worst_accepts(judged: Judged, threshold: float | None) -> list[Case]:
    """Return strangers and known queries named wrongly, the lowest scores first.

    Where the threshold accepts some of them these are shown alone; where it accepts none, or there
    is none, those that a larger one would accept first.
    """
    searches = judged.searches
    wrong = ~(searches.mated & searches.right)
    accepted = _accepted(judged, threshold)
    if accepted is not None and (wrong & accepted).any():
        wrong &= accepted
    return _cases(judged, threshold, np.flatnonzero(wrong), highest=False)


def _accepted(judged: Judged, threshold: float | None) -> NDArray[np.bool_] | None:
    # In float64: a float32 comparison would round the threshold.
    return None if threshold is None else judged.searches.score.astype(np.float64) < threshold


def _goodness(row: LabelRow) -> tuple[float, float, int, str, bool]:
    found = 2.0 if row.recall_at_1 is None else row.recall_at_1.value
    kept = found
    if row.accepted_right is not None and row.rejected is not None:
        kept = (row.accepted_right if row.known else row.rejected) / row.n
    return kept, found, -row.n, row.label or "", row.known


def _cases(
    judged: Judged, threshold: float | None, which: NDArray[np.intp], *, highest: bool
) -> list[Case]:
    scores = judged.searches.score[which]
    which, scores = which[np.isfinite(scores)], scores[np.isfinite(scores)]
    order = np.argsort(-scores if highest else scores, kind="stable")[:CASES]
    return [_case(judged, threshold, place) for place in which[order].tolist()]


def _case(judged: Judged, threshold: float | None, place: int) -> Case:
    compared, searches = judged.compared, judged.searches
    mate = _shown(judged, compared.mate, compared.outcomes.nearest_mate, place)
    rival = _shown(judged, compared.rival, compared.outcomes.nearest_non_mate, place)
    right = bool(searches.right[place])
    nearest = mate if right else rival
    if nearest is None:
        raise AssertionError("a finite score has an item that made it")
    score = float(searches.score[place])
    return Case(
        path=judged.paths[place],
        label=judged.labels[place],
        known=bool(searches.mated[place]),
        score=score,
        accepted=None if threshold is None else score < threshold,
        right=right,
        nearest=nearest,
        mate=mate,
    )


def _shown(
    judged: Judged, positions: NDArray[np.int64], distances: NDArray[np.float32], place: int
) -> Shown | None:
    position = int(positions[place])
    if position < 0:
        return None
    return Shown(judged.gallery.items[position], float(distances[place]))
