"""What long work looks like over the wire, with examples."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from retrieval.service.schemas import examples

_JOB = {
    "id": "c0ffee00c0ffee00",
    "kind": "evaluation",
    "state": "running",
    "done": 1024,
    "total": 2640,
    "result": "/v1/evaluation",
    "problem": None,
    "created_at": "2026-11-24T10:00:00.000Z",
    "updated_at": "2026-11-24T10:00:01.000Z",
}


class Job(BaseModel):
    """A piece of long work."""

    model_config = examples(_JOB)

    id: str
    kind: Literal["evaluation", "tuning"]
    state: Literal["running", "done", "failed"]
    done: int = Field(description="Steps done.")
    total: int = Field(description="Steps there are; 0 where nobody knows yet.")
    result: str = Field(description="Where the result is found when it is done.")
    problem: str | None = Field(description="Why it failed, in one sentence.")
    created_at: str
    updated_at: str


class JobList(BaseModel):
    """The jobs that are remembered, newest first."""

    model_config = examples({"jobs": [_JOB]})

    jobs: list[Job]
