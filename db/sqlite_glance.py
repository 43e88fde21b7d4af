"""What every query asks of a SQLite store.

Plain SQL on the driver's connections: what SQLAlchemy does around such small questions takes longer
than SQLite's answers, and a query feels it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import chain
from typing import Any

from db.backend import Backend
from db.errors import StoreError
from db.glance import Glance
from db.records import Candidate, StoredEncoder

# Bytes of the file that are mapped into memory: as many as SQLite allows.
_MAPPED = 2**31
# Ids named in one statement; SQLite takes 32,766 parameters.
_IDS = 10_000
_CANDIDATES = """
    SELECT v.id, v.item_id, v.data, i.label, i.path, i.meta
    FROM vectors AS v JOIN items AS i ON i.id = v.item_id
    WHERE v.encoder_id = ? AND v.removed_seq IS NULL AND v.id IN ({})
"""

_LIVE = """
    SELECT id FROM vectors WHERE encoder_id = ? AND removed_seq IS NULL AND id IN ({})
"""
_IDENTITIES = """
    SELECT v.id, coalesce(i.label, i.id)
    FROM vectors AS v JOIN items AS i ON i.id = v.item_id
    WHERE v.id IN ({})
"""


class SqliteGlance:
    """A snapshot of a SQLite store; see `Glance`."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    @property
    def driver_connection(self) -> Any:
        """The connection of `sqlite3`."""
        return self._connection

    @cached_property
    def seq(self) -> int:
        """The sequence number of the last write in this snapshot."""
        return int(self._connection.execute("SELECT seq FROM gallery").fetchone()[0])

    def candidates(self, vector_ids: Sequence[int], encoder: StoredEncoder) -> list[Candidate]:
        """Return the live vectors among `vector_ids` with what the items they belong to show."""
        return list(map(Candidate._make, self._ask(_CANDIDATES, vector_ids, encoder.id)))

    def live(self, vector_ids: Sequence[int], encoder: StoredEncoder) -> set[int]:
        """Return those of some vectors that are live."""
        return {row[0] for row in self._ask(_LIVE, vector_ids, encoder.id)}

    def identities(self, vector_ids: Sequence[int]) -> dict[int, str | int]:
        """Return what the items of vectors show: a label, or the number of an item without one."""
        return dict(self._ask(_IDENTITIES, vector_ids))

    def _ask(self, query: str, ids: Sequence[int], *first: int) -> Iterator[Any]:
        """Ask of some ids at a time; the other parameters come before them."""
        parts = (ids[start : start + _IDS] for start in range(0, len(ids), _IDS))
        return chain.from_iterable(
            self._connection.execute(query.format(",".join("?" * len(part))), (*first, *part))
            for part in parts
        )


class Glances:
    """Read transactions on driver's connections of their own, kept open for the next time."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._idle: list[Any] = []

    @contextmanager
    def take(self) -> Iterator[Glance]:
        """Run the body in one read transaction.

        Raises:
            StoreError: The database refused.
        """
        connection = self._connection()
        try:
            connection.execute("BEGIN")
            try:
                with connection.unchanged():
                    yield SqliteGlance(connection)
            finally:
                connection.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            connection.close()
            raise StoreError(self._backend.sentence(error)) from error
        except BaseException:
            self._idle.append(connection)
            raise
        self._idle.append(connection)

    def _connection(self) -> Any:
        try:
            connection = self._idle.pop()
        except IndexError:
            return self._new_connection()
        if connection.is_outdated:
            connection.close()
            return self._new_connection()
        return connection

    def _new_connection(self) -> Any:
        pooled = self._backend.engine.raw_connection()
        connection: Any = pooled.driver_connection
        pooled.detach()  # it is ours now
        # Rows of a large store are read where they lie instead of being copied page by page.
        connection.execute(f"PRAGMA mmap_size = {_MAPPED}")
        return connection

    def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            self._idle.pop().close()
