"""`/v1/jobs`: long work, and how far it is, as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import Response, StreamingResponse

from retrieval.json_text import to_json
from retrieval.service.answers import result
from retrieval.service.job_schemas import Job, JobList
from retrieval.service.jobs import Job as StoredJob
from retrieval.service.problems import ProblemError, documented
from retrieval.service.serving import Served, Serving

router = APIRouter(tags=["jobs"])
JobId = Annotated[str, Path(max_length=64, description="The job's name.")]
# How often the job is looked at, and how many looks without news pass before a sign of life.
_LOOK, _QUIET = 0.25, 60


@router.get(
    "/v1/jobs",
    summary="List jobs",
    response_model=JobList,
    responses=documented(401, 421, 503),
)
def list_jobs(served: Served) -> Response:
    """Return the jobs that are remembered, of all processes that serve the gallery."""
    return result({"jobs": served.jobs.all()})


@router.get(
    "/v1/jobs/{job_id}",
    summary="Show a job",
    response_model=Job,
    responses=documented(401, 404, 421, 422, 503),
)
def show_job(served: Served, job_id: JobId) -> Response:
    """Return one job."""
    return result(_job(served, job_id))


@router.get(
    "/v1/jobs/{job_id}/events",
    summary="Follow a job",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Events `progress`, then one `done` or `failed`; each one's data is the "
            "job. The stream ends with the job.",
            "content": {"text/event-stream": {}},
        },
        **documented(401, 404, 421, 422, 503),
    },
)
async def follow_job(served: Served, job_id: JobId) -> StreamingResponse:
    """Tell how far a job is, as server-sent events, until it ends."""
    job = await asyncio.to_thread(_job, served, job_id)
    return StreamingResponse(_events(served, job), media_type="text/event-stream")


async def _events(served: Serving, job: StoredJob) -> AsyncIterator[str]:
    told, quiet = None, 0
    while True:
        state = (job.state, job.done, job.total)
        quiet += 1
        if state != told:
            name = "progress" if job.state == "running" else job.state
            yield f"event: {name}\ndata: {to_json(job)}\n\n"
            told, quiet = state, 0
        elif quiet >= _QUIET:
            yield ": still running\n\n"
            quiet = 0
        if job.state != "running" or served.stopping:
            return
        await asyncio.sleep(_LOOK)
        found = await asyncio.to_thread(served.jobs.get, job.id)
        if found is None:
            return
        job = found


def _job(served: Serving, job_id: str) -> StoredJob:
    found = served.jobs.get(job_id)
    if found is None:
        raise ProblemError(404, "There is no such job: GET /v1/jobs lists those remembered.")
    return found
