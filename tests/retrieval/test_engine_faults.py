"""Whatever befalls a shared gallery's servers and builders: nothing is lost, told twice or made up.

Real servers are killed, connections cut and builders stopped in their midst.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from milvus_server import MilvusProcess
from PIL import Image
from postgres_server import PostgresServer

from db import NewItem
from indexes import EngineError, MilvusIndex
from retrieval import Gallery, searching
from retrieval.in_milvus import MilvusProposer, index_of
from retrieval.ranking import exact_distances

WORKER = Path(__file__).with_name("building_worker.py")
MAIN = "from retrieval.cli import main; main()"
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
def own_server() -> Iterator[PostgresServer]:
    """A server that a test may kill."""
    with PostgresServer() as server:
        yield server


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


def cut(url: str) -> None:
    """End all sessions of a database but one's own."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def is_a_sentence(said: str) -> bool:
    return re.fullmatch(r"Error: [^\n]+\.\n", said) is not None


# PostgreSQL


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


# Milvus


def clustered(seed: int, count: int, dim: int) -> np.ndarray:
    """Draw unit vectors around sixty places, as those of photos lie around labels."""
    places = np.random.default_rng(0).standard_normal((60, dim))
    drawn = np.resize(places, (count, dim))
    drawn = drawn + 0.7 * np.random.default_rng(seed).standard_normal((count, dim))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def put(gallery: Gallery, name: str, count: int) -> None:
    """Put made-up items into a gallery behind its index's back."""
    items = [
        NewItem(
            path=f"/{name}/{number}.jpg",
            content_hash=f"{number:064x}",
            width=1,
            height=1,
            file_size=1,
            mtime_ns=1,
        )
        for number in range(count)
    ]
    with gallery._store.write() as tx:
        tx.add_items(items, clustered(count, count, tx.encoder.dim))


def require_right_answers(gallery: Gallery) -> None:
    """Compare answers with what brute force finds in the store; one of sixty may be missed."""
    with gallery._store.read() as tx:
        parts = list(tx.vectors())
        queries = clustered(1, 20, tx.encoder.dim)
    vectors = np.concatenate([part.data for part in parts])
    ids = np.concatenate([part.item_ids for part in parts])
    missed = 0
    for query, nearest in zip(queries, gallery.nearest(queries, 3), strict=True):
        distances = dict(zip(ids.tolist(), exact_distances(query, vectors).tolist(), strict=True))
        assert [one.distance for one in nearest] == [distances[one.id] for one in nearest]
        first = sorted(distances, key=lambda one: (distances[one], one))[:3]
        missed += len(set(first) - {one.id for one in nearest})
    assert missed <= (len(ids) > 1000)


def collection_of(gallery: Gallery) -> MilvusIndex:
    with gallery._store.read() as tx:
        return index_of(str(tx.settings()["index"]), tx.uid, tx.encoder)


def is_asked(gallery: Gallery) -> bool:
    """Whether it is the Milvus server that a gallery asks."""
    held = gallery._latest().searcher._held
    return held is not None and isinstance(held.proposer, MilvusProposer)


@pytest.fixture
def on_milvus(
    postgres_url: str, milvus_server: MilvusProcess, tiny_encoder: Path
) -> Iterator[Gallery]:
    """A gallery of some made-up items that a Milvus server follows; it has come from nowhere."""
    with Gallery.create(postgres_url, encoder=str(tiny_encoder)) as gallery:
        gallery.choose_index(milvus_server.uri.replace("http", "milvus"))
        put(gallery, "first", 50)
        yield gallery


@pytest.fixture
def stopped_server(milvus_server: MilvusProcess) -> Iterator[MilvusProcess]:
    """The Milvus server, which a test may kill: it lives again afterwards."""
    yield milvus_server
    if not milvus_server._server.running:
        milvus_server.start()


def test_a_milvus_collection_that_was_dropped_is_filled_anew(on_milvus: Gallery) -> None:
    require_right_answers(on_milvus)
    assert on_milvus.check().notes[0].count("no collection") == 0
    index = collection_of(on_milvus)
    index.drop()
    report = on_milvus.check()
    assert report.clean
    assert "has no collection of this gallery" in report.notes[0]
    assert "the next query or write fills it from the store" in report.notes[0]
    require_right_answers(on_milvus)
    assert is_asked(on_milvus)
    assert len(index) == 50
    # Another of the same name is none of ours.
    index.drop()
    index.create()
    assert "not the one it had" in on_milvus.check().notes[0]
    put(on_milvus, "second", 10)
    require_right_answers(on_milvus)
    assert len(index) == 60
    index.close()


@pytest.mark.slow
def test_a_milvus_server_killed_while_it_is_filled_has_everything_in_the_end(
    on_milvus: Gallery, stopped_server: MilvusProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_right_answers(on_milvus)
    put(on_milvus, "second", 6000)
    applied = MilvusIndex.apply
    left = [1]

    def deadly(self: MilvusIndex, changes: Any) -> None:
        if not left[0]:
            stopped_server.kill()
        left[0] -= 1
        applied(self, changes)

    with monkeypatch.context() as patch:
        patch.setattr(MilvusIndex, "apply", deadly)
        with pytest.raises(EngineError, match="No Milvus server answers"):
            require_right_answers(on_milvus)
    stopped_server.start()
    require_right_answers(on_milvus)
    assert is_asked(on_milvus)
    report = on_milvus.check()
    assert (report.problems, report.items) == ((), 6050)
    index = collection_of(on_milvus)
    assert len(index) == 6050
    index.close()


@pytest.mark.slow
def test_a_milvus_server_that_is_down_is_told_or_stood_in_for(
    on_milvus: Gallery,
    stopped_server: MilvusProcess,
    tmp_path: Path,
    draw_photo: Callable[..., Image.Image],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(searching, "_DOWN_SECONDS", 0.2)
    photo = tmp_path / "photo.png"
    draw_photo("red", 1).save(photo)

    def query() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", MAIN, "query", str(photo), "-g", on_milvus.name, "-k", "1"]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    require_right_answers(on_milvus)
    before = query()
    assert (before.returncode, before.stderr) == (0, "")
    stopped_server.kill()
    down = query()
    assert (down.returncode, down.stdout) == (2, "")
    assert is_a_sentence(down.stderr), down.stderr
    assert "No Milvus server answers" in down.stderr
    with pytest.raises(EngineError, match="No Milvus server answers"):
        require_right_answers(on_milvus)

    on_milvus.choose_index(when_down="exact")
    stood_in = query()
    assert (stood_in.returncode, stood_in.stdout) == (0, before.stdout)
    assert "all vectors are compared" in stood_in.stderr
    require_right_answers(on_milvus)
    assert not is_asked(on_milvus)
    put(on_milvus, "meanwhile", 5)  # what is written is written, whoever follows
    require_right_answers(on_milvus)

    stopped_server.start()
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not is_asked(on_milvus):
        assert time.monotonic() < deadline
        require_right_answers(on_milvus)
    assert on_milvus.check().problems == ()
