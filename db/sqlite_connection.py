"""Opening the SQLite file itself, also in a folder that may not be written to.

A store in WAL mode is read through two files beside it, which the last process to close it takes
away. Where they are missing and can't be made, SQLite can read the file without locks, as if nobody
ever changed it. That it has not been changed is then ours to see to: a transaction ends in an error
if it was.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from db.errors import StoreError


class StoreConnection(sqlite3.Connection):
    """A connection to a store; one without locks remembers what it was opened on."""

    _path: Path
    _opened_on: tuple[int, ...] | None = None

    @classmethod
    def open(cls, path: Path, *, timeout: float) -> StoreConnection:
        """Connect to the SQLite file at `path`, without locks where that is the only way.

        Args:
            path: The file.
            timeout: How long to wait for a lock, in seconds.
        """
        path = path.resolve()  # SQLite, too, looks beside what a link leads to
        if os.access(path.parent, os.W_OK) or log_of(path).exists():
            return sqlite3.connect(path, timeout, check_same_thread=False, factory=cls)
        state = _state(path)
        uri = f"{path.as_uri()}?immutable=1"
        made = sqlite3.connect(uri, timeout, check_same_thread=False, uri=True, factory=cls)
        made._path, made._opened_on = path, state
        return made

    @property
    def is_outdated(self) -> bool:
        """Whether there may be something newer than what it shows: open another one."""
        return self._opened_on is not None and (
            log_of(self._path).exists() or _state(self._path) != self._opened_on
        )

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Make sure that what the body reads without locks is all of one moment.

        Raises:
            StoreError: The file was changed meanwhile, whatever else came of that.
        """
        try:
            yield
        finally:
            if self._opened_on is not None and _state(self._path) != self._opened_on:
                raise StoreError(
                    f"{self._path} was changed by another process while it was read without "
                    "locks, as its folder can't be written to: ask again."
                )


def log_of(path: Path) -> Path:
    """Return where the write-ahead log of a SQLite file lies while somebody has it open."""
    return path.with_name(f"{path.name}-wal")


def _state(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns
