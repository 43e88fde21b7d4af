"""The store: one database that holds everything a gallery knows."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, delete, insert, inspect

from db import migrate
from db.backend import Backend, transaction
from db.copy_mark import require_finished
from db.copying import Filler, begin
from db.errors import StoreError
from db.glance import Glance
from db.place import is_url
from db.reader import Reader
from db.rows import Rows
from db.schema import EncoderRow, GalleryRow, WatermarkRow
from db.sharing import Share
from db.sqlite import SqliteBackend
from db.writer import Writer, now


class Store:
    """An open store. Safe to use from several threads; any number of processes may have it open.

    It is a SQLite file, or a database of a PostgreSQL server, which other machines may share.

    Attributes:
        place: What to call it in sentences: its path, or its URL without the password.
        is_shared: Whether other machines may write to it.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.place = backend.place
        self.is_shared = backend.is_shared

    @classmethod
    def create(
        cls,
        place: Path | str,
        *,
        fingerprint: str,
        encoder_name: str,
        dim: int,
        settings: dict[str, Any],
        prepare: Callable[[Writer], None] | None = None,
    ) -> Self:
        """Create a store for the vectors of one encoder.

        Args:
            place: A path, or the URL `postgresql://…` of an existing, empty database.
            fingerprint: The encoder's.
            encoder_name: What the user called it.
            dim: Length of its vectors.
            settings: The gallery's settings.
            prepare: Writes what the store is to hold from the first, in the transaction that makes
                it: there is all of it or nothing.

        Raises:
            StoreError: There is one already, the file is to lie on a network file system, or the
                database can't be reached or used.
        """

        def fill(connection: Connection, backend: Backend) -> None:
            encoder = {"fingerprint": fingerprint, "name": encoder_name, "dim": dim}
            encoder_id = connection.execute(
                insert(EncoderRow).values(encoder | {"added_at": now()}).returning(EncoderRow.id)
            ).scalar_one()
            connection.execute(
                insert(GalleryRow).values(
                    seq=0,
                    encoder_id=encoder_id,
                    settings=settings,
                    created_at=now(),
                    uid=uuid.uuid4().hex,
                )
            )
            if prepare is not None:
                prepare(Writer(connection, backend))

        return cls(_made(place, fill))

    @classmethod
    def begin_copy(cls, place: Path | str, source: Rows, *, name: str) -> Self:
        """Create a store that a copy is to fill; nothing else can open it until that is done.

        Args:
            place: As for `create`.
            source: What it is to hold.
            name: Where that is, without a password.

        Raises:
            StoreError: As for `create`.
        """
        uid = uuid.uuid4().hex

        def fill(connection: Connection, _backend: Backend) -> None:
            begin(connection, source, name=name, uid=uid)

        return cls(_made(place, fill))

    @classmethod
    def open(cls, place: Path | str, *, unfinished: bool = False) -> Self:
        """Open an existing store; an older schema is migrated first.

        Args:
            place: A path, or a URL `postgresql://…`.
            unfinished: Also one that a copy still fills.

        Raises:
            StoreError: There is none, a copy still fills it, it is damaged, a newer lookalike made
                it, it lies on a network file system, or the database can't be reached.
        """
        backend = _backend(place)
        try:
            state = migrate.state(backend)
            if state == "newer":
                raise StoreError(
                    f"{backend.place} was written by a newer lookalike: upgrade this one to open "
                    "it."
                )
            if state == "older":
                backend.require_changeable()
                migrate.upgrade(backend)
            if not unfinished:
                require_finished(backend)
        except BaseException:
            backend.close()
            raise
        return cls(backend)

    @classmethod
    def is_free(cls, place: Path | str) -> bool:
        """Whether there is no store at a place yet.

        Raises:
            StoreError: The database can't be reached.
        """
        if not is_url(place):
            return not Path(place).exists()
        backend = _backend(place)
        try:
            with transaction(backend, "read") as connection:
                return not inspect(connection).has_table(GalleryRow.__tablename__)
        finally:
            backend.close()

    @contextmanager
    def read(self) -> Iterator[Reader]:
        """Open a snapshot: everything read in it belongs to one moment."""
        with transaction(self._backend, "read") as connection:
            yield Reader(connection, self._backend)

    def glance(self) -> AbstractContextManager[Glance]:
        """Open a snapshot for the questions of a query, as quickly as can be."""
        return self._backend.glance()

    @contextmanager
    def write(self) -> Iterator[Writer]:
        """Open a write transaction: durable when the block ends, undone when it raises."""
        with transaction(self._backend, "write") as connection:
            yield Writer(connection, self._backend)

    @contextmanager
    def rows(self) -> Iterator[Rows]:
        """Open a snapshot of whole tables, for a copy."""
        with transaction(self._backend, "read") as connection:
            yield Rows(connection, self._backend)

    @contextmanager
    def filling(self) -> Iterator[Filler]:
        """Open a write transaction of a copy that fills this store.

        Raises:
            StoreError: No copy does.
        """
        with transaction(self._backend, "write") as connection:
            yield Filler(connection, self._backend)

    def set_watermark(self, name: str, seq: int, details: dict[str, Any]) -> None:
        """Note how far something outside has followed the change log.

        This is no write to the gallery: the sequence number stays.

        Args:
            name: What has followed it.
            seq: The sequence number up to which it has.
            details: Anything JSON can hold.
        """
        values = {"seq": seq, "details": details}
        with transaction(self._backend, "write") as connection:
            connection.execute(
                self._backend.upsert(WatermarkRow)
                .values(name=name, **values)
                .on_conflict_do_update(index_elements=[WatermarkRow.name], set_=values)
            )

    def drop_watermark(self, name: str) -> None:
        """Forget a watermark, if there is one."""
        with transaction(self._backend, "write") as connection:
            connection.execute(delete(WatermarkRow).where(WatermarkRow.name == name))

    def sharing(self) -> AbstractContextManager[Share]:
        """Share the work of building: no two builders are granted the same photo at a time.

        On PostgreSQL a builder that dies, or is cut off, loses what it has claimed; a file has one
        builder only, which is granted everything.
        """
        return self._backend.sharing()

    def exclusive(self, name: str) -> AbstractContextManager[None]:
        """Do something that one at a time may do, on whatever machine; others wait in turn.

        Raises:
            StoreError: The store is a file, or the database can't be reached.
        """
        return self._backend.exclusive(name)

    def lent(self) -> AbstractContextManager[Any]:
        """Lend a driver's connection where each statement is a transaction of its own.

        For what an index in the same database needs beside transactions. Its refusals are
        `StoreError`.

        Raises:
            StoreError: The store is a file, or the database can't be reached.
        """
        return self._backend.lent()

    def damage(self) -> list[str]:
        """Let the database prove what it holds; return what it finds, nothing when all is well.

        PostgreSQL's servers look after their files themselves, and find nothing here.
        """
        return self._backend.damage()

    def shrink(self, free_share: float) -> int:
        """Give back space that nothing uses, while readers go on.

        Args:
            free_share: A SQLite file is rewritten if more than this share of it is free.

        Returns:
            By how many bytes the store is smaller.
        """
        return self._backend.shrink(free_share)

    def close(self) -> None:
        """Close all connections."""
        self._backend.close()


def _made(place: Path | str, fill: Callable[[Connection, Backend], None]) -> Backend:
    """Make the tables in an empty place and fill them, in one transaction."""
    backend = _backend(place, create=True)
    try:
        with transaction(backend, "write") as connection:
            migrate.create_schema(backend, connection)
            fill(connection, backend)
    except BaseException:
        backend.close()
        raise
    return backend


def _backend(place: Path | str, *, create: bool = False) -> Backend:
    if is_url(place):
        from db.postgres import PostgresBackend

        return PostgresBackend(str(place))
    path = Path(place)
    return SqliteBackend.create(path) if create else SqliteBackend.open(path)
