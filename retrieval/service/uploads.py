"""Photos that clients send: how they are named, made anew, and kept in the gallery's folder.

What is kept is never the file that was sent, but its upright pixels written anew: no metadata, no
place where it was taken, nothing that hides behind the picture. Its name is its SHA-256; the name
it was sent under is text for people, and no part of any path.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from PIL import Image

from retrieval.building import Duplicate
from retrieval.embedding import FailedPhoto
from retrieval.errors import ImageError
from retrieval.flushing import flush
from retrieval.images import decode
from retrieval.service.problems import ProblemError, busy
from retrieval.sources import Label, Source

if TYPE_CHECKING:
    from fastapi import UploadFile

    from db import Item
    from retrieval.gallery import Gallery
    from retrieval.service.serving import Serving

_LONGEST_NAME = 200
# Formats that lose nothing stay so; a photo of another becomes a JPEG this good.
_LOSSLESS = (b"\x89PNG", b"GIF8", b"BM", b"II", b"MM", b"(\0\0\0")
_QUALITY = 95
# The levels above take several times as long for a few percent.
_COMPRESSION = 3


@dataclass(frozen=True)
class Added:
    """What adding photos did.

    Attributes:
        added: How many became items.
        items: Those, in the order of the photos.
        duplicates: Photos left out, being there already.
        failed: Photos that could not be read.
    """

    added: int
    items: tuple[Item, ...]
    duplicates: tuple[Duplicate, ...]
    failed: tuple[FailedPhoto, ...]


def require_few(files: Sequence[UploadFile], served: Serving) -> None:
    """Make sure that a request brings photos, and not too many.

    Raises:
        ProblemError: It doesn't.
    """
    most = served.settings.limits.files
    if not files:
        raise ProblemError(422, "The request brings no photo: send at least one as `images`.")
    if len(files) > most:
        raise ProblemError(413, f"{len(files)} photos are too many: send {most} at a time.")


def shown_name(file: UploadFile) -> str | None:
    """Return the name a file was sent under, as one line of text; `None` without one."""
    said = unicodedata.normalize("NFC", file.filename or "")
    # Some clients send whole paths.
    last = PureWindowsPath(PurePosixPath(said).name).name
    kept = "".join(one for one in last if unicodedata.category(one)[0] != "C").strip()
    return kept[:_LONGEST_NAME] or None


def unreadable(failed: Sequence[FailedPhoto], what: str) -> ProblemError:
    """Tell that none of the photos sent can be read."""
    first = failed[0]
    return ProblemError(
        422,
        f"{first.path or 'The image'} {what}: {first.reason}.",
        failed=[{"path": one.path, "reason": one.reason} for one in failed],
    )


def add_uploads(
    gallery: Gallery,
    photos: Sequence[tuple[bytes, str | None]],
    *,
    label: str | None,
    max_pixels: int,
    stopping: Callable[[], bool] = lambda: False,
) -> Added:
    """Keep photos, and make items of them; when this returns they are on disk for good.

    Args:
        gallery: The gallery.
        photos: The bytes of files, each with the name it was sent under.
        label: What all of them show; `None` makes each an identity of its own.
        max_pixels: Limit on a photo's width × height.
        stopping: Asked before each photo: whether to give up, adding none.

    Raises:
        ProblemError: It was given up.
    """
    folder = gallery.folder_of_kept()
    kept: list[tuple[Path, str]] = []
    duplicates: list[Duplicate] = []
    failed: list[FailedPhoto] = []
    for data, name in photos:
        if stopping():
            raise busy("The service is ending, and has added none of these: send them again.")
        same = gallery.items(content_hash=hashlib.sha256(data).hexdigest())
        if same:
            duplicates.append(Duplicate(name or "", same[0].id))
            continue
        try:
            kept.append((_keep(data, folder, max_pixels), name or ""))
        except ImageError as error:
            failed.append(FailedPhoto(name or "", str(error)))
    sources: dict[Path, Source] = {}
    for path, name in kept:
        if not gallery.items(path=path):
            said = Label(label, {"name": name} if name else {})
            sources.setdefault(path, Source(path, said))
    report = gallery.add_sources(list(sources.values()))
    new = {item.path: item for item in gallery.items(ids=report.item_ids)}
    reasons = {one.path: one.reason for one in report.failed}
    items: list[Item] = []
    for path, name in kept:
        if (item := new.pop(str(path), None)) is not None:
            items.append(item)
        elif str(path) in reasons:
            failed.append(FailedPhoto(name, reasons[str(path)]))
        else:  # sent twice, or there already, or another process has just added it
            duplicates += [Duplicate(name, one.id) for one in gallery.items(path=path)]
    return Added(len(items), (*items,), (*duplicates,), (*failed,))


def _keep(data: bytes, folder: Path, max_pixels: int) -> Path:
    """Write a photo's pixels anew and durably; equal pixels give equal files, kept once."""
    image = decode(data, max_pixels=max_pixels).image
    bare = Image.frombytes("RGB", image.size, image.tobytes())
    made = BytesIO()
    if data.startswith(_LOSSLESS):
        suffix = "png"
        bare.save(made, "PNG", compress_level=_COMPRESSION)
    else:
        suffix = "jpg"
        bare.save(made, "JPEG", quality=_QUALITY, subsampling=0)
    written = made.getvalue()
    path = folder / f"{hashlib.sha256(written).hexdigest()}.{suffix}"
    if not path.exists():
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".new", delete=False) as file:
            file.write(written)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).replace(path)
        flush(folder)
    return path
