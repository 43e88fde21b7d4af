"""The web page: files that come with the package, read once; no request is looked up on disk."""

from __future__ import annotations

import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import Response

from retrieval.service.problems import ProblemError

FOLDER = Path(__file__).with_name("static")
# Not every system's table knows these.
_TYPES = {".js": "text/javascript", ".svg": "image/svg+xml", ".webmanifest": "application/json"}


@dataclass(frozen=True)
class _File:
    data: bytes
    media_type: str
    tag: str


def page_router(folder: Path = FOLDER) -> APIRouter:
    """Return the routes of the page, `/` and `/static/…`, for the files in a folder."""
    files = {
        path.relative_to(folder).as_posix(): _read(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    router = APIRouter(include_in_schema=False)

    def answer(request: Request, name: str) -> Response:
        file = files.get(name)
        if file is None:
            raise ProblemError(404, "There is no such page: the page is at `/`.")
        headers = {"ETag": file.tag, "Cache-Control": "private, no-cache"}
        if file.tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(file.data, headers=headers, media_type=file.media_type)

    @router.get("/")
    async def index(request: Request) -> Response:
        return answer(request, "index.html")

    @router.get("/static/{name:path}")
    async def static(request: Request, name: str) -> Response:
        return answer(request, name)

    return router


def _read(path: Path) -> _File:
    data = path.read_bytes()
    guessed = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0]
    return _File(
        data,
        guessed or "application/octet-stream",
        f'"{hashlib.sha256(data).hexdigest()[:32]}"',
    )
