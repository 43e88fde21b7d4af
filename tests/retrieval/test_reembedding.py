"""Another encoder: the same as a gallery built with it, whatever happens on the way."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import reembed_worker
from lives import born
from PIL import Image

from db import Reader
from retrieval import Gallery, GalleryError, calibration, first_threshold, generations, new_vectors
from retrieval.embedding import Unreadable
from retrieval.encoders import Artifact
from retrieval.errors import EncoderChanged, EncoderError
from retrieval.evaluation.leaving_out import LeftOut

ENCODERS = (".encoder", "encoder")


def vectors(gallery: Gallery) -> dict[str, np.ndarray]:
    """Return the stored vectors by path."""
    with gallery._store.read() as tx:
        paths = {item.id: item.path for item in tx.items()}
        return {
            paths[item_id]: vector
            for part in tx.vectors()
            for item_id, vector in zip(part.item_ids.tolist(), part.data, strict=True)
        }


def fingerprint(encoder: Path) -> str:
    return Artifact.load(encoder).spec.fingerprint


def encoder_folders(gallery: Path) -> list[str]:
    return sorted(path.name for path in gallery.iterdir() if path.name.startswith(ENCODERS))


def assert_like_built(gallery: Gallery, encoder: Path, photos: Path, tmp_path: Path) -> None:
    """The gallery is what building one of the same photos with this encoder makes."""
    with Gallery.create(tmp_path / "built", encoder=str(encoder)) as built:
        built.build(photos)
        expected = vectors(built)
    shutil.rmtree(tmp_path / "built")
    found = vectors(gallery)
    assert found.keys() == expected.keys()
    for path, vector in expected.items():
        np.testing.assert_allclose(found[path].astype(float), vector.astype(float), atol=2e-3)
    assert gallery.info().fingerprint == fingerprint(encoder)
    report = gallery.check()
    assert report.problems == ()
    assert report.notes == ()


class Stop(Exception):  # noqa: N818
    pass


def stop_at(count: int) -> Callable[[int, int], None]:
    def progress(done: int, _total: int) -> None:
        if done == count:
            raise Stop

    return progress


@pytest.fixture
def small_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_vectors, "_COMMIT_PHOTOS", 4)
    monkeypatch.setattr(new_vectors, "_COMMIT_SECONDS", 1e9)


def test_it_ends_like_a_gallery_built_with_the_other_encoder(
    gallery: Gallery, photos: Path, tiny_encoder: Path, second_encoder: Path, tmp_path: Path
) -> None:
    before = vectors(gallery)
    items, seq = gallery.items(), gallery.info().seq
    report = gallery.reembed(str(second_encoder))
    assert (report.switched, report.embedded, report.kept, report.dropped) == (True, 15, 0, ())
    assert report.fingerprint == fingerprint(second_encoder) != fingerprint(tiny_encoder)
    assert gallery.items() == items
    assert gallery.info().seq > seq
    assert_like_built(gallery, second_encoder, photos, tmp_path)
    assert not all(np.allclose(before[path], new) for path, new in vectors(gallery).items())
    assert encoder_folders(gallery.path) == [f"encoder-{report.fingerprint[:16]}"]
    assert gallery.identify(photos / "blue" / "1.png").items[0].path == str(photos / "blue/1.png")


def test_there_and_back_again(
    gallery: Gallery,
    photos: Path,
    tiny_encoder: Path,
    second_encoder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(generations, "_STALE_COUNT", 1)  # index files of both encoders
    gallery.add([photos])
    for encoder in (second_encoder, tiny_encoder, second_encoder):
        gallery.reembed(str(encoder))
        gallery.remove([gallery.items()[0].id])
        gallery.add([photos])
        assert_like_built(gallery, encoder, photos, tmp_path)
        query = photos / "green" / "2.png"
        with Gallery.open(gallery.path) as reader:
            for one in (gallery, reader):
                assert one.identify(query, k=1).items[0].path == str(query)
                assert len(one.identify(query, k=99).items) == 15


def test_its_own_encoder_leaves_nothing_to_do(gallery: Gallery, tiny_encoder: Path) -> None:
    seq = gallery.info().seq
    for encoder in (str(tiny_encoder), "current"):
        report = gallery.reembed(encoder)
        assert (report.switched, report.embedded, report.items) == (False, 0, 15)
    assert encoder_folders(gallery.path) == ["encoder"]
    assert gallery.info().seq <= seq + 2
    with pytest.raises(GalleryError, match="in two precisions: leave --precision float32 out"):
        gallery.reembed("current", precision="float32")


def test_the_precision_moves_with_the_encoder(gallery: Gallery, second_encoder: Path) -> None:
    gallery.reembed(str(second_encoder), precision="float32")
    assert gallery.info().precision == "float32"
    assert gallery.encoder.precision == "float32"


# Readers


def test_a_gallery_open_elsewhere_asks_the_new_encoder(
    gallery: Gallery, photos: Path, second_encoder: Path
) -> None:
    photo = photos / "red" / "3.png"
    with Gallery.open(gallery.path) as used, Gallery.open(gallery.path) as unused:
        used.identify(photo)
        gallery.reembed(str(second_encoder))
        expected = gallery.identify(photo, k=15)
        assert used.identify(photo, k=15) == expected
        assert unused.identify(photo, k=15) == expected
        assert used.encoder.spec.fingerprint == gallery.info().fingerprint
        assert used.check().clean
        assert used.evaluate().recall[1] is not None


def test_vectors_of_the_encoder_before_are_not_compared(
    gallery: Gallery, photos: Path, second_encoder: Path
) -> None:
    photo = photos / "red" / "3.png"
    with Gallery.open(gallery.path) as reader:
        old = reader.embed(photo)[np.newaxis]
        assert reader.nearest(old, 1)[0][0].path == str(photo)
        answers = reader.identify_many([photo] * 40)
        next(answers)
        gallery.reembed(str(second_encoder))
        with pytest.raises(
            EncoderChanged, match=r"another encoder meanwhile .*: do the same again"
        ):
            reader.nearest(old, 1)
        with pytest.raises(EncoderChanged):
            list(answers)
        assert reader.nearest(reader.embed(photo)[np.newaxis], 1)[0][0].path == str(photo)


def test_a_reader_in_another_process_goes_on(
    gallery: Gallery, photos: Path, second_encoder: Path
) -> None:
    photo = photos / "red" / "3.png"
    script = (
        "import sys\n"
        "from retrieval import Gallery\n"
        "with Gallery.open(sys.argv[1]) as gallery:\n"
        "    for line in sys.stdin:\n"
        "        found = gallery.identify(sys.argv[2], k=15)\n"
        "        print(*[f'{one.id}:{one.distance:.3f}' for one in found.items], flush=True)\n"
    )
    reader = subprocess.Popen(
        [sys.executable, "-c", script, gallery.path, photo],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert reader.stdin is not None
    assert reader.stdout is not None

    def ask() -> str:
        reader.stdin.write("\n")
        reader.stdin.flush()
        return reader.stdout.readline().strip()

    def mine() -> str:
        found = gallery.identify(photo, k=15)
        return " ".join(f"{one.id}:{one.distance:.3f}" for one in found.items)

    with reader:
        before = ask()
        assert before == mine()
        told: list[str] = []
        gallery.reembed(str(second_encoder), progress=lambda *_: told.append(ask()))
        assert set(told) == {before}
        after = ask()
        assert after == mine() != before
        reader.stdin.close()
    assert reader.returncode == 0


# Others at work meanwhile


def test_what_others_add_change_and_remove_meanwhile(
    gallery: Gallery,
    photos: Path,
    second_encoder: Path,
    tmp_path: Path,
    draw_photo: Callable[..., Image.Image],
    small_commits: None,
) -> None:
    moments = [6, 15]  # while some are done, and when all seem to be

    def others(done: int, _total: int) -> None:
        if moments[:1] != [done]:
            return
        moments.pop(0)
        new, changed, gone = (
            photos / name
            for name in (f"red/late{done}.png", f"blue/{done % 5}.png", f"green/{done % 4}.png")
        )
        draw_photo("red", 60 + done).save(new)
        draw_photo("green", 60 + done).save(changed)
        with Gallery.open(gallery.path) as other:
            assert other.add([new, changed], label="late").item_ids
            other.remove(other.find(path=gone))
        gone.unlink()

    report = gallery.reembed(str(second_encoder), progress=others)
    assert moments == []
    assert report.items == 15
    assert report.embedded > 15
    assert_like_built(gallery, second_encoder, photos, tmp_path)


def test_a_build_under_way_at_the_switch_stores_nothing_of_the_encoder_before(
    gallery: Gallery,
    photos: Path,
    second_encoder: Path,
    tmp_path: Path,
    draw_photo: Callable[..., Image.Image],
) -> None:
    late = photos / "red" / "late.png"
    draw_photo("red", 77).save(late)

    def switch(done: int, total: int) -> None:
        if done == total:
            with Gallery.open(gallery.path) as other:
                other.reembed(str(second_encoder))

    with pytest.raises(EncoderChanged):
        gallery.build(photos, progress=switch)
    assert gallery.build(photos).added == 1
    assert_like_built(gallery, second_encoder, photos, tmp_path)


def test_an_index_file_begun_before_the_switch_is_not_recorded(
    gallery: Gallery, second_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generations, "_STALE_COUNT", 1)
    save = generations.save

    def save_and_switch(*args: object, **kwargs: object) -> str:
        checksum = save(*args, **kwargs)
        monkeypatch.setattr(generations, "save", save)
        with Gallery.open(gallery.path) as other:
            other.reembed(str(second_encoder))
        return checksum

    monkeypatch.setattr(generations, "save", save_and_switch)
    mine = gallery._opened.artifact.spec.fingerprint
    for _ in range(2):
        assert not generations.write_generation(gallery._store, gallery.path / "index", mine)
    with gallery._store.read() as tx:
        (generation,) = tx.generations()  # the reembed's own
        assert generation.encoder_fingerprint == fingerprint(second_encoder)
    assert gallery.check().clean


@pytest.mark.parametrize("how", ["asked", "first"])
def test_a_threshold_tuned_across_the_switch_is_not_stored(
    how: str,
    gallery: Gallery,
    photos: Path,
    second_encoder: Path,
    draw_photo: Callable[..., Image.Image],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for colour in ("red", "green", "blue"):
        for number in (5, 6):
            draw_photo(colour, number).save(photos / colour / f"{number}.png")
    module = calibration if how == "asked" else first_threshold
    leave_labels_out = module.leave_labels_out
    reports = []

    def switch_then(tx: Reader) -> LeftOut:
        left_out = leave_labels_out(tx)
        monkeypatch.setattr(module, "leave_labels_out", leave_labels_out)
        with Gallery.open(gallery.path) as other:
            reports.append(other.reembed(str(second_encoder)))
        return left_out

    if how == "asked":
        gallery.build(photos)
    monkeypatch.setattr(module, "leave_labels_out", switch_then)
    if how == "asked":
        with pytest.raises(EncoderChanged):
            gallery.tune_threshold(objective="far=0.2")
    else:
        assert gallery.build(photos).added == 6
    assert reports[0].threshold is not None
    assert gallery.threshold() == reports[0].threshold


def test_another_reembed_takes_over(
    gallery: Gallery, photos: Path, tiny_encoder: Path, second_encoder: Path, tmp_path: Path
) -> None:
    third = Artifact.load(second_encoder).copy_to(tmp_path / "third").folder
    described = json.loads((third / "encoder.json").read_text())
    (third / "encoder.json").write_text(json.dumps(described | {"fingerprint": "3" * 64}))

    def take_over(done: int, _total: int) -> None:
        if done == 7:
            with Gallery.open(gallery.path) as other, pytest.raises(Stop):
                other.reembed(str(third), progress=stop_at(9))

    with pytest.raises(GalleryError, match=r"Another reembed of .* has begun or ended"):
        gallery.reembed(str(second_encoder), progress=take_over)
    assert gallery.info().fingerprint == fingerprint(tiny_encoder)
    gallery.reembed(str(second_encoder))
    assert_like_built(gallery, second_encoder, photos, tmp_path)


# Broken off, and gone on


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


# Photos


@pytest.mark.parametrize("how", ["missing", "changed", "broken"])
def test_photos_that_cannot_be_used_are_refused_or_dropped(
    how: str,
    gallery: Gallery,
    photos: Path,
    tiny_encoder: Path,
    second_encoder: Path,
    tmp_path: Path,
    draw_photo: Callable[..., Image.Image],
) -> None:
    some = [photos / "green" / "1.png", photos / "red" / "0.png"]
    for photo in some:
        if how == "missing":
            photo.unlink()
        elif how == "changed":
            draw_photo("blue", 90).save(photo)
        else:
            photo.write_bytes(b"")
    said = {"missing": "is not there", "changed": "has changed", "broken": "has changed"}[how]
    with pytest.raises(GalleryError, match=rf"2 of 15 items can't .* {some[0]} \({said}.*--drop"):
        gallery.reembed(str(second_encoder))
    assert gallery.info().fingerprint == fingerprint(tiny_encoder)
    assert len(gallery.items()) == 15
    report = gallery.reembed(str(second_encoder), drop_missing=True)
    assert [one.path for one in report.dropped] == [str(photo) for photo in some]
    assert (report.items, report.kept) == (13, 0 if how == "missing" else 13)
    assert [one.path for one in gallery.failures()] == [str(photo) for photo in some]
    for photo in some:
        photo.unlink(missing_ok=True)
    assert_like_built(gallery, second_encoder, photos, tmp_path)


def test_a_photo_that_cannot_be_read_any_more_is_no_item_lost(
    gallery: Gallery, photos: Path, second_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = photos / "red" / "0.png"
    embed = new_vectors.embed

    def embed_but_one(*args: object, **kwargs: object) -> object:
        for one in embed(*args, **kwargs):
            yield Unreadable(one.source, "is cut short") if one.source.path == broken else one

    # Bytes that once were decoded, and now are not: a decoder that has changed.
    monkeypatch.setattr(new_vectors, "embed", embed_but_one)
    with pytest.raises(GalleryError, match=r"1 of 15 .*0\.png \(is cut short\)"):
        gallery.reembed(str(second_encoder))
    monkeypatch.setattr(new_vectors, "embed", embed)
    assert gallery.reembed(str(second_encoder)).embedded == 1


def test_a_gallery_is_not_emptied_because_a_disk_is_away(
    gallery: Gallery, photos: Path, second_encoder: Path
) -> None:
    photos.rename(photos.with_name("away"))
    with pytest.raises(GalleryError, match="would leave nothing"):
        gallery.reembed(str(second_encoder), drop_missing=True)
    assert len(gallery.items()) == 15


def test_afterwards_the_folder_can_be_copied_elsewhere(
    gallery: Gallery, photos: Path, second_encoder: Path, tmp_path: Path
) -> None:
    gallery.reembed(str(second_encoder))
    query = shutil.copy(photos / "blue" / "4.png", tmp_path / "query.png")
    expected = gallery.identify(query)
    gallery.close()
    shutil.move(gallery.path, tmp_path / "elsewhere")
    shutil.rmtree(photos)
    with Gallery.open(tmp_path / "elsewhere") as moved:
        assert moved.identify(query) == expected
