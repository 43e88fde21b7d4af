"""The store: one SQLite file that holds everything a gallery knows."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Self, cast

from sqlalchemy import Engine, insert, text

from db import migrate
from db.engine import connect, sentence, transaction
from db.errors import StoreError
from db.filesystem import require_local
from db.glance import Glance, Glances
from db.reader import Reader
from db.schema import EncoderRow, GalleryRow
from db.writer import Writer, now


class Store:
    """An open store. Safe to use from several threads; any number of processes may have it open."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._glances = Glances(engine)

    @classmethod
    def create(
        cls, path: Path, *, fingerprint: str, encoder_name: str, dim: int, settings: dict[str, Any]
    ) -> Self:
        """Create a store for the vectors of one encoder.

        Raises:
            StoreError: The file exists already, or is to lie on a network file system.
        """
        require_local(path)
        if path.exists():
            raise StoreError(f"{path} exists already: open it, or choose another place.")
        engine = connect(path, create=True)
        migrate.create_schema(engine)
        with transaction(engine, "write") as connection:
            encoder = {"fingerprint": fingerprint, "name": encoder_name, "dim": dim}
            encoder_id = connection.execute(
                insert(EncoderRow).values(encoder | {"added_at": now()}).returning(EncoderRow.id)
            ).scalar_one()
            connection.execute(
                insert(GalleryRow).values(
                    seq=0, encoder_id=encoder_id, settings=settings, created_at=now()
                )
            )
        return cls(engine)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open an existing store; an older schema is migrated first.

        Raises:
            StoreError: There is none, it is damaged, a newer lookalike made it, or it lies on a
                network file system.
        """
        if not path.is_file():
            raise StoreError(f"There is no store at {path}: create a gallery first.")
        require_local(path)
        engine = connect(path)
        try:
            state = migrate.state(engine)
            if state == "newer":
                raise StoreError(
                    f"{path} was written by a newer lookalike: upgrade this one to open it."
                )
            if state == "older":
                if not os.access(path.resolve().parent, os.W_OK):
                    raise StoreError(
                        f"{path} was written by an older lookalike, and must be opened once by a "
                        "process that may write to its folder."
                    )
                migrate.upgrade(engine)
        except BaseException:
            engine.dispose()
            raise
        return cls(engine)

    @contextmanager
    def read(self) -> Iterator[Reader]:
        """Open a snapshot: everything read in it belongs to one moment."""
        with transaction(self._engine, "read") as connection:
            yield Reader(connection)

    def glance(self) -> AbstractContextManager[Glance]:
        """Open a snapshot for the questions of a query, as quickly as can be."""
        return self._glances.take()

    @contextmanager
    def write(self) -> Iterator[Writer]:
        """Open a write transaction: durable when the block ends, undone when it raises."""
        with transaction(self._engine, "write") as connection:
            yield Writer(connection)

    def damage(self) -> list[str]:
        """Let SQLite prove its file; return what it finds, nothing when all is well."""
        with transaction(self._engine, "read") as connection:
            rows = connection.scalars(text("PRAGMA integrity_check")).all()
        return [row for row in rows if row != "ok"]

    def shrink(self, free_share: float) -> int:
        """Rewrite the file without its free pages, if they are more than this share of it.

        Readers go on meanwhile, and writers wait.

        Returns:
            By how many bytes it is smaller.
        """
        pooled = self._engine.raw_connection()
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
            raise StoreError(sentence(error, self._engine)) from error
        finally:
            pooled.close()

    def close(self) -> None:
        """Close all connections; the last one to go folds the write-ahead log into the file."""
        self._glances.close()
        self._engine.dispose()
