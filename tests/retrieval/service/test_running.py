"""The service in processes of its own: it ends in good order, and loses nothing when it doesn't."""

from __future__ import annotations

import random
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from httpx2 import Client, TransportError
from PIL import Image

from retrieval import Gallery
from retrieval.errors import LookalikeError
from retrieval.service.running import bind

Process = Callable[..., AbstractContextManager[tuple[Client, Any]]]
_PATIENCE = 120


def large(seed: int) -> bytes:
    """Return the file of a photo that takes a while to decode."""
    data = BytesIO()
    image = Image.effect_noise((1500, 1500), 50 + seed).convert("RGB")
    image.save(data, "PNG", compress_level=1)
    return data.getvalue()


def wait_for(what: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + _PATIENCE
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_was_taken_is_finished_after_sigterm(process: Process, gallery_path: Path) -> None:
    photos = [("images", large(number)) for number in range(12)]
    with process(gallery_path) as (client, running), ThreadPoolExecutor() as pool:
        asked = pool.submit(client.post, "/v1/identify", files=photos)
        with Client(base_url=client.base_url, timeout=_PATIENCE, trust_env=False) as other:
            wait_for(lambda: "lookalike_photos_waiting 12.0" in other.get("/metrics").text)
        running.send_signal(signal.SIGTERM)
        answer = asked.result()
        assert answer.status_code == 200
        assert len(answer.json()["identifications"]) == 12
        assert running.wait(_PATIENCE) == 0
        with pytest.raises(TransportError):
            client.get("/healthz")


def test_a_stream_that_is_open_does_not_keep_it(process: Process, gallery_path: Path) -> None:
    jobs = gallery_path / "service" / "jobs"
    with process(gallery_path) as (client, running):
        begun = client.post("/v1/evaluation", json={}).json()
        wait_for(lambda: client.get(f"/v1/jobs/{begun['id']}").json()["state"] == "done")
        # One that another process seems to be at, for as long as anybody looks.
        told = (jobs / f"{begun['id']}.json").read_text()
        later = told.replace('"done"', '"running"', 1).replace("2026", "2126")
        (jobs / f"{begun['id']}.json").write_text(later)
        with client.stream("GET", f"/v1/jobs/{begun['id']}/events") as stream:
            lines = stream.iter_lines()
            assert next(lines) == "event: progress"
            running.send_signal(signal.SIGTERM)
            assert "event: done" not in list(lines)
        assert running.wait(_PATIENCE) == 0


@pytest.mark.parametrize("seed", range(3))
def test_sigkill_loses_no_acknowledged_item(
    process: Process, gallery_path: Path, photo: Callable[..., bytes], seed: int
) -> None:
    choose = random.Random(seed)
    added: dict[int, str] = {}
    removed: set[int] = set()
    restored: set[int] = set()

    def change(url: str, worker: int) -> None:
        """Add, remove and restore until nobody answers, noting what was acknowledged."""
        with Client(base_url=url, timeout=_PATIENCE, trust_env=False) as mine:
            for number in range(1000):
                label = f"{worker}-{number}"
                data = photo("red", 1000 * worker + number)
                try:
                    answer = mine.post("/v1/items", files={"images": data}, data={"label": label})
                    assert answer.status_code == 201, answer.text
                    (item,) = answer.json()["items"]
                    added[item["id"]] = label
                    if number % 3 == 0:
                        added.pop(item["id"])
                        assert mine.delete(f"/v1/items/{item['id']}").status_code == 200
                        removed.add(item["id"])
                    if number % 6 == 0:
                        removed.discard(item["id"])
                        again = mine.post(f"/v1/items/{item['id']}/restore")
                        assert again.status_code == 200
                        restored.add(item["id"])
                except TransportError:
                    return

    with process(gallery_path) as (client, running):
        threads = [
            Thread(target=change, args=(str(client.base_url), worker)) for worker in range(1, 4)
        ]
        for thread in threads:
            thread.start()
        wait_for(lambda: len(added) > 5)
        time.sleep(choose.uniform(0, 0.3))
        running.kill()
        running.wait()
        for thread in threads:
            thread.join()
    with Gallery.open(gallery_path) as gallery:
        assert gallery.check().clean
        held = {item.id: item for item in gallery.items()}
        assert {one: held[one].label for one in added} == added
        assert restored <= set(held)
        assert not removed & set(held)
        for one in added:
            assert Path(held[one].path).is_file()
    with process(gallery_path) as (client, _):
        assert client.get("/v1/gallery").json()["items"] == len(held)


def test_several_processes_share_a_gallery(
    process: Process, gallery_path: Path, photo: Callable[..., bytes]
) -> None:
    with process(gallery_path, "--workers", 2) as (client, running):

        def ask(_number: int) -> int:
            # A connection of its own, which either process may take.
            with Client(base_url=client.base_url, timeout=_PATIENCE, trust_env=False) as one:
                found = one.post("/v1/identify", files={"images": photo()}).json()
                return int(found["identifications"][0]["items"][0]["id"])

        wait_for(lambda: client.get("/readyz").status_code == 200)
        answer = client.post("/v1/items", files={"images": photo()}, data={"label": "new"})
        (item,) = answer.json()["items"]
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(ask, range(40))) == {item["id"]}
        counted = 'lookalike_requests_total{method="POST",route="/v1/identify",status="200"} 40.0'
        assert counted in client.get("/metrics").text
        begun = client.post("/v1/evaluation", json={}).json()

        def ended() -> bool:
            with Client(base_url=client.base_url, trust_env=False) as one:
                return bool(one.get(f"/v1/jobs/{begun['id']}").json()["state"] == "done")

        wait_for(ended)
        running.send_signal(signal.SIGTERM)
        assert running.wait(_PATIENCE) == 0


def test_answers_are_not_held_back_by_the_network() -> None:
    with bind("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)), listening.accept()[0] as taken:
            # What asyncio asks before it switches Nagle's algorithm off.
            assert taken.proto == socket.IPPROTO_TCP


def test_an_address_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LookalikeError, match=rf"^127\.0\.0\.1:{port} can't be listened on"):
            bind("127.0.0.1", port)
