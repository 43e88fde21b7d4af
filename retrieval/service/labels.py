"""`/v1/labels`, and `/v1/gallery`: what a gallery is."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import APIRouter, Request
from fastapi.responses import Response

from retrieval.service.answers import result
from retrieval.service.problems import documented
from retrieval.service.schemas import GalleryState, Labels
from retrieval.service.serving import Served

router = APIRouter(tags=["gallery"])


@router.get(
    "/v1/gallery",
    summary="Say what is served",
    response_model=GalleryState,
    responses=documented(401, 421, 503),
)
def show_gallery(request: Request, served: Served) -> Response:
    """Return the gallery's size and encoder, the limits on requests, and what this token allows."""
    contents = served.gallery.counts()
    limits = served.settings.limits
    return result(
        {
            "name": served.place.title,
            **contents,
            "may_write": request.scope["right"] == "write",
            "version": version("lookalike"),
            "limits": {
                "bytes": limits.request_bytes,
                "files": limits.files,
                "pixels": limits.pixels,
            },
        }
    )


@router.get(
    "/v1/labels",
    summary="List labels",
    response_model=Labels,
    responses=documented(401, 421, 503),
)
def list_labels(served: Served) -> Response:
    """Return each label with the number of its items."""
    counts = served.gallery.labels()
    return result(
        {
            "labels": [{"label": label, "items": count} for label, count in counts.items()],
            "unlabelled": served.gallery.count() - sum(counts.values()),
        }
    )
