"""What arrives together is worked on together; nobody waits for ever, nobody pays for others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from threading import Event, get_ident

import pytest

from retrieval.service.batching import Batcher
from retrieval.service.problems import ProblemError


class Work:
    """Doubles numbers, and remembers the batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.threads: set[int] = set()
        self.go_on = Event()
        self.go_on.set()

    def __call__(self, batch: Sequence[int]) -> list[int | Exception]:
        assert self.go_on.wait(60)
        self.batches.append(list(batch))
        self.threads.add(get_ident())
        return [ValueError(str(one)) if one < 0 else 2 * one for one in batch]


def made(
    work: Callable[[Sequence[int]], list[int | Exception]], **more: float
) -> Batcher[int, int]:
    settings = {"largest": 4, "seconds": 0.01, "room": 100} | more
    return Batcher[int, int](
        work,
        largest=int(settings["largest"]),
        seconds=settings["seconds"],
        room=int(settings["room"]),
    )


async def do(batcher: Batcher[int, int], one: int) -> int:
    with batcher.room(1):
        return await batcher.submit(one)


def test_who_comes_while_others_are_worked_on_shares_the_next_batch() -> None:
    work = Work()

    async def go() -> list[int]:
        batcher = made(work)
        batcher.start()
        work.go_on.clear()
        first = asyncio.create_task(do(batcher, 0))
        await asyncio.sleep(0.05)
        others = [asyncio.create_task(do(batcher, number)) for number in range(1, 8)]
        await asyncio.sleep(0.05)
        work.go_on.set()
        results = await asyncio.gather(first, *others)
        await batcher.close()
        return results

    assert asyncio.run(go()) == [0, 2, 4, 6, 8, 10, 12, 14]
    # A full batch is begun beside the first; the rest waits.
    assert sorted(work.batches) == [[0], [1, 2, 3, 4], [5, 6, 7]]
    assert len(work.threads) <= 2


def test_one_alone_does_not_wait_and_one_with_others_coming_does() -> None:
    work = Work()

    async def go() -> None:
        batcher = made(work, seconds=3600)
        batcher.start()
        assert await do(batcher, 1) == 2
        with batcher.coming():
            first = asyncio.create_task(do(batcher, 2))
            await asyncio.sleep(0.05)
            assert not first.done()
            second = asyncio.create_task(do(batcher, 3))
        assert await asyncio.gather(first, second) == [4, 6]
        await batcher.close()

    asyncio.run(go())
    assert work.batches == [[1], [2, 3]]


def test_the_wait_for_others_is_bounded() -> None:
    work = Work()

    async def go() -> None:
        batcher = made(work, seconds=0.02)
        batcher.start()
        with batcher.coming():
            assert await do(batcher, 2) == 4
        await batcher.close()

    asyncio.run(go())


def test_an_error_is_its_own_piece_s_alone() -> None:
    work = Work()

    async def go() -> list[int | BaseException]:
        batcher = made(work)
        batcher.start()
        results = await asyncio.gather(
            *(do(batcher, one) for one in (1, -2, 3)), return_exceptions=True
        )
        await batcher.close()
        return results

    one, error, three = asyncio.run(go())
    assert (one, three) == (2, 6)
    assert isinstance(error, ValueError)


def test_a_batch_that_fails_does_not_end_the_work() -> None:
    calls = []

    def fail_once(batch: Sequence[int]) -> list[int | Exception]:
        calls.append(batch)
        if len(calls) == 1:
            raise ZeroDivisionError
        return list(batch)

    async def go() -> None:
        batcher = made(fail_once)
        batcher.start()
        with pytest.raises(ZeroDivisionError):
            await do(batcher, 1)
        assert await do(batcher, 2) == 2
        await batcher.close()

    asyncio.run(go())


def test_beyond_its_room_it_refuses_and_gives_room_back() -> None:
    work = Work()

    async def go() -> None:
        batcher = made(work, room=2)
        batcher.start()
        work.go_on.clear()
        inside = [asyncio.create_task(do(batcher, one)) for one in (1, 2)]
        await asyncio.sleep(0.05)
        with pytest.raises(ProblemError, match="2 photos are waiting") as refused:
            await do(batcher, 3)
        assert refused.value.status_code == 503
        work.go_on.set()
        await asyncio.gather(*inside)
        assert await do(batcher, 3) == 6
        await batcher.close()

    asyncio.run(go())


def test_whose_client_has_gone_is_not_worked_on_and_takes_no_room() -> None:
    work = Work()

    async def go() -> None:
        batcher = made(work, room=2)
        batcher.start()
        work.go_on.clear()
        first = asyncio.create_task(do(batcher, 1))
        await asyncio.sleep(0.05)
        gone = asyncio.create_task(do(batcher, 2))
        await asyncio.sleep(0.05)
        gone.cancel()
        await asyncio.sleep(0.05)
        third = asyncio.create_task(do(batcher, 3))
        await asyncio.sleep(0.05)
        assert not third.done()
        work.go_on.set()
        assert await asyncio.gather(first, third) == [2, 6]
        await batcher.close()

    asyncio.run(go())
    assert work.batches == [[1], [3]]


def test_closing_finishes_what_is_there() -> None:
    work = Work()

    async def go() -> None:
        batcher = made(work)
        batcher.start()
        inside = [asyncio.create_task(do(batcher, one)) for one in range(10)]
        await asyncio.sleep(0)
        await batcher.close()
        assert [one.result() for one in inside] == [2 * one for one in range(10)]

    asyncio.run(go())
