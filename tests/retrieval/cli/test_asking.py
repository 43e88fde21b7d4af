"""`query`: the decision first, then the nearest items; for one photo or many."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from PIL import Image

from retrieval import Gallery

Run = Callable[..., Result]
Ask = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def queries(tmp_path: Path, draw_photo: Callable[..., Image.Image]) -> Path:
    """A folder with `a/0.png` (red), `b/c/0.png` (green) and `loose.png` (blue)."""
    folder = tmp_path / "queries"
    for number, (colour, name) in enumerate(
        (("red", "a/0.png"), ("green", "b/c/0.png"), ("blue", "loose.png"))
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_photo(colour, 90 + number).save(path)
    return folder


def table(lines: list[str]) -> list[list[str]]:
    """Split the lines of a table into their cells."""
    return [line.split() for line in lines]


def test_the_decision_comes_first_then_the_items(
    run: Run, ask_json: Ask, gallery_path: Path, query_photo: Path
) -> None:
    (answer,) = ask_json("query", query_photo, "-g", gallery_path)
    tau = 2 * answer["distance"]
    result = run("query", query_photo, "-g", gallery_path, "--threshold", tau)
    assert result.exit_code == 0
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[:4] == [
        str(query_photo),
        f"match: {answer['items'][0]['label']}",
        f"nearest distance {answer['distance']:.4f} is below the threshold {tau:.4f}",
        f"next comes {answer['next_label']}, {answer['margin']:.4f} farther off",
    ]
    assert table(lines[4:]) == [
        ["id", "label", "distance", "path"],
        *(
            [str(item["id"]), item["label"], f"{item['distance']:.4f}", item["path"]]
            for item in answer["items"]
        ),
    ]
    assert len(answer["items"]) == 5


def test_too_far_away_is_unknown(
    run: Run, ask_json: Ask, gallery_path: Path, query_photo: Path
) -> None:
    (answer,) = ask_json("query", query_photo, "-g", gallery_path)
    tau = answer["distance"] / 2
    lines = run("query", query_photo, "-g", gallery_path, "--threshold", tau).stdout.splitlines()
    assert lines[1:3] == [
        "unknown",
        f"nearest distance {answer['distance']:.4f} is not below the threshold {tau:.4f}",
    ]
    assert len(lines) == 4 + 1 + 5


def test_without_a_threshold_there_is_a_note_and_no_verdict(
    run: Run, ask_json: Ask, gallery_path: Path, query_photo: Path
) -> None:
    lines = run("query", query_photo, "-g", gallery_path).stdout.splitlines()
    assert lines[1].startswith("This gallery has no threshold, so there is no verdict: ")
    assert table(lines[3:4]) == [["id", "label", "distance", "path"]]
    (answer,) = ask_json("query", query_photo, "-g", gallery_path)
    assert answer["note"] == lines[1]
    assert answer["distance"] == answer["items"][0]["distance"]
    for missing in ("decision", "label", "item_id", "threshold", "p_value"):
        assert answer[missing] is None


@pytest.mark.parametrize("factor", [0.5, 2])
def test_json_has_the_fields_of_an_identification(
    factor: float, ask_json: Ask, gallery_path: Path, query_photo: Path
) -> None:
    tau = factor * ask_json("query", query_photo, "-g", gallery_path)[0]["distance"]
    (answer,) = ask_json("query", query_photo, "-g", gallery_path, "--threshold", tau, "-k", 15)
    assert list(answer) == [
        *("query", "decision", "label", "item_id", "distance", "next_distance", "next_label"),
        *("margin", "rule", "score", "threshold", "p_value", "note", "items"),
        *("where", "among"),
    ]
    nearest = answer["items"][0]
    other = next(one for one in answer["items"] if one["label"] != nearest["label"])
    match = nearest["distance"] < tau
    assert match == (factor > 1)
    assert answer | {"items": None} == {
        "query": str(query_photo),
        "decision": "match" if match else "unknown",
        "label": nearest["label"] if match else None,
        "item_id": nearest["id"] if match else None,
        "distance": nearest["distance"],
        "next_distance": other["distance"],
        "next_label": other["label"],
        "margin": other["distance"] - nearest["distance"],
        "rule": "nearest",
        "score": nearest["distance"],
        "threshold": tau,
        "p_value": None,
        "note": None,
        "items": None,
        "where": [],
        "among": None,
    }
    stored = {one["id"]: one for one in ask_json("list", "-g", gallery_path)}
    assert {item["id"] for item in answer["items"]} == set(stored)
    for item in answer["items"]:
        assert list(item) == ["id", "label", "distance", "path", "metadata"]
        for field in ("label", "path", "metadata"):
            assert item[field] == stored[item["id"]][field]
    distances = [item["distance"] for item in answer["items"]]
    assert distances == sorted(distances)


def test_the_answer_is_that_of_the_library(
    ask_json: Ask, gallery_path: Path, query_photo: Path
) -> None:
    (said,) = ask_json("query", query_photo, "-g", gallery_path, "-k", 3)
    with Gallery.open(gallery_path) as gallery:
        answer = gallery.identify(query_photo, k=3)
    assert [item["id"] for item in said["items"]] == [item.id for item in answer.items]
    assert said["distance"] == pytest.approx(answer.distance, abs=1e-6)


def test_a_match_without_a_label_is_named_by_its_item(
    run: Run, gallery_path: Path, query_photo: Path
) -> None:
    run("add", query_photo, "-g", gallery_path)
    lines = run("query", query_photo, "-g", gallery_path, "--threshold", 0.01).stdout.splitlines()
    assert lines[1] == "match: item 16 (no label)"
    assert table(lines[5:6])[0][:2] == ["16", "–"]


def test_the_gallerys_threshold_decides_unless_another_is_given(
    run: Run,
    ask_json: Ask,
    many_photos: Path,
    tiny_encoder: Path,
    query_photo: Path,
    tmp_path: Path,
) -> None:
    gallery = tmp_path / "tuned"
    run("build-index", many_photos, "-g", gallery, "--encoder", tiny_encoder)
    tuned = ask_json("info", "-g", gallery)[0]["threshold"]["value"]
    (answer,) = ask_json("query", query_photo, "-g", gallery)
    assert answer["threshold"] == tuned
    assert answer["decision"] == ("match" if answer["distance"] < tuned else "unknown")
    for tau, decision in ((0, "unknown"), (2, "match")):
        (answer,) = ask_json("query", query_photo, "-g", gallery, "--threshold", tau)
        assert (answer["threshold"], answer["decision"]) == (tau, decision)


@pytest.mark.parametrize(("k", "shown"), [(1, 1), (3, 3), (15, 15), (100, 15)])
def test_k_items_are_shown_or_all_there_are(
    k: int, shown: int, run: Run, ask_json: Ask, gallery_path: Path, query_photo: Path
) -> None:
    (all_items,) = ask_json("query", query_photo, "-g", gallery_path, "-k", 15)
    (answer,) = ask_json("query", query_photo, "-g", gallery_path, "-k", k)
    assert answer["items"] == all_items["items"][:shown]
    lines = run("query", query_photo, "-g", gallery_path, "-k", k).stdout.splitlines()
    assert len(lines) == 4 + shown


def test_photos_and_folders_are_answered_in_their_order(
    run: Run, ask_json: Ask, gallery_path: Path, queries: Path, query_photo: Path
) -> None:
    arguments = ("query", query_photo, queries, "-g", gallery_path)
    answers = ask_json(*arguments)
    asked = [query_photo, *(queries / name for name in ("loose.png", "a/0.png", "b/c/0.png"))]
    assert [answer["query"] for answer in answers] == [str(path) for path in asked]
    for answer, path in zip(answers, asked, strict=True):
        (alone,) = ask_json("query", path, "-g", gallery_path)
        assert answer["distance"] == pytest.approx(alone["distance"], abs=1e-4)
        assert {one["label"] for one in answer["items"]} == {one["label"] for one in alone["items"]}
    parts = run(*arguments).stdout.split("\n\n")
    assert [part.splitlines()[0] for part in parts] == [str(path) for path in asked]


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["text", "json"])
@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_photo_that_cannot_be_read_costs_the_others_nothing(
    place: int,
    options: tuple[str, ...],
    run: Run,
    gallery_path: Path,
    queries: Path,
    tmp_path: Path,
) -> None:
    bad = tmp_path / "text.png"
    bad.write_text("no photo")
    asked = [queries / name for name in ("loose.png", "a/0.png", "b/c/0.png")]
    asked.insert(place, bad)
    result = run("query", *asked, "-g", gallery_path, *options)
    assert result.exit_code == 2
    assert re.fullmatch(rf"{re.escape(str(bad))}: not an image in a format .+\n", result.stderr)
    asked.remove(bad)
    assert re.findall(r"/[^\s\"]+/queries/[^\s\"]+", result.stdout) == [str(path) for path in asked]


@pytest.mark.parametrize("name", ["nowhere.png", "text.png", "empty.png"])
def test_a_single_photo_that_cannot_be_read_is_refused(
    name: str, refusal: Callable[..., str], gallery_path: Path, tmp_path: Path
) -> None:
    (tmp_path / "text.png").write_text("no photo")
    (tmp_path / "empty.png").touch()
    for options in ((), ("--json",)):
        sentence = refusal("query", tmp_path / name, "-g", gallery_path, *options)
        assert sentence.startswith(f"{tmp_path / name} can't be used as a query: ")


def test_an_empty_gallery_knows_nobody(
    run: Run, ask_json: Ask, tiny_encoder: Path, query_photo: Path, tmp_path: Path
) -> None:
    Gallery.create(tmp_path / "empty", encoder=str(tiny_encoder)).close()
    result = run("query", query_photo, "-g", tmp_path / "empty")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        str(query_photo),
        "unknown",
        "This gallery is empty: add items first.",
    ]
    (answer,) = ask_json("query", query_photo, "-g", tmp_path / "empty", "--threshold", 1)
    assert (answer["decision"], answer["distance"], answer["items"]) == ("unknown", None, [])


def test_a_folder_without_photos_is_not_passed_over_in_silence(
    run: Run, gallery_path: Path, tmp_path: Path
) -> None:
    (tmp_path / "no photos").mkdir()
    result = run("query", tmp_path / "no photos", "-g", gallery_path)
    assert str(tmp_path / "no photos") in result.stderr


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["text", "json"])
def test_a_name_that_is_no_text_can_be_asked_about(
    options: tuple[str, ...], run: Run, gallery_path: Path, query_photo: Path, tmp_path: Path
) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    try:
        shutil.copyfile(query_photo, odd)
    except OSError:
        pytest.skip("this file system knows only names that are text")
    result = run("query", odd, "-g", gallery_path, *options)
    assert result.exit_code == 0
    assert "caf" in result.stdout


@pytest.mark.parametrize(
    "options",
    [("-k", 0), ("-k", "x"), *(("--threshold", bad) for bad in (-0.1, 2.1, "x", "nan", "inf"))],
    ids=str,
)
def test_numbers_that_make_no_sense_are_usage_errors(
    options: tuple[str, object], run: Run, query_photo: Path, tmp_path: Path
) -> None:
    result = run("query", query_photo, "-g", tmp_path / "gallery", *options)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert f"Invalid value for '{options[0]}'" in result.stderr


def test_asking_changes_nothing(
    run: Run,
    contents: Callable[[Path], dict[str, str]],
    gallery_path: Path,
    queries: Path,
    query_photo: Path,
) -> None:
    before = contents(gallery_path)
    run("query", query_photo, "-g", gallery_path)
    run("query", queries, query_photo, "-g", gallery_path, "--json")
    assert contents(gallery_path) == before
