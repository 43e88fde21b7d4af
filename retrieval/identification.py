"""From the nearest items to an answer. Pure: no store, no index, no images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

NO_THRESHOLD = (
    "This gallery has no threshold, so there is no verdict: its labels have too few items to tune "
    "one; give --threshold, or add photos and run build-index again."
)
EMPTY = "This gallery is empty: add items first."


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
class Identification:
    """The answer to a query.

    Attributes:
        query: What was asked, usually a path.
        decision: `match`, `unknown`, or `None` when there is no threshold to decide by.
        label: The label matched; `None` too when the matching item has no label.
        item_id: The nearest item of a match.
        distance: The nearest item's distance; `None` in an empty gallery.
        threshold: The threshold τ in force.
        note: Why there is no decision, in a sentence for the user.
        items: The k nearest items, nearest first.
    """

    query: str | None
    decision: Literal["match", "unknown"] | None
    label: str | None
    item_id: int | None
    distance: float | None
    threshold: float | None
    note: str | None
    items: tuple[NearestItem, ...]


def identify(
    items: Sequence[NearestItem], threshold: float | None, *, query: str | None = None
) -> Identification:
    """Decide by the nearest item: it matches iff its distance is below the threshold.

    Args:
        items: The k nearest items, nearest first.
        threshold: τ, a cosine distance; `None` leaves the decision open.
        query: What was asked.

    Example:
        >>> near = NearestItem(7, "Granny-Smith", 0.2, "a.jpg")
        >>> identify([near], threshold=0.3).label
        'Granny-Smith'
        >>> identify([near], threshold=0.2).decision
        'unknown'
    """
    if not items:
        return Identification(query, "unknown", None, None, None, threshold, EMPTY, ())
    nearest = items[0]
    if threshold is None:
        return Identification(
            query, None, None, None, nearest.distance, None, NO_THRESHOLD, tuple(items)
        )
    match = nearest.distance < threshold
    return Identification(
        query,
        decision="match" if match else "unknown",
        label=nearest.label if match else None,
        item_id=nearest.id if match else None,
        distance=nearest.distance,
        threshold=threshold,
        note=None,
        items=tuple(items),
    )
