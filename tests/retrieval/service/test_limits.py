"""Bytes, files, pixels, time, and requests at once: what is too much is refused in words."""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from retrieval.service.limits import Intake
from retrieval.service.settings import Limits

Served = Callable[..., TestClient]


def png_of(width: int, height: int) -> bytes:
    """Return a PNG whose head says so many pixels, and which holds hardly any."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def test_a_request_that_says_it_is_too_large(serve: Served, gallery_path: Path) -> None:
    client = serve(gallery_path, limits={"request_bytes": 1000})
    answer = client.post("/v1/identify", files={"images": b"x" * 2000})
    assert answer.status_code == 413
    assert "at most 0.000953674 MiB" in answer.json()["detail"]
    assert client.post("/v1/identify", files={"images": b"x" * 100}).status_code == 422


def test_a_request_that_does_not_say_how_large_it_is(serve: Served, gallery_path: Path) -> None:
    client = serve(gallery_path, limits={"request_bytes": 1000})

    def parts() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n'
        for _ in range(100):
            yield b"x" * 100
        yield b"\r\n--x--\r\n"

    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    for path in ("/v1/identify", "/v1/items"):
        assert client.post(path, content=parts(), headers=kind).status_code == 413


def test_too_many_photos(serve: Served, gallery_path: Path, photo: Callable[..., bytes]) -> None:
    client = serve(gallery_path, limits={"files": 2})
    for path in ("/v1/identify", "/v1/items"):
        answer = client.post(path, files=[("images", photo())] * 3)
        assert answer.status_code == 413
        assert answer.json()["detail"] == "3 photos are too many: send 2 at a time."


def test_too_many_pixels_are_never_decoded(serve: Served, gallery_path: Path) -> None:
    client = serve(gallery_path, limits={"pixels": 1_000_000})
    for path in ("/v1/identify", "/v1/items"):
        answer = client.post(path, files={"images": ("bomb.png", png_of(60_000, 60_000))})
        assert answer.status_code == 422
        assert "more than the limit of 1 million" in answer.json()["detail"]


def test_where_there_is_no_room_it_says_when_to_come_again(
    serve: Served, gallery_path: Path, photo: Callable[..., bytes]
) -> None:
    client = serve(gallery_path, limits={"photos": 1})
    serving = client.app.state.serving  # type: ignore[attr-defined]
    taken, go_on = Event(), Event()
    prepare = serving.gallery.prepare

    def slowly(*arguments: Any, **more: Any) -> Any:
        taken.set()
        assert go_on.wait(60)
        return prepare(*arguments, **more)

    serving.gallery.prepare = slowly
    first: list[Any] = []
    ask = Thread(
        target=lambda: first.append(client.post("/v1/identify", files={"images": photo()}))
    )
    ask.start()
    assert taken.wait(60)
    refused = client.post("/v1/identify", files={"images": photo()})
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert "try again" in refused.json()["detail"]
    assert client.get("/v1/items").status_code == 200
    go_on.set()
    ask.join()
    assert first[0].status_code == 200
    assert client.post("/v1/identify", files={"images": photo()}).status_code == 200


def test_more_photos_than_fit_are_taken_when_nobody_waits(
    serve: Served, gallery_path: Path, photo: Callable[..., bytes]
) -> None:
    client = serve(gallery_path, limits={"photos": 2})
    answer = client.post("/v1/identify", files=[("images", photo("red", n)) for n in range(5)])
    assert len(answer.json()["identifications"]) == 5


def test_what_takes_too_long_is_given_up(
    serve: Served, gallery_path: Path, photo: Callable[..., bytes]
) -> None:
    client = serve(gallery_path, limits={"seconds": 0.2})
    serving = client.app.state.serving  # type: ignore[attr-defined]
    go_on, prepare = Event(), serving.gallery.prepare

    def slowly(*arguments: Any, **more: Any) -> Any:
        assert go_on.wait(60)
        return prepare(*arguments, **more)

    serving.gallery.prepare = slowly
    answer = client.post("/v1/identify", files={"images": photo()})
    assert answer.status_code == 503
    assert "retry-after" in answer.headers
    go_on.set()
    serving.gallery.prepare = prepare
    # Its room is free again.
    assert serving._batcher.backlog() == 0


def run(intake: Intake, messages: list[Message], path: str = "/v1/identify") -> list[Message]:
    """Send a request part by part; when there are no more parts, none ever comes."""
    sent: list[Message] = []

    async def go() -> None:
        waiting = iter(messages)

        async def receive() -> Message:
            for message in waiting:
                return message
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": path, "headers": []}
        await intake(scope, receive, send)

    asyncio.run(go())
    return sent


def part(data: bytes, *, more: bool = True) -> Message:
    return {"type": "http.request", "body": data, "more_body": more}


async def reads_all(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that reads a request and tells failures as the real one does."""
    from retrieval.service.problems import ProblemError, problem

    try:
        while (await receive()).get("more_body"):
            pass
        answer = problem(200, "read")
    except ProblemError as error:
        answer = problem(error.status_code, error.detail, headers=dict(error.headers or {}))
    await answer(scope, receive, send)


def test_a_request_that_never_ends_is_given_up() -> None:
    intake = Intake(reads_all, Limits(seconds=0.05), lambda: 0)
    assert run(intake, [part(b"x")])[0]["status"] == 408
    assert run(intake, [part(b"x", more=False)])[0]["status"] == 200


def test_bodies_of_all_requests_together_are_bounded() -> None:
    intake = Intake(reads_all, Limits(held_bytes=100), lambda: 7.2)
    refused = run(intake, [part(b"x" * 60), part(b"x" * 60, more=False)])
    assert refused[0]["status"] == 503
    assert (b"retry-after", b"8") in refused[0]["headers"]
    # What was held is given back, after a refusal too.
    for _ in range(3):
        assert run(intake, [part(b"x" * 60, more=False)])[0]["status"] == 200


def test_who_is_refused_is_heard_to_the_end() -> None:
    heard = []

    class Noting(list[Message]):
        def __iter__(self) -> Iterator[Message]:
            for message in super().__iter__():
                heard.append(message)
                yield message

    intake = Intake(reads_all, Limits(photos=0, writes=0), lambda: 0)
    for path, status in (("/v1/identify", 503), ("/v1/items", 503), ("/v1/thresholds", 200)):
        heard.clear()
        messages = Noting([part(b"x"), part(b"y"), part(b"z", more=False)])
        assert run(intake, messages, path)[0]["status"] == status
        assert len(heard) == 3


@pytest.mark.parametrize("limits", [{}, {"files": 7, "pixels": 5, "request_bytes": 9999}])
def test_the_limits_are_told(serve: Served, gallery_path: Path, limits: dict[str, int]) -> None:
    told = serve(gallery_path, limits=limits).get("/v1/gallery").json()["limits"]
    meant = Limits(**limits)
    assert told == {
        "bytes": meant.request_bytes,
        "files": meant.files,
        "pixels": meant.pixels,
    }
