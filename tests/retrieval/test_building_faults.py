"""Whatever befalls the builders of a shared gallery: nothing is lost, done twice or made up.

A real server is killed, connections are cut and builders stopped in their midst.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from postgres_server import PostgresServer
from postgres_stores import cut
from sentences import is_a_sentence

from retrieval import Gallery

WORKER = Path(__file__).with_name("building_worker.py")
DEADLINE_SECONDS = 120


class Worker:
    """A `lookalike` of its own process, which waits to be let go; see `building_worker.py`."""

    def __init__(self, events: Path, *arguments: object) -> None:
        events.touch()
        self._events = events
        command = [sys.executable, str(WORKER), str(events), *map(str, arguments)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def told(self, what: str) -> list[str]:
        """Return the photos of which it said so, one by one."""
        # A line cut short by a kill was never told.
        events = [json.loads(line) for line in self._events.read_text().split("\n")[:-1]]
        return [path for said, paths in events if said == what for path in paths]

    def wait_until_told(self, what: str, count: int = 1) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while self._events.read_text().count(f'["{what}"') < count:
            assert self._process.poll() is None, self.end()
            assert time.monotonic() < deadline
            time.sleep(0.002)

    def let_go(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)

    def end(self) -> tuple[int, str]:
        """Wait for its end, and return its exit code and what it complained of."""
        _, said = self._process.communicate(timeout=DEADLINE_SECONDS)
        return self._process.returncode, said.rpartition("\r")[2]


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """Start workers; those that a failed test leaves are killed."""
    made: list[Worker] = []

    def start(*arguments: object) -> Worker:
        made.append(Worker(tmp_path / f"events-{len(made)}", *arguments))
        return made[-1]

    yield start
    for worker in made:
        worker.kill()
        worker.end()


@pytest.fixture
def draw_folder(tmp_path: Path, draw_photo: Callable[..., Image.Image]) -> Callable[[int], Path]:
    """Draw a folder with so many photos, of three labels."""

    def draw(count: int) -> Path:
        for number in range(count):
            path = tmp_path / "photos" / ("red", "green", "blue")[number % 3] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            draw_photo(path.parent.name, number, size=(32, 32)).save(path)
        return tmp_path / "photos"

    return draw


def create(url: str, encoder: Path) -> str:
    Gallery.create(url, encoder=str(encoder)).close()
    return url


def files_of(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*.png"))


def require_sound(url: str, photos: Path, *, at_least: set[str], whole: bool) -> None:
    """Prove that a gallery holds photos of a folder, each once, and all it was told to have."""
    with Gallery.open(url) as gallery:
        report = gallery.check()
        held = [item.path for item in gallery.items()]
        assert report.problems == ()
        assert report.items == report.vectors == len(held) == gallery.count()
        assert len(held) == len(set(held))
        assert at_least <= set(held) <= set(files_of(photos))
        if whole:
            assert sorted(held) == files_of(photos)
            nearest = gallery.nearest(gallery.embed(held[0])[np.newaxis], len(held) + 1)[0]
            assert sorted(one.path for one in nearest) == sorted(held)


@pytest.mark.slow
def test_a_build_outlives_a_killed_database(
    own_server: PostgresServer,
    workers: Callable[..., Worker],
    draw_folder: Callable[[int], Path],
    tiny_encoder: Path,
) -> None:
    photos = draw_folder(120)
    url = create(own_server.new_database(), tiny_encoder)
    stored: set[str] = set()
    for commits in (2, 4):
        worker = workers("build-index", photos, "-g", url)
        worker.wait_until_told("ready")
        worker.let_go()
        worker.wait_until_told("stored", commits)
        own_server.kill()
        code, said = worker.end()
        assert (code, is_a_sentence(said)) == (2, True), said
        stored |= set(worker.told("stored"))
        own_server.start()
        require_sound(url, photos, at_least=stored, whole=False)
    assert len(stored) < 120
    with Gallery.open(url) as gallery:
        before = gallery.count()
        report = gallery.build(photos)
        assert (report.added, report.unchanged) == (120 - before, before)
    require_sound(url, photos, at_least=stored, whole=True)


def test_a_build_outlives_a_cut_connection(
    postgres_url: str,
    workers: Callable[..., Worker],
    draw_folder: Callable[[int], Path],
    tiny_encoder: Path,
) -> None:
    photos = draw_folder(240)  # so many that it is not done before it is cut
    create(postgres_url, tiny_encoder)
    with Gallery.open(postgres_url) as held:
        assert held.nearest(held.embed(files_of(photos)[0])[np.newaxis], 1) == [[]]
        worker = workers("build-index", photos, "-g", postgres_url)
        worker.wait_until_told("ready")
        worker.let_go()
        worker.wait_until_told("stored", 2)
        cut(postgres_url)
        code, said = worker.end()
        assert (code, is_a_sentence(said)) == (2, True), said
        stored = set(worker.told("stored"))
        require_sound(postgres_url, photos, at_least=stored, whole=False)
        # One whose connections were idle goes on as if nothing had been.
        assert held.nearest(held.embed(files_of(photos)[0])[np.newaxis], 1)[0]
        assert held.build(photos).failed == []
    require_sound(postgres_url, photos, at_least=stored, whole=True)


# Builders beside each other


@pytest.mark.slow
def test_builders_share_the_work(
    postgres_url: str,
    workers: Callable[..., Worker],
    draw_folder: Callable[[int], Path],
    tiny_encoder: Path,
) -> None:
    photos = draw_folder(300)
    create(postgres_url, tiny_encoder)
    three = [workers("build-index", photos, "-g", postgres_url) for _ in range(3)]
    for worker in three:
        worker.wait_until_told("ready")
    for worker in three:
        worker.let_go()
    ends = [worker.end() for worker in three]
    assert [code for code, _ in ends] == [0, 0, 0], ends
    embedded = [worker.told("embedded") for worker in three]
    assert sorted(path for one in embedded for path in one) == files_of(photos)
    assert all(embedded)
    assert [set(worker.told("stored")) for worker in three] == list(map(set, embedded))
    require_sound(postgres_url, photos, at_least=set(files_of(photos)), whole=True)


@pytest.mark.slow
def test_a_builder_finishes_the_work_of_a_dead_one(
    postgres_url: str,
    workers: Callable[..., Worker],
    draw_folder: Callable[[int], Path],
    tiny_encoder: Path,
) -> None:
    photos = draw_folder(150)
    create(postgres_url, tiny_encoder)
    dying, living = (workers("build-index", photos, "-g", postgres_url) for _ in range(2))
    for worker in (dying, living):
        worker.wait_until_told("ready")
    for worker in (dying, living):
        worker.let_go()
    dying.wait_until_told("stored", 3)
    dying.kill()
    assert dying.end()[0] == -signal.SIGKILL
    assert living.end()[0] == 0
    mine, its = living.told("embedded"), dying.told("embedded")
    # What the dead one had embedded and not stored is embedded again, and nothing else.
    assert len(mine) == len(set(mine))
    assert not set(mine) & set(dying.told("stored"))
    assert set(mine) | set(its) == set(files_of(photos))
    require_sound(postgres_url, photos, at_least=set(files_of(photos)), whole=True)
