"""Tuning a gallery's threshold for a share of strangers that may pass.

Strangers are photos of labels the gallery lacks: supplied ones, or the gallery's own items, each
with its whole label left out in turn. The same item then also plays a mated query, with only itself
left out: these tell what a threshold costs, and never move it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from db import Store, Threshold, Writer
from retrieval.belonging import require_encoder, require_same
from retrieval.embedding import Embedded, embed
from retrieval.encoders import Encoder
from retrieval.errors import LookalikeError
from retrieval.evaluation.conformal import (
    NotEnoughLabels,
    PromisedThreshold,
    confident_threshold,
    p_value,
    promised_threshold,
)
from retrieval.evaluation.decisions import Searches, decision_curve, decision_rates
from retrieval.evaluation.inputs import read_queries
from retrieval.evaluation.intervals import labelled_rate
from retrieval.evaluation.leaving_out import LeftOut, leave_labels_out
from retrieval.evaluation.objectives import Objective, PickedThreshold, pick_threshold
from retrieval.evaluation.tuning import NotEnoughSearches, TunedThreshold, tune_fpir
from retrieval.paths import AnyPath
from retrieval.proving import always
from retrieval.rules import Rule
from retrieval.searching import Searcher

TARGET_FPIR = 0.05
GALLERY = "gallery"
# Scores kept with a threshold, about twice.
_KEPT = 100
# A gallery this much larger or smaller than at its tuning deserves another one.
_STALE_SHARE = 0.1


@dataclass(frozen=True)
class Tuned:
    """A threshold about to be stored: see `db.Threshold`."""

    value: float
    rule: Rule
    objective: str
    source: str
    details: dict[str, Any]
    calibration: dict[str, Any] = field(default_factory=dict)


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


def outgrown(threshold: Threshold, items: int) -> bool:
    """Whether a gallery of so many items deserves another threshold than this one.

    Args:
        threshold: Its details hold the gallery's size at the tuning, or else it is never outgrown.
        items: The gallery's size now.
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
    tuned = fpir_threshold(left_out.as_strangers(rule), left_out.identities, target)
    if tuned is None:
        return None
    details = {"promised": isinstance(tuned, PromisedThreshold), "fpir": tuned.fpir}
    details |= _cost(left_out, rule, tuned.value)
    return Tuned(tuned.value, rule, tuned.objective, GALLERY, details)


def fpir_threshold(
    scores: NDArray[np.float32], labels: ArrayLike, target: float
) -> PromisedThreshold | TunedThreshold | None:
    """Keep FPIR within a target: by a promise where there are labels enough, else as it is here.

    Args:
        scores: float32, shape `(n,)`, of strangers.
        labels: `(n,)`, what they show.
        target: In (0, 1].

    Returns:
        The threshold; `None` where there are too few searches even for the latter.
    """
    try:
        return promised_threshold(scores, labels, target)
    except NotEnoughLabels:
        with suppress(NotEnoughSearches):
            return tune_fpir(scores, target)
    return None


def tune_threshold(
    store: Store,
    searcher: Searcher,
    open_encoder: Callable[[], Encoder],
    *,
    objective: str,
    strangers: AnyPath | None,
    confidence: float | None,
    rule: Rule,
) -> Threshold:
    """Tune and store a threshold; see `Gallery.tune_threshold`."""
    wanted = Objective.parse(objective)
    target = wanted.target if wanted.name == "fpir" else None
    _require_confidence(confidence, target, strangers)
    with store.read() as tx:
        left_out, mine = leave_labels_out(tx), tx.encoder
        known = set(tx.label_counts())
        size = {"items": tx.count_items(), "labels": len(known)}
    if strangers is not None:
        encoder = open_encoder()
        require_same(mine, encoder.spec.fingerprint)
        supplied = _score_strangers(searcher, encoder, strangers, known, rule)
    elif len(left_out.identities):
        supplied = None
    else:
        raise LookalikeError("The gallery holds no items to tune on: add photos first.")
    scores: NDArray[np.float32] = supplied.scores if supplied else left_out.as_strangers(rule)
    labels: list[Any] = supplied.labels if supplied else left_out.identities.tolist()
    tuned: PromisedThreshold | PickedThreshold
    if target is None:
        tuned = _pick(wanted, left_out.as_known(rule), scores)
        details: dict[str, Any] = {"promised": False, "asked": True, "achieved": tuned.achieved}
    else:
        if confidence is None:
            tuned = promised_threshold(scores, labels, target)
        else:
            tuned = confident_threshold(scores, labels, target, confidence)
        details = {"promised": True, "asked": True}
    passed = labelled_rate(scores < tuned.value, labels).by_label
    details |= {"fpir": passed.value, "fpir_interval": [passed.low, passed.high]}
    details |= _cost(left_out, rule, tuned.value)
    if supplied is not None:
        details |= {"strangers": len(scores), "stranger_labels": len(set(labels))}
        details |= supplied.left_out
    source = GALLERY if strangers is None else str(strangers)
    chosen = Tuned(
        tuned.value,
        rule,
        tuned.objective,
        source,
        details | size,
        in_brief(scores, labels, left_out.as_known(rule)),
    )
    with store.write() as writer:
        require_encoder(writer, mine.fingerprint)
        return put_threshold(writer, chosen)


def _require_confidence(
    confidence: float | None, target: float | None, strangers: AnyPath | None
) -> None:
    if confidence is None:
        return
    if target is None or target == 1 or not 0 < confidence < 1:
        raise LookalikeError(
            f"A confidence of {confidence} goes with the objective fpir=X alone; X and the "
            "confidence must lie between 0 and 1."
        )
    if strangers is None:
        raise LookalikeError(
            "--confidence needs --strangers: the gallery's own photos are no independent sample of "
            "strangers."
        )


def _pick(objective: Objective, known: Searches, strangers: NDArray[np.float32]) -> PickedThreshold:
    return pick_threshold(
        objective,
        np.where(known.right, known.score, np.inf)[known.mated],
        strangers,
        misidentified=known.score[known.mated & ~known.right],
    )


def _score_strangers(
    searcher: Searcher, encoder: Encoder, strangers: AnyPath, known: set[str], rule: Rule
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
            vectors = np.stack([one.vector for one in read])
            found = searcher.search(vectors, 1, rule.identities, doubt=always)
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
    cost: dict[str, Any] = {
        "dir": rates.dir,
        "n_mated": rates.n_mated,
        "n_non_mated": len(searches),
    }
    if rates.n_mated:
        found = (searches.right & (searches.score.astype(np.float64) < value))[searches.mated]
        interval = labelled_rate(found, left_out.identities[searches.mated]).by_photo
        cost["dir_interval"] = [interval.low, interval.high]
    return cost


def in_brief(
    scores: NDArray[np.float32], labels: ArrayLike, known: Searches
) -> dict[str, list[float]]:
    """Keep what calibration scores tell, as `identification.Calibration` wants it.

    Args:
        scores: float32, shape `(n,)`, of strangers.
        labels: `(n,)`, what they show.
        known: Searches that tell what a threshold is worth.
    """
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


def put_threshold(tx: Writer, tuned: Tuned) -> Threshold:
    """Put a threshold in force for the encoder the gallery belongs to."""
    tx.add_threshold(
        tuned.value,
        rule=tuned.rule.name,
        objective=tuned.objective,
        source=tuned.source,
        details=tuned.details,
        calibration=tuned.calibration,
    )
    stored = tx.threshold()
    if stored is None:
        raise AssertionError("a threshold that was just stored is gone")
    return stored
