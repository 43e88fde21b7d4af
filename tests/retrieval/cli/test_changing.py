"""`remove` and `relabel`: the items meant and no others, after a question where it is due."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

Run = Callable[..., Result]
Ask = Callable[..., list[dict[str, Any]]]
Contents = Callable[[Path], dict[str, str]]

# In `gallery_path`, 1 to 5 are blue, 6 to 10 green and 11 to 15 red.
WAYS = [
    (("3",), {3}),
    (("1", "12", "7"), {1, 7, 12}),
    (("3", "3"), {3}),
    (("--label", "green"), {6, 7, 8, 9, 10}),
    (("--path", "{photos}/red/0.png"), {11}),
    (("--path", "{photos}/green/../red/0.png"), {11}),
    (("6", "7", "--label", "green"), {6, 7}),
    (("--label", "red", "--path", "{photos}/red/0.png"), {11}),
    (("11", "--path", "{photos}/red/0.png"), {11}),
]
UNKNOWN = [
    (("99",), "has no item 99 "),
    (("3", "0", "99"), "has no item 0, 99 "),
    (("3", "--label", "red"), "has no item 3 "),
    (("3", "--path", "{photos}/red/0.png"), "has no item 3 "),
    (("--label", "violet"), "`lookalike list` shows what there is"),
    (("--label", "blue", "--path", "{photos}/red/0.png"), "`lookalike list` shows"),
    (("--path", "{photos}/nowhere.png"), "`lookalike list` shows what there is"),
    ((str(10**20),), f"has no item {10**20} "),
]


def filled(arguments: tuple[str, ...], photos: Path) -> list[str]:
    return [argument.format(photos=photos) for argument in arguments]


def ids(ask_json: Ask, gallery: Path) -> set[int]:
    return {item["id"] for item in ask_json("list", "-g", gallery)}


def plural(count: int) -> str:
    return "1 item" if count == 1 else f"{count} items"


@pytest.mark.parametrize(("arguments", "meant"), WAYS)
def test_the_items_meant_are_removed(
    arguments: tuple[str, ...],
    meant: set[int],
    run: Run,
    ask_json: Ask,
    contents: Contents,
    photos: Path,
    gallery_path: Path,
) -> None:
    before, pictures = ids(ask_json, gallery_path), contents(photos)
    result = run("remove", *filled(arguments, photos), "-g", gallery_path, "--yes")
    assert result.exit_code == 0
    assert result.stdout == f"removed {plural(len(meant))}\n"
    assert result.stderr == ""
    assert ids(ask_json, gallery_path) == before - meant
    assert contents(photos) == pictures


def test_what_is_removed_is_found_no_more(
    run: Run, ask_json: Ask, photos: Path, gallery_path: Path
) -> None:
    asked = ("query", photos / "red" / "0.png", "-g", gallery_path, "-k", 100)
    assert ask_json(*asked)[0]["items"][0]["id"] == 11
    run("remove", 11, "-g", gallery_path)
    (answer,) = ask_json(*asked)
    assert {item["id"] for item in answer["items"]} == set(range(1, 16)) - {11}


def test_a_removed_photo_can_be_added_again_under_a_new_id(
    run: Run, ask_json: Ask, photos: Path, gallery_path: Path
) -> None:
    run("remove", 15, "-g", gallery_path)
    (report,) = ask_json("build-index", photos, "-g", gallery_path)
    assert report["item_ids"] == [16]


def test_one_item_is_removed_without_a_question(run: Run, gallery_path: Path) -> None:
    result = run("remove", 3, "-g", gallery_path)
    assert result.exit_code == 0
    assert result.stdout == "removed 1 item\n"
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("answer", "removed"),
    [("y\n", True), ("yes\n", True), ("n\n", False), ("\n", False), ("", False)],
)
def test_more_items_are_removed_after_a_yes(
    answer: str, removed: bool, run: Run, ask_json: Ask, contents: Contents, gallery_path: Path
) -> None:
    before = contents(gallery_path)
    result = run("remove", "--label", "red", "-g", gallery_path, answer=answer)
    assert f"Remove 5 items from {gallery_path}? [y/N]: " in result.stderr
    if removed:
        assert result.exit_code == 0
        assert result.stdout == "removed 5 items\n"
        assert ids(ask_json, gallery_path) == set(range(1, 11))
    else:
        assert result.exit_code == 1
        assert result.stdout == ""
        assert contents(gallery_path) == before


@pytest.mark.parametrize("yes", ["-y", "--yes"])
def test_whoever_says_yes_beforehand_is_not_asked(yes: str, run: Run, gallery_path: Path) -> None:
    result = run("remove", 1, 2, "-g", gallery_path, yes)
    assert result.exit_code == 0
    assert result.stderr == ""


def test_the_answer_in_json_is_alone_on_stdout(run: Run, gallery_path: Path) -> None:
    result = run("remove", 1, 2, "-g", gallery_path, "--json", answer="y\n")
    assert result.stdout == '{"removed": 2}\n'


@pytest.mark.parametrize(("arguments", "meant"), WAYS)
def test_the_items_meant_get_another_label(
    arguments: tuple[str, ...],
    meant: set[int],
    run: Run,
    ask_json: Ask,
    photos: Path,
    gallery_path: Path,
) -> None:
    before = {item["id"]: item for item in ask_json("list", "-g", gallery_path)}
    result = run("relabel", *filled(arguments, photos), "--to", "a – b", "-g", gallery_path)
    assert result.exit_code == 0
    assert result.stdout == f"relabelled {plural(len(meant))}\n"
    for item in ask_json("list", "-g", gallery_path):
        label = "a – b" if item["id"] in meant else before[item["id"]]["label"]
        assert item == before[item["id"]] | {"label": label}


def test_a_label_can_be_taken_away(run: Run, ask_json: Ask, gallery_path: Path) -> None:
    (report,) = ask_json("relabel", 1, 2, "--no-label", "-g", gallery_path)
    assert report == {"relabelled": 2}
    (info,) = ask_json("info", "-g", gallery_path)
    assert (info["labels"], info["unlabelled"]) == (3, 2)
    labels = [item["label"] for item in ask_json("list", "-g", gallery_path)]
    assert labels[:3] == [None, None, "blue"]


def test_answers_name_the_new_label(
    run: Run, ask_json: Ask, gallery_path: Path, query_photo: Path
) -> None:
    run("relabel", "--label", "red", "--to", "tomato", "-g", gallery_path)
    (answer,) = ask_json("query", query_photo, "-g", gallery_path, "--threshold", 1)
    assert answer["label"] == "tomato"


@pytest.mark.parametrize("command", [("remove", "--yes"), ("relabel", "--to", "x")], ids=" ".join)
@pytest.mark.parametrize(("arguments", "said"), UNKNOWN)
def test_what_is_not_there_is_refused_and_nothing_changes(
    arguments: tuple[str, ...],
    said: str,
    command: tuple[str, ...],
    refusal: Callable[..., str],
    contents: Contents,
    photos: Path,
    gallery_path: Path,
) -> None:
    before = contents(gallery_path)
    sentence = refusal(*command, *filled(arguments, photos), "-g", gallery_path)
    assert said in sentence
    assert str(gallery_path) in sentence
    assert contents(gallery_path) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("remove",), "Say which items: ids, --label LABEL, --path PATH or "),
        (("remove", "--yes"), "Say which items: ids, --label LABEL, --path PATH or "),
        (("relabel", "--to", "x"), "Say which items: ids, --label LABEL, --path PATH or "),
        (("relabel", "1"), "Say either --to LABEL or --no-label."),
        (("relabel", "1", "--to", "x", "--no-label"), "Say either --to LABEL or --no-label."),
        (("relabel", "1", "--to", ""), "--no-label"),
        (("remove", "x"), "'x' is not a valid integer"),
    ],
    ids=str,
)
def test_what_says_too_little_or_too_much_is_a_usage_error(
    arguments: tuple[str, ...], said: str, run: Run, contents: Contents, gallery_path: Path
) -> None:
    before = contents(gallery_path)
    result = run(*arguments, "-g", gallery_path)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert said in result.stderr
    assert contents(gallery_path) == before
