"""Another encoder, broken off at any step: one encoder or the other, and what was done is kept."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import reembed_worker
from lives import born
from PIL import Image
from reembedded import Stop, assert_like_built, encoder_folders, fingerprint, stop_at

from retrieval import Gallery
from retrieval.encoders import Artifact
from retrieval.errors import EncoderError


def test_it_goes_on_where_it_was_broken_off(
    gallery: Gallery,
    photos: Path,
    tiny_encoder: Path,
    second_encoder: Path,
    tmp_path: Path,
    small_commits: None,
) -> None:
    expected = gallery.identify(photos / "red" / "0.png", k=15)
    with pytest.raises(Stop):
        gallery.reembed(str(second_encoder), progress=stop_at(10))
    assert gallery.identify(photos / "red" / "0.png", k=15) == expected
    report = gallery.check()
    assert report.clean
    assert len(report.notes) == 1
    assert "was begun, 8 of 15 items have their vector" in report.notes[0]
    (photos / "blue" / "0.png").rename(tmp_path / "kept.png")  # done already: not needed again
    report = gallery.reembed(str(second_encoder))
    assert (report.kept, report.embedded) == (8, 7)
    (tmp_path / "kept.png").rename(photos / "blue" / "0.png")
    assert_like_built(gallery, second_encoder, photos, tmp_path)


@pytest.mark.parametrize("how", ["precision", "encoder", "current"])
def test_what_does_not_go_on_is_dropped(
    how: str,
    gallery: Gallery,
    tiny_encoder: Path,
    second_encoder: Path,
    small_commits: None,
    tmp_path: Path,
) -> None:
    with pytest.raises(Stop):
        gallery.reembed(str(second_encoder), progress=stop_at(10))
    if how == "precision":
        assert gallery.reembed(str(second_encoder), precision="float32").kept == 0
    elif how == "current":
        gallery.reembed("current")
        assert encoder_folders(gallery.path) == ["encoder"]
        assert gallery.check().notes == ()
        with pytest.raises(Stop):
            gallery.reembed(str(second_encoder), progress=stop_at(0))
    else:
        third = Artifact.load(second_encoder).copy_to(tmp_path / "third").folder
        described = json.loads((third / "encoder.json").read_text())
        (third / "encoder.json").write_text(json.dumps(described | {"fingerprint": "3" * 64}))
        assert gallery.reembed(str(third)).kept == 0
        with pytest.raises(Stop):
            gallery.reembed(str(second_encoder), progress=stop_at(0))
    with gallery._store.read() as tx:
        other = tx.find_encoder(fingerprint(second_encoder))
        assert other is not None
        held = tx.seen_through(other).count_vectors()
    assert held == (15 if how == "precision" else 0)


STEPS = (
    "encoder_folders.flush",
    "encoder_folders.place",
    "reembedding._begin",
    "new_vectors.NewVectors._commit",
    "reembedding.first_threshold",
    "db.Writer.switch_encoder",
    "reembedding.put_threshold",
    "reembedding._switch",
    "encoder_folders.take_away_others",
    "encoder_folders._take_away",
)


def run_worker(told: Path, gallery: Path, encoder: Path, *step: str) -> BaseProcess:
    arguments = (str(gallery), str(encoder), *step)
    return born(reembed_worker.main, *arguments, out=told, trouble=told.with_suffix(".trouble"))


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_crash_at_each_step_leaves_one_encoder_or_the_other(
    step: str,
    moment: str,
    gallery_path: Path,
    photos: Path,
    tiny_encoder: Path,
    second_encoder: Path,
    tmp_path: Path,
) -> None:
    described = Artifact.load(second_encoder).copy_to(tmp_path / "brought").folder / "encoder.json"
    values = json.loads(described.read_text())
    values["provenance"]["threshold"] = {"value": 0.3, "rule": "nearest", "objective": "f1"}
    described.write_text(json.dumps(values))
    second_encoder = described.parent
    told = tmp_path / "told"
    worker = run_worker(told, gallery_path, second_encoder, step, moment)
    worker.join()
    assert worker.exitcode == 9, told.with_suffix(".trouble").read_text()
    with Gallery.open(gallery_path) as gallery:
        switched = gallery.info().fingerprint == fingerprint(second_encoder)
        late = STEPS.index(step) > STEPS.index("reembedding._switch")
        assert switched == (late or (step, moment) == ("reembedding._switch", "after"))
        report = gallery.check()
        assert report.problems == ()
        assert (report.items, report.vectors) == (15, 15)
        assert (gallery.threshold() is not None) == switched
        for photo in photos.rglob("*.png"):
            assert gallery.identify(photo, k=1).items[0].path == str(photo)
        gallery.reembed(str(second_encoder))
        for left in gallery_path.glob(".encoder.being-made-*"):
            shutil.rmtree(left)  # swept after an hour
        assert_like_built(gallery, second_encoder, photos, tmp_path)
        assert len(encoder_folders(gallery_path)) == 1


@pytest.mark.slow
def test_killed_ten_times_it_ends_like_an_uninterrupted_run(
    tmp_path: Path,
    tiny_encoder: Path,
    second_encoder: Path,
    draw_photo: Callable[..., Image.Image],
) -> None:
    photos, path, told = tmp_path / "photos", tmp_path / "gallery", tmp_path / "told"
    for colour in ("red", "green", "blue"):
        (photos / colour).mkdir(parents=True)
        for number in range(60):
            draw_photo(colour, number, size=(480, 360)).save(photos / colour / f"{number}.png")
    with Gallery.create(path, encoder=str(tiny_encoder)) as gallery:
        gallery.build(photos)
    choose, done = random.Random(0), []
    for _ in range(10):
        worker = run_worker(told, path, second_encoder)
        # Sometimes before anything is there, mostly after some photos.
        wanted = choose.randrange(20)
        while worker.is_alive() and told.read_text().count("\n") < wanted:
            time.sleep(0.002)
        time.sleep(choose.uniform(0, 0.05))
        worker.kill()
        worker.join()
        assert told.with_suffix(".trouble").read_text() == ""
        with Gallery.open(path) as gallery:
            report = gallery.check()
            assert report.problems == ()
            assert report.items == report.vectors == 180
            photo = photos / "green" / f"{choose.randrange(60)}.png"
            distances = {one.path: one.distance for one in gallery.identify(photo, k=180).items}
            assert distances[str(photo)] < 0.01
            with gallery._store.read() as tx:
                other = tx.find_encoder(fingerprint(second_encoder))
                done.append(0 if other is None else tx.seen_through(other).count_vectors())
    assert done == sorted(done)  # what was done is kept
    assert done[-1] > 0
    with Gallery.open(path) as gallery:
        report = gallery.reembed(str(second_encoder))
        assert report.kept == done[-1] or not report.switched
        for left in path.glob(".encoder.being-made-*"):
            shutil.rmtree(left)
        assert_like_built(gallery, second_encoder, photos, tmp_path)


def test_leftovers_are_told_and_swept(gallery: Gallery, second_encoder: Path) -> None:
    shutil.copytree(second_encoder, gallery.path / "encoder-0123456789abcdef")
    report = gallery.check()
    assert report.clean
    assert "encoder-0123456789abcdef is left from another encoder" in report.notes[0]
    going = gallery.path / ".encoder.going-half" / "encoder"
    going.mkdir(parents=True)
    (gallery.path / "encoder-of-mine").mkdir()
    gallery.reembed("current")
    assert encoder_folders(gallery.path) == ["encoder", "encoder-of-mine"]
    gallery.reembed(str(second_encoder))
    shutil.rmtree(gallery.path / f"encoder-{fingerprint(second_encoder)[:16]}")
    with pytest.raises(EncoderError, match="holds no encoder"):
        Gallery.open(gallery.path)


def test_a_damaged_folder_in_its_place_is_replaced(
    gallery: Gallery, photos: Path, second_encoder: Path, tmp_path: Path
) -> None:
    place = gallery.path / f"encoder-{fingerprint(second_encoder)[:16]}"
    shutil.copytree(second_encoder, place)
    (place / "openvino" / "float32.bin").unlink()
    gallery.reembed(str(second_encoder))
    assert_like_built(gallery, second_encoder, photos, tmp_path)
