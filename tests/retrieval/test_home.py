"""What a shared gallery keeps of files, and how a machine has a copy of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from db import Store
from retrieval.errors import GalleryError
from retrieval.home import Home


@pytest.fixture
def store(postgres_url: str) -> Iterator[Store]:
    opened = Store.create(postgres_url, fingerprint="f", encoder_name="e", dim=2, settings={})
    yield opened
    opened.close()


def home(folder: Path) -> Home:
    folder.mkdir(exist_ok=True)
    return Home(folder, "shop", is_shared=True)


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def put(store: Store, mine: Home) -> None:
    with store.write() as tx:
        mine.put(tx, "encoder")


def get(store: Store, theirs: Home) -> dict[str, bytes]:
    with store.read() as tx:
        theirs.get(tx, "encoder")
    return files(theirs.path / "encoder")


def test_another_machine_gets_what_was_put_and_nothing_of_its_own(
    store: Store, tmp_path: Path
) -> None:
    mine, theirs = home(tmp_path / "mine"), home(tmp_path / "theirs")
    (mine.path / "encoder" / "compiled").mkdir(parents=True)
    (mine.path / "encoder" / "compiled" / "blob").write_bytes(b"this machine's")
    (mine.path / "encoder" / "deep").mkdir()
    (mine.path / "encoder" / "a.json").write_bytes(b"{}")
    (mine.path / "encoder" / "deep" / "empty").write_bytes(b"")
    put(store, mine)
    assert get(store, theirs) == {"a.json": b"{}", "deep/empty": b""}
    (theirs.path / "encoder" / "compiled").mkdir()
    (theirs.path / "encoder" / "compiled" / "blob").write_bytes(b"theirs")
    assert "compiled/blob" in get(store, theirs)  # nothing new: nothing is touched
    (mine.path / "encoder" / "a.json").write_bytes(b"[]")
    put(store, mine)
    assert get(store, theirs) == {"a.json": b"[]", "deep/empty": b""}


def test_what_is_dropped_or_lost_is_brought_in_line(store: Store, tmp_path: Path) -> None:
    mine, theirs = home(tmp_path / "mine"), home(tmp_path / "theirs")
    (mine.path / "encoder").mkdir()
    (mine.path / "encoder" / "a").write_bytes(b"a")
    put(store, mine)
    assert get(store, theirs) == {"a": b"a"}
    theirs.forget("encoder")
    assert get(store, theirs) == {"a": b"a"}
    (theirs.path / ".encoder.kept.json").write_text("torn")
    assert get(store, theirs) == {"a": b"a"}
    with store.write() as tx:
        mine.drop(tx, "encoder")
    assert get(store, theirs) == {}
    assert not (theirs.path / "encoder").exists()
    assert [path.name for path in theirs.path.iterdir()] == [".encoder.kept.json"]


def test_a_home_that_cannot_be_written_is_named(store: Store, tmp_path: Path) -> None:
    mine, theirs = home(tmp_path / "mine"), home(tmp_path / "theirs")
    (mine.path / "encoder").mkdir()
    (mine.path / "encoder" / "a").write_bytes(b"a")
    put(store, mine)
    theirs.path.rmdir()
    theirs.path.touch()  # a file is in the way, for root too
    with pytest.raises(GalleryError, match=f"theirs can't be written.*shop{os.sep}?"):
        get(store, theirs)


def test_a_folder_of_its_own_is_left_alone(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s", fingerprint="f", encoder_name="e", dim=2, settings={})
    own = Home(tmp_path, "own")
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "a").write_bytes(b"a")
    put(store, own)
    with store.read() as tx:
        assert tx.files("") == {}
    assert get(store, own) == {"a": b"a"}
    store.close()
