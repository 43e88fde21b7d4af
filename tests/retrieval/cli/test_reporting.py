"""`eval --report` and `--csv`: written whole or not at all, and the same figures as JSON."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from PIL import Image

from retrieval import Gallery
from retrieval.errors import LookalikeError

Run = Callable[..., Result]
Ask = Callable[..., list[dict[str, Any]]]
Rows = dict[tuple[str, str, str], dict[str, str]]


@pytest.fixture
def queries(tmp_path: Path, draw_photo: Callable[..., Image.Image]) -> Path:
    """A folder of pictures of two known colours, and of a stranger."""
    folder = tmp_path / "queries"
    for number, (name, colour) in enumerate(
        [("red/1", "red"), ("red/2", "blue"), ("blue/1", "blue"), ("<b>x/1", "green")]
    ):
        path = folder.joinpath(*name.split("/")).with_suffix(".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_photo(colour, 60 + number).save(path)
    return folder


def read(file: Path) -> Rows:
    with file.open(encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened))
    found = {
        (row["part"], row["at"], row["figure"]): row for row in rows if row["part"] != "labels"
    }
    assert len(found) == sum(row["part"] != "labels" for row in rows)
    return found


def number(text: str) -> float | None:
    return float(text) if text else None


def test_the_table_has_the_figures_of_the_json(
    ask_json: Ask, gallery_path: Path, queries: Path, tmp_path: Path
) -> None:
    out = tmp_path / "figures.csv"
    arguments = ("--strangers", "0.4", "--repeats", "4", "--thresholds", "0.00001,0.3,1")
    (said,) = ask_json("eval", queries, "-g", gallery_path, *arguments, "--csv", out)
    rows = read(out)
    told = set()

    def value(part: str, at: object, figure: str) -> dict[str, str]:
        key = (part, "" if at is None else str(at), figure)
        told.add(key)
        return rows[key]

    for name in ("queries", "n_mated", "n_non_mated", "items", "labels", "map_at_r", "threshold"):
        assert number(value("evaluation", None, name)["value"]) == said[name]
    assert value("evaluation", None, "rule")["value"] == said["rule"]
    assert value("evaluation", None, "failed")["value"] == str(len(said["failed"]))
    for k, rate in said["recall"].items():
        row = value("recall", k, "recall")
        assert {name: number(row[name]) for name in rate} == rate
    for decision in said["decisions"]:
        for name in decision.keys() - {"threshold"}:
            found = value("decisions", decision["threshold"], name)["value"]
            assert number(found) == decision[name]
    for one in said["dir_at_fpir"]:
        for name in ("dir", "threshold"):
            row = value("dir_at_fpir", one["fpir"], name)
            assert number(row["value"]) == one[name]
            assert (row["note"] or None, int(row["n"])) == (one["note"], one["n_non_mated"])
    for name in said["open_set"].keys() - {"points", "rule"}:
        assert number(value("open_set", None, name)["value"]) == said["open_set"][name]
    assert value("open_set", None, "rule")["value"] == said["open_set"]["rule"]
    for point in said["open_set"]["points"]:
        for name in ("dir", "misidentification", "threshold"):
            row = value("open_set", point["fpir"], name)
            spread = point[name] or {"mean": None, "low": None, "high": None}
            assert number(row["value"]) == spread["mean"]
            assert (number(row["low"]), number(row["high"])) == (spread["low"], spread["high"])
            assert (row["note"] or None, int(row["n"])) == (point["note"], point["repeats"])
    assert {key for key in rows if key[0] != "curve"} == told


def test_the_table_counts_by_label_and_ends_with_the_curve(
    run: Run, gallery_path: Path, queries: Path, tmp_path: Path
) -> None:
    out = tmp_path / "figures.csv"
    assert run("eval", queries, "-g", gallery_path, "--csv", out).exit_code == 0
    with out.open(encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened))
    recall = {row["at"]: row for row in rows if row["figure"] == "recall@1"}
    assert {label: (row["count"], row["n"]) for label, row in recall.items()} == {
        "red": ("1", "2"),
        "blue": ("1", "1"),
    }
    strangers = {row["at"] for row in rows if row["note"] == "strangers"}
    assert strangers == {"<b>x"}
    curve = [row for row in rows if row["part"] == "curve"]
    assert [row["at"] for row in curve] == ["1.0"]
    assert rows[-1] == curve[-1]


def test_the_page_is_written_and_told(
    run: Run, gallery_path: Path, queries: Path, tmp_path: Path
) -> None:
    report, table = tmp_path / "out.html", tmp_path / "out.csv"
    report.write_text("old")
    files = ("--report", report, "--csv", table)
    result = run("eval", queries, "-g", gallery_path, *files)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[-2:] == [
        f"{report} shows it with curves and photos",
        f"{table} has the figures as CSV",
    ]
    document = report.read_text(encoding="utf-8")
    assert document.startswith("<!DOCTYPE html>")
    assert document.count("data:image/jpeg;base64,") >= 4
    assert "&lt;b&gt;x" in document
    assert len(document) < 3_000_000
    left = {path.name for path in tmp_path.iterdir() if path.name.startswith((".", "out"))}
    assert left == {"out.html", "out.csv"}


def test_equal_evaluations_make_equal_files(
    run: Run, gallery_path: Path, queries: Path, tmp_path: Path
) -> None:
    made = []
    for turn in ("1", "2"):
        files = ("--report", tmp_path / f"{turn}.html", "--csv", tmp_path / f"{turn}.csv")
        run("eval", queries, "-g", gallery_path, "--strangers", "0.4", *files)
        made.append([(tmp_path / f"{turn}.{kind}").read_bytes() for kind in ("html", "csv")])
    assert made[0] == made[1]


def test_with_json_nothing_else_is_printed(
    ask_json: Ask, gallery_path: Path, queries: Path, tmp_path: Path
) -> None:
    (plain,) = ask_json("eval", queries, "-g", gallery_path)
    (said,) = ask_json("eval", queries, "-g", gallery_path, "--report", tmp_path / "out.html")
    assert said == plain
    assert (tmp_path / "out.html").exists()


@pytest.mark.parametrize("option", ["--report", "--csv"])
def test_a_place_that_cannot_be_written_is_refused_before_anything_is_encoded(
    option: str,
    refusal: Callable[..., str],
    gallery_path: Path,
    queries: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def encoder(_gallery: Gallery) -> None:
        raise AssertionError("the encoder was opened")

    monkeypatch.setattr(Gallery, "encoder", property(encoder))
    said = {
        tmp_path / "nowhere" / "out": "make it first",
        tmp_path: "is no file",
        gallery_path / "gallery.db": "lies in the gallery",
    }
    before = (gallery_path / "gallery.db").read_bytes()
    for path, why in said.items():
        assert why in refusal("eval", queries, "-g", gallery_path, option, path)
    assert (gallery_path / "gallery.db").read_bytes() == before


def test_a_data_set_with_its_own_gallery_is_reported_too(
    run: Run,
    refusal: Callable[..., str],
    photos: Path,
    queries: Path,
    tiny_encoder: Path,
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    queries.rename(data / "probe")
    photos.rename(data / "gallery")
    arguments = ("eval", data, "--encoder", tiny_encoder, "--report")
    said = refusal(
        *("eval", data, "--encoder", "no such encoder", "--report", tmp_path / "a" / "b")
    )
    assert "make it first" in said
    assert run(*arguments, tmp_path / "out.html").exit_code == 0
    assert "Worst misses" in (tmp_path / "out.html").read_text(encoding="utf-8")


def test_pairs_have_no_report(run: Run, gallery_path: Path, tmp_path: Path) -> None:
    for option in ("--report", "--csv"):
        result = run("eval", "--pairs", "p.csv", "-g", gallery_path, option, tmp_path / "out")
        assert result.exit_code == 2
        assert "not of --pairs" in result.stderr


def test_one_file_cannot_be_both(
    refusal: Callable[..., str], gallery_path: Path, queries: Path, tmp_path: Path
) -> None:
    files = ("--report", tmp_path / "out", "--csv", tmp_path / "." / "out")
    assert "name two files" in refusal("eval", queries, "-g", gallery_path, *files)


def test_where_no_query_can_be_read_no_file_is_left(
    refusal: Callable[..., str], gallery_path: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "broken" / "red"
    folder.mkdir(parents=True)
    (folder / "1.png").touch()
    before = set(tmp_path.iterdir())
    files = ("--report", tmp_path / "out.html", "--csv", tmp_path / "out.csv")
    said = refusal("eval", tmp_path / "broken", "-g", gallery_path, *files)
    assert "None of the 1 queries could be read" in said
    assert set(tmp_path.iterdir()) == before


def test_photos_gone_since_leave_a_note(
    run: Run, gallery_path: Path, queries: Path, photos: Path, tmp_path: Path
) -> None:
    for photo in photos.rglob("*.png"):
        photo.unlink()
    report = tmp_path / "out.html"
    assert run("eval", queries, "-g", gallery_path, "--report", report).exit_code == 0
    document = report.read_text(encoding="utf-8")
    assert "No photo to show" in document
    assert "data:image/jpeg" in document  # the queries are still there


def test_from_python(gallery: Gallery, queries: Path, tmp_path: Path) -> None:
    report, table = tmp_path / "out.html", tmp_path / "out.csv"
    evaluation = gallery.evaluate(queries, report=report, table=str(table))
    assert evaluation.queries == 4
    assert number(read(table)["evaluation", "", "queries"]["value"]) == 4
    assert "3 known photos and 1 stranger were searched" in report.read_text(encoding="utf-8")


def test_from_python_a_place_is_looked_at_first_too(
    gallery: Gallery, queries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encoder(_gallery: Gallery) -> None:
        raise AssertionError("the encoder was opened")

    monkeypatch.setattr(Gallery, "encoder", property(encoder))
    with pytest.raises(LookalikeError, match="make it first"):
        gallery.evaluate(queries, report=tmp_path / "nowhere" / "out.html")
