"""Index files on disk: written whole or not at all, and proven before they are used."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from indexes.exact import ExactIndex
from indexes.protocol import IndexFileError

_KINDS = {ExactIndex.kind: ExactIndex}


def save(index: ExactIndex, path: Path) -> str:
    """Write an index to `path` and return the SHA-256 of the file, in hex.

    The bytes go to a temporary name first, are flushed, and only then take their place: a crash
    leaves the old file, the new one, or a `.tmp` that nobody reads.
    """
    data = index.serialize()
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _flush_folder(path.parent)
    return hashlib.sha256(data).hexdigest()


def load(path: Path, *, kind: str, sha256: str) -> ExactIndex:
    """Read an index that `save` wrote.

    Raises:
        IndexFileError: The file is missing, has changed since, or is of a kind we don't know.
    """
    if kind not in _KINDS:
        raise IndexFileError(f"{path} is of kind {kind!r}, which this lookalike doesn't know")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise IndexFileError(f"{path} can't be read: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise IndexFileError(f"{path} is not what was written: its checksum differs")
    return _KINDS[kind].deserialize(data, path)


def _flush_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows can't open a folder to flush it
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
