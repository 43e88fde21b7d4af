"""Where photos and lists of them are: files on disk, or objects in a store, named by URL."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TextIO

from retrieval.errors import LookalikeError
from retrieval.remote import REQUESTS, RemotePath

AnyPath = Path | RemotePath
"""A file or folder on disk, or an object or a folder of objects in a store."""

# One letter is a drive.
_URL = re.compile(r"([a-z][a-z0-9+.-]+)://(.*)", re.IGNORECASE | re.DOTALL)
_LOCAL = ("file", "local")


def any_path(name: str | os.PathLike[str]) -> AnyPath:
    """Return what a name means: `scheme://…` an object or a folder of them, all else a file's path.

    Raises:
        LookalikeError: A URL of this very disk, of nothing in a store, or one that holds a secret.
    """
    if isinstance(name, (Path, RemotePath)):
        return name
    name = os.fspath(name)
    if "://" not in name or (url := _URL.fullmatch(name)) is None:
        return Path(name)
    scheme, key = url[1].lower(), url[2].strip("/")
    if scheme in _LOCAL:
        raise LookalikeError(f"{name} names a file on disk: write its path, without {scheme}://.")
    if not key:
        raise LookalikeError(f"{name} names nothing in a store: write {scheme}://BUCKET/PREFIX.")
    if re.match(r"[^/]*:[^/]*@", key) or (scheme in ("http", "https") and "?" in key):
        raise LookalikeError(
            f"A {scheme}:// URL holds a password or a key, which would be kept with the gallery: "
            "leave it out, and put it where the store's own tools look for it."
        )
    return RemotePath(scheme, key)


def within(folder: AnyPath, name: str) -> AnyPath:
    """Return what `name` means in a list that lies in `folder`."""
    path = any_path(name)
    if isinstance(path, RemotePath) or path.is_absolute():
        return path
    return folder / name


def missing(names: Iterable[str]) -> set[str]:
    """Return those that name neither a file nor an object; of objects, many are asked at a time.

    Raises:
        RemoteError: A store doesn't tell.
    """
    paths = {name: any_path(name) for name in names}
    remote = [(name, path) for name, path in paths.items() if isinstance(path, RemotePath)]
    # os.path, as it takes a name no file can have for a file that is not there.
    gone = {
        name
        for name, path in paths.items()
        if isinstance(path, Path) and not os.path.exists(path)  # noqa: PTH110
    }
    if remote:
        with ThreadPoolExecutor(REQUESTS, thread_name_prefix="ask") as pool:
            there = pool.map(lambda one: one[1].exists(), remote)
            gone |= {name for (name, _), found in zip(remote, there, strict=True) if not found}
    return gone


def open_text(path: AnyPath, *, encoding: str, newline: str | None = None) -> TextIO:
    """Open a text to read it.

    Raises:
        OSError: It can't be read.
    """
    if isinstance(path, Path):
        return path.open(encoding=encoding, newline=newline)
    return io.TextIOWrapper(io.BytesIO(path.read_bytes()), encoding=encoding, newline=newline)
