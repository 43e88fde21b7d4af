"""Whatever befalls a gallery's files: right answers, what is wrong is told, and nothing is lost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from survivors import assert_right, recorded_files, stored

from retrieval import Gallery

Damage = Callable[[Path, Path], None]


def index_file(path: Path) -> Path:
    with Gallery.open(path) as gallery:
        (name,) = recorded_files(gallery)
    return path / "index" / name


def flip(place: float) -> Damage:
    def change(path: Path, _foreign: Path) -> None:
        data = bytearray(path.read_bytes())
        data[int(place * (len(data) - 1))] ^= 1
        path.write_bytes(data)

    return change


def cut(share: float) -> Damage:
    def change(path: Path, _foreign: Path) -> None:
        os.truncate(path, int(share * path.stat().st_size))

    return change


def tear(path: Path, _foreign: Path) -> None:
    """What a power cut leaves of a file whose length came to the disk before its end."""
    size = path.stat().st_size
    os.truncate(path, size * 2 // 3)
    os.truncate(path, size)


def lengthen(path: Path, _foreign: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


def replace_by_foreign(path: Path, foreign: Path) -> None:
    shutil.copyfile(foreign, path)


def replace_by_noise(path: Path, _foreign: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(path.stat().st_size))


def replace_by_folder(path: Path, _foreign: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_by_link_to_nowhere(path: Path, _foreign: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("nowhere"))


def remove(path: Path, _foreign: Path) -> None:
    path.unlink()


def remove_all(path: Path, _foreign: Path) -> None:
    shutil.rmtree(path.parent)


DAMAGES = {
    "flipped at its beginning": flip(0),
    "flipped in its midst": flip(0.5),
    "flipped at its end": flip(1),
    "cut to nothing": cut(0),
    "cut in half": cut(0.5),
    "a byte short": cut(0.9999),
    "torn": tear,
    "longer": lengthen,
    "foreign": replace_by_foreign,
    "noise": replace_by_noise,
    "a folder": replace_by_folder,
    "a link to nowhere": replace_by_link_to_nowhere,
    "missing": remove,
    "missing with its folder": remove_all,
}


@pytest.mark.parametrize("kind", ["gallery", "gallery-ivf"])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_index_file_costs_no_answer_and_is_mended(
    damage: Damage, kind: str, path: Path, made: Path
) -> None:
    shutil.rmtree(path)
    shutil.copytree(made / kind, path)
    before = stored(path)
    file = index_file(path)
    damage(file, index_file(made / kind.replace("gallery", "foreign")))
    with Gallery.open(path) as gallery:
        assert_right(gallery)
        report = gallery.check()
        (told,) = report.problems + report.notes
        assert told.startswith(f"{file} ")
        assert "answers are right without it" in told
        # What check says mends it.
        if file.is_dir():
            file.rmdir()
        file.unlink(missing_ok=True)
        gallery.build(made / "photos")
        assert_right(gallery)
        report = gallery.check()
        assert (report.problems, report.notes, report.items) == ((), (), 18)
    assert index_file(path).stat().st_size
    assert stored(path) == before


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        *(("gallery", damage) for damage in (cut(0), cut(0.5), tear, replace_by_foreign)),
        # Such a file is mapped into memory: taken away or replaced, but never changed in place.
        *(("gallery-ivf", damage) for damage in (remove, remove_all, replace_by_folder)),
    ],
)
def test_an_open_gallery_survives_what_happens_to_its_index_file(
    kind: str, damage: Damage, path: Path, made: Path
) -> None:
    shutil.rmtree(path)
    shutil.copytree(made / kind, path)
    file, foreign = index_file(path), index_file(made / kind.replace("gallery", "foreign"))
    with Gallery.open(path) as gallery:
        assert_right(gallery)
        damage(file, foreign)
        assert_right(gallery)
        gallery.remove([3, 5])
        assert_right(gallery)
        assert gallery.add([made / "more"]).added == 30
        assert_right(gallery)
        with Gallery.open(path) as another:
            assert_right(another)


def test_a_torn_end_of_the_log_costs_nothing_that_was_committed(path: Path, tmp_path: Path) -> None:
    with Gallery.open(path) as gallery:
        gallery.relabel([1], "kept")
        left = Path(shutil.copytree(path, tmp_path / "left"))
    log = left / "gallery.db-wal"
    whole = log.read_bytes()
    expected = stored(path)
    for end in (b"\0" * 5000, whole[32:3000], np.random.default_rng(0).bytes(20_000)):
        log.write_bytes(whole + end)
        (left / "gallery.db-shm").unlink(missing_ok=True)
        with Gallery.open(left) as gallery:
            assert gallery.find(label="kept") == [1]
            assert gallery.check().clean
            assert_right(gallery)
        assert stored(left) == expected
