"""`/v1/thresholds`: the threshold in force, one given by hand, one tuned."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from retrieval.building import Progress
from retrieval.calibration import outgrown
from retrieval.evaluation.objectives import Objective
from retrieval.identification import EMPTY, OUTGROWN
from retrieval.service.answers import result
from retrieval.service.job_schemas import Job
from retrieval.service.problems import documented
from retrieval.service.serving import Served
from retrieval.service.threshold_schemas import NewThreshold, Threshold, Thresholds, Tuning

router = APIRouter(tags=["thresholds"])
_NONE = (
    "This gallery has no threshold, so there is no verdict: add photos of several labels and tune "
    "one, or set one by hand."
)


@router.get(
    "/v1/thresholds",
    summary="Show the threshold in force",
    response_model=Thresholds,
    responses=documented(401, 421, 503),
)
def show_threshold(served: Served) -> Response:
    """Return the threshold with what it was tuned on in brief: what FPIR and DIR another brings."""
    threshold = served.gallery.threshold()
    count = served.gallery.count()
    old = threshold is not None and outgrown(threshold, count)
    note = None
    if not count:
        note = EMPTY
    elif threshold is None:
        note = _NONE
    elif old:
        note = OUTGROWN.format(then=threshold.details["items"], now=count)
    return result({"threshold": threshold, "outgrown": old, "note": note})


@router.put(
    "/v1/thresholds",
    summary="Set the threshold by hand",
    response_model=Threshold,
    responses=documented(400, 401, 403, 408, 413, 421, 422, 503),
)
def set_threshold(served: Served, chosen: NewThreshold) -> Response:
    """Put a threshold in force; what the calibration tells of it is kept with it."""
    return result(served.gallery.set_threshold(chosen.value, rule=chosen.rule))


@router.post(
    "/v1/thresholds",
    summary="Tune the threshold",
    status_code=202,
    response_model=Job,
    responses=documented(400, 401, 403, 408, 409, 413, 421, 422, 503),
)
def tune_threshold(served: Served, tuning: Tuning) -> Response:
    """Begin to tune a threshold on the gallery's own items; it is put in force at the end.

    The answer is a job; `GET /v1/jobs/{job_id}/events` tells how far it is.
    """
    Objective.parse(tuning.objective)

    def work(_progress: Progress) -> None:
        served.gallery.tune_threshold(objective=tuning.objective, rule=tuning.rule)

    job = served.jobs.start("tuning", served.path, work)
    return result(job, status=202, headers={"Location": f"/v1/jobs/{job.id}"})
