"""The pipeline: in order, within bounds, nothing left running, and a reason for what failed."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from retrieval import embedding
from retrieval.embedding import Content, Embedded, Known, Unreadable, embed, embed_image, read_file
from retrieval.encoders import Artifact, Encoder, open_encoder
from retrieval.errors import EncoderError, ImageError, LookalikeError
from retrieval.sources import Label, Source, find_photos


@pytest.fixture
def encoder(tiny_encoder: Path) -> Iterator[Encoder]:
    opened = open_encoder(Artifact.load(tiny_encoder), precision="float32")
    yield opened
    opened.close()


@pytest.fixture
def photo(tmp_path: Path, draw_photo: Callable[..., Image.Image]) -> Path:
    """One small photo."""
    draw_photo("green", 1, size=(32, 24)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def decoding_threads() -> int:
    return sum(thread.name.startswith("decode") for thread in threading.enumerate())


def never(_source: Source, _content_hash: str) -> bool:
    return False


def always(_source: Source, _content_hash: str) -> bool:
    return True


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_many_photos_come_back_in_order_whatever_becomes_of_them(
    encoder: Encoder, tmp_path: Path, draw_photo: Callable[..., Image.Image]
) -> None:
    rng = np.random.default_rng(0)
    kinds = rng.choice(["photo", "photo", "known", "empty", "text", "missing"], 150)
    sources, expected = [], {}
    for number, kind in enumerate(kinds):
        path = tmp_path / f"{number}-{kind}.png"
        side = int(rng.integers(8, 60)) if number % 10 else 700  # some take long to decode
        if kind in ("photo", "known"):
            draw_photo("blue", number, size=(side, 2 * side)).save(path)
        elif kind != "missing":
            path.write_bytes(b"text" if kind == "text" else b"")
        if kind == "photo":
            expected[path] = side, embed_image(path.read_bytes(), encoder)
        sources.append(Source(path, Label(str(number))))

    def is_known(source: Source, _content_hash: str) -> bool:
        return source.path.name.endswith("-known.png")

    outcomes = list(embed(iter(sources), encoder, is_known=is_known))
    assert [outcome.source for outcome in outcomes] == sources
    for outcome, kind in zip(outcomes, kinds, strict=True):
        path = outcome.source.path
        if kind == "photo":
            side, vector = expected[path]
            assert isinstance(outcome, Embedded)
            assert (outcome.width, outcome.height) == (side, 2 * side)
            # Its own vector, and not its neighbour's.
            assert np.abs(outcome.vector - vector).max() < 1e-5
            assert outcome.content.content_hash == sha256(path)
        else:
            assert isinstance(outcome, Known if kind == "known" else Unreadable)


def test_a_photo_embedded_in_a_build_and_in_a_query_has_one_vector(
    encoder: Encoder, tmp_path: Path, draw_photo: Callable[..., Image.Image]
) -> None:
    path = tmp_path / "sideways.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise; and large enough to be decoded at half its size
    draw_photo("red", 2, size=(800, 600)).save(path, exif=exif)
    (outcome,) = embed([Source(path)], encoder)
    assert isinstance(outcome, Embedded)
    assert (outcome.width, outcome.height) == (600, 800)
    vector = embed_image(path.read_bytes(), encoder)
    assert vector.shape == outcome.vector.shape == (encoder.spec.dim,)
    assert vector.dtype == outcome.vector.dtype == np.float32
    assert np.abs(vector - outcome.vector).max() < 1e-5


def test_a_photo_that_is_known_is_not_decoded(encoder: Encoder, tmp_path: Path) -> None:
    path = tmp_path / "undecodable.png"
    path.write_bytes(b"bytes that are known all the same")
    asked = []

    def is_known(source: Source, content_hash: str) -> bool:
        asked.append((source, content_hash, threading.current_thread().name))
        return True

    source = Source(path, Label("x"))
    (outcome,) = embed([source], encoder, is_known=is_known)
    status = path.stat()
    content = Content(sha256(path), status.st_size, status.st_mtime_ns)
    assert outcome == Known(source, content)
    ((*question, thread),) = asked
    assert question == [source, content.content_hash]
    assert thread.startswith("decode")


def test_a_file_that_can_not_be_read_is_not_asked_about(encoder: Encoder, tmp_path: Path) -> None:
    source = Source(tmp_path / "missing.png")
    (outcome,) = embed([source], encoder, is_known=always)
    assert outcome == Unreadable(source, "can't be read: No such file or directory")


def test_nothing_to_embed_gives_nothing(encoder: Encoder) -> None:
    assert list(embed([], encoder)) == []
    assert decoding_threads() == 0


@pytest.mark.parametrize(
    ("count", "is_known", "batches"), [(400, never, 10), (3000, always, 100)], ids=["new", "known"]
)
def test_photos_are_taken_as_needed_and_never_all_at_once(
    count: int,
    is_known: Callable[[Source, str], bool],
    batches: int,
    encoder: Encoder,
    photo: Path,
) -> None:
    taken = 0

    def sources() -> Iterator[Source]:
        nonlocal taken
        for _ in range(count):
            taken += 1
            yield Source(photo)

    ahead = [
        taken - finished for finished, _ in enumerate(embed(sources(), encoder, is_known=is_known))
    ]
    assert len(ahead) == taken == count
    assert encoder.batch_size < max(ahead) < batches * encoder.batch_size < count


def test_photos_that_need_no_vector_leave_the_batches_full(
    encoder: Encoder, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, submit = [], encoder.submit

    def watch(pixels: NDArray[np.uint8]) -> Future[NDArray[np.float32]]:
        sizes.append(len(pixels))
        return submit(pixels)

    monkeypatch.setattr(encoder, "submit", watch)
    missing = photo.with_name("missing.png")
    batch = encoder.batch_size
    outcomes = list(embed([Source(photo), Source(missing), Source(missing)] * 2 * batch, encoder))
    assert len(outcomes) == 6 * batch
    assert sizes == [batch, batch]


def test_stopping_early_stops_the_threads(encoder: Encoder, photo: Path) -> None:
    outcomes = embed((Source(photo) for _ in range(1000)), encoder)
    assert len(list(islice(outcomes, 3))) == 3
    assert decoding_threads() > 0
    outcomes.close()  # type: ignore[attr-defined]  # a generator is an iterator that can be closed
    assert decoding_threads() == 0


def test_a_folder_that_fails_half_way_fails_the_embedding(encoder: Encoder, photos: Path) -> None:
    def sources() -> Iterator[Source]:
        for path in find_photos(photos):
            yield Source(path)
        raise LookalikeError("the folder went away")

    with pytest.raises(LookalikeError, match="the folder went away"):
        list(embed(sources(), encoder))
    assert decoding_threads() == 0


def test_an_error_in_the_question_whether_a_photo_is_known_reaches_the_caller(
    encoder: Encoder, photo: Path
) -> None:
    def is_known(_source: Source, _content_hash: str) -> bool:
        raise LookalikeError("the store is gone")

    with pytest.raises(LookalikeError, match="the store is gone"):
        list(embed([Source(photo)] * 50, encoder, is_known=is_known))
    assert decoding_threads() == 0


def test_a_damaged_encoder_fails_the_embedding(
    tiny_encoder: Path, tmp_path: Path, photo: Path
) -> None:
    copy = Artifact.load(tiny_encoder).copy_to(tmp_path / "copy")
    broken = open_encoder(copy, precision="float32")
    for path in copy.folder.rglob("*.bin"):
        path.write_bytes(b"")
    with pytest.raises(EncoderError, match="can't be loaded") as caught:
        list(embed([Source(photo)] * 50, broken))
    assert decoding_threads() == 0, f"still there while somebody looks at {caught.value}"


def test_bytes_that_are_no_image_are_refused_in_a_query(encoder: Encoder) -> None:
    with pytest.raises(ImageError, match="not an image in a format we read"):
        embed_image(b"no image", encoder)


def test_what_is_read_comes_with_size_and_time(tmp_path: Path) -> None:
    path = tmp_path / "any.bin"
    path.write_bytes(b"abc" * 1000)
    os.utime(path, ns=(1, 1_234_567_890_123_456_789))
    data, mtime_ns = read_file(path)
    assert data == b"abc" * 1000
    assert mtime_ns == path.stat().st_mtime_ns


def test_a_file_larger_than_any_photo_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    path.touch()
    os.truncate(path, embedding.MAX_FILE_SIZE + 1)  # takes no room on the disk
    with pytest.raises(ImageError, match=r"^500,000,001 bytes, more than a photo has$"):
        read_file(path)


def test_a_file_just_as_large_as_a_photo_may_be_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "MAX_FILE_SIZE", 10)
    (tmp_path / "ten.png").write_bytes(b"0123456789")
    assert read_file(tmp_path / "ten.png")[0] == b"0123456789"
    (tmp_path / "eleven.png").write_bytes(b"01234567890")
    with pytest.raises(ImageError, match="11 bytes"):
        read_file(tmp_path / "eleven.png")


def test_files_that_can_not_be_read_say_why(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "dangling.png").symlink_to("nowhere")
    (tmp_path / "loop.png").symlink_to("loop.png")
    reasons = {}
    for name in ("missing.png", "folder.png", "dangling.png", "loop.png", "folder.png/1.png"):
        with pytest.raises(ImageError) as caught:
            read_file(tmp_path / name)
        reasons[name] = str(caught.value)
    assert reasons == {
        "missing.png": "can't be read: No such file or directory",
        "folder.png": "is no file",
        "dangling.png": "can't be read: No such file or directory",
        "loop.png": "can't be read: Too many levels of symbolic links",
        "folder.png/1.png": "can't be read: No such file or directory",
    }


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_named_pipe_does_not_stop_the_build(tmp_path: Path) -> None:
    # Read like a file, it would wait for ever for somebody to write.
    os.mkfifo(tmp_path / "pipe.png")
    reasons: list[str] = []

    def read() -> None:
        try:
            read_file(tmp_path / "pipe.png")
        except ImageError as error:
            reasons.append(str(error))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(timeout=2)
    if reader.is_alive():  # let it go
        os.close(os.open(tmp_path / "pipe.png", os.O_WRONLY | os.O_NONBLOCK))
        reader.join()
    assert len(reasons) == 1
