"""`dedupe`: what it shows, and what it removes after a question where it is due."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

Run = Callable[..., Result]
Ask = Callable[..., list[dict[str, Any]]]
Contents = Callable[[Path], dict[str, str]]


@pytest.fixture
def copied(run: Run, gallery_path: Path, photos: Path) -> Path:
    """A gallery where item 16 is a copy of 11, and 17, labelled blue, too."""
    for name, label in (("copy", "red"), ("blue copy", "blue")):
        path = photos.parent / f"{name}.png"
        shutil.copyfile(photos / "red" / "0.png", path)
        added = run("add", path, "--label", label, "--allow-duplicates", "-g", gallery_path)
        assert added.exit_code == 0
    return gallery_path


def ids(ask_json: Ask, gallery: Path) -> set[int]:
    return {item["id"] for item in ask_json("list", "-g", gallery)}


def test_it_shows_each_group_and_changes_nothing(
    run: Run, copied: Path, photos: Path, contents: Contents
) -> None:
    before = contents(copied)
    result = run("dedupe", "-g", copied, "--below", 0)
    assert result.exit_code == 0
    assert result.stderr == ""
    title, header, kept, duplicate = result.stdout.splitlines()
    assert title == "17 items, 1 near-duplicate in 1 group of one label (below 0):"
    assert header.split() == ["id", "label", "pixels", "bytes", "distance", "path"]
    size = str((photos / "red" / "0.png").stat().st_size)
    assert kept.split() == ["keep", "11", "red", "96x72", size, "–", f"{photos}/red/0.png"]
    assert duplicate.split()[:6] == ["same", "bytes", "16", "red", "96x72", size]
    assert contents(copied) == before


def test_several_labels_in_a_group_are_told(run: Run, copied: Path) -> None:
    said = run("dedupe", "-g", copied, "--below", 0, "--within", "any").stdout
    assert "17 items, 2 near-duplicates in 1 group of any label (below 0):\n" in said
    assert "1 group with several labels: `lookalike audit` helps" in said


def test_the_json_is_what_the_docs_say(ask_json: Ask, copied: Path) -> None:
    (found,) = ask_json("dedupe", "-g", copied, "--below", 0, "--within", "any", "--limit", 1)
    docs = (Path(__file__).parents[3] / "docs" / "json.md").read_text(encoding="utf-8")
    section = docs.split("## dedupe: a `DedupeReport`")[1].split("\n## ")[0]
    (group,) = found["groups"]
    for record in (found, group, group["kept"], group["duplicates"][0]):
        for field in record:
            assert f"`{field}`" in section, field
    assert [one["item"]["id"] for one in group["duplicates"]] == [16, 17]
    assert (found["n_duplicates"], found["removed"]) == (2, 0)


def test_the_limit_cuts_what_is_shown_only(run: Run, ask_json: Ask, copied: Path) -> None:
    asked = ("dedupe", "-g", copied, "--below", 0.02, "--limit", 1)
    (found,) = ask_json(*asked)
    assert len(found["groups"]) > 1
    said = run(*asked).stdout
    assert f"in {len(found['groups'])} groups of one label (below 0.02), the largest 1:\n" in said
    assert said.count("\n  keep ") == 1


@pytest.mark.parametrize(
    ("answer", "removed"), [("y\n", True), ("n\n", False), ("\n", False), ("", False)]
)
def test_it_asks_before_it_removes(
    answer: str, removed: bool, run: Run, ask_json: Ask, copied: Path, contents: Contents
) -> None:
    before, pictures = contents(copied), contents(copied.parent / "photos")
    result = run("dedupe", "-g", copied, "--below", 0, "--remove", answer=answer)
    assert f"Remove 1 near-duplicate from {copied}? [y/N]: " in result.stderr
    if removed:
        assert result.exit_code == 0
        assert "\nremoved 1 item\n" in result.stdout
        assert "comes back with the next build-index" in result.stdout
        assert ids(ask_json, copied) == {*range(1, 16), 17}
    else:
        assert result.exit_code == 1
        assert contents(copied) == before
    assert contents(copied.parent / "photos") == pictures


def test_whoever_says_yes_is_not_asked_and_nothing_is_left(
    run: Run, ask_json: Ask, copied: Path
) -> None:
    asked = ("dedupe", "-g", copied, "--below", 0.02, "--within", "any")
    (before,) = ask_json(*asked)
    (done,) = ask_json(*asked, "--remove", "--yes")
    assert done == before | {"removed": before["n_duplicates"]}
    assert len(ids(ask_json, copied)) == 17 - done["removed"]
    result = run(*asked, "--remove")
    assert result.exit_code == 0
    assert result.stdout == (
        f"{17 - done['removed']} items, no near-duplicates of any label (below 0.02)\n"
        "removed 0 items\n"
    )
    check = run("check", "-g", copied)
    assert check.exit_code == 0, check.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--below", "3"), "'3' is no cosine distance"),
        (("--within", "all"), "'all' is not one of 'label', 'any'"),
        (("--limit", "0"), "0 is not in the range x>=1"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_a_usage_error(
    options: tuple[str, ...], said: str, run: Run, gallery_path: Path
) -> None:
    result = run("dedupe", "-g", gallery_path, *options)
    assert result.exit_code == 2
    assert said in result.stderr


def test_no_gallery_is_refused(refusal: Callable[..., str], tmp_path: Path) -> None:
    assert "does not exist" in refusal("dedupe", "-g", tmp_path / "nowhere")
