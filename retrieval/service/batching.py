"""Micro-batches: what arrives together is worked on together, after a bounded wait."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import monotonic
from typing import Generic, TypeVar

from retrieval.service.problems import busy

# Batches worked on at a time: while one is encoded, what else is to be done for another is.
_LANES = 2

_In = TypeVar("_In")
_Out = TypeVar("_Out")


@dataclass
class _Waiting(Generic[_In, _Out]):
    one: _In
    result: asyncio.Future[_Out]
    since: float


class Batcher(Generic[_In, _Out]):
    """Gathers single pieces of work into batches, which are done in threads of its own.

    Who comes while a batch is worked on waits for the next one anyway; otherwise a piece waits only
    while others are coming, and never longer than `seconds`. All methods but the constructor are
    for one event loop.
    """

    def __init__(
        self,
        work: Callable[[Sequence[_In]], Sequence[_Out | Exception]],
        *,
        largest: int,
        seconds: float,
        room: int,
        seen: Callable[[int], None] = lambda _count: None,
        told: Callable[[int], None] = lambda _inside: None,
    ) -> None:
        """Start nothing yet.

        Args:
            work: Does a batch, in a thread; a result that is an exception is raised for its
                piece alone.
            largest: Pieces in a batch.
            seconds: How long a piece waits for others.
            room: Pieces that may be inside; beyond, they are refused.
            seen: Told the size of every batch.
            told: Told how many pieces are inside, whenever that changes.
        """
        self._work = work
        self._largest = largest
        self._seconds = seconds
        self._room = room
        self._seen = seen
        self._told = told
        self._threads = ThreadPoolExecutor(_LANES, thread_name_prefix="encode")
        self._busy: set[asyncio.Task[None]] = set()
        self._queue: deque[_Waiting[_In, _Out]] = deque()
        self._inside = 0
        self._coming = 0
        self._changed = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None
        # Seconds a piece takes of late, to tell others when to come again.
        self._pace = 0.0

    def start(self) -> None:
        """Begin to work."""
        self._runner = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Finish what is there, and end."""
        if self._runner is not None:
            while self._inside:
                await asyncio.sleep(0.01)
            self._runner.cancel()
        self._threads.shutdown()

    def backlog(self) -> float:
        """Return in how many seconds what is inside will be done, by the pace of late."""
        return self._inside * self._pace

    @contextmanager
    def room(self, count: int) -> Iterator[None]:
        """Take room for some pieces, from before they are prepared until they are done.

        Raises:
            ProblemError: There is none; it says when to come again.
        """
        if self._inside and self._inside + count > self._room:
            raise busy(
                f"{self._inside} photos are waiting, as many as the service takes on: try again in "
                "a moment.",
                seconds=self.backlog(),
            )
        self._enter(count)
        try:
            yield
        finally:
            self._enter(-count)

    @contextmanager
    def coming(self) -> Iterator[None]:
        """Announce a piece while it is prepared: others wait for it, though not for long."""
        self._coming += 1
        try:
            yield
        finally:
            self._coming -= 1
            self._changed.set()

    async def submit(self, one: _In) -> _Out:
        """Have a piece done."""
        waiting = _Waiting[_In, _Out](one, asyncio.get_running_loop().create_future(), monotonic())
        self._queue.append(waiting)
        self._changed.set()
        return await waiting.result

    def _enter(self, count: int) -> None:
        self._inside += count
        self._told(self._inside)

    async def _run(self) -> None:
        while True:
            await self._gather()
            batch = [self._queue.popleft() for _ in range(min(self._largest, len(self._queue)))]
            # Whose client has gone is not worked on.
            batch = [one for one in batch if not one.result.cancelled()]
            if batch:
                task = asyncio.create_task(self._do(batch))
                self._busy.add(task)
                task.add_done_callback(self._done)

    async def _do(self, batch: list[_Waiting[_In, _Out]]) -> None:
        self._seen(len(batch))
        begun = monotonic()
        results: Sequence[_Out | Exception]
        try:
            results = await asyncio.get_running_loop().run_in_executor(
                self._threads, self._work, [one.one for one in batch]
            )
        except Exception as error:  # noqa: BLE001 - handed to whoever waits for the results
            results = [error] * len(batch)
        self._pace += 0.2 * ((monotonic() - begun) / len(batch) - self._pace)
        for waiting, result in zip(batch, results, strict=True):
            if waiting.result.cancelled():
                continue
            if isinstance(result, Exception):
                waiting.result.set_exception(result)
            else:
                waiting.result.set_result(result)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._busy.discard(task)
        self._changed.set()

    async def _gather(self) -> None:
        """Wait until there is a batch to begin with.

        While nothing is worked on, that is a full one, or all that is coming, or what has waited
        long enough; beside another batch, only a full one is begun.
        """
        while True:
            self._changed.clear()
            ready, left = len(self._queue), None
            if ready >= self._largest and len(self._busy) < _LANES:
                return
            if ready and not self._busy:
                left = self._queue[0].since + self._seconds - monotonic()
                if not self._coming or left <= 0:
                    return
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._changed.wait()
