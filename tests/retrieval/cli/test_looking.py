"""`list` and `info`: what is in a gallery, for people and for machines."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from click.testing import Result

from retrieval import Gallery
from retrieval.encoders import Artifact

Run = Callable[..., Result]
Ask = Callable[..., list[dict[str, Any]]]


def test_items_are_listed_one_a_line(run: Run, photos: Path, gallery_path: Path) -> None:
    run("relabel", 2, "--no-label", "-g", gallery_path)
    result = run("list", "-g", gallery_path)
    assert result.exit_code == 0
    header, *lines = [line.split() for line in result.stdout.splitlines()]
    assert header == ["id", "label", "width", "height", "path"]
    assert lines == [
        [str(number), "–" if number == 2 else path.parent.name, "96", "72", str(path)]
        for number, path in enumerate(sorted(photos.rglob("*.png")), start=1)
    ]


def test_a_threshold_set_by_hand_says_so(run: Run, gallery_path: Path) -> None:
    with Gallery.open(gallery_path) as gallery:
        gallery.set_threshold(0.3)
    said = run("info", "-g", gallery_path).stdout
    assert "threshold  0.3000 (nearest), set by hand at " in said


def test_numbers_are_aligned_to_the_right(run: Run, gallery_path: Path) -> None:
    header, *lines = run("list", "-g", gallery_path).stdout.splitlines()
    assert {line.index(" 96 ") for line in lines} == {header.index("width") + 2}
    assert lines[0].startswith("   1  ")
    assert lines[9].startswith("  10  ")


def test_items_are_listed_in_json_with_all_that_is_known(
    ask_json: Ask, photos: Path, gallery_path: Path
) -> None:
    for item, path in zip(
        ask_json("list", "-g", gallery_path), sorted(photos.rglob("*.png")), strict=True
    ):
        added_at = datetime.fromisoformat(item.pop("added_at"))
        assert timedelta(0) <= datetime.now(UTC) - added_at < timedelta(hours=1)
        assert item == {
            "path": str(path),
            "content_hash": hashlib.sha256(path.read_bytes()).hexdigest(),
            "width": 96,
            "height": 72,
            "file_size": path.stat().st_size,
            "mtime_ns": path.stat().st_mtime_ns,
            "label": path.parent.name,
            "source_label": path.parent.name,
            "metadata": {},
            "id": item["id"],
        }


def test_items_of_one_label_can_be_listed(run: Run, ask_json: Ask, gallery_path: Path) -> None:
    listed = ask_json("list", "-g", gallery_path, "--label", "green")
    assert [item["id"] for item in listed] == [6, 7, 8, 9, 10]
    assert len(run("list", "-g", gallery_path, "--label", "green").stdout.splitlines()) == 6
    assert ask_json("list", "-g", gallery_path, "--label", "violet") == []


def test_labels_are_listed_with_their_counts(run: Run, ask_json: Ask, gallery_path: Path) -> None:
    run("relabel", 1, "--to", "azure", "-g", gallery_path)
    run("relabel", 2, "--no-label", "-g", gallery_path)
    result = run("list", "-g", gallery_path, "--labels")
    assert result.stdout.splitlines() == [
        "azure: 1 item",
        "blue: 3 items",
        "green: 5 items",
        "red: 5 items",
    ]
    assert ask_json("list", "-g", gallery_path, "--labels")[:2] == [
        {"label": "azure", "items": 1},
        {"label": "blue", "items": 3},
    ]


def test_a_gallery_without_failures_lists_none(run: Run, gallery_path: Path) -> None:
    result = run("list", "-g", gallery_path, "--failures")
    assert (result.exit_code, result.stdout) == (0, "")


def test_info_says_what_a_gallery_is(
    run: Run, ask_json: Ask, gallery_path: Path, tiny_encoder: Path
) -> None:
    run("relabel", 2, "--no-label", "-g", gallery_path)
    (info,) = ask_json("info", "-g", gallery_path)
    spec = Artifact.load(tiny_encoder).spec
    assert info == {
        "path": str(gallery_path),
        "items": 15,
        "labels": 3,
        "unlabelled": 1,
        "failures": 0,
        "verifier": None,
        "verifier_problem": None,
        "encoder": "timm:test_efficientnet",
        "fingerprint": spec.fingerprint,
        "dim": spec.dim,
        "precision": "auto",
        "threshold": None,
        "outgrown": False,
        "index": {"asked": "auto", "kind": None, "items": 0, "changes": 15},
        "seq": info["seq"],
        "size": info["size"],
    }
    on_disk = sum(path.stat().st_size for path in gallery_path.rglob("*") if path.is_file())
    assert info["size"] >= on_disk > 100_000
    lines = run("info", "-g", gallery_path).stdout.splitlines()
    assert lines[:3] == [
        f"gallery    {gallery_path}",
        "items      15 (3 labels, 1 without one)",
        "failures   0",
    ]
    assert spec.fingerprint in lines[4]
    assert lines[3] == f"encoder    {spec.name}, {spec.dim} dimensions, auto precision"
    assert lines[5] == "threshold  none: query shows neighbours without a verdict"
    assert lines[6] == "index      no file yet, 15 changes since (auto)"
    assert re.fullmatch(rf"on disk    \d+\.\d MB, {info['seq']} writes so far", lines[7])


def test_each_write_counts(run: Run, ask_json: Ask, gallery_path: Path) -> None:
    (before,) = ask_json("info", "-g", gallery_path)
    run("relabel", 2, "--no-label", "-g", gallery_path)
    run("remove", 2, "-g", gallery_path)
    (after,) = ask_json("info", "-g", gallery_path)
    assert after["seq"] == before["seq"] + 2


def test_info_says_where_the_threshold_came_from(
    run: Run, ask_json: Ask, many_photos: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    gallery = tmp_path / "tuned"
    run("build-index", many_photos, "-g", gallery, "--encoder", tiny_encoder)
    (info,) = ask_json("info", "-g", gallery)
    tuned = info["threshold"]
    assert set(tuned) == {
        *("value", "rule", "objective", "source", "encoder_fingerprint"),
        *("details", "calibration", "created_at"),
    }
    assert (tuned["objective"], tuned["source"]) == ("fpir=0.05", "gallery")
    assert tuned["encoder_fingerprint"] == info["fingerprint"]
    details = tuned["details"]
    assert (details["items"], details["labels"]) == (21, 3)
    assert (details["n_mated"], details["n_non_mated"]) == (21, 21)
    assert details["fpir"] <= 0.05
    made = datetime.fromisoformat(tuned["created_at"])
    lines = run("info", "-g", gallery).stdout.splitlines()
    assert lines[5] == (
        f"threshold  {tuned['value']:.4f} (nearest), tuned for fpir=0.05 on gallery "
        f"at {made:%Y-%m-%d %H:%M} UTC"
    )
    assert lines[6].strip().startswith("measured there: ")
    for said in (f"dir {details['dir']:.3f}", "n_mated 21", "n_non_mated 21", "items 21"):
        assert said in lines[6]


def test_looking_changes_nothing(
    run: Run, contents: Callable[[Path], dict[str, str]], gallery_path: Path
) -> None:
    before = contents(gallery_path)
    for command in (["list"], ["list", "--labels"], ["list", "--failures"], ["info"], ["check"]):
        assert run(*command, "-g", gallery_path).exit_code == 0
    assert contents(gallery_path) == before
