"""Another encoder while others read the gallery, or write to it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from reembedded import Stop, assert_like_built, fingerprint, stop_at

from db import Reader
from retrieval import Gallery, GalleryError, calibration, first_threshold, generations
from retrieval.encoders import Artifact
from retrieval.errors import EncoderChanged
from retrieval.evaluation.leaving_out import LeftOut

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
