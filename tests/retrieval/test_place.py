"""Where a gallery is, and what it is called."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from retrieval.errors import GalleryError
from retrieval.place import HOME, Place, home_of_shared, homes


@pytest.mark.parametrize("name", ["gallery", "./a:b", "postgresql", "C:/photos", "a b/ü"])
def test_a_path_is_a_folder(name: str) -> None:
    place = Place.of(name)
    assert (place.folder, place.url, place.is_shared) == (Path(name), None, False)
    assert str(place) == str(Path(name))
    assert Place.of(place) is place
    assert Place.of(Path(name)) == place


@pytest.mark.parametrize(
    ("name", "url", "shown", "title"),
    [
        ("postgresql://u@h:1/shop", None, "postgresql://u@h:1/shop", "shop"),
        ("postgres://u@h/shop", "postgresql://u@h/shop", "postgresql://u@h/shop", "shop"),
        ("POSTGRESQL://u@h/shop", "postgresql://u@h/shop", "postgresql://u@h/shop", "shop"),
        ("postgresql:///shop?host=/tmp", None, "postgresql:///shop?host=%2Ftmp", "shop"),
        ("postgresql://u:pa:s@h/shop", None, "postgresql://u@h/shop", "shop"),
        ("postgresql://h/shop?user=u&password=s", None, "postgresql://h/shop?user=u", "shop"),
        ("postgresql://h/shop?PassWord=s&user=u", None, "postgresql://h/shop?user=u", "shop"),
    ],
)
def test_a_url_is_a_database_and_shows_no_password(
    name: str, url: str | None, shown: str, title: str
) -> None:
    place = Place.of(name)
    assert (place.folder, place.url, place.is_shared) == (None, url or name, True)
    assert (str(place), place.title) == (shown, title)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("mysql://u:secret@h/shop", "can't be in mysql://"),
        ("s3://bucket/gallery", "can't be in s3://"),
        ("postgresql://u:secret@h", "names no database"),
        ("postgresql://u:secret@h/", "names no database"),
        ("postgresql://u:secret@[h/shop", "can't be read"),
        ("postgresql://u:se@secret@h/shop", "is %40 there"),
    ],
)
def test_other_urls_are_refused_and_no_password_is_told(name: str, why: str) -> None:
    with pytest.raises(GalleryError, match=why) as refused:
        Place.of(name)
    assert "secret" not in str(refused.value)


def test_the_homes_lie_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(HOME, str(tmp_path / "kept"))
    assert homes() == tmp_path / "kept" / "galleries"
    assert home_of_shared("ab") == homes() / "ab"
    monkeypatch.delenv(HOME)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert homes() == tmp_path / ".lookalike" / "galleries"
    (tmp_path / "file").touch()
    monkeypatch.setenv(HOME, str(tmp_path / "file"))
    with pytest.raises(GalleryError, match=f"{os.sep}file.*{HOME}"):
        homes()
