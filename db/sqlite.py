"""A store in one SQLite file."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, create_engine, event, insert, text
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.engine import URL
from sqlalchemy.exc import DisconnectionError

from db.backend import BUSY_SECONDS, Mode, transaction
from db.conditions import NUMBER, number
from db.errors import StoreError
from db.filesystem import require_local
from db.glance import Glance
from db.schema import COUNTED, Base, ItemRow, VectorRow
from db.sharing import Alone, Share
from db.sqlite_connection import StoreConnection
from db.sqlite_glance import Glances, SqliteGlance
from db.sqlite_sentences import sentence
from db.texts import dumped

# Three float16 vectors of 1280 dimensions fill a page to 94 %; SQLite's default of 4096 holds one.
PAGE_SIZE = 8192

_BEGIN = "sqlite_begin"


def connect(path: Path, *, create: bool = False) -> Engine:
    """Return an engine for the SQLite file at `path`.

    A created file is in WAL mode for good: readers and the writer don't block each other. Every
    connection uses `synchronous=FULL`: what was committed survives a power cut.
    """
    url = URL.create("sqlite", database=str(path))
    engine = create_engine(
        url,
        creator=lambda: StoreConnection.open(path, timeout=BUSY_SECONDS),
        json_serializer=dumped,
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        # Transactions are ours: the driver's implicit BEGIN would come too late for a snapshot.
        connection.isolation_level = None
        pragmas = ["synchronous = FULL", "foreign_keys = ON"]
        if create:
            pragmas = [f"page_size = {PAGE_SIZE}", "journal_mode = WAL", *pragmas]
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")
        connection.create_function(NUMBER, 1, number, deterministic=True)

    @event.listens_for(engine, "checkout")
    def _renew(connection: Any, _record: Any, _proxy: Any) -> None:
        if connection.is_outdated:
            raise DisconnectionError  # the pool opens another one

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(
            f"BEGIN {connection.get_execution_options().get(_BEGIN, 'DEFERRED')}"
        )

    return engine


class SqliteBackend:
    """A SQLite file; see `Backend`."""

    is_shared = False

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self._path = path
        self.place = str(path)
        self.engine = connect(path, create=create)
        self._glances = Glances(self)

    @classmethod
    def create(cls, path: Path) -> SqliteBackend:
        """Make an empty file.

        Raises:
            StoreError: There is one, or it is to lie on a network file system.
        """
        require_local(path)
        if path.exists():
            raise StoreError(f"{path} exists already: open it, or choose another place.")
        return cls(path, create=True)

    @classmethod
    def open(cls, path: Path) -> SqliteBackend:
        """Find an existing file.

        Raises:
            StoreError: There is none, or it lies on a network file system.
        """
        if not path.is_file():
            raise StoreError(f"There is no store at {path}: create a gallery first.")
        require_local(path)
        return cls(path)

    def options(self, mode: Mode) -> dict[str, Any]:
        """Writers take the single write lock when they begin."""
        return {_BEGIN: "IMMEDIATE" if mode == "write" else "DEFERRED"}

    @contextmanager
    def unchanged(self, connection: Connection) -> Iterator[None]:
        """Make sure that what the body reads without locks is all of one moment."""
        driver: Any = connection.connection.driver_connection
        with driver.unchanged():
            yield

    def prepare(self, connection: Connection) -> None:
        """A new file is empty."""

    def finish(self, connection: Connection) -> None:
        """The models say it all."""

    def await_turn(self, connection: Connection) -> None:
        """A write transaction has its turn."""

    def require_changeable(self) -> None:
        """Make sure that the folder can be written to."""
        if not os.access(self._path.resolve().parent, os.W_OK):
            raise StoreError(
                f"{self.place} was written by an older lookalike, and must be opened once by a "
                "process that may write to its folder."
            )

    def sentence(self, error: Exception, *, committing: bool = False) -> str:  # noqa: ARG002
        """Put a refusal of SQLite in words: one that comes at the end, too, leaves nothing."""
        return sentence(error, self.place)

    def glance(self) -> AbstractContextManager[Glance]:
        """Open a snapshot on a driver's connection of its own."""
        return self._glances.take()

    def glance_of(self, connection: Connection) -> Glance:
        """Look through the driver's connection."""
        return SqliteGlance(connection.connection.driver_connection)

    def upsert(self, table: Any) -> Any:
        """Begin an `INSERT … ON CONFLICT`."""
        return upsert(table)

    def insert_items(self, connection: Connection, rows: Sequence[dict[str, Any]]) -> list[int]:
        """Insert rows into `items`, many by one statement."""
        query = insert(ItemRow).returning(ItemRow.id, sort_by_parameter_order=True)
        return list(connection.scalars(query, rows))

    def insert_vectors(
        self,
        connection: Connection,
        item_ids: Sequence[int],
        vectors: NDArray[np.float16],
        *,
        encoder_id: int,
        seq: int,
    ) -> None:
        """Insert vectors as little-endian bytes."""
        common = {"encoder_id": encoder_id, "added_seq": seq, "removed_seq": None}
        values = [
            {"item_id": item_id, "data": vector.tobytes(), **common}
            for item_id, vector in zip(item_ids, vectors.astype("<f2", copy=False), strict=True)
        ]
        connection.execute(insert(VectorRow), values)

    def load_rows(self, connection: Connection, table: Any, rows: Sequence[Any]) -> None:
        """Insert rows one by one, by one statement."""
        names = [column.name for column in table.columns]
        connection.execute(insert(table), [dict(zip(names, row, strict=True)) for row in rows])

    def highest_ids(self, connection: Connection) -> dict[str, int]:
        """Ask SQLite's own table; those it does not count give ids out again."""
        rows = connection.execute(text("SELECT name, seq FROM sqlite_sequence"))
        known = {str(row.name): int(row.seq) for row in rows}
        for name in COUNTED:
            highest = connection.scalar(text(f"SELECT max(id) FROM {name}"))  # noqa: S608
            known[name] = max(known.get(name, 0), highest or 0)
        return {name: known[name] for name in COUNTED}

    def set_highest_ids(self, connection: Connection, ids: dict[str, int]) -> None:
        """Write into SQLite's own table what it counts."""
        counted = [
            name
            for name in ids
            if Base.metadata.tables[name].dialect_options["sqlite"]["autoincrement"]
        ]
        for name in counted:
            values = {"name": name, "seq": ids[name]}
            connection.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), values)
            connection.execute(text("INSERT INTO sqlite_sequence VALUES (:name, :seq)"), values)

    def lent(self) -> AbstractContextManager[Any]:
        """Refuse: nothing but the store is in the file."""
        raise StoreError(f"{self.place} is a file, and lends its connections to nobody.")

    def size(self, connection: Connection) -> int:
        """Return the size of all pages."""
        pages = connection.scalar(text("PRAGMA page_count")) or 0
        return int(pages) * int(connection.scalar(text("PRAGMA page_size")) or 0)

    def damage(self) -> list[str]:
        """Let SQLite prove its file; return what it finds, nothing when all is well."""
        with transaction(self, "read") as connection:
            rows = connection.scalars(text("PRAGMA integrity_check")).all()
        return [row for row in rows if row != "ok"]

    def shrink(self, free_share: float) -> int:
        """Rewrite the file without its free pages, if they are more than this share of it.

        Readers go on meanwhile, and writers wait.

        Returns:
            By how many bytes it is smaller.
        """
        pooled = self.engine.raw_connection()
        execute = cast("sqlite3.Connection", pooled.driver_connection).execute

        def ask(name: str) -> int:
            return int(execute(f"PRAGMA {name}").fetchone()[0])

        try:
            pages = ask("page_count")
            if ask("freelist_count") <= free_share * pages:
                return 0
            execute("VACUUM")  # outside any transaction
            return (pages - ask("page_count")) * ask("page_size")
        except sqlite3.DatabaseError as error:
            raise StoreError(self.sentence(error)) from error
        finally:
            pooled.close()

    @contextmanager
    def sharing(self) -> Iterator[Share]:
        """Nobody else builds on another machine: everything is granted."""
        yield Alone()

    def exclusive(self, name: str) -> AbstractContextManager[None]:
        """Refuse: a file has no locks by name."""
        raise StoreError(
            f"{self.place} is a file, which has no lock called {name}: that is for galleries on "
            "PostgreSQL."
        )

    def close(self) -> None:
        """Close all connections; the last one to go folds the write-ahead log into the file."""
        self._glances.close()
        self.engine.dispose()
