"""Photos that can't be read: told, listed, tried again, and never the end of a run."""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from PIL import Image

Run = Callable[..., Result]
Ask = Callable[..., list[dict[str, Any]]]
Draw = Callable[..., Image.Image]


def png(image: Image.Image) -> bytes:
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


def claim_size(data: bytes, width: int, height: int) -> bytes:
    """Make the header of a PNG promise another size, with a checksum to match."""
    header = bytearray(data[12:29])
    header[4:12] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return data[:12] + header + zlib.crc32(header).to_bytes(4, "big") + data[33:]


@pytest.fixture
def bad_photos(photos: Path, draw_photo: Draw) -> dict[str, str]:
    """Five files in `photos` that are no photos: how the reason of each begins, by its path."""
    whole = png(draw_photo("red", 50))
    files = {
        "empty.png": (b"", "the file is empty"),
        "huge.png": (claim_size(whole, 60_000, 60_000), "60000 x 60000 pixels, more than"),
        "text.jpg": (b"This is no photo.\n", "not an image in a format we read"),
        "truncated.png": (whole[: len(whole) // 2], "truncated, damaged or unsupported PNG"),
    }
    for name, (data, _) in files.items():
        (photos / "red" / name).write_bytes(data)
    (photos / "red" / "torn link.png").symlink_to("nowhere.png")
    reasons = {name: reason for name, (_, reason) in files.items()}
    reasons["torn link.png"] = "can't be read: "
    return {str(photos / "red" / name): reasons[name] for name in sorted(reasons)}


@pytest.fixture
def gallery_with_failures(
    run: Run, photos: Path, bad_photos: dict[str, str], tiny_encoder: Path, tmp_path: Path
) -> Path:
    gallery = tmp_path / "gallery"
    run("build-index", photos, "-g", gallery, "--encoder", tiny_encoder)
    return gallery


def test_what_is_no_photo_is_reported_and_the_others_are_stored(
    run: Run, photos: Path, bad_photos: dict[str, str], tiny_encoder: Path, tmp_path: Path
) -> None:
    gallery = tmp_path / "gallery"
    result = run("build-index", photos, "-g", gallery, "--encoder", tiny_encoder)
    assert result.exit_code == 0
    assert result.stdout.startswith("15 added, 0 unchanged, 0 moved, 5 failed\n")
    title, *lines = result.stderr.splitlines()
    assert title == "can't be used:"
    assert len(lines) == len(bad_photos)
    for line, (path, reason) in zip(lines, bad_photos.items(), strict=True):
        assert line.startswith(f"  {path}: {reason}")


def test_failures_are_listed(
    run: Run, ask_json: Ask, gallery_with_failures: Path, bad_photos: dict[str, str]
) -> None:
    listed = ask_json("list", "-g", gallery_with_failures, "--failures")
    assert [one["path"] for one in listed] == list(bad_photos)
    for one in listed:
        assert set(one) == {"path", "reason", "failed_at"}
        assert one["reason"].startswith(bad_photos[one["path"]])
    result = run("list", "-g", gallery_with_failures, "--failures")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [f"{one['path']}: {one['reason']}" for one in listed]
    (info,) = ask_json("info", "-g", gallery_with_failures)
    assert info["failures"] == 5


def test_failures_are_tried_again_and_forgotten_once_mended_or_gone(
    ask_json: Ask,
    photos: Path,
    gallery_with_failures: Path,
    bad_photos: dict[str, str],
    draw_photo: Draw,
) -> None:
    draw_photo("red", 50).save(photos / "red" / "empty.png")
    (photos / "red" / "text.jpg").unlink()
    (report,) = ask_json("build-index", photos, "-g", gallery_with_failures)
    still = [path for path in bad_photos if Path(path).name not in ("empty.png", "text.jpg")]
    assert report["added"] == 1
    assert [one["path"] for one in report["failed"]] == still
    listed = ask_json("list", "-g", gallery_with_failures, "--failures")
    assert [one["path"] for one in listed] == still


def test_a_photo_with_the_wrong_suffix_is_read_by_its_content(
    ask_json: Ask, photos: Path, gallery_path: Path, draw_photo: Draw
) -> None:
    (photos / "red" / "a png.jpg").write_bytes(png(draw_photo("red", 50)))
    (report,) = ask_json("build-index", photos, "-g", gallery_path)
    assert (report["added"], report["failed"]) == (1, [])


def test_a_stored_photo_that_became_unreadable_stays_an_item(
    ask_json: Ask, photos: Path, gallery_path: Path, query_photo: Path
) -> None:
    (photos / "red" / "0.png").write_bytes(b"no photo any more")
    (before,) = ask_json("query", query_photo, "-g", gallery_path)
    (report,) = ask_json("build-index", photos, "-g", gallery_path)
    assert [one["path"] for one in report["failed"]] == [str(photos / "red" / "0.png")]
    assert ask_json("query", query_photo, "-g", gallery_path) == [before]


def test_of_many_failures_ten_are_told_and_json_tells_all(
    run: Run, ask_json: Ask, photos: Path, gallery_path: Path
) -> None:
    for number in range(12):
        (photos / "red" / f"empty-{number:02}.png").touch()
    lines = run("build-index", photos, "-g", gallery_path).stderr.splitlines()
    assert lines[0] == "can't be used:"
    assert [line.split("/")[-1].split(":")[0] for line in lines[1:11]] == [
        f"empty-{number:02}.png" for number in range(10)
    ]
    assert lines[11:] == ["  and 2 more (--json lists all)"]
    (report,) = ask_json("build-index", photos, "-g", gallery_path)
    assert len(report["failed"]) == 12


def test_a_name_that_is_no_text_is_a_failure(
    ask_json: Ask, photos: Path, gallery_path: Path, draw_photo: Draw
) -> None:
    name = os.fsencode(photos / "red") + b"/caf\xe9.png"
    try:
        Path(os.fsdecode(name)).write_bytes(png(draw_photo("red", 50)))
    except OSError:
        pytest.skip("this file system knows only names that are text")
    (report,) = ask_json("build-index", photos, "-g", gallery_path)
    assert report["unchanged"] == 15
    (failure,) = report["failed"]
    assert failure["path"] == f"{photos}/red/caf\\xe9.png"
    assert "UTF-8" in failure["reason"]
    assert [one["path"] for one in ask_json("list", "-g", gallery_path, "--failures")] == [
        failure["path"]
    ]
