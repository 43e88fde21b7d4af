"""`eval --pairs` and `make-pairs`: the figures are those of the distances, mistakes are told."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from retrieval import Gallery

Run = Callable[..., Result]
Ask = Callable[..., list[dict[str, Any]]]

ROWS = [
    ("red/0.png", "red/1.png", 1),
    ("red/2.png", "red/3.png", 1),
    ("red/0.png", "green/0.png", 0),
    ("green/1.png", "green/2.png", 1),
    ("green/0.png", "blue/0.png", 0),
    ("blue/1.png", "red/4.png", 0),
    ("blue/2.png", "blue/3.png", 0),  # said to be different
]


@pytest.fixture
def pairs(photos: Path) -> Path:
    """A CSV of seven pairs of `photos`."""
    file = photos / "pairs.csv"
    rows = "".join(f"{a},{b},{label}\n" for a, b, label in ROWS)
    file.write_text(f"path_a,path_b,label\n{rows}", encoding="utf-8")
    return file


def distances(gallery_path: Path, photos: Path) -> tuple[list[float], list[float]]:
    """Compute the distances of the positive and of the negative pairs, one by one."""
    found: tuple[list[float], list[float]] = ([], [])
    with Gallery.open(gallery_path) as gallery:
        for a, b, label in ROWS:
            distance = 1 - float(gallery.embed(photos / a) @ gallery.embed(photos / b))
            found[1 - label].append(distance)
    return found


def test_the_figures_are_those_of_the_distances(
    ask_json: Ask, gallery_path: Path, photos: Path, pairs: Path
) -> None:
    positive, negative = distances(gallery_path, photos)
    every = sorted(positive + negative)
    tau = (every[3] + every[4]) / 2
    (report,) = ask_json(
        "eval", "--pairs", pairs, "-g", gallery_path, "--thresholds", f"1.5,{tau!r}"
    )
    assert {name: report[name] for name in ("pairs", "n_positive", "n_negative", "photos")} == {
        "pairs": 7,
        "n_positive": 3,
        "n_negative": 4,
        "photos": 12,
    }
    assert report["encoder"] == "timm:test_efficientnet"
    assert (report["left_out"], report["failed"]) == (0, [])
    right = sum(distance < tau for distance in positive)
    wrong = sum(distance < tau for distance in negative)
    assert right + wrong == 4
    decision, everything = report["decisions"]
    assert decision == {
        "threshold": tau,
        "n_positive": 3,
        "n_negative": 4,
        "accepted_positives": right,
        "accepted_negatives": wrong,
        "accuracy": (right + 4 - wrong) / 7,
        "precision": right / 4,
        "recall": right / 3,
        "f1": pytest.approx(2 * right / (4 + 3)),
        "far": wrong / 4,
        "frr": (3 - right) / 3,
    }
    assert (everything["far"], everything["frr"]) == (1, 0)
    won = sum(one < other for one in positive for other in negative)
    assert report["auc"] == won / 12
    assert set(report["eer"]) == {"value", "threshold"}


def test_the_report_shows_the_same_figures(
    run: Run, ask_json: Ask, gallery_path: Path, pairs: Path
) -> None:
    arguments = ("eval", "--pairs", pairs, "-g", gallery_path, "--thresholds", "0,0.001,1")
    (report,) = ask_json(*arguments)
    result = run(*arguments)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[:4] == [
        "3 positive pairs, 4 negative, of 12 photos, by timm:test_efficientnet",
        f"  AUC  {report['auc']:.4f}",
        f"  EER  {report['eer']['value']:.4f}  (threshold {report['eer']['threshold']:.4f})",
        "the decision at each threshold:",
    ]
    assert lines[4].split() == "threshold accuracy precision recall F1 FAR FRR".split()  # noqa: SIM905
    names = ["accuracy", "precision", "recall", "f1", "far", "frr"]
    for line, decision in zip(lines[5:], report["decisions"], strict=True):
        cells = ["–" if decision[name] is None else f"{decision[name]:.1%}" for name in names]
        assert line.split() == [f"{decision['threshold']:.4f}", *cells]


def test_an_encoder_is_judged_without_a_gallery(
    ask_json: Ask,
    gallery_path: Path,
    tiny_encoder: Path,
    pairs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    by_gallery = ask_json("eval", "--pairs", pairs, "-g", gallery_path)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    assert ask_json("eval", "--pairs", pairs, "--encoder", tiny_encoder) == by_gallery
    assert list((tmp_path / "temporary").iterdir()) == []


def test_one_class_alone_has_no_area(
    run: Run, ask_json: Ask, gallery_path: Path, pairs: Path
) -> None:
    pairs.write_text("path_a,path_b,label\nred/0.png,red/1.png,same\n", encoding="utf-8")
    (report,) = ask_json("eval", "--pairs", pairs, "-g", gallery_path)
    assert (report["auc"], report["eer"]) == (None, None)
    assert {decision["far"] for decision in report["decisions"]} == {None}
    said = run("eval", "--pairs", pairs, "-g", gallery_path).stdout
    assert "1 positive pair, 0 negative" in said
    assert "AUC" not in said


def test_pairs_of_photos_that_cannot_be_read_are_left_out(
    run: Run,
    ask_json: Ask,
    gallery_path: Path,
    photos: Path,
    pairs: Path,
    refusal: Callable[..., str],
) -> None:
    (photos / "red" / "0.png").write_bytes(b"")
    (report,) = ask_json("eval", "--pairs", pairs, "-g", gallery_path)
    assert (report["pairs"], report["n_positive"], report["left_out"]) == (5, 2, 2)
    assert report["photos"] == 10  # green/0.png is part of another pair too
    failed = {"path": str(photos / "red" / "0.png"), "reason": "the file is empty"}
    assert report["failed"] == [failed]
    result = run("eval", "--pairs", pairs, "-g", gallery_path)
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [
        "1 photo could not be read:",
        f"  {failed['path']}: the file is empty",
        "2 pairs with them left out",
    ]
    for path in photos.rglob("*.png"):
        path.write_bytes(b"")
    sentence = refusal("eval", "--pairs", pairs, "-g", gallery_path)
    assert sentence.startswith(f"No pair in {pairs} has two photos that can be read")


def test_a_missing_photo_is_named_before_any_is_read(
    refusal: Callable[..., str], gallery_path: Path, tiny_encoder: Path, photos: Path, pairs: Path
) -> None:
    (photos / "red" / "4.png").unlink()
    said = f"{pairs}, row 7, column path_b: there is no file {photos / 'red' / '4.png'}."
    assert refusal("eval", "--pairs", pairs, "-g", gallery_path) == said
    assert refusal("eval", "--pairs", pairs, "--encoder", tiny_encoder) == said
    # Told before an encoder is made, or found not to exist.
    assert refusal("eval", "--pairs", pairs, "--encoder", "nobody") == said


def test_an_encoder_nobody_knows_is_refused(refusal: Callable[..., str], pairs: Path) -> None:
    assert "nobody" in refusal("eval", "--pairs", pairs, "--encoder", "nobody")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Say -g GALLERY, or name a folder with the subfolders gallery and probe"),
        (["--encoder", "e"], "Say -g GALLERY, or name a folder"),
        (["q", "--pairs", "p", "-g", "g"], "Say either QUERIES or --pairs"),
        (["q"], "Say -g GALLERY, or name a folder"),
        (["q", "-g", "g", "--encoder", "e"], "brings its own encoder: leave --encoder out"),
        (["--pairs", "p"], "--pairs goes with either -g GALLERY or --encoder NAME"),
        (["--pairs", "p", "-g", "g", "--encoder", "e"], "--pairs goes with either"),
    ],
)
def test_what_does_not_go_together_is_a_usage_error(
    arguments: list[str], said: str, run: Run
) -> None:
    result = run("eval", *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert said in result.stderr


def test_pairs_are_drawn_and_judged(
    run: Run, ask_json: Ask, gallery_path: Path, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "drawn.csv"
    arguments = ("make-pairs", "-g", gallery_path, "--out", out, "--count", "20", "--hard", "0.5")
    (drawn,) = ask_json(*arguments)
    assert drawn == {
        "path": str(out),
        "pairs": 20,
        "n_positive": 10,
        "n_negative": 10,
        "hard": 10,
        "photos": drawn["photos"],
        "labels": 3,
    }
    said = run(*arguments, "--force").stdout
    assert said == (
        f"{out}: 10 positive pairs, 10 negative (10 of them hard), of {drawn['photos']} photos of "
        "3 labels\n"
    )
    (report,) = ask_json("eval", "--pairs", out, "-g", gallery_path)
    assert (report["n_positive"], report["n_negative"]) == (10, 10)
    assert report["photos"] == drawn["photos"]

    said = run("make-pairs", photos, "--out", out, "--count", "10", "--force").stdout
    assert said.startswith(f"{out}: 5 positive pairs, 5 negative, of ")


def test_lists_that_cannot_be_drawn_are_refused(
    refusal: Callable[..., str], gallery_path: Path, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "drawn.csv"
    said = refusal("make-pairs", photos, "--out", out)
    assert said.startswith("15 labelled photos of 3 labels make 30 positive pairs and 75 negative")
    assert "at most 60 pairs can be had: say --count 60 or less" in said
    assert refusal("make-pairs", "-g", gallery_path, "--out", out) == said
    assert "even number" in refusal("make-pairs", photos, "--out", out, "--count", "5")
    assert not out.exists()
    out.touch()
    assert "--force" in refusal("make-pairs", photos, "--out", out, "--count", "10")
    assert "--force" in refusal("make-pairs", "-g", gallery_path, "--out", out, "--count", "10")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Say either PHOTOS or -g GALLERY"),
        (["photos", "-g", "g"], "Say either PHOTOS or -g GALLERY"),
        (["photos", "--hard", "0.5"], "--hard needs -g GALLERY"),
        (["-g", "g", "--hard", "1.5"], "--hard"),
        (["-g", "g", "--seed", "-1"], "--seed"),
    ],
)
def test_drawing_what_makes_no_sense_is_a_usage_error(
    arguments: list[str], said: str, run: Run, tmp_path: Path
) -> None:
    result = run("make-pairs", *arguments, "--out", tmp_path / "pairs.csv")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert said in result.stderr
    assert not (tmp_path / "pairs.csv").exists()
