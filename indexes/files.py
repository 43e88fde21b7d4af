"""Index files on disk: written whole or not at all, and proven before they are used."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from indexes.exact import ExactIndex
from indexes.protocol import Changes, IndexFileError

_KINDS = {ExactIndex.kind: ExactIndex}


def save(path: Path, *, dim: int, count: int, chunks: Iterable[Changes], largest: float) -> str:
    """Write an exact index over many vectors to `path`, holding one chunk of them at a time.

    The bytes go to a temporary name first, are flushed, and only then take their place: a crash
    leaves the old file, the new one, or a `.tmp` that nobody reads.

    Args:
        path: Where to.
        dim: Length of the vectors.
        count: How many there will be.
        chunks: What is added, in any number of parts.
        largest: The largest absolute coordinate of all of them.

    Returns:
        The SHA-256 of the file, in hex.

    Raises:
        ValueError: There were not `count` vectors.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with temporary.open("w+b") as file:
        ExactIndex.write(file, dim, count, chunks, largest)
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    temporary.replace(path)
    _flush_folder(path.parent)
    return checksum


def load(path: Path, *, kind: str, sha256: str) -> ExactIndex:
    """Read an index that `save` wrote.

    Raises:
        IndexFileError: The file is missing, has changed since, or is of a kind we don't know.
    """
    if kind not in _KINDS:
        raise IndexFileError(f"{path} is of kind {kind!r}, which this lookalike doesn't know")
    try:
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                raise IndexFileError(f"{path} is not what was written: its checksum differs")
            file.seek(0)
            return _KINDS[kind].read(file, path)
    except OSError as error:
        raise IndexFileError(f"{path} can't be read: {error.strerror}") from error


def _flush_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows can't open a folder to flush it
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
