"""Photos in an object store: named by URL, listed and read through fsspec."""

from __future__ import annotations

import errno
import hashlib
import os
import posixpath
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, TypeVar

from retrieval.errors import LookalikeError

REQUESTS = 16
"""Requests to a store that are under way at a time: they mostly wait."""

_S3 = ("s3", "s3a")
# s3fs tries again what botocore gave up after its own attempts (AWS_MAX_ATTEMPTS).
_S3_TRIES = 2
# How the adapters call the time of a change, and what changes with the content.
_CHANGED = ("LastModified", "mtime", "updated", "last_modified", "created")
_TAGS = ("ETag", "etag")
# Exceptions of botocore and aiohttp, by name: other adapters have their own.
_UNREACHABLE = {"ConnectionError", "HTTPClientError", "ClientConnectionError", "TimeoutError"}
_NO_CREDENTIALS = {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"}

_NAMED_WRONGLY = (errno.ENOENT, errno.ENOTDIR, errno.EINVAL)

_T = TypeVar("_T")


class RemoteError(LookalikeError, OSError):
    """What a store refuses; `strerror` says why, and the text is a sentence fit for a user."""

    def __str__(self) -> str:
        """Name the object, the reason, and what to look at."""
        mend = "its name" if self.errno in _NAMED_WRONGLY else "the endpoint and the credentials"
        return f"{self.filename} can't be used ({self.strerror}): check {mend}."


@dataclass(frozen=True, slots=True)
class RemoteStatus:
    """What a store tells of an object without reading it.

    Attributes:
        st_size: Bytes.
        st_mtime_ns: Modification time, nanoseconds since 1970. Where there is an ETag, its digest
            takes the place of what is less than a second, so that no change goes unseen. Where the
            store tells neither, the present: whatever may have changed is looked at.
    """

    st_size: int
    st_mtime_ns: int


@dataclass(frozen=True, slots=True)
class RemotePath(os.PathLike[str]):
    """An object, or a folder of objects, by the names that `pathlib.Path` gives such things.

    Attributes:
        scheme: What fsspec knows the store by, e.g. `s3`.
        key: What follows `://`: for `s3` the bucket and the object's key.
        status: What a listing told of it; `None` if it was not listed.
    """

    scheme: str
    key: str
    status: RemoteStatus | None = field(default=None, compare=False)

    def __str__(self) -> str:
        """Return the URL, without any quoting: `s3://bucket/a b#1.png`."""
        return f"{self.scheme}://{self.key}"

    def __fspath__(self) -> str:
        """Return the URL, as for whoever takes a path or its text."""
        return str(self)

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """The name's ending, with its dot."""
        return posixpath.splitext(self.name)[1]

    @property
    def parent(self) -> RemotePath:
        """The folder it lies in."""
        return RemotePath(self.scheme, self.key.rpartition("/")[0])

    def __truediv__(self, name: str) -> RemotePath:
        """Return what is called `name` in this folder; `.` and `..` mean what they always do."""
        key = f"{self.key}/{name}" if self.key else name
        if {".", ".."} & set(name.split("/")):
            key = posixpath.normpath(key)
        return RemotePath(self.scheme, key)

    def resolve(self) -> RemotePath:
        """Return the path itself: there are no links, and every URL is absolute."""
        return self

    def is_relative_to(self, other: os.PathLike[str]) -> bool:
        """Whether it is `other` or lies below it."""
        if not isinstance(other, RemotePath) or other.scheme != self.scheme:
            return False
        return self.key == other.key or self.key.startswith(other.prefix)

    @property
    def prefix(self) -> str:
        """What the keys of all objects in this folder begin with."""
        return f"{self.key}/" if self.key else ""

    def exists(self) -> bool:
        """Whether there is such an object or folder.

        Raises:
            RemoteError: The store doesn't tell.
        """
        return self._info() is not None

    def is_dir(self) -> bool:
        """Whether there are objects below it.

        Raises:
            RemoteError: The store doesn't tell.
        """
        try:
            info = self._info()
        except RemoteError as error:
            if error.errno == errno.EACCES:  # whoever reads it will be told
                return False
            raise
        return info is not None and info["type"] == "directory"

    def is_file(self) -> bool:
        """Whether it is an object.

        Raises:
            RemoteError: The store doesn't tell.
        """
        info = self._info()
        return info is not None and info["type"] != "directory"

    def require_folder(self) -> None:
        """Make sure that there are objects below it.

        Raises:
            RemoteError: There are none, or the store doesn't tell.
        """
        info = self._info()
        if info is None:
            raise _error(self, FileNotFoundError())
        if info["type"] != "directory":
            raise _error(self, NotADirectoryError())

    def stat(self) -> RemoteStatus:
        """Return what the listing told, or else ask.

        Raises:
            RemoteError: It is no object, or the store doesn't tell.
        """
        if self.status is not None:
            return self.status
        info = self._info()
        if info is None or info["type"] == "directory":
            raise _error(self, FileNotFoundError())
        return self._status(info)

    def read_bytes(self) -> bytes:
        """Read the whole object.

        Raises:
            RemoteError: It can't be read.
        """
        data: bytes = self._ask(lambda store: store.cat_file(str(self)))
        return data

    def objects(self) -> Iterator[RemotePath]:
        """List all objects below this folder, by key, each with its status.

        Raises:
            RemoteError: It can't be listed, or nothing is there.
        """
        found = self._ask(lambda store: store.find(str(self), detail=True))
        listed = []
        for name, info in found.items():
            key = name.removeprefix(f"{self.scheme}://").removeprefix("/")
            if info["type"] != "directory" and key.startswith(self.prefix):
                listed.append(RemotePath(self.scheme, key, self._status(info)))
        if not listed:
            self.require_folder()
        yield from sorted(listed, key=lambda one: one.key)

    def _status(self, info: dict[str, Any]) -> RemoteStatus:
        size = info.get("size")
        if size is None:
            raise RemoteError(errno.EINVAL, "its size is not told", str(self))
        changed = next((info[name] for name in _CHANGED if info.get(name)), None)
        tag = next((info[name] for name in _TAGS if info.get(name)), None)
        if not isinstance(changed, datetime) and tag is None:
            return RemoteStatus(size, time.time_ns())
        # A listing may tell more of a time than the answer to a single question: whole seconds.
        second = int(changed.timestamp()) if isinstance(changed, datetime) else 0
        part = changed.microsecond * 1000 if isinstance(changed, datetime) else 0
        if tag is not None:
            digest = hashlib.sha256(str(tag).strip('"').encode()).digest()
            part = int.from_bytes(digest[:8]) % 10**9
        return RemoteStatus(size, second * 10**9 + part)

    def _info(self) -> dict[str, Any] | None:
        try:
            info: dict[str, Any] = self._ask(lambda store: store.info(str(self)))
        except RemoteError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        return info

    def _ask(self, question: Callable[[Any], _T]) -> _T:
        store = _store(self.scheme, os.getpid())
        if "?versionId=" in self.key:
            raise RemoteError(errno.EINVAL, "?versionId= names a version", str(self))
        try:
            return question(store)
        except Exception as error:  # every adapter raises its own library's
            raise _error(self, error) from error


@cache
def _store(scheme: str, _process: int) -> Any:
    """Open a store; a process's own, as connections can't be inherited."""
    try:
        import fsspec

        if scheme in _S3:
            store = fsspec.filesystem(
                scheme,
                skip_instance_cache=True,
                use_listings_cache=False,
                # Larger objects would be asked for their size first.
                max_concurrency=1,
                config_kwargs={"max_pool_connections": REQUESTS},
            )
            store.retries = _S3_TRIES
            return store
        return fsspec.filesystem(scheme, skip_instance_cache=True, use_listings_cache=False)
    except ImportError as error:
        mend = "pip install 'lookalike[s3]'" if scheme in _S3 else f"fsspec says {error}"
        raise LookalikeError(
            f"Photos in {scheme}:// need a package that is not installed: {mend}."
        ) from error
    except (OSError, TypeError, ValueError) as error:
        raise LookalikeError(
            f"Photos can't be read from {scheme}://: name a folder, or s3://BUCKET/PREFIX."
        ) from error


def forget_stores() -> None:
    """Let go of all connections; the next question reads the environment anew."""
    _store.cache_clear()


def _error(path: RemotePath, error: Exception) -> RemoteError:
    """Say in a few words why a store refused; nothing of what it was asked with is repeated."""
    names = {one.__name__ for one in type(error).__mro__}
    if isinstance(error, FileNotFoundError):
        number, reason = errno.ENOENT, "no such bucket, folder or object"
    elif isinstance(error, NotADirectoryError):
        number, reason = errno.ENOTDIR, "an object, no folder"
    elif isinstance(error, PermissionError):
        number, reason = errno.EACCES, "access is denied"
    elif names & _NO_CREDENTIALS:
        number, reason = errno.EPERM, "no credentials were found"
    elif names & _UNREACHABLE:
        number, reason = errno.EHOSTUNREACH, "the store can't be reached"
    else:
        number, reason = errno.EIO, f"the store said {type(error).__name__}"
    return RemoteError(number, reason, str(path))
