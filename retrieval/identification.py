"""From the nearest items to an answer. Pure: no store, no index, no images."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from retrieval.rules import NEAREST, Rule

NO_THRESHOLD = (
    "This gallery has no threshold, so there is no verdict: its labels have too few items to tune "
    "one, or its encoder was trained on them; give --threshold, add photos and run build-index "
    "again, or supply others with tune-threshold --strangers."
)
OUTGROWN = (
    "The gallery had {then:,} items when its threshold was tuned and has {now:,} now, so other "
    "shares of strangers may pass: run tune-threshold."
)
EMPTY = "This gallery is empty: add items first."
NOBODY = "No item of this gallery meets the conditions, so there is nothing to compare with."
FILTERED = (
    "The threshold was tuned on the whole gallery, and by the rule {rule} more strangers may pass "
    "where conditions leave look-alikes out: `tune-threshold --rule nearest` makes one that holds."
)


@dataclass(frozen=True)
class NearestItem:
    """One of the items nearest to a query.

    Attributes:
        id: The item's number.
        label: The identity it shows; `None` when it is an identity of its own.
        distance: Cosine distance to the query, in [0, 2].
        path: Where its image was read.
        metadata: What is known of it besides.
    """

    id: int
    label: str | None
    distance: float
    path: str
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Calibration:
    """What a threshold was tuned on, in brief: scores, and what each tells.

    Attributes:
        scores: Ascending.
        p_values: For each score, a bound on the share of strangers that come as close or closer.
        dirs: For each score, the share of known queries identified were τ just above it.
    """

    scores: Sequence[float] = ()
    p_values: Sequence[float] = ()
    dirs: Sequence[float] = ()

    def p_value(self, score: float) -> float | None:
        """Bound the share of strangers that would come this close; `None` without scores.

        >>> Calibration([0.25, 0.5], [0.1, 0.4]).p_value(0.3)
        0.4
        """
        if not self.scores:
            return None
        # What is kept is in brief: the next larger score's share errs on the safe side.
        place = bisect_left(self.scores, score)
        return self.p_values[place] if place < len(self.scores) else 1.0

    def dir(self, threshold: float) -> float | None:
        """Return the share of known queries identified at τ; `None` where nothing is known of it.

        >>> Calibration([0.25, 0.5], [0.1, 0.4], [0.6, 0.9]).dir(0.3)
        0.6
        """
        if not self.dirs:
            return None
        # The next smaller score's share errs on the safe side, as for strangers.
        place = bisect_left(self.scores, threshold)
        return self.dirs[place - 1] if place else 0.0


@dataclass(frozen=True)
class Identification:
    """The answer to a query.

    Attributes:
        query: What was asked, usually a path.
        decision: `match`, `unknown`, or `None` when there is no threshold to decide by.
        label: The label matched; `None` too when the matching item has no label.
        item_id: The nearest item of a match.
        distance: The nearest item's distance; `None` in an empty gallery.
        next_distance: The distance of the nearest item of another identity; `None` where there is
            none, or none nearer than anything unrelated.
        next_label: Its label.
        margin: How much nearer the nearest identity is than the next one.
        rule: What makes the score of the distances.
        score: What is compared with the threshold; smaller is surer.
        threshold: The threshold τ in force.
        p_value: A bound on the share of strangers that would score this low; `None` where there is
            no calibration for this rule, or conditions leave it without meaning.
        note: Why there is no decision, or one to doubt, in a sentence for the user.
        items: The k nearest items, nearest first.
        where: The conditions, as they are written, that items had to meet to be compared with.
        among: How many items meet them; `None` without conditions.
    """

    query: str | None
    decision: Literal["match", "unknown"] | None
    label: str | None
    item_id: int | None
    distance: float | None
    next_distance: float | None
    next_label: str | None
    margin: float | None
    rule: str
    score: float | None
    threshold: float | None
    p_value: float | None
    note: str | None
    items: tuple[NearestItem, ...]
    where: tuple[str, ...] = ()
    among: int | None = None


def score_of(identities: Sequence[NearestItem], rule: Rule) -> float:
    """Return the score of the nearest of these identities, which there is."""
    return float(rule(np.array([[one.distance for one in identities]]))[0])


def is_match(identities: Sequence[NearestItem], threshold: float, rule: Rule = NEAREST) -> bool:
    """Whether the nearest of these identities is matched; of none, none is."""
    return bool(identities) and score_of(identities, rule) < threshold


def identify(
    items: Sequence[NearestItem],
    identities: Sequence[NearestItem],
    threshold: float | None,
    *,
    rule: Rule = NEAREST,
    calibration: Calibration | None = None,
    note: str | None = None,
    query: str | None = None,
) -> Identification:
    """Decide by the nearest identities: the nearest matches iff its score is below the threshold.

    Args:
        items: The k nearest items, nearest first.
        identities: The nearest item of each of the nearest identities, nearest first.
        threshold: τ; `None` leaves the decision open.
        rule: How the score is made.
        calibration: What is known of strangers' scores by this rule.
        note: What there is to be said of the threshold.
        query: What was asked.

    Example:
        >>> near = [NearestItem(7, "Granny-Smith", 0.2, "a.jpg")]
        >>> identify(near, near, threshold=0.3).label
        'Granny-Smith'
        >>> identify(near, near, threshold=0.2).decision
        'unknown'
    """
    nearest = items[0] if items else None
    others = identities[1:2]
    if nearest is None:
        score = None
        decision: Literal["match", "unknown"] | None = "unknown"
    else:
        score = score_of(identities, rule)
        decision = None if threshold is None else ("match" if score < threshold else "unknown")
    matched = nearest if decision == "match" else None
    return Identification(
        query,
        decision=decision,
        label=matched.label if matched else None,
        item_id=matched.id if matched else None,
        distance=nearest.distance if nearest else None,
        next_distance=others[0].distance if others else None,
        next_label=others[0].label if others else None,
        margin=others[0].distance - identities[0].distance if others else None,
        rule=rule.name,
        score=score,
        threshold=threshold,
        p_value=None if calibration is None or score is None else calibration.p_value(score),
        note=EMPTY if nearest is None else NO_THRESHOLD if decision is None else note,
        items=tuple(items),
    )
