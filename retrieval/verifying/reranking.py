"""`--rule verifier`: a query's nearest items, ordered anew by the classifier."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from db import Store
from retrieval.errors import GalleryError
from retrieval.identification import Identification, NearestItem, identify
from retrieval.rules import Rule
from retrieval.verifying.model import CLASSIFIER, Verifier

NAME = "verifier"
# Items looked at: one that is farther off than so many others is hardly the right one.
DEPTH = 50
_NO_THRESHOLD = (
    "No threshold is tuned for this rule, so there is no verdict: give --threshold, a number from "
    "0 to 1 that 1 - probability must be below."
)


@dataclass(frozen=True, eq=False)
class Reranker:
    """Answers a query by the classifier's probabilities for its nearest items.

    Attributes:
        store: Holds the items' vectors.
        verifier: Holds the classifier.
    """

    store: Store
    verifier: Verifier

    def __post_init__(self) -> None:
        """Make sure that there is a classifier.

        Raises:
            GalleryError: There is none.
        """
        if self.verifier.classifier is None:
            raise GalleryError(
                "The gallery's verifier holds no classifier, which the rule verifier needs: run "
                "train-verifier --overwrite without --model distance."
            )

    def answer(
        self,
        vector: NDArray[np.float32],
        nearest: list[NearestItem],
        *,
        k: int,
        threshold: float | None,
        query: str | None,
    ) -> Identification:
        """Answer a query; its score is 1 - probability of the best item.

        Args:
            vector: float32, shape `(dim,)`, the query's embedding.
            nearest: Its nearest items; those beyond `DEPTH` keep their place.
            k: How many of them to return, the likeliest first.
            threshold: Of the score; `None` leaves the decision open.
            query: What was asked.
        """
        items, scores = self._ordered(vector, nearest[:DEPTH])
        rule = Rule(NAME, 1, lambda _distances: scores[:1])
        answered = identify(
            [*items, *nearest[DEPTH:]][:k], items[:1], threshold, rule=rule, query=query
        )
        return replace(answered, note=_NO_THRESHOLD) if answered.decision is None else answered

    def _ordered(
        self, vector: NDArray[np.float32], nearest: list[NearestItem]
    ) -> tuple[list[NearestItem], NDArray[np.float64]]:
        if not nearest:
            return [], np.empty(0)
        with self.store.read() as tx:
            stored = tx.vectors_of([item.id for item in nearest])
        row_of = {item_id: row for row, item_id in enumerate(stored.item_ids.tolist(), start=1)}
        # An item that went meanwhile is left out.
        items = [item for item in nearest if item.id in row_of]
        rows = np.array([row_of[item.id] for item in items], dtype=np.int64)
        scores = 1 - self.verifier.probabilities(
            np.concatenate([vector[np.newaxis], stored.data.astype(np.float32)]),
            np.zeros(len(rows), dtype=np.int64),
            rows,
            by=CLASSIFIER,
        )
        # Among equals, as where probabilities are flat, the nearer item comes first.
        order = np.argsort(scores, kind="stable")
        return [items[one] for one in order.tolist()], scores[order]
