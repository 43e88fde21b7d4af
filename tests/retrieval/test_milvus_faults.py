"""Whatever befalls the Milvus server that follows a gallery: right answers, or one sentence."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from milvus_server import MilvusProcess
from PIL import Image
from sentences import is_a_sentence

from db import NewItem
from indexes import EngineError, MilvusIndex
from retrieval import Gallery, searching
from retrieval.in_milvus import MilvusProposer, index_of
from retrieval.ranking import exact_distances

MAIN = "from retrieval.cli import main; main()"
DEADLINE_SECONDS = 120


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
