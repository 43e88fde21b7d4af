"""Whatever takes the name of a photo, a folder or a list takes that of an object or a prefix."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from object_store import Bucket
from PIL import Image

from retrieval import Gallery
from retrieval.errors import ImageError, LabelsError, LookalikeError
from retrieval.pairing import make_pairs
from retrieval.paths import any_path
from retrieval.service.settings import Limits
from retrieval.service.thumbnails import Side, Thumbnails
from retrieval.training.photos import inspect, read_photos

Png = Callable[[str, int], bytes]


def test_photos_are_added_and_asked_about_by_name(
    filled: Bucket, png: Png, gallery: Gallery
) -> None:
    one, other = f"{filled.url}/train/red/1.png", filled.put("any", png("red", 9))
    report = gallery.add([one, other, f"{filled.url}/train/green", f"{filled.url}/none.png"])
    assert report.added == 5
    assert [failed.path for failed in report.failed] == [f"{filled.url}/none.png"]
    assert gallery.add([one, other], label="red").relabelled == 2
    first, second = gallery.identify_many([one, f"{filled.url}/none.png"], threshold=1e-3)
    assert first.label == "red"  # type: ignore[union-attr]
    assert second.reason.startswith("can't be read")  # type: ignore[union-attr]
    assert gallery.verify(one, one).distance < 1e-3
    with pytest.raises(ImageError, match=r"none\.png can't be used as a query"):
        gallery.identify(f"{filled.url}/none.png")


@pytest.mark.parametrize("written", ["{url}/train/red/1.png", "red/1.png", "../train/red/1.png"])
@pytest.mark.parametrize("beside", ["lists", "train"])
def test_a_csv_in_the_store_gives_labels(
    filled: Bucket, gallery: Gallery, written: str, beside: str
) -> None:
    row = written.format(url=filled.url)
    file = filled.put(f"{beside}/labels.csv", f"path,label,price\n{row},Apple,3\n".encode())
    gallery.build(f"{filled.url}/train", labels=file)
    (item,) = gallery.items(label="Apple")
    assert item.path == f"{filled.url}/train/red/1.png"
    assert item.metadata == {"price": "3"}
    filled.server.forget()
    assert gallery.build(f"{filled.url}/train").unchanged == 6
    assert len(filled.read()) == 1  # the CSV


def test_a_csv_on_disk_gives_labels(filled: Bucket, gallery: Gallery, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("path,label\nred/1.png,Apple\n", encoding="utf-8")
    gallery.build(f"{filled.url}/train", labels=str(file))
    assert [item.path for item in gallery.items(label="Apple")] == [f"{filled.url}/train/red/1.png"]


def test_a_csv_that_is_not_there_is_refused(filled: Bucket, gallery: Gallery) -> None:
    with pytest.raises(LabelsError, match=r"There is no label file s3://.*/none\.csv"):
        gallery.build(f"{filled.url}/train", labels=f"{filled.url}/none.csv")


def test_a_gallery_is_judged_by_what_lies_in_a_store(filled: Bucket, gallery: Gallery) -> None:
    gallery.build(f"{filled.url}/train")
    assert gallery.evaluate(f"{filled.url}/train").n_mated == 6
    file = filled.put("asked.csv", b"path,label\ntrain/red/1.png,red\ntrain/green/1.png,green\n")
    assert gallery.evaluate(file).n_mated == 2
    file = filled.put("asked.csv", b"path,label\ntrain/red/1.png,red\nnone/1.png,green\n")
    with pytest.raises(LabelsError, match=r"row 3, column path: there is no s3://.*/none/1.png"):
        gallery.evaluate(file)


def test_a_data_set_in_a_store_says_itself_what_is_what(
    bucket: Bucket, png: Png, gallery: Gallery, filled: Bucket
) -> None:
    gallery.build(f"{filled.url}/train")
    bucket.put("set/probe/red/1.png", png("red", 11))
    bucket.put("set/unknown/red/1.png", png("red", 12))
    found = gallery.evaluate(f"{bucket.url}/set")
    assert (found.n_mated, found.n_non_mated) == (1, 1)


def test_pairs_and_clusters_name_objects_wholly(
    filled: Bucket, gallery: Gallery, tmp_path: Path
) -> None:
    gallery.build(f"{filled.url}/train", labels="none")
    gallery.cluster(tmp_path / "clusters.csv")
    gallery.cluster(tmp_path / "photos.csv", photos=f"{filled.url}/train")
    make_pairs(f"{filled.url}/train", tmp_path / "pairs.csv", count=4)
    for name, column in (("clusters", "path"), ("photos", "path"), ("pairs", "path_a")):
        with (tmp_path / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert rows
        assert all(row[column].startswith(f"{filled.url}/train/") for row in rows)
    assert gallery.build(f"{filled.url}/train", labels=str(tmp_path / "clusters.csv")).added == 0
    assert gallery.evaluate_pairs(tmp_path / "pairs.csv", thresholds=[0.2]).pairs == 4
    file = filled.put("pairs.csv", b"path_a,path_b,label\ntrain/red/1.png,train/red/2.png,1\n")
    assert gallery.evaluate_pairs(file, thresholds=[0.2]).pairs == 1
    file = filled.put("pairs.csv", b"path_a,path_b,label\ntrain/red/1.png,none.png,1\n")
    with pytest.raises(LabelsError, match=r"row 2, column path_b: there is no object s3://"):
        gallery.evaluate_pairs(file, thresholds=[0.2])


def test_a_gallery_of_objects_gets_another_encoder(
    filled: Bucket, gallery: Gallery, second_encoder: Path
) -> None:
    gallery.build(f"{filled.url}/train")
    filled.delete("train/red/1.png")
    with pytest.raises(LookalikeError, match="1 of 6 items can't be embedded anew"):
        gallery.reembed(str(second_encoder))
    report = gallery.reembed(str(second_encoder), drop_missing=True)
    assert (report.items, len(report.dropped)) == (5, 1)
    assert gallery.identify(f"{filled.url}/train/red/2.png", threshold=1e-3).label == "red"


def test_an_encoder_learns_from_objects(filled: Bucket) -> None:
    photos, failed, _ = inspect(read_photos(any_path(f"{filled.url}/train")))
    assert (len(photos), photos.labels, failed) == (6, ("green", "red"), [])


def test_thumbnails_are_made_of_objects(filled: Bucket, png: Png, gallery: Gallery) -> None:
    gallery.build(f"{filled.url}/train")
    (item,) = gallery.items(path=f"{filled.url}/train/red/1.png")
    thumbnails = Thumbnails(Limits())
    assert Image.open(BytesIO(thumbnails.of(item, Side.SMALL))).format == "JPEG"
    filled.put("train/red/1.png", png("red", 2))
    with pytest.raises(ImageError, match="changed since it was added"):
        thumbnails.of(item, Side.MEDIUM)


def test_a_command_of_objects_ends_quietly(filled: Bucket, gallery: Gallery) -> None:
    gallery.build(f"{filled.url}/train")
    script = "from retrieval.cli import main; main()"
    done = subprocess.run(
        [
            *(sys.executable, "-W", "error", "-c", script, "query", "-g", str(gallery.path)),
            f"{filled.url}/train/red/1.png",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
