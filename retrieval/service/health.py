"""`/healthz`, `/readyz`, `/metrics`: for those who look after the service."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from retrieval.service.answers import result
from retrieval.service.metrics import MEDIA_TYPE
from retrieval.service.problems import documented
from retrieval.service.schemas import Health
from retrieval.service.serving import Served

router = APIRouter(tags=["health"])


@router.get(
    "/healthz",
    summary="Say that the service lives",
    response_model=Health,
    responses=documented(421),
)
async def healthz() -> Response:
    """Answer as long as the process lives."""
    return result({"status": "ok"})


@router.get(
    "/readyz",
    summary="Say that the service can answer",
    response_model=Health,
    responses=documented(421, 503),
)
def readyz(served: Served) -> Response:
    """Answer 200 when the gallery is open, its store can be read and its encoder runs."""
    served.gallery.seq()
    return result({"status": "ok"})


@router.get(
    "/metrics",
    summary="Show figures for Prometheus",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        **documented(401, 421),
    },
)
def metrics(request: Request) -> Response:
    """Return counters, of all processes that serve this gallery together."""
    return Response(request.app.state.serving.metrics.text(), media_type=MEDIA_TYPE)
