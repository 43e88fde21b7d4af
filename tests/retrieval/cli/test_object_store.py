"""The command line with photos in an object store."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from object_store import KEY_ID, SECRET, Bucket

from retrieval.remote import forget_stores

Run = Callable[..., Result]
Refusal = Callable[..., str]


@pytest.fixture
def filled(bucket: Bucket, photos: Path) -> Bucket:
    """A bucket `train/COLOUR/N.png` with the pictures of `photos`."""
    for photo in sorted(photos.rglob("*.png")):
        bucket.put(f"train/{photo.relative_to(photos).as_posix()}", photo.read_bytes())
    return bucket


def test_a_gallery_is_built_asked_and_judged(
    run: Run,
    ask_json: Callable[..., list[dict[str, Any]]],
    filled: Bucket,
    tiny_encoder: Path,
    query_photo: Path,
    tmp_path: Path,
) -> None:
    path, train = tmp_path / "gallery", f"{filled.url}/train"
    built = run("build-index", train, "-g", path, "--encoder", tiny_encoder)
    assert built.exit_code == 0, built.stderr
    assert built.stdout.startswith("15 added, 0 unchanged, 0 moved, 0 failed\n")
    (again,) = ask_json("build-index", train, "-g", path)
    assert again["unchanged"] == 15
    one = f"{train}/red/1.png"
    (answer,) = ask_json("query", one, "-g", path, "--threshold", 0.001)
    assert (answer["query"], answer["label"]) == (one, "red")
    assert len(ask_json("query", f"{train}/red", "-g", path)) == 5
    (judged,) = ask_json("eval", train, "-g", path)
    assert judged["n_mated"] == 15
    (item,) = ask_json("list", "-g", path, "--where", f"path={one}")
    assert item["path"] == one
    report = tmp_path / "report.html"
    filled.put("asked/blue/1.png", query_photo.read_bytes())  # it is red
    assert run("eval", f"{filled.url}/asked", "-g", path, "--report", report).exit_code == 0
    assert "data:image/jpeg" in report.read_text(encoding="utf-8")
    assert run("remove", "--path", one, "-g", path, "--yes").stdout == "removed 1 item\n"
    (added,) = ask_json("add", one, "-g", path, "--label", "red")
    assert added["added"] == 1
    (pair,) = ask_json("verify", one, f"{train}/red/2.png", "-g", path)
    assert pair["distance"] > 0
    (grouped,) = ask_json("cluster", train, "-g", path, "--out", tmp_path / "clusters.csv")
    assert grouped["photos"] == 15


def test_the_first_mistake_ends_a_command_before_a_gallery_is_made(
    refusal: Refusal, filled: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "gallery"
    reason = "no such bucket, folder or object"
    for url in ("s3://no-such-bucket/train", f"{filled.url}/none"):
        assert (
            refusal("build-index", url, "-g", path)
            == (f"{url} can't be used ({reason}): check its name") + "."
        )
    assert "an object, no folder" in refusal(
        "build-index", f"{filled.url}/train/red/1.png", "-g", path
    )
    assert "There is no label file" in refusal(
        "build-index", f"{filled.url}/train", "--labels", f"{filled.url}/none.csv", "-g", path
    )
    assert "names nothing" in refusal("build-index", "s3://", "-g", path)
    assert "write its path" in refusal("build-index", "file:///photos", "-g", path)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    forget_stores()
    assert "no credentials were found" in refusal("build-index", filled.url, "-g", path)
    assert not path.exists()


def test_an_unreachable_endpoint_is_told_without_credentials(
    refusal: Refusal, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://user:made-up-password@127.0.0.1:9")
    forget_stores()
    said = refusal("build-index", f"{bucket.url}/train", "-g", tmp_path / "gallery")
    assert "the store can't be reached" in said
    assert not any(secret in said for secret in (KEY_ID, SECRET, "made-up-password"))
    assert not (tmp_path / "gallery").exists()


def test_a_password_in_a_url_is_not_repeated(refusal: Refusal, tmp_path: Path) -> None:
    said = refusal("build-index", "ftp://me:s3cret@host/photos", "-g", tmp_path / "gallery")
    assert "s3cret" not in said


def test_a_photo_that_is_not_there_is_told(run: Run, filled: Bucket, gallery_path: Path) -> None:
    done = run("query", f"{filled.url}/none.png", f"{filled.url}/train/red/1.png",
               "-g", gallery_path, "--json")  # fmt: skip
    assert done.exit_code == 2
    assert done.stderr == (
        f"{filled.url}/none.png: can't be read: no such bucket, folder or object\n"
    )
    assert json.loads(done.stdout)["query"] == f"{filled.url}/train/red/1.png"


def test_a_denied_photo_is_a_failure_among_others(
    run: Run, filled: Bucket, tiny_encoder: Path, tmp_path: Path
) -> None:
    filled.deny("train/red/1.png")
    done = run(
        "build-index", f"{filled.url}/train", "-g", tmp_path / "gallery", "--encoder", tiny_encoder
    )
    assert done.exit_code == 0
    assert done.stdout.startswith("14 added, 0 unchanged, 0 moved, 1 failed\n")
    assert f"{filled.url}/train/red/1.png: can't be read: access is denied" in done.output
