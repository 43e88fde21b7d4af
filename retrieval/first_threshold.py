"""The threshold a gallery gets by itself: the encoder's own, or one tuned on the gallery.

An encoder that was trained on the gallery's own labels tells these apart better than any label it
has not seen, and leaving them out in turn would promise far too much. Such an encoder brings a
threshold in its provenance, calibrated on labels held out from its training:

    {"threshold": {"value": 0.41, "rule": "margin", "objective": "fpir=0.05",
                   "details": {…}, "calibration": {"scores": […], "p_values": […], "dirs": […]}}}

Details and calibration are those of `db.Threshold`, and may be left out.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any

from db import Reader, Store
from retrieval.calibration import (
    GALLERY,
    TARGET_FPIR,
    Tuned,
    in_brief,
    outgrown,
    put_threshold,
    tune_on_gallery,
)
from retrieval.encoders.artifact import EncoderSpec
from retrieval.errors import EncoderError, LookalikeError
from retrieval.evaluation.leaving_out import leave_labels_out
from retrieval.identification import Calibration
from retrieval.rules import RULES, Rule, default_rule

ENCODER = "encoder"
"""The source of a threshold that came with the encoder."""


def tune_first_threshold(
    store: Store, encoder: EncoderSpec | None = None, *, only_if_stale: bool = False
) -> Tuned | None:
    """Store a first threshold, unless one not made here is in force.

    Args:
        store: The gallery's store.
        encoder: The gallery's encoder, whose own threshold is taken in preference.
        only_if_stale: Leave one tuned on the gallery alone until that is a tenth larger or smaller.

    Returns:
        The new threshold; `None` where there can be none, where the one in force stays, or where
        the gallery was given another encoder meanwhile.

    Raises:
        EncoderError: The encoder's own threshold can't be understood.
    """
    with store.read() as tx:
        mine, current = tx.encoder, tx.threshold()
        if encoder is not None and encoder.fingerprint != mine.fingerprint:
            return None
        if current is not None and (current.source != GALLERY or "asked" in current.details):
            return None
        stale = current is None or outgrown(current, tx.count_items())
        if only_if_stale and not stale:
            return None
        tuned = first_threshold(tx, encoder)
    if tuned is not None:
        with store.write() as writer:
            if writer.encoder != mine:
                return None
            put_threshold(writer, tuned)
    return tuned


def first_threshold(tx: Reader, encoder: EncoderSpec | None) -> Tuned | None:
    """Return the encoder's own threshold, or one tuned on the gallery for FPIR 5 %.

    Args:
        tx: The snapshot of the store, seen through the encoder.
        encoder: What it is.

    Returns:
        The threshold; `None` where fewer than two labels have several items, where there are too
        few searches to see one in twenty go wrong, or where the encoder was trained on labels of
        the gallery and brings none.

    Raises:
        EncoderError: The encoder's own threshold can't be understood.
    """
    own = travelling_threshold(encoder) if encoder is not None else None
    if own is not None:
        return own
    labels = tx.label_counts()
    if sum(count > 1 for count in labels.values()) < 2:
        return None
    if encoder is not None and learnt_labels(encoder, labels):
        return None
    left_out = leave_labels_out(tx)
    tuned = tune_on_gallery(left_out, TARGET_FPIR, default_rule(len(labels)))
    if tuned is None:
        return None
    return replace(
        tuned,
        details=tuned.details | {"items": tx.count_vectors(), "labels": len(labels)},
        calibration=in_brief(
            left_out.as_strangers(tuned.rule), left_out.identities, left_out.as_known(tuned.rule)
        ),
    )


def learnt_labels(encoder: EncoderSpec, labels: Iterable[str]) -> int:
    """Return how many of some labels an encoder was trained on, by its provenance."""
    training = encoder.provenance.get("training")
    learnt = training.get("labels", ()) if isinstance(training, dict) else ()
    return len(set(labels) & set(learnt))


def best_rule(encoder: EncoderSpec, labels: Collection[str]) -> Rule:
    """Return the rule that does best on data for a gallery of these labels."""
    return default_rule(len(labels), learnt=learnt_labels(encoder, labels) > 0)


def require_unlearnt(encoder: EncoderSpec, labels: Sequence[str]) -> None:
    """Make sure that leaving a gallery's labels out in turn tells what strangers are like.

    Raises:
        LookalikeError: The encoder was trained on some of them.
    """
    learnt = learnt_labels(encoder, labels)
    if learnt:
        raise LookalikeError(
            f"The encoder {encoder.name} was trained on {learnt:,} of this gallery's "
            f"{len(labels):,} labels, which tell nothing about strangers any more: supply photos "
            "of labels it has not seen with --strangers."
        )


def travelling_threshold(encoder: EncoderSpec) -> Tuned | None:
    """Return the threshold that an encoder brings, if it brings one.

    Raises:
        EncoderError: It can't be understood.
    """
    brought = encoder.provenance.get("threshold")
    if brought is None:
        return None
    try:
        value, details = brought["value"], brought.get("details", {})
        calibration = brought.get("calibration", {})
        _require_numbers([value], -math.inf, math.inf)
        _require_details(details)
        if calibration:
            _require_calibration(calibration)
        return Tuned(
            value=float(value),
            rule=RULES[brought["rule"]],
            objective=str(brought["objective"]),
            source=ENCODER,
            details=details,
            calibration=calibration,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise EncoderError(
            f"The threshold that comes with the encoder {encoder.name} can't be understood "
            f'({error}): take "threshold" out of the provenance in its encoder.json.'
        ) from error


def _require_details(details: dict[str, Any]) -> None:
    interval = details.get("fpir_interval", ())
    measured = [details["fpir"]] if interval or "fpir" in details else []
    _require_numbers([*interval, *measured], 0, 1)
    if len(interval) not in (0, 2):
        raise ValueError("fpir_interval is no pair")


def _require_calibration(calibration: dict[str, Any]) -> None:
    kept = Calibration(**calibration)
    _require_numbers(kept.scores, -math.inf, math.inf)
    _require_numbers([*kept.p_values, *kept.dirs], 0, 1)
    if list(kept.scores) != sorted(kept.scores) or len(kept.p_values) != len(kept.scores):
        raise ValueError("its scores don't ascend, or p_values are missing")


def _require_numbers(values: Iterable[Any], low: float, high: float) -> None:
    for value in values:
        if not isinstance(value, int | float) or not (
            low <= value <= high and abs(value) < math.inf
        ):
            raise ValueError(f"{value!r} is no number that can be meant")
