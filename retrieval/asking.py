"""Asking a gallery: a question, and the answers made of what a search found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from db import Threshold
from retrieval.calibration import outgrown
from retrieval.conditions import Conditions, Where, conditions, written
from retrieval.embedding import Embedded, FailedPhoto, Unreadable, embed
from retrieval.encoders import Encoder
from retrieval.errors import GalleryError
from retrieval.identification import (
    FILTERED,
    NOBODY,
    OUTGROWN,
    Calibration,
    Identification,
    NearestItem,
    identify,
    is_match,
)
from retrieval.paths import AnyPath
from retrieval.proving import Doubt, Found
from retrieval.rules import NEAREST, RULES, Rule
from retrieval.searching import Searcher
from retrieval.sources import Source
from retrieval.verifying.reranking import DEPTH, Reranker


@dataclass(frozen=True)
class Question:
    """What is to be known of a photo.

    Attributes:
        k: How many of the nearest items.
        threshold: τ; `None` takes the gallery's.
        rule: How the score is made; `None` takes the rule of the gallery's threshold, or, where τ
            is given, `nearest`: τ is a cosine distance then.
        reranker: Orders the nearest items anew and scores them, instead of a rule.
        where: What items must meet to be compared with.
    """

    k: int
    threshold: float | None
    rule: Rule | None
    reranker: Reranker | None = None
    where: Conditions = ()

    @property
    def depth(self) -> int:
        """How many of the nearest items to search for."""
        return self.k if self.reranker is None else max(self.k, DEPTH)

    @property
    def identities(self) -> int | None:
        """How many identities to search for; `None`: as many as the gallery's rule looks at."""
        if self.reranker is not None:
            return 1
        # The next one is always wanted: the margin is told whatever the rule.
        return max(2, self.rule.identities) if self.rule else None


def question(
    k: int,
    threshold: float | None = None,
    rule: str | None = None,
    reranker: Reranker | None = None,
    where: Where = None,
) -> Question:
    """Make a question of what a user said.

    Raises:
        GalleryError: k is below 1, there is no such rule, or a condition is written wrongly.
    """
    if k < 1:
        raise GalleryError(f"k is {k}: ask for at least 1 item.")
    return Question(k, threshold, named_rule(rule), reranker, conditions(where))


def named_rule(name: str | None) -> Rule | None:
    """Return the rule of this name, `None` for none.

    Raises:
        GalleryError: There is no such rule.
    """
    if name is not None and name not in RULES:
        raise GalleryError(f"There is no rule {name!r}: say {', '.join(RULES)}.")
    return RULES[name] if name is not None else None


def search(searcher: Searcher, vectors: NDArray[np.float32], asked: Question) -> Found:
    """Search for what a question wants to know of queries, float32 `(n, dim)`."""
    depth, identities = asked.depth, asked.identities
    return searcher.search(vectors, depth, identities, where=asked.where, doubt=doubt(asked))


def answer(
    found: Found, row: int, asked: Question, query: str | None, vector: NDArray[np.float32]
) -> Identification:
    """Answer the query in one row of what was found; its embedding is float32 `(dim,)`."""
    if asked.reranker is None:
        answered = _answer_by_rule(found, row, asked, query)
    else:
        answered = asked.reranker.answer(
            vector, found.items[row], k=asked.k, threshold=asked.threshold, query=query
        )
    if not asked.where:
        return answered
    return replace(
        answered,
        note=NOBODY if found.count and not found.among else answered.note,
        where=tuple(map(written, asked.where)),
        among=found.among,
    )


def doubt(asked: Question) -> Doubt | None:
    """Return which answers to a question are doubtful: nobody is called unknown by a mere miss.

    A reranker decides by the photos, so that nothing is doubtful before it has seen them.
    """
    if asked.reranker is not None:
        return None

    def is_unknown(stored: Threshold | None, identities: list[NearestItem]) -> bool:
        rule, mine = _rule_in_force(asked, stored)
        threshold = asked.threshold if asked.threshold is not None or not mine else mine.value
        return threshold is not None and not is_match(identities, threshold, rule)

    return is_unknown


def _rule_in_force(asked: Question, stored: Threshold | None) -> tuple[Rule, Threshold | None]:
    """Return the rule that decides, and the gallery's threshold if it was tuned for that."""
    rule = asked.rule
    if rule is None:
        rule = NEAREST if asked.threshold is not None or stored is None else RULES[stored.rule]
    return rule, stored if stored is not None and stored.rule == rule.name else None


def _answer_by_rule(found: Found, row: int, asked: Question, query: str | None) -> Identification:
    threshold = asked.threshold
    rule, mine = _rule_in_force(asked, found.threshold)
    # Left out, a rival no longer raises a score; the nearest distance alone can only grow.
    promised = found.among == found.count or rule.identities == 1
    note = None
    if threshold is None and mine is not None:
        threshold = mine.value
        if outgrown(mine, found.count):
            note = OUTGROWN.format(then=mine.details["items"], now=found.count)
    answered = identify(
        found.items[row],
        found.identities[row],
        threshold,
        rule=rule,
        calibration=Calibration(**mine.calibration) if mine is not None and promised else None,
        note=note,
        query=query,
    )
    if answered.decision == "match" and asked.threshold is None and not promised:
        return replace(answered, note=FILTERED.format(rule=rule.name))
    return answered


def answer_many(
    searcher: Searcher, encoder: Encoder, images: Iterable[AnyPath], asked: Question
) -> Iterator[Identification | FailedPhoto]:
    """Answer many queries at the speed of the pipeline, in their order."""
    outcomes = embed((Source(image) for image in images), encoder)
    while some := list(islice(outcomes, encoder.batch_size)):
        vectors = [one.vector for one in some if isinstance(one, Embedded)]
        if vectors:
            found = search(searcher, np.stack(vectors), asked)
        row = 0
        for one in some:
            if isinstance(one, Embedded):
                yield answer(found, row, asked, str(one.source.path), one.vector)
                row += 1
            elif isinstance(one, Unreadable):
                yield FailedPhoto(str(one.source.path), one.reason)
