"""`Gallery.cluster` and `cluster_folder`: what is grouped, what the CSV says, what is refused."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from retrieval import Clustering, Gallery, LookalikeError
from retrieval.clustering import cluster_folder
from retrieval.evaluation.cluster_limits import CLUSTERS_BELOW
from retrieval.sources import read_labels


def rows(out: Path) -> dict[str, str]:
    with out.open(encoding="utf-8", newline="") as lines:
        return {row["path"]: row["label"] for row in csv.DictReader(lines)}


def groups(out: Path) -> set[frozenset[str]]:
    """The photos of each cluster, by colour and number."""
    named: dict[str, set[str]] = {}
    for path, label in rows(out).items():
        if label:
            named.setdefault(label, set()).add("/".join(Path(path).parts[-2:]))
    return {frozenset(one) for one in named.values()}


@pytest.fixture
def limit(gallery: Gallery) -> float:
    """A limit that parts the colours: the tiny encoder's distances are small."""
    vectors = np.stack([gallery.embed(item.path) for item in gallery.items()])
    labels = np.array([item.label for item in gallery.items()])
    names = np.unique(labels)
    means = {one: vectors[labels == one].mean(axis=0) for one in names}
    between = min(1 - means[a] @ means[b] for a in names for b in names if a != b)
    return float(between) * 0.9


COLOURS = {
    frozenset(f"{colour}/{number}.png" for number in range(5))
    for colour in ("red", "green", "blue")
}


def test_a_folder_is_grouped_without_a_gallery(
    photos: Path, tiny_encoder: Path, limit: float, tmp_path: Path
) -> None:
    out = tmp_path / "clusters.csv"
    found = cluster_folder(photos, out, encoder=str(tiny_encoder), below=limit)
    assert groups(out) == COLOURS
    assert (found.path, found.photos, found.clustered) == (str(out), 15, 15)
    assert (found.below, found.below_from, found.failed) == (limit, "asked", ())
    assert [one.label for one in found.clusters] == ["cluster-001", "cluster-002", "cluster-003"]
    assert [one.photos for one in found.clusters] == [5, 5, 5]
    assert all(0 < one.distance < limit for one in found.clusters)
    assert all(Path(one.example).is_file() for one in found.clusters)
    # Below its own folder photos are named relative to it.
    assert list(rows(out)) == sorted(f"photos/{name}" for one in COLOURS for name in one)


def test_build_reads_what_was_written(
    photos: Path, tiny_encoder: Path, limit: float, tmp_path: Path
) -> None:
    out = tmp_path / "lists" / "clusters.csv"
    out.parent.mkdir()
    found = cluster_folder(photos, out, encoder=str(tiny_encoder), below=limit, min_size=5)
    assert all(Path(path).is_absolute() for path in rows(out))
    text = out.read_text(encoding="utf-8").replace("cluster-002", "Grüner, Apfel")
    out.write_text(text.replace("Grüner, Apfel", '"Grüner, Apfel"'), encoding="utf-8")
    with Gallery.create(tmp_path / "new", encoder=str(tiny_encoder)) as gallery:
        gallery.build(photos, labels=str(out))
        assert gallery.labels() == {"Grüner, Apfel": 5, "cluster-001": 5, "cluster-003": 5}
    assert found.clustered == 15


def test_small_groups_get_no_label(
    photos: Path, tiny_encoder: Path, limit: float, tmp_path: Path
) -> None:
    (photos / "red" / "0.png").unlink()
    out = tmp_path / "clusters.csv"
    found = cluster_folder(photos, out, encoder=str(tiny_encoder), below=limit, min_size=5)
    assert (found.photos, found.clustered, found.min_size) == (14, 10, 5)
    assert groups(out) == {one for one in COLOURS if "red/0.png" not in one}
    assert {path for path, label in rows(out).items() if not label} == {
        f"photos/red/{number}.png" for number in range(1, 5)
    }
    assert [label.label for path, label in read_labels(out).items() if "red" in str(path)] == [
        None
    ] * 4


def test_nothing_near_is_no_cluster(photos: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    out = tmp_path / "clusters.csv"
    found = cluster_folder(photos, out, encoder=str(tiny_encoder), below=0)
    assert (found.clusters, found.clustered) == ((), 0)
    assert len(rows(out)) == 15


def test_photos_that_cannot_be_read_are_left_out(
    photos: Path, tiny_encoder: Path, limit: float, tmp_path: Path
) -> None:
    (photos / "red" / "0.png").write_bytes(b"no picture")
    out = tmp_path / "clusters.csv"
    found = cluster_folder(photos, out, encoder=str(tiny_encoder), below=limit)
    assert [one.path for one in found.failed] == [str(photos / "red" / "0.png")]
    assert found.photos == len(rows(out)) == 14


def test_items_without_a_label_are_grouped_and_others_keep_theirs(
    gallery: Gallery, limit: float, tmp_path: Path
) -> None:
    gallery.relabel(gallery.find(label="red"), None)
    gallery.relabel(gallery.find(label="blue"), "cluster-001")
    before, seq = gallery.items(), gallery.info().seq
    out = tmp_path / "clusters.csv"
    found = gallery.cluster(out, below=limit)
    # A name that is there already would make one identity of two.
    assert [one.label for one in found.clusters] == ["cluster-002"]
    assert (found.photos, found.clustered) == (5, 5)
    assert rows(out) == {
        f"photos/{colour}/{number}.png": label
        for colour, label in (("blue", "cluster-001"), ("green", "green"), ("red", "cluster-002"))
        for number in range(5)
    }
    assert (gallery.items(), gallery.info().seq) == (before, seq)


def test_all_items_are_grouped_when_asked(gallery: Gallery, limit: float, tmp_path: Path) -> None:
    out = tmp_path / "clusters.csv"
    found = gallery.cluster(out, every=True, below=limit)
    assert groups(out) == COLOURS
    assert found.photos == 15


def test_a_folder_is_embedded_with_the_gallerys_encoder(
    gallery: Gallery, photos: Path, limit: float, tmp_path: Path
) -> None:
    out = tmp_path / "clusters.csv"
    for path in photos.rglob("*.png"):
        path.rename(path.with_name(f"new-{path.name}"))
    found = gallery.cluster(out, photos=photos, below=limit)
    assert found.photos == 15
    assert {frozenset(name.replace("new-", "") for name in one) for one in groups(out)} == COLOURS
    assert len(gallery.items()) == 15


def test_the_limit_is_the_default_where_labels_are_few(gallery: Gallery, tmp_path: Path) -> None:
    found = gallery.cluster(tmp_path / "clusters.csv", every=True)
    assert (found.below, found.below_from) == (CLUSTERS_BELOW, "default")


def test_the_limit_comes_from_the_gallerys_labels(
    hues: Path, untrained_path: Path, tmp_path: Path
) -> None:
    with Gallery.open(untrained_path) as gallery:
        items = gallery.cluster(tmp_path / "items.csv", every=True)
        folder = gallery.cluster(tmp_path / "folder.csv", photos=hues)
        asked = gallery.cluster(tmp_path / "asked.csv", every=True, below=0.5)
    assert items.below_from == folder.below_from == "labels"
    assert items.below == folder.below
    # These hues are nearer to each other than what the default takes for one.
    assert items.below < CLUSTERS_BELOW
    assert (asked.below, asked.below_from) == (0.5, "asked")


def refused(call: Callable[[], Clustering], match: str, out: Path) -> None:
    with pytest.raises(LookalikeError, match=match):
        call()
    assert not out.exists()


def test_what_cannot_be_done_is_refused_and_writes_nothing(
    gallery: Gallery, photos: Path, tmp_path: Path, tiny_encoder: Path
) -> None:
    out, empty = tmp_path / "clusters.csv", tmp_path / "empty"
    empty.mkdir()
    encoder = str(tiny_encoder)
    refused(lambda: gallery.cluster(out), "All 15 items have a label: say --all", out)
    refused(lambda: gallery.cluster(out, every=True, below=2.5), "from 0 to 2", out)
    refused(lambda: gallery.cluster(out, every=True, below=float("nan")), "from 0 to 2", out)
    refused(lambda: gallery.cluster(out, every=True, min_size=1), "at least 2", out)
    refused(lambda: gallery.cluster(out, photos=photos, every=True), "Say either", out)
    refused(lambda: gallery.cluster(out, photos=empty), "holds no photos", out)
    refused(lambda: cluster_folder(empty, out, encoder="nobody"), "holds no photos", out)
    refused(lambda: cluster_folder(tmp_path / "x", out, encoder=encoder), "is no folder", out)
    refused(lambda: cluster_folder(photos, out, encoder="nobody"), "nobody", out)
    lost = tmp_path / "nowhere" / "clusters.csv"
    refused(lambda: gallery.cluster(lost, every=True), "folder that does not exist", lost)
    gallery.remove([item.id for item in gallery.items()])
    refused(lambda: gallery.cluster(out), "has no items to cluster", out)
    for path in photos.rglob("*.png"):
        path.write_bytes(b"no picture")
    refused(lambda: gallery.cluster(out, photos=photos), "None of the 15 photos", out)


def test_a_list_that_is_there_is_replaced_only_when_asked(
    gallery: Gallery, tmp_path: Path, limit: float
) -> None:
    out = tmp_path / "clusters.csv"
    out.write_text("mine", encoding="utf-8")
    with pytest.raises(LookalikeError, match="exists: say --force"):
        gallery.cluster(out, every=True)
    assert out.read_text(encoding="utf-8") == "mine"
    gallery.cluster(out, every=True, below=limit, overwrite=True)
    assert groups(out) == COLOURS


def test_a_photo_whose_name_is_no_text_is_told_at_once(photos: Path, tmp_path: Path) -> None:
    odd = os.fsencode(photos / "red") + b"/caf\xe9.png"
    try:
        shutil.copyfile(photos / "red" / "0.png", odd)
    except OSError:
        pytest.skip("this file system knows only names that are text")
    out = tmp_path / "clusters.csv"
    # Before any encoder is made: nobody wants to learn that after an hour.
    refused(lambda: cluster_folder(photos, out, encoder="nobody"), "is no text", out)
