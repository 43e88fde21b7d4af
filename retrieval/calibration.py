"""Tuning a gallery's threshold for a share of strangers that may pass.

Strangers are photos of labels the gallery lacks: supplied ones, or the gallery's own items, each
with its whole label left out in turn. The same item then also plays a mated query, with only itself
left out: these tell what a threshold costs, and never move it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from db import Reader, Store, Threshold
from retrieval.embedding import Embedded, embed
from retrieval.encoders import Encoder
from retrieval.errors import LookalikeError
from retrieval.evaluation.conformal import (
    NotEnoughLabels,
    confident_threshold,
    p_value,
    promised_threshold,
)
from retrieval.evaluation.decisions import Searches, decision_curve, decision_rates
from retrieval.evaluation.distances import distance_rows
from retrieval.evaluation.drawing import draw_items
from retrieval.evaluation.identities import NearestIdentities
from retrieval.evaluation.inputs import read_queries
from retrieval.evaluation.intervals import labelled_rate
from retrieval.evaluation.tuning import NotEnoughSearches, tune_fpir
from retrieval.rules import RULES, Rule, default_rule
from retrieval.searching import Searcher

TARGET_FPIR = 0.05
GALLERY = "gallery"
# Items that play queries, at most: what more of them would tell is not worth their time.
_SEARCHES = 2000
_CHUNK = 256
_RIVALS = max(rule.identities for rule in RULES.values())
# Scores kept with a threshold, about twice.
_KEPT = 100
# A gallery this much larger or smaller than at its tuning deserves another one.
_STALE_SHARE = 0.1


@dataclass(frozen=True, eq=False)
class LeftOut:
    """What each of some items found as a query.

    Attributes:
        identities: int64, shape `(n,)`; equal numbers show the same identity.
        nearest_mate: float32, shape `(n,)`, with only itself left out; +inf without a mate.
        rivals: float32, shape `(n, c)`, with its label left out: distances of the nearest
            identities, ascending, +inf where there are no more.
    """

    identities: NDArray[np.int64]
    nearest_mate: NDArray[np.float32]
    rivals: NDArray[np.float32]

    def as_strangers(self, rule: Rule) -> NDArray[np.float32]:
        """Score the items as strangers, their label left out; float32, shape `(n,)`."""
        return rule(self.rivals).astype(np.float32)

    def as_known(self, rule: Rule) -> Searches:
        """Judge the items as queries, themselves left out."""
        return Searches.of(self.nearest_mate, self.rivals, rule)


@dataclass(frozen=True)
class Tuned:
    """A threshold about to be stored: see `db.Threshold`."""

    value: float
    rule: Rule
    objective: str
    source: str
    details: dict[str, Any]


@dataclass(frozen=True)
class Strangers:
    """Scores of photos that show nobody the gallery knows.

    Attributes:
        scores: float32, shape `(n,)`.
        labels: What they show, n; each stands for itself where nothing is known.
        left_out: How many photos were not used, by reason.
    """

    scores: NDArray[np.float32]
    labels: list[str]
    left_out: dict[str, int]


def tune_first_threshold(store: Store, *, only_if_stale: bool = False) -> Tuned | None:
    """Tune and store a threshold for FPIR 5 %, unless one not made here is in force.

    Args:
        store: The gallery's store.
        only_if_stale: Leave a threshold alone until the gallery is a tenth larger or smaller.

    Returns:
        The new threshold; `None` where fewer than two labels have several items, where there are
        too few searches to see one in twenty go wrong, or where the one in force stays.
    """
    with store.read() as tx:
        current = tx.threshold()
        if current is not None and (current.source != GALLERY or "asked" in current.details):
            return None
        items, labels = tx.count_items(), tx.label_counts()
        if only_if_stale and current is not None and not outgrown(current, items):
            return None
        if sum(count > 1 for count in labels.values()) < 2:
            return None
        left_out = leave_labels_out(tx)
    tuned = tune_on_gallery(left_out, TARGET_FPIR, default_rule(len(labels)))
    if tuned is not None:
        _store(store, tuned, left_out)
    return tuned


def outgrown(threshold: Threshold, items: int) -> bool:
    """Whether a gallery of so many items deserves another threshold than this one.

    Its own size at the tuning is in the details; one that isn't can't be outgrown.
    """
    tuned_at = threshold.details.get("items")
    return tuned_at is not None and abs(items - tuned_at) > _STALE_SHARE * tuned_at


def tune_on_gallery(left_out: LeftOut, target: float, rule: Rule) -> Tuned | None:
    """Tune a threshold on the gallery's own items.

    Where there are labels enough the promise of `promised_threshold` is kept; where not, the
    threshold is only the largest that lets no more than the target pass among these very items.

    Returns:
        The threshold; `None` where there are too few searches even for that.
    """
    scores = left_out.as_strangers(rule)
    try:
        promised = promised_threshold(scores, left_out.identities, target)
    except NotEnoughLabels:
        try:
            plain = tune_fpir(scores, target)
        except NotEnoughSearches:
            return None
        details: dict[str, Any] = {"promised": False, "fpir": plain.fpir}
        value, objective = plain.value, plain.objective
    else:
        details = {"promised": True, "fpir": promised.fpir}
        value, objective = promised.value, promised.objective
    return Tuned(value, rule, objective, GALLERY, details | _cost(left_out, rule, value))


def tune_threshold(
    store: Store,
    searcher: Searcher,
    open_encoder: Callable[[], Encoder],
    *,
    target: float,
    strangers: Path | None,
    confidence: float | None,
    rule: Rule | None,
) -> Threshold:
    """Tune and store a threshold; see `Gallery.tune_threshold`."""
    if strangers is None and confidence is not None:
        raise LookalikeError(
            "--confidence needs --strangers: the gallery's own photos are no independent sample of "
            "strangers."
        )
    with store.read() as tx:
        left_out = leave_labels_out(tx)
        known = set(tx.label_counts())
    rule = rule or default_rule(len(known))
    if strangers is None:
        if not len(left_out.identities):
            raise LookalikeError("The gallery holds no items to tune on: add photos first.")
        supplied = None
        scores: NDArray[np.float32] = left_out.as_strangers(rule)
        labels: list[Any] = left_out.identities.tolist()
        promised = promised_threshold(scores, labels, target)
        more: dict[str, Any] = {}
    else:
        supplied = _score_strangers(searcher, open_encoder(), strangers, known, rule)
        scores, labels = supplied.scores, supplied.labels
        if confidence is None:
            promised = promised_threshold(scores, labels, target)
        else:
            promised = confident_threshold(scores, labels, target, confidence)
        more = {"strangers": len(scores), "stranger_labels": len(set(labels))} | supplied.left_out
    details: dict[str, Any] = {"promised": True, "asked": True, "fpir": promised.fpir}
    passed = labelled_rate(scores < promised.value, labels).by_label
    details |= {"fpir_interval": [passed.low, passed.high]}
    details |= _cost(left_out, rule, promised.value) | more
    source = GALLERY if strangers is None else str(strangers)
    tuned = Tuned(promised.value, rule, promised.objective, source, details)
    return _store(store, tuned, left_out, supplied)


def leave_labels_out(tx: Reader, *, seed: int = 0) -> LeftOut:
    """Let items play queries; holds some of the gallery's vectors at a time, never all.

    Args:
        tx: The snapshot of the store.
        seed: Draws the items in a large gallery, from as many labels as can be.
    """
    codes: dict[str | None, int] = {}
    identities = {
        item_id: -item_id if label is None else codes.setdefault(label, len(codes))
        for item_id, label in tx.item_labels()
    }
    item_ids = np.fromiter(identities, dtype=np.int64, count=len(identities))
    everybody = np.fromiter(identities.values(), dtype=np.int64, count=len(identities))
    chosen = item_ids[draw_items(everybody, _SEARCHES, seed)]
    drawn = []
    for part in tx.vectors():
        within = np.flatnonzero(np.isin(part.item_ids, chosen))
        drawn.append((part.ids[within], part.item_ids[within], part.data[within]))
    if not drawn:
        nothing = np.empty(0, dtype=np.float32)
        return LeftOut(np.empty(0, dtype=np.int64), nothing, nothing.reshape(0, _RIVALS))
    query_ids, query_items, queries = (
        np.concatenate(column) for column in zip(*drawn, strict=True)
    )
    shown = np.array([identities[item_id] for item_id in query_items.tolist()], dtype=np.int64)
    nearest_mate = np.full(len(shown), np.inf, dtype=np.float32)
    rivals = NearestIdentities(len(shown), _RIVALS)
    for part in tx.vectors():
        theirs = np.array([identities[item_id] for item_id in part.item_ids.tolist()])
        for first in range(0, len(shown), _CHUNK):
            some = slice(first, first + _CHUNK)
            distances = distance_rows(queries[some].astype(np.float32), part.data)
            mates = shown[some, np.newaxis] == theirs
            rivals.update(np.where(mates, np.float32(np.inf), distances), theirs, some)
            mates &= query_ids[some, np.newaxis] != part.ids
            near = np.min(distances, axis=1, where=mates, initial=np.inf)
            np.minimum(nearest_mate[some], near, out=nearest_mate[some])
    return LeftOut(shown, nearest_mate, rivals.distances)


def _score_strangers(
    searcher: Searcher, encoder: Encoder, strangers: Path, known: set[str], rule: Rule
) -> Strangers:
    queries = read_queries(strangers)
    unknown = [
        one
        for one in queries.sources
        if one.path in queries.strangers or one.label is None or one.label.label not in known
    ]
    scores: list[float] = []
    labels: list[str] = []
    outcomes = embed(unknown, encoder)
    while some := list(islice(outcomes, encoder.batch_size)):
        read = [one for one in some if isinstance(one, Embedded)]
        if read:
            found = searcher.search(np.stack([one.vector for one in read]), 1, rule.identities)
            distances = np.full((len(read), rule.identities), np.inf)
            for row, nearest in zip(distances, found.identities, strict=True):
                row[: len(nearest)] = [one.distance for one in nearest]
            scores += rule(distances).tolist()
            # A photo without a label is a stranger of its own; no label holds the character NUL.
            labels += [
                (one.source.label.label if one.source.label else None) or f"\0{one.source.path}"
                for one in read
            ]
    left_out = {
        "known": len(queries.sources) - len(unknown),
        "unreadable": len(unknown) - len(scores),
    }
    if not scores:
        raise LookalikeError(
            f"{strangers} holds no photo of a stranger that can be read: "
            f"{len(queries.sources)} photos, {left_out['known']} of labels that the gallery knows; "
            "name photos whose labels it lacks."
        )
    return Strangers(
        np.array(scores, dtype=np.float32), labels, {k: n for k, n in left_out.items() if n}
    )


def _cost(left_out: LeftOut, rule: Rule, value: float) -> dict[str, Any]:
    """Say what a threshold costs: the share of the gallery's own items still identified."""
    searches = left_out.as_known(rule)
    rates = decision_rates(searches, value)
    return {"dir": rates.dir, "n_mated": rates.n_mated, "n_non_mated": len(searches)}


def _in_brief(left_out: LeftOut, rule: Rule, strangers: Strangers | None) -> dict[str, list[float]]:
    """Keep what calibration scores tell, as `identification.Calibration` wants it."""
    if strangers is None:
        scores, labels = left_out.as_strangers(rule), left_out.identities.tolist()
    else:
        scores, labels = strangers.scores, strangers.labels
    known = left_out.as_known(rule)
    curve = decision_curve(known)
    kept = np.unique(scores[np.isfinite(scores)])
    if not len(kept):
        return {}
    # Evenly by rank, and the smallest ones all: they are what a decision turns on.
    ranks = np.linspace(0, len(kept) - 1, min(_KEPT, len(kept))).round().astype(int)
    kept = kept[np.union1d(ranks, np.arange(min(_KEPT, len(kept))))]
    after = np.nextafter(kept, np.float32(np.inf)).astype(np.float64)
    return {
        "scores": kept.astype(float).tolist(),
        "p_values": p_value(kept, scores, labels).tolist(),
        "dirs": curve.at(after)[1].tolist() if curve.n_mated else [],
    }


def _store(
    store: Store, tuned: Tuned, left_out: LeftOut, strangers: Strangers | None = None
) -> Threshold:
    with store.write() as tx:
        size = {"items": tx.count_items(), "labels": len(tx.label_counts())}
        tx.add_threshold(
            tuned.value,
            rule=tuned.rule.name,
            objective=tuned.objective,
            source=tuned.source,
            details=tuned.details | size,
            calibration=_in_brief(left_out, tuned.rule, strangers),
        )
        stored = tx.threshold()
    if stored is None:
        raise AssertionError("a threshold that was just stored is gone")
    return stored
