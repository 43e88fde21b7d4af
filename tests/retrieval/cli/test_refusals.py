"""Galleries that can't be opened: one sentence, exit code 2, and not a byte is changed."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from db import filesystem
from db.sqlite import PAGE_SIZE

Contents = Callable[[Path], dict[str, str]]
Sql = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def refused_by_all(
    refusal: Callable[..., str], contents: Contents, photos: Path, query_photo: Path
) -> Callable[[Path], str]:
    """Try every command on a gallery: all say the same sentence, and the folder stays as it is."""

    def refuse(gallery: Path) -> str:
        before = contents(gallery)
        sentences = {
            refusal(*command, "-g", gallery)
            for command in (
                ("build-index", photos),
                ("build-index", photos, "--prune", "--labels", "none"),
                ("query", query_photo),
                ("query", photos, query_photo, "--json"),
                ("add", query_photo),
                ("remove", "1"),
                ("relabel", "1", "--to", "x"),
                ("list",),
                ("info",),
                ("check",),
                ("eval", photos),
            )
        }
        assert contents(gallery) == before
        (sentence,) = sentences
        return sentence

    return refuse


def test_the_encoder_of_another_gallery(
    refused_by_all: Callable[[Path], str], gallery_path: Path, other_encoder: Path
) -> None:
    shutil.rmtree(gallery_path / "encoder")
    shutil.copytree(other_encoder, gallery_path / "encoder")
    sentence = refused_by_all(gallery_path)
    assert sentence.startswith(f"The encoder in {gallery_path / 'encoder'} ")
    assert "put back the folder it came with" in sentence


def test_a_newer_schema(
    refused_by_all: Callable[[Path], str], gallery_path: Path, sql: Sql
) -> None:
    sql(gallery_path, "UPDATE alembic_version SET version_num = '9999'")
    sentence = refused_by_all(gallery_path)
    assert sentence == (
        f"{gallery_path / 'gallery.db'} was written by a newer lookalike: "
        "upgrade this one to open it."
    )


@pytest.mark.parametrize("missing", ["encoder", "encoder/encoder.json"])
def test_a_missing_encoder(
    missing: str, refused_by_all: Callable[[Path], str], gallery_path: Path
) -> None:
    path = gallery_path / missing
    path.unlink() if path.is_file() else shutil.rmtree(path)
    sentence = refused_by_all(gallery_path)
    assert f"{gallery_path / 'encoder'} holds no encoder" in sentence
    assert "restore it from a copy" in sentence


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"format": 1}', '{"format": 2}', '{"format": 1, "name": 3}', "\xff"],
)
def test_a_damaged_description_of_the_encoder(
    text: str, refused_by_all: Callable[[Path], str], gallery_path: Path
) -> None:
    path = gallery_path / "encoder" / "encoder.json"
    path.write_text(text, encoding="latin-1")
    assert str(path) in refused_by_all(gallery_path)


def test_an_encoder_that_lost_its_weights_and_networks(
    refusal: Callable[..., str], contents: Contents, gallery_path: Path, query_photo: Path
) -> None:
    for path in (gallery_path / "encoder").rglob("*"):
        if path.is_file() and path.name != "encoder.json":
            path.unlink()
    before = contents(gallery_path)
    for command in ("query", "add", "build-index"):
        target = query_photo.parent if command == "build-index" else query_photo
        sentence = refusal(command, target, "-g", gallery_path)
        assert str(gallery_path / "encoder") in sentence
        assert "restore" in sentence
    assert contents(gallery_path) == before


@pytest.mark.parametrize("kept", [0, 0.5])
def test_an_encoder_whose_files_are_truncated(
    kept: float,
    refusal: Callable[..., str],
    contents: Contents,
    gallery_path: Path,
    query_photo: Path,
) -> None:
    for path in (gallery_path / "encoder").rglob("*"):
        if path.is_file() and path.name != "encoder.json":
            data = path.read_bytes()
            path.write_bytes(data[: int(len(data) * kept)])
    before = contents(gallery_path)
    sentence = refusal("query", query_photo, "-g", gallery_path)
    assert str(gallery_path / "encoder") in sentence
    assert "restore" in sentence
    assert contents(gallery_path) == before


def test_a_folder_of_photos(refused_by_all: Callable[[Path], str], photos: Path) -> None:
    assert refused_by_all(photos / "red").startswith(f"{photos / 'red'} is no gallery: ")


def make_text(path: Path) -> None:
    path.write_text("This is no database. " * 100)


def make_empty(path: Path) -> None:
    path.touch()


def make_foreign(path: Path) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("CREATE TABLE accounts (id INTEGER)")
    connection.close()


def test_a_store_whose_tables_are_noise(
    refused_by_all: Callable[[Path], str], gallery_path: Path
) -> None:
    store = gallery_path / "gallery.db"
    data = store.read_bytes()
    noise = np.random.default_rng(0).bytes(len(data) - PAGE_SIZE)
    store.write_bytes(data[:PAGE_SIZE] + noise)
    assert refused_by_all(gallery_path).startswith(f"{store} is damaged ")


@pytest.fixture
def impostor(tmp_path: Path) -> Path:
    folder = tmp_path / "impostor"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("make", [make_text, make_empty, make_foreign])
def test_a_file_of_the_stores_name_that_is_no_store(
    make: Callable[[Path], None], refused_by_all: Callable[[Path], str], impostor: Path
) -> None:
    make(impostor / "gallery.db")
    assert refused_by_all(impostor).startswith(f"{impostor / 'gallery.db'} ")


def test_a_gallery_on_a_network_file_system(
    refused_by_all: Callable[[Path], str],
    refusal: Callable[..., str],
    gallery_path: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:9 / {tmp_path} rw - nfs box:/ rw\n")
    monkeypatch.setattr(filesystem, "_MOUNTS", mounts)
    sentence = refused_by_all(gallery_path)
    assert sentence.startswith(f"{gallery_path / 'gallery.db'} is on a network file system (nfs ")
    new = tmp_path / "new"
    # Before anything is made of the encoder, which there is none of.
    sentence = refusal("build-index", photos, "-g", new, "--encoder", tmp_path / "nowhere")
    assert sentence.startswith(f"{new} is on a network file system (nfs ")
    assert not new.exists()


@pytest.mark.parametrize("bad", ["text.png", "empty.png", "nowhere.png", "gallery/gallery.db"])
def test_a_query_that_is_no_image(
    bad: str, refusal: Callable[..., str], contents: Contents, gallery_path: Path, tmp_path: Path
) -> None:
    (tmp_path / "text.png").write_text("This is no photo.")
    (tmp_path / "empty.png").touch()
    before = contents(gallery_path)
    assert str(tmp_path / bad) in refusal("query", tmp_path / bad, "-g", gallery_path)
    assert contents(gallery_path) == before


def test_a_gallery_that_is_not_there(
    refusal: Callable[..., str], query_photo: Path, tmp_path: Path
) -> None:
    nowhere = tmp_path / "nowhere"
    for command in (("query", query_photo), ("add", query_photo), ("remove", "1"), ("list",)):
        sentence = refusal(*command, "-g", nowhere)
        assert sentence.startswith(f"{nowhere} does not exist: ")
        assert f"lookalike build-index PHOTOS -g {nowhere}" in sentence
    assert not nowhere.exists()
