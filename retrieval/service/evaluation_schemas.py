"""What an evaluation looks like over the wire: the fields of docs/json.md."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from retrieval.evaluation.decisions import DecisionRates, DirAtFpir
from retrieval.evaluation.metrics import Rate
from retrieval.evaluation.openset import OpenSet
from retrieval.rules import RuleName
from retrieval.service.schemas import FailedPhoto


class Evaluation(BaseModel):
    """How well a gallery answers: what `lookalike eval --json` prints."""

    queries: int
    n_mated: int
    n_non_mated: int
    items: int
    labels: int
    recall: dict[str, Rate | None] = Field(description="Recall@k, by k.")
    map_at_r: float | None
    rule: str
    threshold: float | None
    decisions: list[DecisionRates]
    dir_at_fpir: list[DirAtFpir]
    open_set: OpenSet | None
    failed: list[FailedPhoto]


class Evaluated(BaseModel):
    """The last evaluation, if there was one."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "evaluation": None,
                    "created_at": None,
                    "outdated": False,
                    "report": None,
                    "job": None,
                    "note": "The gallery was never evaluated: POST /v1/evaluation does it.",
                }
            ]
        }
    )

    evaluation: Evaluation | None
    created_at: str | None = Field(description="When it was made, UTC.")
    outdated: bool = Field(description="Whether the gallery has changed since.")
    report: str | None = Field(description="The path of the same as a page, with curves.")
    job: str | None = Field(description="The evaluation that is running.")
    note: str | None = Field(description="Why there is none, or one to doubt.")


class EvaluationPlan(BaseModel):
    """How to evaluate: the gallery's own items play queries."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"strangers": 0.2, "repeats": 10, "seed": 0}]},
    )

    rule: RuleName | None = Field(default=None, description="Null takes the rule of the threshold.")
    strangers: float | None = Field(
        default=None, gt=0, lt=1, description="Also hide this share of the labels, over and over."
    )
    repeats: int = Field(default=10, ge=1, le=100)
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
