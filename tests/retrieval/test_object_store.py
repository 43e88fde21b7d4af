"""Photos in an object store, on a real server that speaks S3."""

from __future__ import annotations

import csv
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest
from object_store import Bucket
from PIL import Image

from retrieval import Gallery, embedding
from retrieval.errors import ImageError, LabelsError, LookalikeError
from retrieval.pairing import make_pairs
from retrieval.paths import any_path, missing
from retrieval.remote import REQUESTS, RemoteError, RemotePath, forget_stores
from retrieval.service.settings import Limits
from retrieval.service.thumbnails import Side, Thumbnails
from retrieval.sources import Source, find_photos
from retrieval.training.photos import inspect, read_photos

HOSTILE = (
    "a b+c.png",
    "50%25 & 100%.png",
    "who? #1=2;3.png",
    'it\'s "so".png',
    "Käse-漢字-🍏.png",
    "a\\b:name %s.png",
    "double//slash.png",
    "[x]*{y}.png",
)

Png = Callable[[str, int], bytes]


@pytest.fixture(scope="session")
def png(draw_photo: Callable[..., Image.Image]) -> Png:
    """Return the bytes of a picture of a colour, by number."""

    def make(colour: str, number: int) -> bytes:
        data = BytesIO()
        draw_photo(colour, number).save(data, "PNG")
        return data.getvalue()

    return make


@pytest.fixture
def filled(bucket: Bucket, png: Png) -> Bucket:
    """A bucket `train/COLOUR/N.png` with three pictures of two colours."""
    for colour in ("red", "green"):
        for number in range(3):
            bucket.put(f"train/{colour}/{number}.png", png(colour, number))
    return bucket


@pytest.fixture
def gallery(tmp_path: Path, tiny_encoder: Path) -> Iterator[Gallery]:
    """An empty gallery."""
    with Gallery.create(tmp_path / "gallery", encoder=str(tiny_encoder)) as made:
        yield made


def paths(gallery: Gallery) -> list[str]:
    return [item.path for item in gallery.items()]


def test_the_objects_below_a_prefix_become_items(filled: Bucket, gallery: Gallery) -> None:
    filled.put("train/alone.png", b"")
    filled.put("train/.hidden/1.png", b"")
    filled.put("train/red/.1.png", b"")
    filled.put("train/notes.txt", b"")
    filled.put("train/empty.png/", b"")
    filled.put("train2/red/1.png", b"")
    report = gallery.build(f"{filled.url}/train/")
    assert report.added == 6
    assert [one.path for one in report.failed] == [f"{filled.url}/train/alone.png"]
    assert paths(gallery)[0] == f"{filled.url}/train/green/0.png"
    assert gallery.labels() == {"red": 3, "green": 3}


def test_photos_beside_the_folders_have_no_label(
    bucket: Bucket, png: Png, gallery: Gallery
) -> None:
    bucket.put("1.png", png("red", 1))
    bucket.put("green//2.png", png("green", 2))
    gallery.build(bucket.url)
    assert [item.label for item in gallery.items()] == [None, None]


def test_unchanged_photos_cost_one_listing(filled: Bucket, gallery: Gallery) -> None:
    gallery.build(f"{filled.url}/train")
    filled.server.forget()
    report = gallery.build(f"{filled.url}/train")
    assert (report.unchanged, report.added) == (6, 0)
    ((method, path),) = filled.server.asked
    assert method == "GET"
    assert "list-type=2" in path


def test_each_new_photo_costs_one_request(filled: Bucket, gallery: Gallery) -> None:
    filled.server.forget()
    gallery.build(f"{filled.url}/train")
    assert len(filled.server.asked) == 7


def test_a_change_is_seen_though_size_and_second_are_the_same(
    bucket: Bucket, png: Png, gallery: Gallery
) -> None:
    first, second = png("red", 1), png("red", 2)
    length = max(len(first), len(second))
    bucket.put("red/1.png", first.ljust(length, b"\0"))
    gallery.build(bucket.url)
    bucket.put("red/1.png", second.ljust(length, b"\0"))
    assert gallery.build(bucket.url).changed == 1
    assert gallery.identify(second, threshold=1e-3).label == "red"


def test_an_object_written_anew_with_the_same_bytes_is_as_it_was(
    filled: Bucket, png: Png, gallery: Gallery
) -> None:
    gallery.build(f"{filled.url}/train")
    filled.put("train/red/1.png", png("red", 1))
    report = gallery.build(f"{filled.url}/train")
    assert (report.unchanged, report.changed, report.added) == (6, 0, 0)


def test_a_listing_and_a_single_question_tell_the_same(filled: Bucket) -> None:
    listed = list(find_photos(any_path(f"{filled.url}/train")))
    assert len(listed) == 6
    for path in listed:
        assert isinstance(path, RemotePath)
        assert RemotePath(path.scheme, path.key).stat() == path.status


def test_what_has_gone_is_told_and_with_prune_removed(filled: Bucket, gallery: Gallery) -> None:
    gallery.build(f"{filled.url}/train")
    filled.delete("train/red/1.png")
    gone = f"{filled.url}/train/red/1.png"
    assert gallery.build(f"{filled.url}/train").gone == [gone]
    assert gallery.count() == 6
    assert any("1 of 6 items' photos" in note for note in gallery.check().notes)
    assert gallery.build(f"{filled.url}/train", prune=True).removed == 1
    assert gone not in paths(gallery)


def test_another_prefix_leaves_items_alone(filled: Bucket, png: Png, gallery: Gallery) -> None:
    gallery.build(f"{filled.url}/train")
    filled.put("train2/blue/1.png", png("blue", 1))
    report = gallery.build(f"{filled.url}/train2", prune=True)
    assert (report.removed, report.gone, gallery.count()) == (0, [], 7)


def test_an_emptied_prefix_is_no_reason_to_remove_all(filled: Bucket, gallery: Gallery) -> None:
    gallery.build(f"{filled.url}/train")
    with pytest.raises(LookalikeError, match="no such bucket, folder or object"):
        gallery.build(f"{filled.url}/trian", prune=True)
    assert gallery.count() == 6


def test_renamed_photos_are_moved_and_not_embedded(
    filled: Bucket, png: Png, gallery: Gallery
) -> None:
    gallery.build(f"{filled.url}/train")
    ids = gallery.find()
    for number in range(3):
        filled.delete(f"train/red/{number}.png")
        filled.put(f"train/rouge/{number}.png", png("red", number))
    report = gallery.build(f"{filled.url}/train", prune=True)
    assert (report.moved, report.added, report.removed) == (3, 0, 0)
    assert gallery.find() == ids
    assert gallery.labels() == {"green": 3, "rouge": 3}


def test_a_copy_of_a_photo_that_is_there_is_a_duplicate(
    filled: Bucket, png: Png, gallery: Gallery
) -> None:
    gallery.build(f"{filled.url}/train")
    filled.put("train/rouge/1.png", png("red", 1))
    report = gallery.build(f"{filled.url}/train")
    assert [one.path for one in report.duplicates] == [f"{filled.url}/train/rouge/1.png"]
    assert report.moved == 0


def test_photos_moved_from_disk_to_a_store_are_moved(
    bucket: Bucket, gallery: Gallery, photos: Path
) -> None:
    gallery.build(photos)
    for photo in sorted(photos.rglob("*.png")):
        bucket.put(photo.relative_to(photos).as_posix(), photo.read_bytes())
        photo.unlink()
    report = gallery.build(bucket.url)
    assert (report.moved, report.added) == (15, 0)
    assert all(path.startswith(bucket.url) for path in paths(gallery))


def test_what_cannot_be_read_never_ends_a_build(filled: Bucket, gallery: Gallery) -> None:
    filled.put("train/red/broken.png", b"no picture")
    filled.deny("train/green/1.png")
    vanished = "train/red/2.png"
    filled.server.before_reading = lambda: filled.delete(vanished)
    report = gallery.build(f"{filled.url}/train")
    reasons = {one.path.removeprefix(f"{filled.url}/train/"): one.reason for one in report.failed}
    assert reasons.pop("green/1.png") == "can't be read: access is denied"
    assert reasons.pop("red/2.png") == "can't be read: no such bucket, folder or object"
    assert list(reasons) == ["red/broken.png"]
    assert report.added == 4
    assert len(gallery.failures()) == 3


def test_an_object_too_large_for_a_photo_is_not_read(
    filled: Bucket, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.put("train/red/large.png", bytes(100_001))
    monkeypatch.setattr(embedding, "MAX_FILE_SIZE", 100_000)
    (failed,) = gallery.build(f"{filled.url}/train").failed
    assert failed.reason == "100,001 bytes, more than a photo has"
    assert not any("large" in path for path in filled.read())


def test_many_objects_are_under_way_at_a_time(bucket: Bucket, png: Png, gallery: Gallery) -> None:
    data = png("red", 1)
    for number in range(REQUESTS):
        bucket.put(f"{number}.png", data + bytes([number]))
    together = threading.Barrier(REQUESTS, timeout=60)
    bucket.server.before_reading = together.wait  # type: ignore[assignment]
    assert gallery.build(bucket.url).added == REQUESTS


@pytest.mark.parametrize("name", HOSTILE)
def test_keys_are_taken_as_they_are(bucket: Bucket, png: Png, gallery: Gallery, name: str) -> None:
    url = bucket.put(f"it's 100% #1?/{name}", png("red", 1))
    bucket.put("green/1.png", png("green", 1))
    assert gallery.build(bucket.url).failed == []
    assert url in paths(gallery)
    assert gallery.build(bucket.url).unchanged == 2
    answer = gallery.identify(url, threshold=1e-3)
    assert (answer.query, answer.items[0].path) == (url, url)
    assert gallery.find(path=url) == [answer.item_id or answer.items[0].id]
    assert missing([url, f"{url}x"]) == {f"{url}x"}


def test_a_key_that_would_mean_a_version_is_never_mistaken(
    bucket: Bucket, png: Png, gallery: Gallery
) -> None:
    bucket.put("red/1.png", png("red", 1))
    bucket.put("red/1.png?versionId=1.png", png("red", 2))
    report = gallery.build(bucket.url)
    assert (report.added, len(report.failed)) == (1, 1)


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
