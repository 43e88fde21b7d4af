"""Index files on disk: written whole or not at all, and proven before they are used."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from indexes.exact import ExactIndex
from indexes.ivf import IvfIndex
from indexes.protocol import Changes, IndexFileError, VectorIndex

_SUFFIXES = {ExactIndex.kind: "npz", IvfIndex.kind: "ivf"}

KINDS = tuple(_SUFFIXES)
"""The kinds of index files this code writes and reads."""


def suffix(kind: str) -> str:
    """Return how the names of files of a kind end, without the dot."""
    return _SUFFIXES[kind]


def save(
    path: Path,
    *,
    kind: str,
    dim: int,
    count: int,
    chunks: Callable[[], Iterable[Changes]],
) -> str:
    """Build an index over many vectors and write it to `path`.

    The bytes go to a temporary name first, are flushed, and only then take their place: a crash
    leaves the old file, the new one, or a `.tmp` that nobody reads.

    Args:
        path: Where to.
        kind: One of `KINDS`; all but exact ones take at least one vector.
        dim: Length of the vectors.
        count: How many there will be.
        chunks: Gives what is added, in any number of parts, the same each time it is called.

    Returns:
        The SHA-256 of the file, in hex.

    Raises:
        ValueError: There were not `count` vectors.
        OSError: It can't be written.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        if kind == IvfIndex.kind:
            from indexes.ivf_building import build, write

            write(build(dim, count, chunks), temporary)
        else:
            ExactIndex.write(temporary, dim, count, chunks)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _flush_folder(path.parent)
    return checksum


def load(path: Path, *, kind: str, sha256: str) -> VectorIndex:
    """Read an index that `save` wrote.

    Raises:
        IndexFileError: The file is missing, has changed since, or is of a kind we don't know.
    """
    if kind not in KINDS:
        raise IndexFileError(f"{path} is of kind {kind!r}, which this lookalike doesn't know")
    try:
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                raise IndexFileError(f"{path} is not what was written: its checksum differs")
        return (IvfIndex if kind == IvfIndex.kind else ExactIndex).read(path)
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
