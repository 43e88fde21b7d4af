"""The pipeline: decode ‖ encode ‖ whatever the caller does with the vectors.

Photos are read and decoded in threads (Pillow lets the interpreter lock go), gathered into batches,
and handed to the encoder's own queue; results come back in the order of the photos. Every queue is
bounded, so memory stays the same however many photos there are. Objects of a store are read in more
threads, which mostly wait, but no more are decoded at a time.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from threading import BoundedSemaphore

import numpy as np
from numpy.typing import NDArray

from retrieval.encoders import Encoder, Preprocessing
from retrieval.errors import ImageError
from retrieval.images import decode
from retrieval.paths import AnyPath
from retrieval.remote import REQUESTS, RemotePath
from retrieval.sources import Source

# A larger file is no photo; reading it could exhaust the memory.
MAX_FILE_SIZE = 500_000_000
# Batches with the encoder at a time: one being computed per core, and one waiting.
_BATCHES = 3


@dataclass(frozen=True)
class Content:
    """What was read of a file or an object.

    Attributes:
        content_hash: SHA-256 of its bytes, in hex.
        file_size: Bytes.
        mtime_ns: Modification time, nanoseconds since 1970.
    """

    content_hash: str
    file_size: int
    mtime_ns: int


@dataclass(frozen=True)
class Embedded:
    """A photo that became a vector.

    Attributes:
        source: The file.
        content: What was read.
        width: Upright width in pixels.
        height: Upright height in pixels.
        vector: float32, shape `(dim,)`, L2-normalised.
    """

    source: Source
    content: Content
    width: int
    height: int
    vector: NDArray[np.float32]


@dataclass(frozen=True)
class Known:
    """A photo whose bytes the caller knows; it was neither decoded nor encoded."""

    source: Source
    content: Content


@dataclass(frozen=True)
class Unreadable:
    """A photo that can't be embedded, and why in one line."""

    source: Source
    reason: str


@dataclass(frozen=True)
class FailedPhoto:
    """A file that could not be used, and why in one line: an `Unreadable` for reports."""

    path: str
    reason: str


Outcome = Embedded | Known | Unreadable
IsKnown = Callable[[Source, str], bool]


@dataclass(frozen=True)
class _Decoded:
    source: Source
    content: Content
    width: int
    height: int
    pixels: NDArray[np.uint8]


_Loaded = _Decoded | Known | Unreadable


def embed(
    sources: Iterable[Source], encoder: Encoder, *, is_known: IsKnown | None = None
) -> Iterator[Outcome]:
    """Embed photos, in their order; one that can't be read becomes an `Unreadable`.

    Args:
        sources: What to embed; taken as needed, never all at once.
        encoder: Makes the vectors.
        is_known: Called in a thread with a photo and its content hash before it is decoded; where
            it says yes the photo comes back as `Known`.
    """
    groups: deque[tuple[list[_Loaded], Future[NDArray[np.float32]] | None]] = deque()
    loaded = _load_all(sources, encoder.spec.preprocessing, is_known, encoder.batch_size)
    with closing(loaded):  # its threads end with us, however we end
        for group in _groups(loaded, encoder.batch_size):
            pixels = [one.pixels for one in group if isinstance(one, _Decoded)]
            groups.append((group, encoder.submit(np.stack(pixels)) if pixels else None))
            if len(groups) >= _BATCHES:
                yield from _finish(*groups.popleft())
        while groups:
            yield from _finish(*groups.popleft())


def embed_image(data: bytes, encoder: Encoder) -> NDArray[np.float32]:
    """Embed one image for a query, with as little delay as possible.

    Args:
        data: The bytes of an image file.
        encoder: Makes the vector.

    Returns:
        float32, shape `(dim,)`, L2-normalised.

    Raises:
        ImageError: The bytes are no image we can read.
    """
    preprocessing = encoder.spec.preprocessing
    image = decode(data, min_side=preprocessing.resize).image
    vector: NDArray[np.float32] = encoder.encode(preprocessing.apply(image)[np.newaxis])[0]
    return vector


def read_file(path: AnyPath) -> tuple[bytes, int]:
    """Read a photo's file or object.

    Returns:
        Its bytes, and its modification time in nanoseconds since 1970.

    Raises:
        ImageError: It can't be read, or is too large to be a photo.
    """
    try:
        if isinstance(path, RemotePath):
            status = path.stat()
            _require_photo_size(status.st_size)
            return path.read_bytes(), status.st_mtime_ns
        # Asked before it is opened: opening a pipe could wait for ever.
        if not stat.S_ISREG(path.stat().st_mode):
            raise ImageError("is no file")
        with path.open("rb", buffering=0) as file:
            opened = os.fstat(file.fileno())
            _require_photo_size(opened.st_size)
            return file.readall(), opened.st_mtime_ns
    except OSError as error:
        raise ImageError(f"can't be read: {error.strerror}") from error


def _require_photo_size(size: int) -> None:
    if size > MAX_FILE_SIZE:
        raise ImageError(f"{size:,} bytes, more than a photo has")


def _load_all(
    sources: Iterable[Source],
    preprocessing: Preprocessing,
    is_known: IsKnown | None,
    ahead: int,
) -> Generator[_Loaded, None, None]:
    """Load photos in threads, in order, at most `ahead` before they are asked for."""
    cores = os.cpu_count() or 1
    decoding = BoundedSemaphore(cores)

    def load(source: Source) -> _Loaded:
        try:
            data, mtime_ns = read_file(source.path)
            content = Content(hashlib.sha256(data).hexdigest(), len(data), mtime_ns)
            with decoding:
                if is_known is not None and is_known(source, content.content_hash):
                    return Known(source, content)
                image = decode(data, min_side=preprocessing.resize)
                pixels = preprocessing.apply(image.image)
        except ImageError as error:
            return Unreadable(source, str(error))
        return _Decoded(source, content, image.width, image.height, pixels)

    disk = ThreadPoolExecutor(cores, thread_name_prefix="decode")
    store = ThreadPoolExecutor(REQUESTS, thread_name_prefix="fetch")

    def begin(source: Source) -> Future[_Loaded]:
        return (store if isinstance(source.path, RemotePath) else disk).submit(load, source)

    try:
        waiting = iter(sources)
        loading = deque(begin(source) for source in islice(waiting, 2 * ahead))
        while loading:
            yield loading.popleft().result()
            loading.extend(begin(source) for source in islice(waiting, 1))
    finally:
        disk.shutdown(cancel_futures=True)
        store.shutdown(cancel_futures=True)


def _groups(loaded: Iterator[_Loaded], batch_size: int) -> Iterator[list[_Loaded]]:
    """Gather what was loaded until there are `batch_size` decoded photos or many others."""
    group: list[_Loaded] = []
    decoded = 0
    for one in loaded:
        group.append(one)
        decoded += isinstance(one, _Decoded)
        if decoded == batch_size or len(group) == 16 * batch_size:
            yield group
            group, decoded = [], 0
    if group:
        yield group


def _finish(
    group: list[_Loaded], encoding: Future[NDArray[np.float32]] | None
) -> Iterator[Outcome]:
    vectors = iter(encoding.result() if encoding is not None else ())
    for one in group:
        if isinstance(one, _Decoded):
            yield Embedded(one.source, one.content, one.width, one.height, next(vectors))
        else:
            yield one
