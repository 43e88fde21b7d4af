"""Headers that every answer carries: what a browser may do with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# The page: its own modules, styles and pictures, and nothing from elsewhere.
_PAGE = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; manifest-src 'self'; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
# The report brings its style and pictures along, and runs nothing.
_REPORT = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'none'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_NOTHING = "default-src 'none'; frame-ancestors 'none'"
REPORT_PATH = "/v1/evaluation/report"

_ALWAYS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), geolocation=(), microphone=()",
}


class Headers:
    """Adds headers to every answer, refusals too."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        policy = _NOTHING
        if path == REPORT_PATH:
            policy = _REPORT
        elif path == "/" or path.startswith("/static/"):
            policy = _PAGE
        more = {**_ALWAYS, "content-security-policy": policy}

        async def send_more(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name.lower() for name, _ in message["headers"]}
                kept = dict(more)
                # What nobody said may be kept, is not.
                kept.setdefault("cache-control", "no-store")
                message["headers"] = [
                    *message["headers"],
                    *(
                        (name.encode(), value.encode())
                        for name, value in kept.items()
                        if name.encode() not in there
                    ),
                ]
            await send(message)

        await self._app(scope, receive, send_more)
