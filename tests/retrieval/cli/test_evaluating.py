"""`eval`: the figures are those that anybody can count from the nearest items."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from click.testing import Result
from PIL import Image

from retrieval import Gallery

Run = Callable[..., Result]
Ask = Callable[..., list[dict[str, Any]]]

# What the pictures show, and what they are said to show; `violet` is in no gallery.
QUERIES = {
    "red/10.png": "red",
    "red/11.png": "red",
    "green/10.png": "green",
    "green/11.png": "blue",
    "blue/10.png": "red",
    "violet/10.png": "blue",
    "violet/11.png": "green",
    "loose.png": "red",
}


@pytest.fixture
def queries(tmp_path: Path, draw_photo: Callable[..., Image.Image]) -> Path:
    """A folder of pictures, some of them under a label that is wrong or that nobody knows."""
    folder = tmp_path / "queries"
    for number, (name, colour) in enumerate(QUERIES.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_photo(colour, 90 + number).save(path)
    return folder


@pytest.fixture
def csv(queries: Path) -> Path:
    """A CSV of the same queries."""
    file = queries / "queries.csv"
    label = {name: name.partition("/")[0] if "/" in name else "" for name in QUERIES}
    rows = [f"{name},{label[name]}\n" for name in QUERIES]
    file.write_text("path,label\n" + "".join(rows), encoding="utf-8")
    return file


@pytest.fixture
def judged(run: Run, photos: Path, tiny_encoder: Path, tmp_path: Path) -> Path:
    """A gallery of `photos` with labels of different sizes, as a red item is labelled green.

    In float32, so that distances don't depend on how photos are batched.
    """
    gallery = tmp_path / "judged"
    options = ("--encoder", tiny_encoder, "--precision", "float32")
    assert run("build-index", photos, "-g", gallery, *options).exit_code == 0
    path = photos / "red" / "0.png"
    assert run("relabel", "--path", path, "--to", "green", "-g", gallery).exit_code == 0
    return gallery


@dataclass
class Counted:
    """The distances of one query: to its mates, and to all others."""

    mates: list[float]
    others: list[float]

    @property
    def nearest(self) -> float:
        return min(self.mates + self.others)

    def rank(self) -> int:
        return 1 + sum(distance <= min(self.mates) for distance in self.others)

    def average_precision(self) -> float:
        found = sorted([(d, True) for d in self.mates] + [(d, False) for d in self.others])
        hits = [mate for _, mate in found[: len(self.mates)]]
        return sum(fmean(hits[: i + 1]) for i, hit in enumerate(hits) if hit) / len(self.mates)


def count(gallery_path: Path, queries: Path) -> list[Counted]:
    """Compare each query with all items but copies of itself, by `Gallery.nearest`."""
    counted = []
    with Gallery.open(gallery_path) as gallery:
        for path in sorted(queries.rglob("*.png")):
            (items,) = gallery.nearest(gallery.embed(path)[None], k=1000)
            mates, others = [], []
            for item in items:
                if Path(item.path).read_bytes() != path.read_bytes():
                    (mates if item.label == path.parent.name else others).append(item.distance)
            counted.append(Counted(mates, others))
    return counted


def thresholds_between(counted: Sequence[Counted]) -> list[float]:
    """Name distances that the nearest items' distances keep well away from."""
    nearest = sorted(one.nearest for one in counted)
    gaps = sorted(pairwise(nearest), key=lambda pair: pair[0] - pair[1])
    return sorted([1e-9, *((low + high) / 2 for low, high in gaps[:2]), 1.5])


def share(hits: int, n: int) -> float | None:
    return hits / n if n else None


def expected_decision(counted: Sequence[Counted], tau: float) -> dict[str, float | None]:
    mated = [one for one in counted if one.mates]
    strangers = [one for one in counted if not one.mates]
    accepted = [one for one in counted if one.nearest < tau]
    correct = [one for one in accepted if one.mates and min(one.mates) < min(one.others)]
    right = len(correct) + sum(one.nearest >= tau for one in strangers)
    precision = share(len(correct), len(accepted))
    recall = share(len(correct), len(mated))
    f1 = None
    if precision is not None and recall is not None:
        f1 = 2 * precision * recall / (precision + recall) if correct else 0.0
    return {
        "threshold": tau,
        "n_mated": len(mated),
        "n_non_mated": len(strangers),
        "accuracy": right / len(counted),
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "fpir": share(sum(one.nearest < tau for one in strangers), len(strangers)),
        "fnir": None if recall is None else 1 - recall,
        "dir": recall,
        "misidentification": share(
            sum(one.nearest < tau for one in mated) - len(correct), len(mated)
        ),
    }


@pytest.mark.parametrize("asked", ["folder", "csv", "own photos"])
def test_the_figures_are_those_of_the_nearest_items(
    asked: str, ask_json: Ask, judged: Path, photos: Path, queries: Path, csv: Path
) -> None:
    counted = count(judged, photos if asked == "own photos" else queries)
    mated = [one for one in counted if one.mates]
    thresholds = thresholds_between(counted)
    source = {"folder": queries, "csv": csv, "own photos": photos}[asked]
    (report,) = ask_json(
        *("eval", source, "-g", judged, "--thresholds", ",".join(map(repr, thresholds)))
    )
    assert report["queries"] == len(counted) == (15 if asked == "own photos" else len(QUERIES))
    assert report["n_mated"] == len(mated) == (15 if asked == "own photos" else 5)
    assert report["n_non_mated"] == len(counted) - len(mated)
    assert (report["items"], report["labels"]) == (15, 3)
    assert (report["threshold"], report["failed"]) == (None, [])
    assert set(report["recall"]) == {"1", "5", "10"}
    for k, rate in report["recall"].items():
        hits = sum(one.rank() <= int(k) for one in mated)
        assert rate == {"value": hits / len(mated), "count": hits, "n": len(mated)}
    map_at_r = fmean(one.average_precision() for one in mated)
    assert report["map_at_r"] == pytest.approx(map_at_r, abs=1e-9)
    assert report["decisions"] == [
        pytest.approx(expected_decision(counted, tau)) for tau in thresholds
    ]


def test_the_queries_are_worth_counting(judged: Path, queries: Path) -> None:
    """Some are found and some not, and no figure is the same at all thresholds."""
    counted = count(judged, queries)
    assert {one.rank() == 1 for one in counted if one.mates} == {True, False}
    decisions = [expected_decision(counted, tau) for tau in thresholds_between(counted)]
    for figure in ("accuracy", "precision", "recall", "f1", "fpir", "fnir", "misidentification"):
        assert len({decision[figure] for decision in decisions}) > 1, figure


def test_the_report_shows_the_same_figures(
    run: Run, ask_json: Ask, gallery_path: Path, queries: Path
) -> None:
    arguments = ("eval", queries, "-g", gallery_path, "--thresholds", "0.0001,1")
    (report,) = ask_json(*arguments)
    result = run(*arguments)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "5 mated queries, 3 non-mated, against 15 items of 3 labels"
    assert lines[1:5] == [
        *(
            f"  recall@{k:<3} {rate['value']:.3f}  ({rate['count']} of 5)"
            for k, rate in report["recall"].items()
        ),
        f"  MAP@R      {report['map_at_r']:.3f}",
    ]
    names = ["accuracy", "precision", "recall", "F1", "FPIR", "FNIR", "misidentified"]
    assert lines[6].split() == ["threshold", *names]
    figures = ["accuracy", "precision", "recall", "f1", "fpir", "fnir", "misidentification"]
    for line, decision in zip(lines[7:9], report["decisions"], strict=True):
        cells = ["–" if decision[f] is None else f"{decision[f]:.1%}" for f in figures]
        assert line.split() == [f"{decision['threshold']:.4f}", *cells]


def test_the_gallerys_threshold_is_judged_too(
    run: Run, ask_json: Ask, many_photos: Path, tiny_encoder: Path, queries: Path, tmp_path: Path
) -> None:
    gallery = tmp_path / "tuned"
    run("build-index", many_photos, "-g", gallery, "--encoder", tiny_encoder)
    tuned = ask_json("info", "-g", gallery)[0]["threshold"]["value"]
    (report,) = ask_json("eval", queries, "-g", gallery)
    assert report["threshold"] == tuned
    judged = [decision["threshold"] for decision in report["decisions"]]
    # Beside it, five round ones among the scores.
    assert len(set(judged)) == 6
    assert sorted(judged) == judged
    lines = run("eval", queries, "-g", gallery).stdout.splitlines()
    starred = [line.split()[0] for line in lines[7:] if "*" in line]
    assert starred == [f"{tuned:.4f}*"]


def test_a_folder_of_one_label_is_labelled_by_its_name(
    ask_json: Ask, gallery_path: Path, queries: Path
) -> None:
    (report,) = ask_json("eval", queries / "red", "-g", gallery_path)
    assert (report["n_mated"], report["n_non_mated"]) == (2, 0)
    assert report["recall"]["1"]["count"] == 2


def test_strangers_alone_have_no_recall(
    run: Run, ask_json: Ask, gallery_path: Path, queries: Path, tmp_path: Path
) -> None:
    strangers = tmp_path / "strangers"
    strangers.mkdir()
    (queries / "violet").rename(strangers / "violet")
    (report,) = ask_json("eval", strangers, "-g", gallery_path)
    assert report["recall"] == {"1": None, "5": None, "10": None}
    assert report["map_at_r"] is None
    assert {decision["fnir"] for decision in report["decisions"]} == {None}
    assert {decision["fpir"] for decision in report["decisions"]} <= {0, 0.5, 1}
    result = run("eval", strangers, "-g", gallery_path)
    assert "0 mated queries, 2 non-mated" in result.stdout
    assert "recall@" not in result.stdout


def test_queries_that_cannot_be_read_are_told_and_left_out(
    run: Run, ask_json: Ask, gallery_path: Path, queries: Path
) -> None:
    (whole,) = ask_json("eval", queries, "-g", gallery_path)
    (queries / "red" / "empty.png").touch()
    failed = {"path": str(queries / "red" / "empty.png"), "reason": "the file is empty"}
    (report,) = ask_json("eval", queries, "-g", gallery_path)
    assert report == whole | {"failed": [failed]}
    result = run("eval", queries, "-g", gallery_path)
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [
        "1 photo could not be read:",
        f"  {failed['path']}: the file is empty",
    ]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda _: None, "can't be read"),
        (lambda path: path.mkdir(), "holds no photos"),
        (lambda path: path.write_text("path,label\n"), "holds no photos"),
        (lambda path: path.write_text("path,name\n"), "no column 'label'"),
        (lambda path: path.write_bytes(b"\xff\xd8\xff"), "is not UTF-8"),
        (
            lambda path: path.write_text("path,label\nno.png,red\n"),
            "asked, row 2, column path: there is no",
        ),
    ],
)
def test_queries_that_are_none_are_refused(
    make: Callable[[Path], object],
    said: str,
    refusal: Callable[..., str],
    gallery_path: Path,
    tmp_path: Path,
) -> None:
    make(tmp_path / "asked")
    assert said in refusal("eval", tmp_path / "asked", "-g", gallery_path)


@pytest.mark.parametrize("bad", ["", "x", "0.1;0.2", "0.1,,0.2", "0.1,nan", "inf"])
def test_thresholds_that_are_no_distances_are_usage_errors(
    bad: str, run: Run, gallery_path: Path, queries: Path
) -> None:
    result = run("eval", queries, "-g", gallery_path, "--thresholds", bad, "--json")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "--thresholds" in result.stderr


def test_judging_changes_nothing(
    run: Run, contents: Callable[[Path], dict[str, str]], gallery_path: Path, queries: Path
) -> None:
    before = contents(gallery_path)
    run("eval", queries, "-g", gallery_path)
    assert contents(gallery_path) == before


def test_the_gallerys_own_items_can_play_queries(
    run: Run, ask_json: Ask, judged: Path, photos: Path
) -> None:
    # Back to what its folder says, as the counted queries are labelled by their folders.
    run("relabel", "--path", photos / "red" / "0.png", "--to", "red", "-g", judged)
    counted = count(judged, photos)
    thresholds = thresholds_between(counted)
    (own,) = ask_json("eval", "-g", judged, "--thresholds", ",".join(map(repr, thresholds)))
    assert (own["queries"], own["n_mated"]) == (15, 15)
    for tau, decision in zip(thresholds, own["decisions"], strict=True):
        assert decision == pytest.approx(expected_decision(counted, tau))
    for k, rate in own["recall"].items():
        assert rate["count"] == sum(one.rank() <= int(k) for one in counted)


def test_strangers_are_hidden_labels(run: Run, ask_json: Ask, judged: Path, queries: Path) -> None:
    arguments = ("eval", queries, "-g", judged, "--strangers", "0.34", "--repeats", "4")
    (report,) = ask_json(*arguments)
    found = report["open_set"]
    assert (found["hidden_labels"], found["repeats"], found["strangers"]) == (1, 4, 0.34)
    assert found["n_mated"] + found["n_non_mated"] == len(QUERIES)
    assert found["n_non_mated"] > 3  # the three of no label here, and those of the hidden one
    assert [point["fpir"] for point in found["points"]] == [0.001, 0.01, 0.05, 0.1]
    assert all(point["dir"] is None and point["repeats"] == 0 for point in found["points"])
    assert ask_json(*arguments)[0] == report
    other = ask_json(*arguments, "--seed", "1", "--rule", "margin")[0]
    assert other["open_set"]["rule"] == other["rule"] == "margin"
    said = run(*arguments).stdout
    assert "open set: 1 label hidden at random, 4 times (seed 0)" in said
    assert "not enough non-mated searches" in said
    assert ask_json("eval", queries, "-g", judged)[0]["open_set"] is None


def test_hiding_labels_takes_two(refusal: Callable[..., str], judged: Path, run: Run) -> None:
    for label in ("red", "green"):
        run("remove", "--label", label, "-g", judged, "--yes")
    assert "the gallery has 1: give it two" in refusal("eval", "-g", judged, "--strangers", "0.5")


def test_a_data_set_brings_its_own_gallery(
    run: Run, ask_json: Ask, photos: Path, queries: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "set"
    (folder / "probe").mkdir(parents=True)
    shutil.copytree(photos, folder / "gallery")
    shutil.copytree(queries / "red", folder / "probe" / "red")
    # Red photos that are said to show nobody known are strangers, whatever their folder's name.
    shutil.copytree(queries / "green", folder / "unknown" / "red")
    (report,) = ask_json("eval", folder, "--encoder", tiny_encoder)
    assert (report["items"], report["labels"]) == (15, 3)
    assert (report["n_mated"], report["n_non_mated"]) == (2, 2)
    gallery = tmp_path / "mine"
    run("build-index", photos, "-g", gallery, "--encoder", tiny_encoder)
    (again,) = ask_json("eval", folder, "-g", gallery)
    assert (again["n_mated"], again["n_non_mated"]) == (2, 2)
    result = run("eval", queries, "--encoder", tiny_encoder)
    assert result.exit_code == 2
    assert "Say -g GALLERY, or name a folder with the subfolders gallery and probe" in result.stderr


def test_photos_of_one_capture_session_are_kept_apart(
    run: Run, ask_json: Ask, photos: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    rows = [f"{path},{path.parent.name},s{path.stem}" for path in sorted(photos.rglob("*.png"))]
    sessions = tmp_path / "sessions.csv"
    sessions.write_text("path,label,group\n" + "\n".join(rows) + "\n", encoding="utf-8")
    gallery = tmp_path / "sessions"
    run("build-index", photos, "-g", gallery, "--encoder", tiny_encoder, "--labels", sessions)
    (own,) = ask_json("eval", "-g", gallery)
    assert own["n_mated"] == 15
    # All in one session: nobody is left to be compared with.
    one = tmp_path / "one.csv"
    one.write_text(
        "path,label,group,split\n" + "".join(f"{row.rpartition(',')[0]},s0,val\n" for row in rows),
        encoding="utf-8",
    )
    (report,) = ask_json("eval", one, "-g", gallery, "--split", "val")
    assert (report["queries"], report["n_mated"]) == (15, 15)
    run("build-index", photos, "-g", gallery, "--labels", one)
    (alone,) = ask_json("eval", one, "-g", gallery, "--split", "val")
    assert (alone["n_mated"], alone["n_non_mated"]) == (0, 15)
