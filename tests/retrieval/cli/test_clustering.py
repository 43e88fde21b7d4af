"""`cluster`: from photos without labels to a list that `build-index` reads."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

Run = Callable[..., Result]
Ask = Callable[..., list[dict[str, Any]]]
Contents = Callable[[Path], dict[str, str]]

# The tiny encoder's colours are some 0.01 apart.
BELOW = ("--below", 0.005)


def labels(out: Path) -> list[str]:
    with out.open(encoding="utf-8", newline="") as lines:
        return [row["label"] for row in csv.DictReader(lines)]


def test_a_folder_becomes_a_list_to_build_from(
    run: Run, ask_json: Ask, photos: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "clusters.csv"
    result = run("cluster", photos, "--encoder", tiny_encoder, "--out", out, *BELOW)
    assert result.exit_code == 0
    assert result.stderr == ""
    title, header, *shown, hint = result.stdout.splitlines()
    assert title.startswith("15 photos: ")
    assert header.split() == ["label", "photos", "distance", "most", "central", "photo"]
    assert shown[0].split()[0] == "cluster-001"
    assert hint == f"{out} lists them: name the clusters there, then `build-index --labels {out}`"
    named = {label for label in labels(out) if label}
    assert len(named) == len(shown) > 1
    built = run("build-index", photos, "--labels", out, "--encoder", tiny_encoder, "-g", "new")
    assert built.exit_code == 0
    assert {one["label"] for one in ask_json("list", "-g", "new")} - {None} == named


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_json_is_what_the_docs_say(
    ask_json: Ask, photos: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    (photos / "red" / "0.png").write_bytes(b"no picture")
    out = tmp_path / "clusters.csv"
    asked = ("cluster", photos, "--encoder", tiny_encoder, "--out", out, *BELOW, "--limit", 1)
    (found,) = ask_json(*asked)
    docs = (Path(__file__).parents[3] / "docs" / "json.md").read_text(encoding="utf-8")
    section = docs.split("## cluster: a `Clustering`")[1].split("\n## ")[0]
    for record in (found, found["clusters"][0], found["failed"][0]):
        for field in record:
            assert f"`{field}`" in section, field
    assert len(found["clusters"]) > 1
    assert found["photos"] == 14
    assert found["clustered"] == sum(one["photos"] for one in found["clusters"])


def test_a_gallery_is_read_and_never_changed(
    run: Run, gallery_path: Path, tmp_path: Path, contents: Contents
) -> None:
    run("relabel", "--label", "red", "--no-label", "-g", gallery_path)
    before = contents(gallery_path)
    out = tmp_path / "clusters.csv"
    result = run("cluster", "-g", gallery_path, "--out", out, "--below", 0.1)
    assert result.exit_code == 0
    assert result.stdout.startswith("5 photos: 5 in 1 cluster (below 0.1), 0 in none:\n")
    assert labels(out) == ["blue"] * 5 + ["green"] * 5 + ["cluster-001"] * 5
    assert contents(gallery_path) == before
    # The list says of every item what it should be: built from it, the others stay as they are.
    built = run("build-index", "photos", "--labels", out, "-g", gallery_path)
    assert "0 added, 15 unchanged" in built.stdout
    listed = run("list", "--labels", "-g", gallery_path).stdout
    assert all(label in listed for label in ("blue", "green", "cluster-001"))


def test_photos_that_cannot_be_read_are_told(
    run: Run, gallery_path: Path, photos: Path, tmp_path: Path
) -> None:
    (photos / "red" / "0.png").write_bytes(b"no picture")
    out = tmp_path / "clusters.csv"
    result = run("cluster", photos, "-g", gallery_path, "--out", out, "--below", 0)
    assert result.exit_code == 0
    assert "1 photo could not be read:" in result.stderr
    assert result.stdout.startswith("14 photos: 0 in 0 clusters (below 0), 14 in none\n")
    assert len(labels(out)) == 14


def test_where_the_limit_comes_from_is_told(
    run: Run, untrained_path: Path, hues: Path, tmp_path: Path
) -> None:
    out = tmp_path / "clusters.csv"
    result = run("cluster", hues, "-g", untrained_path, "--out", out)
    assert ", as suits the gallery's own labels best)" in result.stdout


def test_a_list_that_is_there_is_kept_unless_forced(
    run: Run, refusal: Callable[..., str], gallery_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "clusters.csv"
    out.write_text("mine", encoding="utf-8")
    asked = ("cluster", "-g", gallery_path, "--all", "--out", out)
    assert "say --force to replace it" in refusal(*asked)
    assert out.read_text(encoding="utf-8") == "mine"
    assert run(*asked, "--force").exit_code == 0
    assert len(labels(out)) == 15


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Say FOLDER or -g GALLERY, or both."),
        (("photos", "--all"), "--all goes with -g GALLERY alone"),
        (("photos", "--all", "-g", "gallery"), "--all goes with -g GALLERY alone"),
        (("-g", "gallery", "--encoder", "siamese"), "--encoder goes with FOLDER alone"),
        (("photos", "--min-size", "1"), "1 is not in the range x>=2"),
        (("photos", "--below", "-1"), "'-1' is no cosine distance"),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_a_usage_error(
    arguments: tuple[str, ...], said: str, run: Run, gallery_path: Path
) -> None:
    result = run("cluster", *arguments, "--out", "clusters.csv")
    assert result.exit_code == 2
    assert said in result.stderr
    assert not Path("clusters.csv").exists()


def test_items_that_all_have_labels_are_refused(
    refusal: Callable[..., str], gallery_path: Path
) -> None:
    said = refusal("cluster", "-g", gallery_path, "--out", "clusters.csv")
    assert said.startswith("All 15 items have a label: say --all")
    assert not Path("clusters.csv").exists()
