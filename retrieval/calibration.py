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
    promised_threshold,
)
from retrieval.evaluation.distances import distance_rows
from retrieval.evaluation.intervals import labelled_rate
from retrieval.evaluation.metrics import detection_and_identification
from retrieval.evaluation.protocol import query_sources
from retrieval.evaluation.tuning import NotEnoughSearches, tune_fpir
from retrieval.searching import Searcher

TARGET_FPIR = 0.05
GALLERY = "gallery"
# Items that play queries, at most: what more of them would tell is not worth their time.
_SEARCHES = 2000
_CHUNK = 256
# A gallery this much larger or smaller than at its tuning deserves another one.
_STALE_SHARE = 0.1


@dataclass(frozen=True)
class LeftOut:
    """What each of some items found as a query.

    Attributes:
        identities: int64, shape `(n,)`; equal numbers show the same identity.
        nearest_mate: float32, shape `(n,)`, with only itself left out; +inf without a mate.
        nearest_non_mate: float32, shape `(n,)`, with its label left out; +inf without another.
    """

    identities: NDArray[np.int64]
    nearest_mate: NDArray[np.float32]
    nearest_non_mate: NDArray[np.float32]


@dataclass(frozen=True)
class Tuned:
    """A threshold about to be stored: see `db.Threshold`."""

    value: float
    objective: str
    source: str
    details: dict[str, Any]


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
        if only_if_stale and current is not None:
            tuned_at = current.details["items"]
            if abs(items - tuned_at) <= _STALE_SHARE * tuned_at:
                return None
        if sum(count > 1 for count in labels.values()) < 2:
            return None
        left_out = leave_labels_out(tx)
    tuned = tune_on_gallery(left_out, TARGET_FPIR)
    if tuned is not None:
        _store(store, tuned)
    return tuned


def tune_on_gallery(left_out: LeftOut, target: float) -> Tuned | None:
    """Tune a threshold on the gallery's own items.

    Where there are labels enough the promise of `promised_threshold` is kept; where not, the
    threshold is only the largest that lets no more than the target pass among these very items.

    Returns:
        The threshold; `None` where there are too few searches even for that.
    """
    scores = left_out.nearest_non_mate
    try:
        promised = promised_threshold(scores, left_out.identities, target)
    except NotEnoughLabels:
        try:
            plain = tune_fpir(scores, target)
        except NotEnoughSearches:
            return None
        details = {"promised": False, "fpir": plain.fpir}
        return Tuned(plain.value, plain.objective, GALLERY, details | _cost(left_out, plain.value))
    details = {"promised": True, "fpir": promised.fpir}
    details |= _cost(left_out, promised.value)
    return Tuned(promised.value, promised.objective, GALLERY, details)


def tune_threshold(
    store: Store,
    searcher: Searcher,
    open_encoder: Callable[[], Encoder],
    *,
    target: float,
    strangers: Path | None,
    confidence: float | None,
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
    if strangers is None:
        if not len(left_out.identities):
            raise LookalikeError("The gallery holds no items to tune on: add photos first.")
        scores, labels = left_out.nearest_non_mate, left_out.identities.tolist()
        promised = promised_threshold(scores, labels, target)
        source = GALLERY
        more: dict[str, Any] = {}
    else:
        scores, labels, unusable = _stranger_scores(searcher, open_encoder(), strangers, known)
        if confidence is None:
            promised = promised_threshold(scores, labels, target)
        else:
            promised = confident_threshold(scores, labels, target, confidence)
        source = str(strangers)
        more = {"strangers": len(scores), "stranger_labels": len(set(labels))} | unusable
    details: dict[str, Any] = {"promised": True, "asked": True, "fpir": promised.fpir}
    passed = labelled_rate(scores < promised.value, labels).by_label
    details |= {"fpir_interval": [passed.low, passed.high]}
    details |= _cost(left_out, promised.value) | more
    return _store(store, Tuned(promised.value, promised.objective, source, details))


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
    chosen = _choose(identities, seed)
    drawn = []
    for part in tx.vectors():
        within = np.flatnonzero(np.isin(part.item_ids, chosen))
        drawn.append((part.ids[within], part.item_ids[within], part.data[within]))
    if not drawn:
        nothing = np.empty(0, dtype=np.float32)
        return LeftOut(np.empty(0, dtype=np.int64), nothing, nothing)
    query_ids, query_items, queries = (
        np.concatenate(column) for column in zip(*drawn, strict=True)
    )
    shown = np.array([identities[item_id] for item_id in query_items.tolist()], dtype=np.int64)
    nearest_mate = np.full(len(shown), np.inf, dtype=np.float32)
    nearest_non_mate = nearest_mate.copy()
    for part in tx.vectors():
        theirs = np.array([identities[item_id] for item_id in part.item_ids.tolist()])
        for first in range(0, len(shown), _CHUNK):
            some = slice(first, first + _CHUNK)
            distances = distance_rows(queries[some].astype(np.float32), part.data)
            mates = shown[some, np.newaxis] == theirs
            others = np.where(mates, np.inf, distances).min(axis=1)
            np.minimum(nearest_non_mate[some], others, out=nearest_non_mate[some])
            mates &= query_ids[some, np.newaxis] != part.ids
            near = np.min(distances, axis=1, where=mates, initial=np.inf)
            np.minimum(nearest_mate[some], near, out=nearest_mate[some])
    return LeftOut(shown, nearest_mate, nearest_non_mate)


def _choose(identities: dict[int, int], seed: int) -> NDArray[np.int64]:
    """Draw the items that play queries: one of every label before a second of any."""
    item_ids = np.fromiter(identities, dtype=np.int64, count=len(identities))
    shuffled = np.random.default_rng(seed).permutation(len(item_ids))
    shown = np.fromiter(identities.values(), dtype=np.int64, count=len(item_ids))[shuffled]
    order = np.argsort(shown, kind="stable")
    _, starts, sizes = np.unique(shown[order], return_index=True, return_counts=True)
    turn = np.empty(len(order), dtype=np.int64)
    turn[order] = np.arange(len(order)) - np.repeat(starts, sizes)
    return item_ids[shuffled[np.argsort(turn, kind="stable")[:_SEARCHES]]]


def _stranger_scores(
    searcher: Searcher, encoder: Encoder, strangers: Path, known: set[str]
) -> tuple[NDArray[np.float32], list[str], dict[str, int]]:
    """Return the distance of each stranger's nearest item, its label, and what was left out."""
    sources = query_sources(strangers)
    unknown = [one for one in sources if one.label is None or one.label.label not in known]
    scores: list[float] = []
    labels: list[str] = []
    outcomes = embed(unknown, encoder)
    while some := list(islice(outcomes, encoder.batch_size)):
        read = [one for one in some if isinstance(one, Embedded)]
        if read:
            found = searcher.search(np.stack([one.vector for one in read]), 1)
            scores += [items[0].distance if items else np.inf for items in found.items]
            # A photo without a label is a stranger of its own; no label holds the character NUL.
            labels += [
                (one.source.label.label if one.source.label else None) or f"\0{one.source.path}"
                for one in read
            ]
    if not scores:
        raise LookalikeError(
            f"{strangers} holds no photo of a stranger that can be read: {len(sources)} photos, "
            f"{len(sources) - len(unknown)} of labels that the gallery knows; name photos whose "
            "labels it lacks."
        )
    left_out = {"known": len(sources) - len(unknown), "unreadable": len(unknown) - len(scores)}
    return np.array(scores, dtype=np.float32), labels, {k: n for k, n in left_out.items() if n}


def _cost(left_out: LeftOut, value: float) -> dict[str, Any]:
    """Say what a threshold costs: the share of the gallery's own items still identified."""
    found = detection_and_identification(left_out.nearest_mate, left_out.nearest_non_mate, value)
    return {
        "dir": found.value if found else None,
        "n_mated": found.n if found else 0,
        "n_non_mated": len(left_out.identities),
    }


def _store(store: Store, tuned: Tuned) -> Threshold:
    with store.write() as tx:
        size = {"items": tx.count_items(), "labels": len(tx.label_counts())}
        tx.add_threshold(
            tuned.value,
            objective=tuned.objective,
            source=tuned.source,
            details=tuned.details | size,
        )
        stored = tx.threshold()
    if stored is None:
        raise AssertionError("a threshold that was just stored is gone")
    return stored
