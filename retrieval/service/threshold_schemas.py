"""What thresholds look like over the wire: the fields of docs/json.md, with examples."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from retrieval.rules import RuleName
from retrieval.service.schemas import examples

_CALIBRATION = {"scores": [0.31, 0.42], "p_values": [0.02, 0.05], "dirs": [0.11, 0.32]}
_THRESHOLD = {
    "value": 0.539,
    "rule": "margin",
    "objective": "fpir=0.05",
    "source": "gallery",
    "encoder_fingerprint": "39bb72720d042357a5d6f2d9d6c3e0a1d2b3c4d5e6f708192a3b4c5d6e7f8091",
    "details": {"promised": True, "fpir": 0.048, "dir": 0.121, "items": 2640, "labels": 81},
    "calibration": _CALIBRATION,
    "created_at": "2026-11-24T10:00:00Z",
}


class Calibration(BaseModel):
    """What a threshold was tuned on, in brief; empty lists where nothing is known.

    At a threshold t, FPIR is at most `p_values[i]` with i the first place where `scores[i] >= t`,
    and 1 where there is none. DIR is at least `dirs[i - 1]`, and 0 where i is 0.
    """

    scores: list[float] = Field(default=[], description="Ascending.")
    p_values: list[float] = Field(
        default=[], description="For each score, a bound on the share of strangers as low."
    )
    dirs: list[float] = Field(
        default=[], description="For each score, the share of known items identified there."
    )


class Threshold(BaseModel):
    """A threshold: what `lookalike info --json` prints of it."""

    model_config = examples(_THRESHOLD)

    value: float = Field(description="A match needs a score below.")
    rule: str = Field(description="What makes the score.")
    objective: str = Field(description="What it was tuned for, or `hand`.")
    source: str = Field(description="What it was tuned on, or `hand`.")
    encoder_fingerprint: str
    details: dict[str, Any] = Field(description="What was measured then.")
    calibration: Calibration
    created_at: str


class Thresholds(BaseModel):
    """The threshold in force."""

    model_config = examples({"threshold": _THRESHOLD, "outgrown": False, "note": None})

    threshold: Threshold | None
    outgrown: bool = Field(description="Whether the gallery's size has changed much since.")
    note: str | None = Field(description="Why there is none, or one to doubt.")


class NewThreshold(BaseModel):
    """A threshold given by hand."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"value": 0.52, "rule": None}]},
    )

    value: float = Field(ge=0, le=2, allow_inf_nan=False)
    rule: RuleName | None = Field(default=None, description="Null keeps the rule in force.")


class Tuning(BaseModel):
    """What a threshold is to be tuned for."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"objective": "fpir=0.05", "rule": None}]},
    )

    objective: str = Field(
        default="fpir=0.05",
        max_length=50,
        description="`fpir=X`, `far=X`, `precision=X`, `f1`, `accuracy` or `eer`.",
    )
    rule: RuleName | None = Field(
        default=None, description="Null takes the one that does best for the number of labels."
    )
