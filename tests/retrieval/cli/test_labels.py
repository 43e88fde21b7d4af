"""`build-index --labels`: where labels come from, and who wins when a person changed them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from PIL import Image

Run = Callable[..., Result]
Ask = Callable[..., list[dict[str, Any]]]

CSV = """path,label,shelf,price
red/0.png,Tomato,A 3,0.99
red/1.png,Tomato,,
green/0.png,"Pear, green",B 1,2
blue/0.png,,C,
"""


@pytest.fixture
def csv(photos: Path) -> Path:
    """A CSV in another folder than the photos; it names four of the fifteen."""
    file = photos.parent / "labels" / "labels.csv"
    file.parent.mkdir()
    file.write_text(CSV, encoding="utf-8")
    return file


@pytest.fixture
def labelled(run: Run, photos: Path, csv: Path, tiny_encoder: Path, tmp_path: Path) -> Path:
    """A gallery whose labels come from `csv`."""
    gallery = tmp_path / "labelled"
    run("build-index", photos, "-g", gallery, "--encoder", tiny_encoder, "--labels", csv)
    return gallery


def labels(ask_json: Ask, gallery: Path) -> dict[str, str | None]:
    return {
        "/".join(Path(item["path"]).parts[-2:]): item["label"]
        for item in ask_json("list", "-g", gallery)
    }


NAMED = {"red/0.png": "Tomato", "red/1.png": "Tomato", "green/0.png": "Pear, green"}


def test_labels_and_metadata_come_from_a_csv(
    ask_json: Ask, labelled: Path, query_photo: Path
) -> None:
    said = labels(ask_json, labelled)
    assert len(said) == 15
    assert {path: label for path, label in said.items() if label is not None} == NAMED
    metadata = {
        "/".join(Path(item["path"]).parts[-2:]): item["metadata"]
        for item in ask_json("list", "-g", labelled)
    }
    assert metadata["red/0.png"] == {"shelf": "A 3", "price": "0.99"}
    assert metadata["blue/0.png"] == {"shelf": "C", "price": ""}
    assert metadata["blue/1.png"] == {}
    (answer,) = ask_json("query", query_photo, "-g", labelled, "-k", 15)
    assert {
        "/".join(Path(item["path"]).parts[-2:]): item["metadata"] for item in answer["items"]
    } == metadata


def test_a_photo_directly_in_the_folder_has_no_label(
    ask_json: Ask, photos: Path, gallery_path: Path, draw_photo: Callable[..., Image.Image]
) -> None:
    draw_photo("red", 50).save(photos / "loose.png")
    (photos / "red" / "ripe").mkdir()
    draw_photo("red", 51).save(photos / "red" / "ripe" / "0.png")
    ask_json("build-index", photos, "-g", gallery_path)
    said = labels(ask_json, gallery_path)
    assert said["photos/loose.png"] is None
    assert said["ripe/0.png"] == "ripe"


def test_no_labels_can_be_had(run: Run, ask_json: Ask, photos: Path, gallery_path: Path) -> None:
    (report,) = ask_json("build-index", photos, "-g", gallery_path, "--labels", "none")
    assert (report["relabelled"], report["unchanged"]) == (15, 15)
    (info,) = ask_json("info", "-g", gallery_path)
    assert (info["labels"], info["unlabelled"]) == (0, 15)
    assert run("list", "-g", gallery_path, "--labels").stdout == ""


@pytest.mark.parametrize("source", ["none", "labels/labels.csv"])
def test_the_label_source_is_remembered(
    source: str,
    ask_json: Ask,
    photos: Path,
    csv: Path,
    tiny_encoder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ("--encoder", tiny_encoder, "--labels", source)
    ask_json("build-index", "photos", "-g", "gallery", *options)
    gallery = tmp_path / "gallery"
    before = labels(ask_json, gallery)
    monkeypatch.chdir(photos)
    (report,) = ask_json("build-index", photos, "-g", gallery)
    assert (report["relabelled"], report["unchanged"]) == (0, 15)
    assert labels(ask_json, gallery) == before
    (report,) = ask_json("build-index", photos, "-g", gallery, "--labels", "folder")
    assert report["relabelled"] == 15
    assert all(path.startswith(f"{label}/") for path, label in labels(ask_json, gallery).items())


def test_a_label_given_by_hand_survives_the_next_run(
    run: Run, ask_json: Ask, photos: Path, csv: Path, labelled: Path
) -> None:
    first = ask_json("list", "-g", labelled, "--label", "Tomato")[0]
    assert run("relabel", first["id"], "--to", "Cherry", "-g", labelled).exit_code == 0
    expected = labels(ask_json, labelled)
    assert expected["red/0.png"] == "Cherry"
    for options in ((), ("--labels", csv)):
        (report,) = ask_json("build-index", photos, "-g", labelled, *options)
        assert report["relabelled"] == 0
        assert labels(ask_json, labelled) == expected


def test_a_label_given_by_hand_survives_a_change_of_the_photo(
    run: Run, ask_json: Ask, photos: Path, gallery_path: Path, query_photo: Path
) -> None:
    run("relabel", "--path", photos / "red" / "0.png", "--to", "Cherry", "-g", gallery_path)
    (photos / "red" / "0.png").write_bytes(query_photo.read_bytes())
    (report,) = ask_json("build-index", photos, "-g", gallery_path)
    assert (report["changed"], report["relabelled"]) == (1, 0)
    assert labels(ask_json, gallery_path)["red/0.png"] == "Cherry"


def test_an_edited_csv_wins_over_a_label_given_by_hand(
    run: Run, ask_json: Ask, photos: Path, csv: Path, labelled: Path
) -> None:
    run("relabel", "--label", "Tomato", "--to", "Cherry", "-g", labelled)
    csv.write_text(CSV.replace("red/0.png,Tomato", "red/0.png,Beef tomato"), encoding="utf-8")
    (report,) = ask_json("build-index", photos, "-g", labelled)
    assert report["relabelled"] == 1
    said = labels(ask_json, labelled)
    assert (said["red/0.png"], said["red/1.png"]) == ("Beef tomato", "Cherry")


def test_edited_metadata_replaces_what_was_stored(
    ask_json: Ask, photos: Path, csv: Path, labelled: Path
) -> None:
    csv.write_text(CSV.replace("A 3", "A 4"), encoding="utf-8")
    ask_json("build-index", photos, "-g", labelled)
    first = ask_json("list", "-g", labelled, "--label", "Tomato")[0]
    assert first["metadata"] == {"shelf": "A 4", "price": "0.99"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "There is no label file"),
        ("path,name\nred/0.png,a\n", "has no column 'label'"),
        ("file,label\nred/0.png,a\n", "has no column 'path'"),
        ("", "it names nothing"),
        ("path,label\nred/0.png\n", "row 2: expected 2 values"),
        ("path,label\nred/0.png,a,b\n", "row 2: expected 2 values"),
        ("path,label\nred/0.png,a\n,b\n", "row 3, column path: is empty"),
        ("path,label\nred/0.png,a\nred/0.png,b\n", "row 3, column path: "),
    ],
)
def test_a_csv_that_cannot_be_used_is_refused_and_nothing_changes(
    text: str | None,
    said: str,
    refusal: Callable[..., str],
    contents: Callable[[Path], dict[str, str]],
    photos: Path,
    gallery_path: Path,
    tmp_path: Path,
) -> None:
    file = tmp_path / "bad.csv"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    before = contents(gallery_path)
    sentence = refusal("build-index", photos, "-g", gallery_path, "--labels", file)
    assert said in sentence
    assert str(file) in sentence
    assert contents(gallery_path) == before
