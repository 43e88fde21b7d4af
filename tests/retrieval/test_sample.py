from __future__ import annotations

import os
import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from retrieval.errors import LookalikeError
from retrieval.sample import VIEWS, Sample, packagings, photograph, write_sample

FIRST, SECOND, *_ = packagings(2)


def difference(a: Image.Image, b: Image.Image) -> float:
    """Mean absolute difference in grey levels."""
    return float(np.abs(np.asarray(a, np.int16) - np.asarray(b, np.int16)).mean())


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Sample]:
    folder = tmp_path_factory.mktemp("sample")
    return folder, write_sample(folder, count=3, strangers=2)


@settings(deadline=None)
@given(count=st.integers(1, 1152), seed=st.integers(0, 2**40))
def test_names_are_distinct_and_fit_for_folders(count: int, seed: int) -> None:
    names = [packaging.name for packaging in packagings(count, seed=seed)]
    assert len(names) == count
    # Some file systems don't tell cases apart.
    assert len({name.lower() for name in names}) == count
    assert all(re.fullmatch(r"[A-Z][a-z]+(-[A-Z][a-z]+)+", name) for name in names)


@settings(deadline=None)
@given(fewer=st.integers(1, 60), more=st.integers(0, 60), seed=st.integers(0, 2**40))
def test_fewer_packagings_are_the_first_of_more(fewer: int, more: int, seed: int) -> None:
    assert packagings(fewer, seed=seed) == packagings(fewer + more, seed=seed)[:fewer]


def test_no_two_designs_share_more_than_one_of_colours_pattern_and_layout() -> None:
    for a, b in combinations(packagings(46), 2):
        assert (a.palette == b.palette) + (a.pattern == b.pattern) + (a.layout == b.layout) <= 1


def test_another_seed_invents_other_packagings() -> None:
    names = {packaging.name for packaging in packagings(40)}
    assert len(names & {packaging.name for packaging in packagings(40, seed=1)}) < 10


@pytest.mark.parametrize("count", [-1, 0, 1153])
def test_an_impossible_count_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"1..1152, not {count}"):
        packagings(count)


def test_photos_are_the_same_in_any_order() -> None:
    shots = [(packaging, view) for packaging in (FIRST, SECOND) for view in range(VIEWS)]
    forwards = [photograph(*shot).tobytes() for shot in shots]
    backwards = [photograph(*shot).tobytes() for shot in reversed(shots)]
    assert forwards == backwards[::-1]


def test_views_of_a_packaging_differ() -> None:
    photos = [photograph(FIRST, view) for view in range(VIEWS)]
    assert len(photos) == 6
    assert all((photo.mode, photo.size) == ("RGB", (320, 320)) for photo in photos)
    assert min(difference(a, b) for a, b in combinations(photos, 2)) > 10


def test_packagings_of_every_form_differ() -> None:
    one_of_a_form = {packaging.form: packaging for packaging in packagings(48)}
    assert len(one_of_a_form) == 16
    photos = [photograph(packaging, 0) for packaging in one_of_a_form.values()]
    assert min(difference(a, b) for a, b in combinations(photos, 2)) > 10


@pytest.mark.parametrize("view", range(VIEWS))
def test_every_view_shows_the_packaging(view: int) -> None:
    # The scene follows from name, view and seed, so only the packaging can make the difference.
    white, red = (
        photograph(replace(FIRST, pattern="plain", palette=(colour,) * 4), view)
        for colour in ("#ffffff", "#ff0000")
    )
    changed = np.abs(np.asarray(white, np.int16) - np.asarray(red, np.int16)).max(axis=2) > 40
    assert 0.1 < changed.mean() < 0.8


@pytest.mark.parametrize(
    ("attribute", "values"),
    [
        ("form", ("box", "jar")),
        ("form", ("carton", "pouch")),
        ("stretch", (0.8, 1.25)),
        ("motif", ("fish", "sun")),
        ("pattern", ("stripes", "checks")),
        ("repeats", (3, 7)),
        ("angle", (0, 45)),
        ("layout", ("badge", "column")),
        ("weight", (0, 3)),
        ("slant", (0.0, 0.2)),
        ("capitals", (False, True)),
    ],
)
def test_every_attribute_of_a_design_shows(attribute: str, values: tuple[Any, Any]) -> None:
    plain = replace(FIRST, pattern="stripes")
    a, b = (photograph(replace(plain, **{attribute: value}), 0) for value in values)
    assert difference(a, b) > 0.2
    # The surroundings stay as they are.
    assert difference(a.crop((0, 0, 320, 20)), b.crop((0, 0, 320, 20))) == 0


def test_another_seed_takes_another_photo() -> None:
    assert difference(photograph(FIRST, 1), photograph(FIRST, 1, seed=1)) > 5


@pytest.mark.parametrize("view", [-1, VIEWS])
def test_an_unknown_view_is_refused(view: int) -> None:
    with pytest.raises(ValueError, match=f"0..5, not {view}"):
        photograph(FIRST, view)


def test_a_sample_has_a_gallery_held_back_queries_and_strangers(
    written: tuple[Path, Sample],
) -> None:
    folder, sample = written
    names = tuple(packaging.name for packaging in packagings(5))
    assert sample == Sample(
        folder / "gallery", folder / "queries", folder / "strangers", names[:3], names[3:]
    )
    expected = {f"gallery/{name}/view-{n}.jpg" for name in sample.known for n in range(1, 6)}
    expected |= {f"queries/{name}/view-6.jpg" for name in sample.known}
    expected |= {f"strangers/{name}/view-{n}.jpg" for name in sample.unknown for n in (1, 6)}
    assert set(files(folder)) == expected


def test_the_files_are_the_photos(written: tuple[Path, Sample]) -> None:
    folder, sample = written
    for part, name, view in [
        ("gallery", sample.known[1], 2),
        ("queries", sample.known[2], 5),
        ("strangers", sample.unknown[0], 0),
    ]:
        packaging = next(packaging for packaging in packagings(5) if packaging.name == name)
        with Image.open(folder / part / name / f"view-{view + 1}.jpg") as file:
            assert file.format == "JPEG"
            assert difference(file, photograph(packaging, view)) < 6


def test_a_sample_of_the_same_seed_is_the_same(
    written: tuple[Path, Sample], tmp_path: Path
) -> None:
    sample = write_sample(tmp_path, count=2, strangers=1)
    again = files(written[0])
    photos = files(tmp_path)
    for path in [path for path in photos if not path.startswith("strangers")]:
        assert photos[path] == again[path]
    # What is a stranger here is known there.
    (stranger,) = sample.unknown
    path = f"{stranger}/view-1.jpg"
    assert photos[f"strangers/{path}"] == again[f"gallery/{path}"]


def test_the_seed_reaches_designs_and_photos(tmp_path: Path) -> None:
    sample = write_sample(tmp_path, count=1, strangers=0, views=2, seed=1)
    (packaging,) = packagings(1, seed=1)
    assert sample.known == (packaging.name,)
    with Image.open(sample.gallery / packaging.name / "view-1.jpg") as file:
        assert difference(file, photograph(packaging, 0, seed=1)) < 6
        assert difference(file, photograph(packaging, 0, seed=0)) > 6


def test_every_folder_is_there_even_without_strangers(tmp_path: Path) -> None:
    sample = write_sample(tmp_path, count=1, strangers=0, views=2)
    assert sample.unknown == ()
    assert list(sample.strangers.iterdir()) == []


def test_fewer_views_hold_back_the_last_of_them(tmp_path: Path) -> None:
    sample = write_sample(tmp_path, count=1, strangers=1, views=2)
    (known,), (unknown,) = sample.known, sample.unknown
    assert set(files(tmp_path)) == {
        f"gallery/{known}/view-1.jpg",
        f"queries/{known}/view-2.jpg",
        f"strangers/{unknown}/view-1.jpg",
        f"strangers/{unknown}/view-2.jpg",
    }


def test_writing_again_changes_only_what_is_wrong(tmp_path: Path) -> None:
    write_sample(tmp_path, count=2, strangers=0, views=2)
    before = files(tmp_path)
    for path in before:
        os.utime(tmp_path / path, (1, 1))
    broken, gone, *_ = sorted(before)
    (tmp_path / broken).write_bytes(b"half a pho")
    (tmp_path / gone).unlink()
    (tmp_path / "notes.txt").write_text("mine")

    write_sample(tmp_path, count=2, strangers=0, views=2)

    assert files(tmp_path) == {**before, "notes.txt": b"mine"}
    rewritten = {path for path in before if (tmp_path / path).stat().st_mtime > 1}
    assert rewritten == {broken, gone}


@pytest.mark.parametrize(
    "numbers", [{"count": 0}, {"strangers": -1}, {"views": 1}, {"views": VIEWS + 1}]
)
def test_impossible_numbers_are_refused(numbers: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="count must be positive"):
        write_sample(tmp_path / "sample", **numbers)
    assert not (tmp_path / "sample").exists()


def test_a_folder_that_is_a_file_is_refused_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "sample").write_text("a file")
    with pytest.raises(LookalikeError, match=r"can't be written to .*sample .*; name a folder"):
        write_sample(tmp_path / "sample", count=1, strangers=0, views=2)
