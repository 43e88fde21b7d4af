"""A gallery in another place answers as it did, keeps its ids, and is whole or not to be opened."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from milvus_server import MilvusProcess
from PIL import Image
from postgres_server import PostgresServer

from db import COPY, StoreError
from retrieval import Gallery, copying, new_vectors
from retrieval.copying import CopyReport
from retrieval.errors import EncoderError, GalleryError, LookalikeError
from retrieval.folder import open_gallery
from retrieval.place import Place

WORKER = Path(__file__).with_name("copy_worker.py")
KILLS = 5


def copy(source: str | Path, to: str | Path, **how: Any) -> CopyReport:
    with Gallery.open(source) as gallery:
        return gallery.copy(to, **how)


def answers(place: str | Path, queries: list[Path]) -> list[Any]:
    """Return the decisions on photos, with ids and distances of the nearest items."""
    with Gallery.open(place) as gallery:
        assert gallery.check().problems == ()
        found = [gallery.identify(query, k=7) for query in queries]
        return [(one.decision, one.label, one.item_id, one.p_value, one.items) for one in found]


@pytest.fixture
def queries(tmp_path: Path, draw_photo: Callable[..., Image.Image]) -> list[Path]:
    """Thirty pictures that are in no gallery."""
    folder = tmp_path / "queries"
    folder.mkdir()
    paths = [folder / f"{number}.png" for number in range(30)]
    for number, path in enumerate(paths):
        draw_photo(("red", "green", "blue")[number % 3], 50 + number).save(path)
    return paths


@pytest.fixture
def full_path(gallery_path: Path) -> Path:
    """A gallery with a threshold, a removed item and an id that is nobody's any more."""
    with Gallery.open(gallery_path) as gallery:
        gallery.remove([15])
        gallery.compact()
        gallery.remove([4])
        gallery.set_threshold(0.05)
        gallery.choose_index("ivf")
    return gallery_path


def test_from_a_folder_to_postgres_and_milvus_and_back_it_is_the_same_gallery(
    full_path: Path,
    postgres_server: PostgresServer,
    milvus_server: MilvusProcess,
    queries: list[Path],
    tmp_path: Path,
    draw_photo: Callable[..., Image.Image],
) -> None:
    expected = answers(full_path, queries)
    assert {one[0] for one in expected} >= {"match"}
    one, two, back = postgres_server.new_database(), postgres_server.new_database(), tmp_path / "b"
    milvus = milvus_server.uri.replace("http", "milvus")
    reports = [copy(full_path, one), copy(one, two, index=milvus), copy(two, back)]
    assert [report.index for report in reports] == ["ivf", milvus, "auto"]
    refused = f"A gallery in such a place can't have the index {milvus}: it is auto there."
    assert [report.notes for report in reports] == [(), (), (refused,)]
    assert len({report.digest for report in reports}) == 1
    assert {(one.items, one.vectors, one.sent) for one in reports} == {(13, 14, 14)}
    for place in (one, two, back):
        assert answers(place, queries) == expected
    with Gallery.open(two) as gallery:
        assert gallery.info().index.kind == "milvus"
    new = tmp_path / "new.png"
    draw_photo("red", 77).save(new)
    for place in (full_path, one, two, back):
        with Gallery.open(place) as gallery:
            assert gallery.restore(4).id == 4
            assert gallery.add([new]).item_ids == [16]
            with gallery._store.read() as tx:
                assert tx.watermark(COPY) is None


def test_the_verifier_goes_along_and_what_a_machine_compiles_stays(
    trained_path: Path, postgres_server: PostgresServer, tmp_path: Path, hues: Path
) -> None:
    pair = (hues / "hue-1" / "1.png", hues / "hue-1" / "2.png")
    with Gallery.open(trained_path) as gallery:
        learnt, trained = gallery.verify(*pair, by="classifier"), gallery.info().verifier
    url, back = postgres_server.new_database(), tmp_path / "back"
    copy(trained_path, url)
    copy(url, back)
    assert not list(back.rglob("compiled"))
    for place in (url, back):
        with Gallery.open(place) as gallery:
            assert gallery.verify(*pair, by="classifier") == learnt
            assert gallery.info().verifier == trained


def test_a_gallery_that_got_another_encoder_is_copied_with_that_one(
    gallery_path: Path, postgres_url: str, second_encoder: Path, queries: list[Path]
) -> None:
    with Gallery.open(gallery_path) as gallery:
        gallery.reembed(str(second_encoder))
    copy(gallery_path, postgres_url)
    assert answers(postgres_url, queries) == answers(gallery_path, queries)


def test_an_encoder_that_changes_between_two_runs_is_followed(
    gallery_path: Path,
    postgres_url: str,
    second_encoder: Path,
    queries: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(copying, "compare", _power_cut)
        with pytest.raises(KeyboardInterrupt):
            copy(gallery_path, postgres_url)
    with Gallery.open(gallery_path) as gallery:
        gallery.reembed(str(second_encoder))
    assert copy(gallery_path, postgres_url).sent == 15
    assert answers(postgres_url, queries) == answers(gallery_path, queries)
    with Gallery.open(postgres_url) as gallery:
        assert len(list(gallery.path.glob("encoder*"))) == 1
        assert gallery.check().notes == ()


def test_a_reembed_under_way_goes_on_in_the_copy(
    gallery_path: Path, postgres_url: str, second_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(new_vectors, "_COMMIT_PHOTOS", 4)
    monkeypatch.setattr(new_vectors, "_COMMIT_SECONDS", 1e9)
    told: list[int] = []

    def stop(done: int, total: int) -> None:
        told.append(done)
        if done > total // 2:
            raise KeyboardInterrupt

    with Gallery.open(gallery_path) as gallery, pytest.raises(KeyboardInterrupt):
        gallery.reembed(str(second_encoder), progress=stop)
    copy(gallery_path, postgres_url)
    with Gallery.open(postgres_url) as gallery:
        (note,) = gallery.check().notes
        assert "A reembed to" in note
        report = gallery.reembed(str(second_encoder))
    assert report.kept > 0
    assert report.kept + report.embedded == 15


def test_a_damaged_gallery_is_not_copied(gallery_path: Path, tmp_path: Path) -> None:
    weights = gallery_path / "encoder" / "weights.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[:-1])
    with pytest.raises(EncoderError, match="has changed"):
        copy(gallery_path, tmp_path / "there")
    weights.write_bytes(data)
    assert copy(gallery_path, tmp_path / "there").sent == 15


def _power_cut(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_uploads_go_along_between_folders_only(
    gallery_path: Path, postgres_url: str, tmp_path: Path, draw_photo: Callable[..., Image.Image]
) -> None:
    with Gallery.open(gallery_path) as gallery:
        kept = gallery.folder_of_kept()
        draw_photo("red", 8).save(kept / "8.png")
        (added,) = gallery.add([kept / "8.png"]).item_ids
    there = tmp_path / "there"
    assert copy(gallery_path, there).notes == ()
    with Gallery.open(there) as gallery:
        assert gallery.items(ids=[added])[0].path == str(there.resolve() / "uploads" / "8.png")
        assert gallery.check().notes == ()
    (note,) = copy(gallery_path, postgres_url).notes
    assert note.startswith(f"Uploads stay in {kept} (1)")
    with Gallery.open(postgres_url) as gallery:
        assert gallery.items(ids=[added])[0].path == str(kept / "8.png")


@pytest.mark.parametrize("stage", ["compare", "settle_index", "copy_rows", "copy_encoders"])
def test_until_it_is_finished_only_the_same_command_opens_it(
    gallery_path: Path,
    postgres_server: PostgresServer,
    tmp_path: Path,
    stage: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for to in (postgres_server.new_database(), tmp_path / "there"):
        with monkeypatch.context() as broken:
            broken.setattr(copying, stage, _power_cut)
            with pytest.raises(KeyboardInterrupt):
                copy(gallery_path, to)
        if stage != "settle_index":
            with pytest.raises(StoreError, match="finish it with the same command"):
                Gallery.open(to)
        report = copy(gallery_path, to)
        assert report.sent == (15 if stage.startswith("copy") else 0)
        with Gallery.open(to) as gallery:
            assert gallery.check().clean
        with pytest.raises(GalleryError, match="holds a gallery already"):
            copy(gallery_path, to)


def test_what_is_in_the_way_is_refused(
    gallery_path: Path,
    postgres_url: str,
    tmp_path: Path,
    tiny_encoder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = tmp_path / "other"
    Gallery.create(other, encoder=str(tiny_encoder)).close()
    for to in (other, gallery_path):
        with pytest.raises(GalleryError, match="holds a gallery already"):
            copy(gallery_path, to)
    with pytest.raises(GalleryError, match="not empty"):
        copy(gallery_path, tmp_path)
    with pytest.raises(GalleryError, match="in a folder"):
        copy(gallery_path, tmp_path / "new", index="hnsw")
    with monkeypatch.context() as broken:
        broken.setattr(copying, "compare", _power_cut)
        with pytest.raises(KeyboardInterrupt):
            copy(other, postgres_url)
    with pytest.raises(GalleryError, match="part of another gallery"):
        copy(gallery_path, postgres_url)
    with pytest.raises(StoreError, match="finish it with the same command"):
        copy(postgres_url, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert copy(other, postgres_url).items == 0


def test_a_copy_that_differs_stays_closed(
    gallery_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = copying.copy_rows

    def wrong(source: Any, target: Any, told: Any) -> int:
        sent = right(source, target, told)
        with target.filling() as tx:
            tx.update_item(3, label="else")
        return sent

    with monkeypatch.context() as broken:
        broken.setattr(copying, "copy_rows", wrong)
        with pytest.raises(StoreError, match="The items of"):
            copy(gallery_path, tmp_path / "there")
    with pytest.raises(StoreError, match="finish it with the same command"):
        Gallery.open(tmp_path / "there")


@pytest.fixture
def large_path(gallery_path: Path) -> Path:
    """A gallery of a thousand drawn vectors besides its photos, some of them gone."""
    from db import NewItem

    store, _, _ = open_gallery(Place.of(gallery_path))
    rng = np.random.default_rng(0)
    with store.write() as tx:
        vectors = rng.standard_normal((1000, tx.encoder.dim)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        items = [
            NewItem(
                path=f"/drawn/{number}",
                content_hash=f"{number:064x}",
                width=1,
                height=1,
                file_size=1,
                mtime_ns=1,
                label=f"{number % 50}",
            )
            for number in range(1000)
        ]
        tx.add_items(items, vectors)
    with store.write() as tx:
        tx.remove_items(range(100, 130))
    store.close()
    return gallery_path


@pytest.mark.slow
@pytest.mark.parametrize("shared", [False, True])
def test_killed_at_random_moments_it_ends_like_any_other(
    large_path: Path, postgres_server: PostgresServer, tmp_path: Path, shared: bool
) -> None:
    to = postgres_server.new_database() if shared else str(tmp_path / "there")
    choose, killed = random.Random(shared), 0
    for _ in range(KILLS):
        log = tmp_path / "log"
        with log.open("w") as told:
            worker = subprocess.Popen(
                [sys.executable, str(WORKER), str(large_path), to],
                stdout=told,
                stderr=subprocess.PIPE,
                text=True,
            )
        wanted, deadline = choose.randrange(1, 120), time.monotonic() + 60
        while (
            log.read_text().count("\n") < wanted
            and worker.poll() is None
            and time.monotonic() < deadline
        ):
            time.sleep(0.002)
        worker.send_signal(signal.SIGKILL)
        _, trouble = worker.communicate()
        assert not trouble, trouble
        killed += "-1" not in log.read_text()
        with Gallery.open(large_path) as gallery:  # changes between two runs
            gallery.remove([200 + killed])
            if killed == 2:
                gallery.restore(201)
            if killed == 3:
                gallery.compact()
    assert killed == KILLS
    with pytest.raises((LookalikeError, StoreError)):
        Gallery.open(to)
    whole = copy(large_path, tmp_path / "whole")
    stopped = copy(large_path, to)
    assert stopped.digest == whole.digest
    assert stopped.sent < whole.sent == whole.vectors
    with Gallery.open(to) as gallery:
        assert gallery.check().problems == ()
