"""`add`: photos and folders into a gallery that is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from PIL import Image

Run = Callable[..., Result]
Ask = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def more(tmp_path: Path, draw_photo: Callable[..., Image.Image]) -> Path:
    """A folder `more` with `loose.png`, `ripe/0.png` and `ripe/1.png`."""
    folder = tmp_path / "more"
    (folder / "ripe").mkdir(parents=True)
    draw_photo("red", 50).save(folder / "loose.png")
    for number in range(2):
        draw_photo("red", 60 + number).save(folder / "ripe" / f"{number}.png")
    return folder


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("loose.png",), {"loose.png": None}),
        (("loose.png", "--label", "apple"), {"loose.png": "apple"}),
        (("ripe",), {"ripe/0.png": "ripe", "ripe/1.png": "ripe"}),
        ((".",), {"loose.png": "more", "ripe/0.png": "ripe", "ripe/1.png": "ripe"}),
        (("ripe/1.png", "loose.png"), {"ripe/1.png": None, "loose.png": None}),
        (("loose.png", "./loose.png"), {"loose.png": None}),
        (
            ("ripe", "loose.png", "--label", "apple"),
            {"ripe/0.png": "apple", "ripe/1.png": "apple", "loose.png": "apple"},
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_files_and_folders_are_added(
    options: tuple[str, ...],
    expected: dict[str, str | None],
    ask_json: Ask,
    gallery_path: Path,
    more: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(more)
    (report,) = ask_json("add", *options, "-g", gallery_path)
    assert report["added"] == len(expected)
    assert report["item_ids"] == list(range(16, 16 + len(expected)))
    added = [item for item in ask_json("list", "-g", gallery_path) if item["id"] > 15]
    assert [(item["path"], item["label"]) for item in added] == [
        (str(more / name), label) for name, label in expected.items()
    ]


def test_what_is_added_is_found(ask_json: Ask, gallery_path: Path, more: Path) -> None:
    ask_json("add", more / "loose.png", "--label", "apple", "-g", gallery_path)
    (answer,) = ask_json("query", more / "loose.png", "-g", gallery_path, "-k", 1)
    assert answer["items"][0]["id"] == 16
    assert answer["items"][0]["label"] == "apple"
    assert answer["distance"] == pytest.approx(0, abs=1e-3)


def test_the_summary_is_that_of_a_build(run: Run, gallery_path: Path, more: Path) -> None:
    result = run("add", more / "loose.png", "--label", "apple", "-g", gallery_path)
    assert result.exit_code == 0
    first, second, third = result.stdout.splitlines()
    assert first == "1 added, 0 unchanged, 0 moved, 0 failed"
    assert second == f"{gallery_path}: 16 items, 4 labels, timm:test_efficientnet"
    assert third.startswith("no threshold: ")


def test_adding_again_changes_nothing(ask_json: Ask, gallery_path: Path, more: Path) -> None:
    ask_json("add", more, "-g", gallery_path)
    before = ask_json("list", "-g", gallery_path)
    (report,) = ask_json("add", more, "-g", gallery_path)
    assert (report["added"], report["unchanged"]) == (0, 3)
    assert ask_json("list", "-g", gallery_path) == before


def test_a_label_given_later_replaces_the_first(
    ask_json: Ask, gallery_path: Path, more: Path
) -> None:
    ask_json("add", more / "loose.png", "-g", gallery_path)
    (report,) = ask_json("add", more / "loose.png", "--label", "apple", "-g", gallery_path)
    assert (report["unchanged"], report["relabelled"]) == (1, 1)
    assert [one["id"] for one in ask_json("list", "-g", gallery_path, "--label", "apple")] == [16]


def test_duplicates_are_left_out_unless_allowed(
    run: Run, ask_json: Ask, gallery_path: Path, photos: Path, more: Path
) -> None:
    copy = more / "copy.png"
    copy.write_bytes((photos / "red" / "0.png").read_bytes())
    result = run("add", copy, "-g", gallery_path)
    assert result.exit_code == 0
    assert result.stderr == f"stored already:\n  {copy}: the same bytes as item 11\n"
    assert len(ask_json("list", "-g", gallery_path)) == 15
    (report,) = ask_json("add", copy, "-g", gallery_path, "--allow-duplicates")
    assert report["item_ids"] == [16]


@pytest.mark.parametrize("bad", ["nowhere.png", "text.txt", "empty.png"])
def test_what_cannot_be_read_is_told_with_exit_code_2(
    bad: str, run: Run, ask_json: Ask, gallery_path: Path, more: Path
) -> None:
    (more / "text.txt").write_text("no photo")
    (more / "empty.png").touch()
    result = run("add", more / bad, "-g", gallery_path)
    assert result.exit_code == 2
    title, line = result.stderr.splitlines()
    assert title == "can't be used:"
    assert line.startswith(f"  {more / bad}: ")
    assert len(ask_json("list", "-g", gallery_path)) == 15


def test_what_can_be_read_is_added_all_the_same(
    run: Run, ask_json: Ask, gallery_path: Path, more: Path
) -> None:
    result = run("add", more / "nowhere.png", more / "loose.png", "-g", gallery_path)
    assert result.exit_code == 0
    assert result.stdout.startswith("1 added, 0 unchanged, 0 moved, 1 failed\n")
    assert f"{more}/nowhere.png: can't be read" in result.stderr
    assert len(ask_json("list", "-g", gallery_path)) == 16


def test_a_file_named_itself_needs_no_suffix(ask_json: Ask, gallery_path: Path, more: Path) -> None:
    (more / "loose.png").rename(more / "loose")
    (report,) = ask_json("add", more / "loose", "-g", gallery_path)
    assert report["added"] == 1


def test_a_build_of_another_folder_leaves_what_was_added(
    ask_json: Ask, gallery_path: Path, photos: Path, more: Path
) -> None:
    ask_json("add", more, "-g", gallery_path)
    (report,) = ask_json("build-index", photos, "-g", gallery_path, "--prune")
    assert (report["gone"], report["removed"]) == ([], 0)
    assert len(ask_json("list", "-g", gallery_path)) == 18


def test_nothing_can_be_added_to_a_gallery_that_is_not_there(
    refusal: Callable[..., str], more: Path, tmp_path: Path
) -> None:
    sentence = refusal("add", more, "-g", tmp_path / "nowhere")
    assert f"{tmp_path / 'nowhere'} does not exist" in sentence
    assert not (tmp_path / "nowhere").exists()
