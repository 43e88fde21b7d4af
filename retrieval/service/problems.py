"""What goes wrong, told as RFC 9457 problem details: the sentence is that of the command line."""

from __future__ import annotations

import logging
import math
import re
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from db import NotRestorable, StoreError
from indexes import EngineError
from retrieval.errors import EncoderChanged, ImageError, LookalikeError
from retrieval.place import Place

_log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
# An absolute path but its last part: where things lie is the server's own affair.
_FOLDERS = re.compile(
    r"(?<![\w./…])(?:[A-Za-z]:[\\/]|[a-z][\w+.-]+://|/)(?:[^\s\\/:;,'\"()]+[\\/])*"
)

MEANINGS = {
    400: "The request can't be read.",
    401: "There is no token, or it is not known.",
    403: "The token is for reading only, or another site's page asks.",
    404: "There is no such thing.",
    405: "This can't be done with that.",
    408: "The request took too long to arrive.",
    409: "What is there already is in the way.",
    413: "The request is too large.",
    421: "The service does not answer to this name.",
    422: "The request can't be used as it is: the sentence says what to mend.",
    500: "A fault of the service; its log says more.",
    503: "The service can't take this on now: try again after `Retry-After` seconds.",
}


class ProblemError(HTTPException):
    """Something that a client can mend, or wait for.

    Attributes:
        status_code: The HTTP status.
        detail: One sentence: what, and how to mend it.
        more: Further members of the problem's JSON.
    """

    def __init__(
        self,
        status_code: int,
        detail: str,
        *,
        headers: dict[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(status_code, detail, headers)
        self.more = more


def busy(detail: str, *, seconds: float = 1) -> ProblemError:
    """Refuse politely: come again after so many seconds."""
    return ProblemError(503, detail, headers={"Retry-After": str(max(1, math.ceil(seconds)))})


def problem(
    status: int, detail: str, *, headers: dict[str, str] | None = None, **more: Any
) -> Response:
    """Make the answer to a request that failed."""
    content = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        **more,
    }
    return JSONResponse(content, status, headers, MEDIA_TYPE)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe answers for the OpenAPI document."""
    reference = {"$ref": "#/components/schemas/Problem"}
    described: dict[int | str, dict[str, Any]] = {}
    for status in sorted(statuses):
        example = {
            "type": "about:blank",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": MEANINGS[status],
        }
        described[status] = {
            "description": MEANINGS[status],
            "content": {MEDIA_TYPE: {"schema": reference, "example": example}},
        }
        if status == 503:
            described[status]["headers"] = {
                "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}
            }
    return described


def without_folders(text: str, gallery: Path) -> str:
    """Take out of a sentence where on the server things lie.

    >>> without_folders("/srv/shop/gallery.db is damaged, /tmp/a/b.png too.", Path("/srv/shop"))
    'gallery.db is damaged, b.png too.'
    >>> without_folders("/srv/shop has no verifier.", Path("/srv/shop"))
    'The gallery has no verifier.'
    >>> without_folders("s3://photos/red/1.png is gone.", Path("/srv/shop"))
    '1.png is gone.'
    """
    for path in {str(gallery), str(gallery.absolute()), str(gallery.resolve())}:
        text = text.replace(f"{path}/", "").replace(path, "the gallery")
    text = _FOLDERS.sub("", text)
    return text[:1].upper() + text[1:] if text.startswith("the gallery") else text


def _allowed(app: FastAPI, path: str) -> list[str]:
    """Return the methods of all routes of a path: one route alone only knows its own."""
    return sorted(
        method.upper()
        for template, operations in app.openapi()["paths"].items()
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path)
        for method in operations
    )


def explain_problems(app: FastAPI, place: Place, home: Path) -> None:
    """Let an app tell all its failures as problems; what names the gallery's place does not."""

    def told(error: Exception) -> str:
        return without_folders(str(error).replace(str(place), str(home)), home)

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for these
        headers = dict(error.headers) if error.headers else None
        if error.status_code == 405 and (allowed := _allowed(app, request.url.path)):
            headers = {"Allow": ", ".join(allowed)}
        if isinstance(error, ProblemError):
            return problem(error.status_code, error.detail, headers=headers, **error.more)
        meaning = MEANINGS.get(error.status_code, str(error.detail))
        if error.status_code == 400:
            meaning = f"The request can't be read: {str(error.detail).rstrip('.')}."
        return problem(error.status_code, meaning, headers=headers)

    async def invalid(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - it is registered for these
        errors = [
            {"where": ".".join(map(str, one["loc"])), "what": one["msg"]} for one in error.errors()
        ]
        first = errors[0]
        return problem(422, f"{first['where']}: {first['what']}.", errors=errors)

    async def image(_request: Request, error: Exception) -> Response:
        return problem(422, told(error))

    async def conflict(_request: Request, error: Exception) -> Response:
        return problem(409, told(error))

    async def later(_request: Request, error: Exception) -> Response:
        _log.warning("%s", error)
        return problem(503, told(error), headers={"Retry-After": "1"})

    async def disk(request: Request, error: Exception) -> Response:
        assert isinstance(error, OSError)  # noqa: S101 - it is registered for these
        _log.warning("%s: %s", request.url.path, error)
        detail = f"The gallery's folder can't be used for this ({error.strerror}): see to its disk."
        return problem(503, detail, headers={"Retry-After": "60"})

    async def fault(_request: Request, _error: Exception) -> Response:
        return problem(500, MEANINGS[500])

    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(ImageError, image)
    app.add_exception_handler(LookalikeError, image)
    app.add_exception_handler(NotRestorable, conflict)
    app.add_exception_handler(EncoderChanged, later)
    app.add_exception_handler(StoreError, later)
    app.add_exception_handler(EngineError, later)
    app.add_exception_handler(OSError, disk)
    app.add_exception_handler(Exception, fault)
