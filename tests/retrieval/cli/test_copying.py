"""`copy`: there and back by commands, in words and in JSON."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import Result

Run = Callable[..., Result]
Ask = Callable[..., list[dict[str, Any]]]


def test_a_gallery_is_copied_into_a_database_and_back(
    run: Run, ask_json: Ask, gallery_path: Path, postgres_url: str, tmp_path: Path, photos: Path
) -> None:
    told = run("copy", "-g", gallery_path, "--to", postgres_url, "--index", "exact")
    assert told.stderr == ""
    assert told.stdout == (f"{postgres_url}: 15 items, 15 vectors, the same as in {gallery_path}\n")
    (report,) = ask_json("copy", "-g", postgres_url, "--to", tmp_path / "back")
    digest = report.pop("digest")
    assert report == {
        "path": str(tmp_path / "back"),
        "items": 15,
        "vectors": 15,
        "sent": 15,
        "index": "exact",
        "notes": [],
    }
    assert len(digest) == 64
    (before,) = ask_json("query", photos / "red" / "0.png", "-g", gallery_path)
    assert ask_json("query", photos / "red" / "0.png", "-g", tmp_path / "back") == [before]


def test_what_stays_is_noted(run: Run, gallery_path: Path, postgres_url: str) -> None:
    run("copy", "-g", gallery_path, "--to", postgres_url)
    run("compact", "-g", postgres_url, "--index", "hnsw")
    there = gallery_path.with_name("back")
    told = run("copy", "-g", postgres_url, "--to", there).stdout.splitlines()
    assert told[1:] == [
        "note: A gallery in such a place can't have the index hnsw: it is auto there."
    ]


def test_a_place_in_use_is_refused(
    refusal: Callable[..., str], gallery_path: Path, contents: Callable[[Path], dict[str, str]]
) -> None:
    before = contents(gallery_path)
    sentence = refusal("copy", "-g", gallery_path, "--to", gallery_path)
    assert sentence == f"{gallery_path} holds a gallery already: choose another place."
    assert contents(gallery_path) == before
