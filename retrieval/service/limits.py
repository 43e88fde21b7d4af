"""How much of a request is taken in: bytes, time, and how many requests at once.

Plain ASGI, behind the gate and before any body is parsed. Who is refused still has its body read,
up to the limit, and thrown away: otherwise the connection would break before the answer is heard.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from retrieval.service.problems import ProblemError, busy, problem
from retrieval.service.settings import Limits

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

IDENTIFY, ITEMS = "/v1/identify", "/v1/items"


class Intake:
    """Bounds what requests may bring."""

    def __init__(self, app: ASGIApp, limits: Limits, backlog: Callable[[], float]) -> None:
        """Wrap `app`, whose photos waiting take `backlog()` seconds."""
        self._app = app
        self._limits = limits
        self._backlog = backlog
        self._room = {IDENTIFY: limits.photos, ITEMS: limits.writes}
        self._taken: Counter[str] = Counter()
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        bounded = _Body(receive, self._limits, self._hold)
        path = scope["path"]
        if _length(scope) > self._limits.request_bytes:
            await self._refuse(bounded.too_large(), bounded, scope, send)
        elif scope["method"] == "POST" and path in self._room:
            if self._taken[path] >= self._room[path]:
                await self._refuse(self._full(), bounded, scope, send)
                return
            self._taken[path] += 1
            try:
                await self._pass(scope, bounded, send)
            finally:
                self._taken[path] -= 1
        else:
            await self._pass(scope, bounded, send)

    async def _pass(self, scope: Scope, body: _Body, send: Send) -> None:
        try:
            await self._app(scope, body.receive, send)
        finally:
            self._held -= body.bytes

    def _hold(self, count: int) -> None:
        self._held += count
        if self._held > self._limits.held_bytes:
            raise self._full()

    def _full(self) -> ProblemError:
        return busy(
            "The service has as much to do as it takes on: try again in a moment.",
            seconds=self._backlog(),
        )

    async def _refuse(self, error: ProblemError, body: _Body, scope: Scope, send: Send) -> None:
        await body.discard()
        answer = problem(error.status_code, error.detail, headers=dict(error.headers or {}))
        await answer(scope, body.receive, send)


class _Body:
    """A request's body as it arrives.

    Attributes:
        bytes: What has been handed on of it.
    """

    def __init__(self, receive: Receive, limits: Limits, hold: Callable[[int], None]) -> None:
        self.bytes = 0
        self._receive = receive
        self._limits = limits
        self._hold = hold
        self._whole = False
        self._deadline = asyncio.get_running_loop().time() + limits.seconds

    def too_large(self) -> ProblemError:
        most = self._limits.request_bytes / 2**20
        return ProblemError(413, f"A request takes at most {most:g} MiB: send fewer photos.")

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
        self._whole = not message.get("more_body", False)
        count = len(message.get("body", b""))
        self.bytes += count
        self._hold(count)
        if self.bytes > self._limits.request_bytes:
            raise self.too_large()
        return message

    async def discard(self) -> None:
        """Read what is still to come, as far as it would have been taken."""
        seen, more = 0, True
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._deadline):
                while more and seen <= self._limits.request_bytes:
                    message = await self._receive()
                    seen += len(message.get("body", b""))
                    more = message.get("more_body", False)


def _length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0
