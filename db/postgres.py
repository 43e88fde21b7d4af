"""A store in a database of a PostgreSQL server, which several machines may share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, create_engine, event, inspect, text

from db.backend import BINARY, BUSY_SECONDS, Mode
from db.column_types import HalfVector
from db.errors import StoreError
from db.glance import Glance
from db.place import parsed, without_password
from db.postgres_glance import Glances, PostgresGlance
from db.postgres_loading import insert_items, insert_vectors, load_rows
from db.postgres_schema import finishing_statements
from db.postgres_sentences import sentence
from db.postgres_sharing import exclusive, sharing
from db.schema import COUNTED, Base
from db.texts import dumped

if TYPE_CHECKING:
    from db.sharing import Share

# Who makes or migrates the tables holds this lock.
_SCHEMA_LOCK = 0x6C6F6F6B
_LAST_ID = text(
    "SELECT pg_sequence_last_value(CAST(pg_get_serial_sequence(:name, 'id') AS regclass))"
)
_SET_LAST_ID = text("SELECT setval(pg_get_serial_sequence(:name, 'id'), :highest)")
_CONNECT_SECONDS = 10
# A peer that answers nothing for so long is gone: 10 s until it is asked, 3 times every 5 s.
_CONNECT_ARGUMENTS = {
    "connect_timeout": _CONNECT_SECONDS,
    "client_encoding": "utf8",
    "fallback_application_name": "lookalike",
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}


def connect(place: str) -> Engine:
    """Return an engine for a database; nothing is asked of it yet.

    Raises:
        StoreError: `place` is no such URL, or the driver is not installed.
    """
    try:
        from psycopg.pq import Format
    except ImportError as error:
        raise StoreError(
            "A gallery on PostgreSQL needs its driver: run `pip install 'lookalike[postgres]'`."
        ) from error

    url = parsed(place)
    engine = create_engine(
        url,
        # What the URL says comes after this, and wins.
        connect_args={k: v for k, v in _CONNECT_ARGUMENTS.items() if k not in url.query},
        # A connection that broke while nobody used it is replaced before it is used.
        pool_pre_ping=True,
        isolation_level="READ COMMITTED",
        json_serializer=dumped,
    )
    names = engine.dialect.ischema_names  # type: ignore[attr-defined]
    engine.dialect.ischema_names = {**names, "halfvec": HalfVector}  # type: ignore[attr-defined]

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.autocommit = True
        connection.execute(f"SET lock_timeout = '{BUSY_SECONDS}s'")
        connection.autocommit = False

    @event.listens_for(engine, "before_cursor_execute")
    def _choose_format(
        _c: Any, cursor: Any, _statement: str, _values: Any, context: Any, _many: bool
    ) -> None:
        if context is not None and context.execution_options.get(BINARY):
            cursor.format = Format.BINARY

    return engine


class PostgresBackend:
    """A database of PostgreSQL; see `Backend`.

    Writers run READ COMMITTED: each begins with an update of the one row of `gallery`, waits there
    for the writer before it, and sees all that one did. Readers run REPEATABLE READ: one snapshot.
    """

    is_shared = True

    def __init__(self, place: str) -> None:
        self.place = without_password(parsed(place))
        self.engine = connect(place)
        self._glances = Glances(self)

    def options(self, mode: Mode) -> dict[str, Any]:
        """Readers see one snapshot, and change nothing."""
        if mode == "write":
            return {}
        return {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}

    def unchanged(self, _connection: Connection) -> AbstractContextManager[None]:
        """The transaction sees to that."""
        return nullcontext()

    def prepare(self, connection: Connection) -> None:
        """Make sure that nothing is in the way, and that there is pgvector."""
        self.await_turn(connection)
        names = set(inspect(connection).get_table_names())
        if {"alembic_version", "gallery"} <= names:
            raise StoreError(
                f"{self.place} holds a gallery already: open it, or choose another database."
            )
        taken = sorted(names & {*Base.metadata.tables, "alembic_version"})
        if taken:
            raise StoreError(
                f"{self.place} has a table {taken[0]} that is not lookalike's: choose another "
                "database."
            )
        encoding = connection.scalar(text("SHOW server_encoding"))
        if encoding != "UTF8":
            raise StoreError(
                f"{self.place} keeps texts as {encoding}, which lacks most letters: choose a "
                "database made by `createdb --encoding=UTF8 --template=template0`."
            )
        connection.execute(text("CREATE EXTENSION IF NOT EXISTS vector"))
        usable = connection.scalar(
            text(
                "SELECT to_regtype('halfvec') IS NOT NULL "
                "AND string_to_array(extversion, '.')::int[] >= '{0,8}' "
                "FROM pg_extension WHERE extname = 'vector'"
            )
        )
        if not usable:
            raise StoreError(
                f"{self.place} has a pgvector older than 0.8, or one outside the search path: "
                "upgrade it and run `ALTER EXTENSION vector UPDATE` there."
            )

    def finish(self, connection: Connection) -> None:
        """Add functions and storage parameters."""
        for statement in finishing_statements():
            connection.execute(text(statement))

    def await_turn(self, connection: Connection) -> None:
        """Take the lock of those who change the schema."""
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_SCHEMA_LOCK})"))

    def require_changeable(self) -> None:
        """The server says so when it is asked."""

    def sentence(self, error: Exception, *, committing: bool = False) -> str:
        """Put a refusal of the server in words a user can act on."""
        return sentence(error, self.place, committing=committing)

    def glance(self) -> AbstractContextManager[Glance]:
        """Open a snapshot on a driver's connection of its own."""
        return self._glances.take()

    def glance_of(self, connection: Connection) -> Glance:
        """Look through the driver's connection."""
        return PostgresGlance(connection.connection.driver_connection)

    def upsert(self, table: Any) -> Any:
        """Begin an `INSERT … ON CONFLICT`."""
        from sqlalchemy.dialects.postgresql import insert

        return insert(table)

    def insert_items(self, connection: Connection, rows: Sequence[dict[str, Any]]) -> list[int]:
        """Insert rows into `items`, many by COPY."""
        with self.told():
            return insert_items(connection, rows)

    def insert_vectors(
        self,
        connection: Connection,
        item_ids: Sequence[int],
        vectors: NDArray[np.float16],
        *,
        encoder_id: int,
        seq: int,
    ) -> None:
        """Insert vectors by COPY."""
        with self.told():
            insert_vectors(connection, item_ids, vectors, encoder_id=encoder_id, seq=seq)

    def load_rows(self, connection: Connection, table: Any, rows: Sequence[Any]) -> None:
        """Insert rows by COPY."""
        with self.told():
            load_rows(connection, table, rows)

    def highest_ids(self, connection: Connection) -> dict[str, int]:
        """Ask the tables' sequences."""
        return {name: connection.scalar(_LAST_ID, {"name": name}) or 0 for name in COUNTED}

    def set_highest_ids(self, connection: Connection, ids: dict[str, int]) -> None:
        """Set the tables' sequences."""
        for name, highest in ids.items():
            if highest:
                connection.execute(_SET_LAST_ID, {"name": name, "highest": highest})

    def damage(self) -> list[str]:
        """Find nothing: a server looks after its files itself."""
        return []

    def shrink(self, _free_share: float) -> int:
        """Let the server use again, or give back, what removed rows took up.

        Returns:
            By how many bytes the tables are smaller: only what is free at their ends is given back.
        """
        tables = ", ".join(sorted(Base.metadata.tables))
        with self.lent() as connection:
            before = _size(connection)
            connection.execute(f"VACUUM (ANALYZE) {tables}")
            return max(before - _size(connection), 0)

    def size(self, connection: Connection) -> int:
        """Ask the server for the size of each."""
        return _size(connection.connection.driver_connection)

    def sharing(self) -> AbstractContextManager[Share]:
        """Share the work of building with builders on other machines."""
        return sharing(self)

    def exclusive(self, name: str) -> AbstractContextManager[None]:
        """Hold a lock by name."""
        return exclusive(self, name)

    def new_connection(self) -> Any:
        """Return a driver's connection of the caller's own, where each statement is a transaction.

        Raises:
            StoreError: The server refused.
        """
        with self.told():
            pooled = self.engine.raw_connection()
            connection: Any = pooled.driver_connection
            pooled.detach()
            connection.autocommit = True
            return connection

    @contextmanager
    def lent(self) -> Iterator[Any]:
        """Lend a connection as `new_connection` makes it."""
        connection = self.new_connection()
        try:
            with self.told():
                yield connection
        finally:
            connection.close()

    @contextmanager
    def told(self) -> Iterator[None]:
        """Put what the driver itself raises in words.

        Raises:
            StoreError: The server refused.
        """
        import psycopg

        try:
            yield
        except psycopg.Error as error:
            raise StoreError(self.sentence(error)) from error

    def close(self) -> None:
        """Close all connections."""
        self._glances.close()
        self.engine.dispose()


def _size(connection: Any) -> int:
    size = "SELECT sum(pg_total_relation_size(to_regclass(name))) FROM unnest(%s::text[]) AS name"
    return int(connection.execute(size, [list(Base.metadata.tables)]).fetchone()[0])
