"""What the tests of the service share: a gallery, a client of it, a service in its own process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Client
from PIL import Image
from starlette.testclient import TestClient

from retrieval import Gallery
from retrieval.service.app import create_app
from retrieval.service.security import Tokens
from retrieval.service.settings import Limits, Settings

COLOURS = ("red", "green", "blue")
_SERVE = "from retrieval.cli import main; main(prog_name='lookalike')"


@pytest.fixture(scope="session")
def reference(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_encoder: Path,
    draw_photo: Callable[..., Image.Image],
) -> Path:
    """A folder with `photos/COLOUR/N.png`, seven of three colours, and its gallery."""
    folder = tmp_path_factory.mktemp("reference")
    for colour in COLOURS:
        (folder / "photos" / colour).mkdir(parents=True)
        for number in range(7):
            draw_photo(colour, number).save(folder / "photos" / colour / f"{number}.png")
    with Gallery.create(folder / "gallery", encoder=str(tiny_encoder)) as made:
        assert made.build(folder / "photos").added == 21
    return folder


@pytest.fixture
def gallery_path(reference: Path, tmp_path: Path) -> Path:
    """A copy of that gallery, which may be changed."""
    return Path(shutil.copytree(reference / "gallery", tmp_path / "gallery"))


@pytest.fixture
def empty_path(tmp_path: Path, tiny_encoder: Path) -> Path:
    """The folder of a gallery without items."""
    Gallery.create(tmp_path / "empty", encoder=str(tiny_encoder)).close()
    return tmp_path / "empty"


@pytest.fixture
def serve() -> Iterator[Callable[..., TestClient]]:
    """Serve a gallery in this process; settings by name, limits by name under `limits`."""
    with ExitStack() as stack:

        def start(path: Path, *, limits: dict[str, Any] | None = None, **more: Any) -> TestClient:
            settings = Settings(limits=Limits(**(limits or {})), **more)
            client = TestClient(create_app(path, settings), raise_server_exceptions=False)
            return stack.enter_context(client)

        yield start


@pytest.fixture
def client(serve: Callable[..., TestClient], gallery_path: Path) -> TestClient:
    """A client of that gallery, served as by default."""
    return serve(gallery_path)


@pytest.fixture
def photo(draw_photo: Callable[..., Image.Image]) -> Callable[..., bytes]:
    """The function that returns the file of a picture of a colour, in some format."""

    def make(colour: str = "red", number: int = 99, kind: str = "PNG", **options: Any) -> bytes:
        data = BytesIO()
        draw_photo(colour, number).save(data, kind, **options)
        return data.getvalue()

    return make


@pytest.fixture(scope="session")
def process(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., AbstractContextManager[tuple[Client, Any]]]:
    """Run `lookalike serve` in a process of its own: a client of it, and the process."""

    @contextmanager
    def run(path: Path, *arguments: object) -> Iterator[tuple[Client, subprocess.Popen[str]]]:
        command = [sys.executable, "-c", _SERVE, "serve", "-g", str(path), "--port", "0"]
        told = tmp_path_factory.mktemp("serve") / "log"
        with (
            told.open("w") as log,
            subprocess.Popen(
                [*command, *map(str, arguments)],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
            ) as running,
        ):
            try:
                said = running.stdout.readline() if running.stdout else ""
                assert " served at " in said, told.read_text()
                url = said.split(" served at ")[1].split()[0]
                with Client(base_url=url, timeout=60, trust_env=False) as asking:
                    yield asking, running
            finally:
                running.kill()

    return run


@pytest.fixture(scope="session")
def tokens() -> tuple[str, str, Tokens]:
    """A token for reading, one for writing, and both as the service knows them."""
    import hashlib

    read, write = "read-" + 16 * "r", "write-" + 16 * "w"
    digests = [hashlib.sha256(one.encode()).digest() for one in (read, write)]
    return read, write, Tokens((digests[0],), (digests[1],))


@pytest.fixture(scope="session")
def follow() -> Callable[[TestClient, str], list[tuple[str, Any]]]:
    """Follow a job to its end; return the events, each its name and what it says."""

    def read(client: TestClient, location: str) -> list[tuple[str, Any]]:
        with client.stream("GET", f"{location}/events") as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            text = "".join(stream.iter_text())
        blocks = [one.split("\n") for one in text.split("\n\n") if one.startswith("event: ")]
        return [
            (name.removeprefix("event: "), json.loads(data.removeprefix("data: ")))
            for name, data in blocks
        ]

    return read
