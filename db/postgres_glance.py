"""What every query asks of a store on PostgreSQL, in as few round trips as can be.

Plain SQL on the driver's connections, prepared on the server: what SQLAlchemy does around such
small questions takes longer than the server's answers, and a query feels it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from db.column_types import from_binary
from db.errors import StoreError
from db.glance import Glance
from db.records import Candidate, StoredEncoder

if TYPE_CHECKING:
    from db.postgres import PostgresBackend

_BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_SEQ = "SELECT seq FROM gallery"
_CANDIDATES = """
    SELECT v.id, v.item_id, halfvec_send(v.data), i.label, i.path, i.meta::text
    FROM vectors AS v JOIN items AS i ON i.id = v.item_id
    WHERE v.encoder_id = %s AND v.removed_seq IS NULL AND v.id = ANY(%s::int8[])
"""
_LIVE = """
    SELECT id FROM vectors WHERE encoder_id = %s AND removed_seq IS NULL AND id = ANY(%s::int8[])
"""
_IDENTITIES = """
    SELECT v.id, i.label, i.id
    FROM vectors AS v JOIN items AS i ON i.id = v.item_id
    WHERE v.id = ANY(%s::int8[])
"""


class PostgresGlance:
    """A snapshot of a store on PostgreSQL; see `Glance`."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    @property
    def driver_connection(self) -> Any:
        """The connection of `psycopg`."""
        return self._connection

    @cached_property
    def seq(self) -> int:
        """The sequence number of the last write in this snapshot."""
        return int(self._connection.execute(_SEQ).fetchone()[0])

    def candidates(self, vector_ids: Sequence[int], encoder: StoredEncoder) -> list[Candidate]:
        """Return the live vectors among `vector_ids` with what the items they belong to show."""
        rows = self._ask(_CANDIDATES, encoder.id, [int(one) for one in vector_ids])
        return [
            Candidate(vector_id, item_id, from_binary(data), *shown)
            for vector_id, item_id, data, *shown in rows
        ]

    def live(self, vector_ids: Sequence[int], encoder: StoredEncoder) -> set[int]:
        """Return those of some vectors that are live."""
        return {row[0] for row in self._ask(_LIVE, encoder.id, [int(one) for one in vector_ids])}

    def identities(self, vector_ids: Sequence[int]) -> dict[int, str | int]:
        """Return what the items of vectors show: a label, or the number of an item without one."""
        rows = self._ask(_IDENTITIES, [int(one) for one in vector_ids])
        return {
            vector_id: item_id if label is None else label for vector_id, label, item_id in rows
        }

    def _ask(self, query: str, *values: Any) -> list[Any]:
        rows: list[Any] = self._connection.execute(
            query, values, prepare=True, binary=True
        ).fetchall()
        return rows


class Glances:
    """Read transactions on driver's connections of their own, kept open for the next time."""

    def __init__(self, backend: PostgresBackend) -> None:
        self._backend = backend
        self._idle: list[Any] = []

    @contextmanager
    def take(self) -> Iterator[Glance]:
        """Run the body in one read transaction.

        Raises:
            StoreError: The server refused.
        """
        import psycopg

        connection = None
        try:
            connection, glance = self._begun()
            try:
                yield glance
            finally:
                if not connection.closed:
                    connection.execute("COMMIT")
        except psycopg.Error as error:
            if connection is not None:
                connection.close()
            raise StoreError(self._backend.sentence(error)) from error
        finally:
            if connection is not None and not connection.closed:
                self._idle.append(connection)

    def _begun(self) -> tuple[Any, Glance]:
        """Return a connection whose snapshot is taken, and what sees it."""
        import psycopg

        try:
            connection = self._idle.pop()
        except IndexError:
            return self._begin(self._backend.new_connection())
        try:
            return self._begin(connection)
        except psycopg.OperationalError:
            # It broke while nobody used it, and so did those that wait beside it.
            self.close()
            return self._begin(self._backend.new_connection())

    def _begin(self, connection: Any) -> tuple[Any, Glance]:
        try:
            # Both in one round trip; every query asks for the number first.
            cursor = connection.execute(f"{_BEGIN}; {_SEQ}", prepare=False)
            cursor.nextset()
            glance = PostgresGlance(connection)
            glance.seq = int(cursor.fetchone()[0])
        except BaseException:
            connection.close()
            raise
        return connection, glance

    def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            self._idle.pop().close()
