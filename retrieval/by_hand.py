"""A threshold given by hand: what the calibration in force tells of it is kept with it."""

from __future__ import annotations

import math
from typing import Any

from db import Store, Threshold
from retrieval.calibration import Tuned, put_threshold
from retrieval.errors import GalleryError
from retrieval.identification import Calibration
from retrieval.rules import NEAREST, RULES

BY_HAND = "hand"
"""The source, and the objective, of a threshold that somebody has chosen."""


def set_threshold(store: Store, value: float, rule: str | None) -> Threshold:
    """Store a threshold; see `Contents.set_threshold`."""
    if not math.isfinite(value):
        raise GalleryError(f"The threshold is {value}: say a number.")
    if rule is not None and rule not in RULES:
        raise GalleryError(f"There is no rule {rule!r}: say {', '.join(RULES)}.")
    with store.write() as tx:
        before = tx.threshold()
        chosen = RULES[rule or (before.rule if before else NEAREST.name)]
        kept = before.calibration if before and before.rule == chosen.name else {}
        # "asked": it is never replaced by one tuned unasked.
        details: dict[str, Any] = {"promised": False, "asked": True}
        if kept:
            calibration = Calibration(**kept)
            told = {"fpir": calibration.p_value(value), "dir": calibration.dir(value)}
            details |= {name: share for name, share in told.items() if share is not None}
        details |= {"items": tx.count_items(), "labels": len(tx.label_counts())}
        return put_threshold(tx, Tuned(value, chosen, BY_HAND, BY_HAND, details, kept))
