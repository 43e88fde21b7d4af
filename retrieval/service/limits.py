"""How much of a request is taken in: bytes, time, and how many requests at once.

Plain ASGI, behind the gate and before any body is parsed. Who is refused still has its body read,
up to the limit, and thrown away: otherwise the connection would break before the answer is heard.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from retrieval.service.problems import ProblemError, busy, problem
from retrieval.service.settings import Limits

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

IDENTIFY, ITEMS = "/v1/identify", "/v1/items"


class Intake:
    """Bounds what requests may bring."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        """Wrap `app`."""
        self._app = app
        self._limits = limits
        self._room = {IDENTIFY: limits.photos, ITEMS: limits.writes}
        self._taken: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        bounded = _Body(receive, self._limits)
        path = scope["path"]
        if _length(scope) > self._limits.request_bytes:
            await self._refuse(bounded.too_large(), bounded, scope, send)
        elif scope["method"] == "POST" and path in self._room:
            if self._taken[path] >= self._room[path]:
                full = busy("The service has as much to do as it takes on: try again in a moment.")
                await self._refuse(full, bounded, scope, send)
                return
            self._taken[path] += 1
            try:
                await self._app(scope, bounded.receive, send)
            finally:
                self._taken[path] -= 1
        else:
            await self._app(scope, bounded.receive, send)

    async def _refuse(self, error: ProblemError, body: _Body, scope: Scope, send: Send) -> None:
        await body.discard()
        answer = problem(error.status_code, error.detail, headers=dict(error.headers or {}))
        await answer(scope, body.receive, send)


class _Body:
    """A request's body as it arrives."""

    def __init__(self, receive: Receive, limits: Limits) -> None:
        self._receive = receive
        self._limits = limits
        self._bytes = 0
        self._whole = False
        self._deadline = asyncio.get_running_loop().time() + limits.seconds

    def too_large(self) -> ProblemError:
        most = self._limits.request_bytes
        return ProblemError(
            413, f"A request takes at most {most / 2**20:g} MiB: send fewer photos."
        )

    async def receive(self) -> Message:
        """Hand on the next part.

        Raises:
            ProblemError: There is too much of it, or it takes too long.
        """
        if self._whole:  # what comes now is that the client has gone
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError as error:
            raise ProblemError(
                408, f"The request has not arrived within {self._limits.seconds:g} seconds."
            ) from error
        self._bytes += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        if self._bytes > self._limits.request_bytes:
            raise self.too_large()
        return message

    async def discard(self) -> None:
        """Read what is still to come, as far as it would have been taken."""
        while not self._whole:
            try:
                await self.receive()
            except ProblemError:
                return


def _length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0
