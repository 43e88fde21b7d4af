"""A gallery that can't be written to, or read in part: right answers or a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from survivors import lookalike

from retrieval import Gallery


@pytest.fixture
def closed(path: Path) -> Iterator[Path]:
    """The gallery, where nothing may be written."""
    for one in [path, *path.rglob("*")]:
        one.chmod(0o555 if one.is_dir() else 0o444)
    yield path
    for one in [path, *path.rglob("*")]:
        one.chmod(0o755 if one.is_dir() else 0o644)


def bytes_of(folder: Path) -> dict[Path, bytes]:
    return {one: one.read_bytes() for one in folder.rglob("*") if one.is_file()}


def test_a_gallery_that_may_only_be_read_answers(
    closed: Path, made: Path, without_privileges: list[str]
) -> None:
    photo, before = made / "photos/red/0.png", bytes_of(closed)
    expected = lookalike("query", photo, "-g", made / "gallery", "--json").stdout
    for command in (("query", photo, "--json"), ("info",), ("list",), ("check",), ("eval",)):
        done = lookalike(*command, "-g", closed, before=without_privileges)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        if command[0] == "query":
            assert done.stdout == expected
    assert bytes_of(closed) == before


def test_a_gallery_that_may_only_be_read_says_so_to_changes(
    closed: Path, made: Path, without_privileges: list[str]
) -> None:
    before = bytes_of(closed)
    for command in (
        ("add", made / "more"),
        ("remove", "1", "--yes"),
        ("relabel", "1", "--to", "x"),
    ):
        done = lookalike(*command, "-g", closed, before=without_privileges)
        assert done.returncode == 2
        assert done.stderr == (
            f"Error: {closed / 'gallery.db'} can't be written to: check the permissions of it and "
            "its folder.\n"
        )
    assert bytes_of(closed) == before


def test_a_gallery_cannot_be_made_where_nothing_may_be_written(
    closed: Path, made: Path, tiny_encoder: Path, without_privileges: list[str]
) -> None:
    new = closed / "new"
    done = lookalike(
        *("build-index", made / "photos", "-g", new, "--encoder", tiny_encoder),
        before=without_privileges,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"Error: {new} can't be made (Permission denied): ")


@pytest.mark.parametrize("unreadable", ["gallery.db", "index", "encoder"])
def test_parts_that_may_not_be_read(
    unreadable: str, path: Path, made: Path, without_privileges: list[str]
) -> None:
    (path / unreadable).chmod(0)
    photo = made / "photos/red/0.png"
    for command in (("query", photo), ("check",)):
        done = lookalike(*command, "-g", path, before=without_privileges)
        if unreadable == "index" and command[0] == "query":
            assert done.returncode == 0
        else:
            assert str(path / unreadable) in done.stdout + done.stderr
    (path / unreadable).chmod(0o755)
    with Gallery.open(path) as gallery:
        assert gallery.check().clean
