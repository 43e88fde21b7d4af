"""The one place that opens connections and transactions.

A read transaction is a snapshot: it sees the store as it was at its first statement. A write
transaction takes SQLite's single write lock when it begins, not at its first write, so that what it
reads can't change under it and two writers wait in turn instead of failing halfway.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DatabaseError, DisconnectionError

from db.conditions import NUMBER, number
from db.connection import StoreConnection, log_of
from db.errors import StoreError

# Three float16 vectors of 1280 dimensions fill a page to 94 %; SQLite's default of 4096 holds one.
PAGE_SIZE = 8192
# How long a writer waits for its turn.
BUSY_SECONDS = 60

_BEGIN = "sqlite_begin"


def connect(path: Path, *, create: bool = False) -> Engine:
    """Return an engine for the SQLite file at `path`.

    A created file is in WAL mode for good: readers and the writer don't block each other. Every
    connection uses `synchronous=FULL`: what was committed survives a power cut.
    """
    url = URL.create("sqlite", database=str(path))
    engine = create_engine(url, creator=lambda: StoreConnection.open(path, timeout=BUSY_SECONDS))

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


@contextmanager
def transaction(engine: Engine, mode: Literal["read", "write"]) -> Iterator[Connection]:
    """Run the body in one transaction: committed at its end, rolled back by an exception.

    Raises:
        StoreError: The database refused; its reasons are put in words a user can act on.
    """
    begin = "IMMEDIATE" if mode == "write" else "DEFERRED"
    try:
        with (
            engine.connect().execution_options(**{_BEGIN: begin}) as connection,
            connection.begin(),
        ):
            driver: Any = connection.connection.driver_connection
            with driver.unchanged():
                yield connection
    except DatabaseError as error:
        raise StoreError(sentence(error, engine)) from error


def sentence(error: DatabaseError | sqlite3.DatabaseError, engine: Engine) -> str:
    """Put a refusal of the database in words a user can act on."""
    reason = str(error.orig if isinstance(error, DatabaseError) else error)
    where = engine.url.database
    if "locked" in reason:
        return (
            f"{where} was busy for {BUSY_SECONDS} s: another process holds its write lock; "
            "wait for it to end and try again."
        )
    if "full" in reason:
        return f"No space is left on the disk of {where}: free some and try again; nothing is lost."
    if "disk I/O" in reason:
        return (
            f"The disk of {where} refused to be read or written: see whether it is full, over its "
            "quota or failing, and try again; nothing is lost."
        )
    if "readonly" in reason:
        return f"{where} can't be written to: check the permissions of it and its folder."
    if "unable to open" in reason:
        if log_of(Path(str(where))).exists():
            return (
                f"{where} was left by a process that was killed, and must be opened once by "
                "one that may write to its folder."
            )
        return f"{where} can't be opened: check the permissions of it and its folder."
    if "not a database" in reason or "malformed" in reason:
        return f"{where} is damaged or no SQLite database ({reason}): restore it from a backup."
    return f"{where}: the database refused ({reason})."
