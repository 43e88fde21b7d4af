"""Which stores photos are read from, how objects there are named, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from object_store import Bucket

from retrieval import Gallery
from retrieval.errors import LookalikeError
from retrieval.paths import any_path
from retrieval.remote import RemoteError, RemotePath, forget_stores
from retrieval.sources import Source, find_photos

Png = Callable[[str, int], bytes]


def paths(gallery: Gallery) -> list[str]:
    return [item.path for item in gallery.items()]


def test_a_gallery_answers_while_its_store_cannot_be_reached(
    filled: Bucket, png: Png, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery.build(f"{filled.url}/train")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    forget_stores()
    assert gallery.identify(png("red", 1), threshold=1e-3).label == "red"
    assert any("the store can't be reached" in note for note in gallery.check().notes)
    with pytest.raises(RemoteError, match="the store can't be reached"):
        gallery.build(f"{filled.url}/train", prune=True)
    assert gallery.count() == 6


def test_any_store_that_fsspec_knows_will_do(png: Png, gallery: Gallery) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pipe_file("/photos/red/1.png", png("red", 1))
    memory.pipe_file("/photos/green/1.png", png("green", 1))
    gallery.build("memory://photos")
    assert paths(gallery) == ["memory://photos/green/1.png", "memory://photos/red/1.png"]
    assert gallery.build("memory:///photos/").unchanged == 2
    memory.pipe_file("/photos/red/1.png", png("red", 2))
    assert gallery.build("memory://photos").changed == 1
    memory.store.clear()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("file:///photos", "names a file on disk: write its path, without file://"),
        ("LOCAL://photos", "names a file on disk"),
        ("nosuch://photos/1", "Photos can't be read from nosuch://"),
        ("zip://photos", "Photos can't be read from zip://"),
        ("gs://photos", "need a package that is not installed"),
        ("s3://", "names nothing in a store: write s3://BUCKET/PREFIX"),
    ],
)
def test_what_no_photo_can_be_read_from_is_refused(gallery: Gallery, url: str, said: str) -> None:
    with pytest.raises(LookalikeError, match=said):
        gallery.build(url)


@pytest.mark.parametrize(
    "url", ["ftp://me:s3cret@host/photos", "https://host/1.png?X-Amz-Signature=s3cret"]
)
def test_a_url_with_a_secret_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(LookalikeError, match="holds a password or a key") as raised:
        any_path(url)
    assert "s3cret" not in str(raised.value)


def test_without_the_extra_a_sentence_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    forget_stores()
    with pytest.raises(LookalikeError, match=r"pip install 'lookalike\[s3\]'"):
        any_path("s3://photos/1.png").exists()


def test_files_need_no_store(photos: Path) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from retrieval.embedding import read_file\n"
        "from retrieval.sources import find_photos\n"
        "assert len([read_file(path) for path in find_photos(Path(sys.argv[1]))]) == 15\n"
        "assert not {'fsspec', 's3fs', 'botocore'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(photos)], check=True)


def test_an_object_and_its_folder_are_named_as_files_are() -> None:
    path = any_path("S3://photos/a b/c.d//1.PNG/")
    assert str(path) == "s3://photos/a b/c.d//1.PNG"
    assert (path.name, path.suffix, str(path.parent)) == ("1.PNG", ".PNG", "s3://photos/a b/c.d/")
    assert path.parent / path.name == path
    assert path.is_relative_to(any_path("s3://photos/a b"))
    assert not path.is_relative_to(any_path("s3://photos/a"))
    assert not path.is_relative_to(any_path("memory://photos"))
    assert not path.is_relative_to(Path("/photos"))
    assert any_path("C://photos") == Path("C://photos")
    assert Source(path) == Source(any_path(str(path)))


def test_a_listing_and_a_single_question_tell_the_same(filled: Bucket) -> None:
    listed = list(find_photos(any_path(f"{filled.url}/train")))
    assert len(listed) == 6
    for path in listed:
        assert isinstance(path, RemotePath)
        assert RemotePath(path.scheme, path.key).stat() == path.status
