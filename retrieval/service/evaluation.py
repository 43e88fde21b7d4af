"""`/v1/evaluation`: how well the gallery answers, as figures and as a page."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import Response

from retrieval.building import Progress
from retrieval.evaluation.protocol import OpenSetPlan
from retrieval.gallery import Gallery
from retrieval.json_text import to_json
from retrieval.service.answers import result
from retrieval.service.evaluation_schemas import Evaluated, EvaluationPlan
from retrieval.service.headers import REPORT_PATH
from retrieval.service.job_schemas import Job
from retrieval.service.problems import ProblemError, documented
from retrieval.service.serving import WORK, Served

router = APIRouter(tags=["evaluation"])
_FIGURES, _REPORT = "evaluation.json", "evaluation.html"
_NEVER = "The gallery was never evaluated: POST /v1/evaluation does it."
_OUTDATED = "The gallery has changed since it was evaluated: POST /v1/evaluation does it again."


@router.get(
    "/v1/evaluation",
    summary="Show the last evaluation",
    response_model=Evaluated,
    responses=documented(401, 421, 503),
)
def show_evaluation(served: Served) -> Response:
    """Return the figures of the last evaluation, made by any process that serves this gallery."""
    running = next(
        (job.id for job in served.jobs.all() if (job.kind, job.state) == ("evaluation", "running")),
        None,
    )
    try:
        last = json.loads((served.path / WORK / _FIGURES).read_text(encoding="utf-8"))
    except FileNotFoundError:
        last = {"evaluation": None, "created_at": None, "seq": None}
    outdated = last["seq"] not in (None, served.gallery.seq())
    note = _OUTDATED if outdated else None if last["evaluation"] else _NEVER
    report = REPORT_PATH if last["evaluation"] else None
    del last["seq"]
    return result(last | {"outdated": outdated, "report": report, "job": running, "note": note})


@router.post(
    "/v1/evaluation",
    summary="Evaluate the gallery",
    status_code=202,
    response_model=Job,
    responses=documented(400, 401, 403, 408, 409, 413, 421, 422, 503),
)
def evaluate(served: Served, plan: EvaluationPlan) -> Response:
    """Begin to evaluate the gallery by its own items.

    The answer is a job; `GET /v1/jobs/{job_id}/events` tells how far it is.
    """

    def work(progress: Progress) -> None:
        _evaluate(served.gallery, plan, progress)

    job = served.jobs.start("evaluation", served.path, work)
    return result(job, status=202, headers={"Location": f"/v1/jobs/{job.id}"})


@router.get(
    REPORT_PATH,
    summary="Show the last evaluation as a page",
    response_class=Response,
    responses={
        200: {"content": {"text/html": {"schema": {"type": "string"}}}},
        **documented(401, 404, 421, 503),
    },
)
def show_report(served: Served) -> Response:
    """Return the report with its curves and the worst photos, one page that needs no network."""
    try:
        page = (served.path / WORK / _REPORT).read_bytes()
    except FileNotFoundError as error:
        raise ProblemError(404, _NEVER) from error
    return Response(page, media_type="text/html")


def _evaluate(gallery: Gallery, plan: EvaluationPlan, progress: Progress) -> None:
    folder = gallery.path / WORK
    hidden = OpenSetPlan(plan.strangers, plan.repeats, plan.seed) if plan.strangers else None
    # What is stored while this runs is not in it.
    seq = gallery.seq()
    with tempfile.TemporaryDirectory(prefix="lookalike-evaluation-") as made:
        report = Path(made) / _REPORT
        evaluation = gallery.evaluate(
            rule=plan.rule, open_set=hidden, report=report, progress=progress
        )
        page = report.read_bytes()
    now = f"{datetime.now(UTC).replace(tzinfo=None).isoformat(timespec='seconds')}Z"
    figures = to_json({"evaluation": evaluation, "created_at": now, "seq": seq})
    for name, data in ((_REPORT, page), (_FIGURES, figures.encode())):
        new = folder / f"{name}.new"
        new.write_bytes(data)
        new.replace(folder / name)
