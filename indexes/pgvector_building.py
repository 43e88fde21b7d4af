"""Making the HNSW index of a table's vectors in PostgreSQL, while others read and write them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from indexes.pgvector import VectorTable

if TYPE_CHECKING:
    from psycopg import Connection

# The most that pgvector can index as 16-bit floats.
_MOST_DIMENSIONS = 4000
# Links of a vector, and the vectors kept in view while its links are found.
_LINKS, _BUILDING_PROBES = 16, 64
_POLL_SECONDS = 0.05


def prepare(connection: Connection[Any], table: VectorTable, dim: int) -> None:
    """Make the HNSW index for the rows that count, if there is none; writes go on meanwhile.

    PostgreSQL waits for the transactions that are open at that moment: whoever calls must hold
    none. More than 4,000 dimensions can't be indexed: nothing is made then, and searches stay
    exact.

    On two cores 100,000 vectors of 256 dimensions took 20 s, and writing one more to the index
    1 ms: rows that come in bulk are better written before. It goes fastest where the graph, 80 MB
    here, fits in the connection's `maintenance_work_mem`, and the index in the server's memory.

    Args:
        connection: In autocommit mode, as an index can't be made concurrently in a transaction.
        table: Where the vectors lie.
        dim: Length of those that count.

    Raises:
        ValueError: The connection is not in autocommit mode.
        psycopg.Error: The index can't be made.
    """
    from psycopg import sql

    if dim > _MOST_DIMENSIONS:
        return
    with _alone(connection, table):
        if is_prepared(connection, table):
            return
        # What a crash left: kept up to date by every write, but of no use.
        _drop(connection, table)
        statement = sql.SQL(
            "CREATE INDEX CONCURRENTLY {index} ON {table} "
            "USING hnsw (({vector}::halfvec({dim})) halfvec_ip_ops) "
            "WITH (m = {links}, ef_construction = {probes}) WHERE {live}"
        ).format(
            **table.quoted(),
            index=sql.Identifier(_index_name(table)),
            dim=sql.Literal(dim),
            links=sql.Literal(_LINKS),
            probes=sql.Literal(_BUILDING_PROBES),
        )
        connection.execute(statement)


def is_prepared(connection: Connection[Any], table: VectorTable) -> bool:
    """Whether searches use an HNSW index."""
    return bool(_validity(connection, table))


def is_there(connection: Connection[Any], table: VectorTable) -> bool:
    """Whether there is an HNSW index, or what a crash left of one: each write keeps it up."""
    return _validity(connection, table) is not None


def _validity(connection: Connection[Any], table: VectorTable) -> bool | None:
    """Return whether the index is valid; `None` where there is none."""
    query = (
        "SELECT indisvalid FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid "
        "WHERE indrelid = to_regclass(%s) AND relname = %s"
    )
    name = table.quoted()["table"].as_string(connection)
    valid: bool | None = _value(connection, query, (name, _index_name(table)))
    return valid


def drop(connection: Connection[Any], table: VectorTable) -> None:
    """Drop the HNSW index, if there is one; searches are exact from then on.

    Args:
        connection: In autocommit mode.
        table: Where the vectors lie.

    Raises:
        ValueError: The connection is not in autocommit mode.
        psycopg.Error: The index can't be dropped.
    """
    with _alone(connection, table):
        _drop(connection, table)


def _drop(connection: Connection[Any], table: VectorTable) -> None:
    from psycopg import sql

    index = sql.Identifier(_index_name(table))
    connection.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(index))


def _index_name(table: VectorTable) -> str:
    """Return a name that stands for the table's name, the column and the condition."""
    told = "\0".join((table.name, table.vector, table.live))
    return f"ix_hnsw_{hashlib.sha256(told.encode()).hexdigest()[:32]}"


@contextmanager
def _alone(connection: Connection[Any], table: VectorTable) -> Iterator[None]:
    """Keep others from making or dropping the same index."""
    if not connection.autocommit:
        raise ValueError("an HNSW index is made or dropped by a connection in autocommit mode")
    key = (_index_name(table),)
    # Waiting within PostgreSQL would hold a snapshot, which making an index waits for in turn.
    while not _value(connection, "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", key):
        time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        # A lost connection took its lock along.
        if not connection.closed:
            connection.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", key)


def _value(connection: Connection[Any], query: str, parameters: tuple[str, ...]) -> Any:
    from psycopg.rows import scalar_row

    with connection.cursor(row_factory=scalar_row) as cursor:
        return cursor.execute(query, parameters).fetchone()
