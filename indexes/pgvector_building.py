"""Making an index of a table's vectors in PostgreSQL, while others read and write them."""

from __future__ import annotations

import hashlib
import math
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, LiteralString

from indexes.pgvector import VectorTable

if TYPE_CHECKING:
    from psycopg import Connection

IVF, HNSW = "ivf", "hnsw"
"""What an index can be: the cells of an inverted file, or a graph."""
# The most that pgvector can index as 16-bit floats.
_MOST_DIMENSIONS = 4000
# Links of a vector in a graph, and the vectors kept in view while they are found.
_LINKS, _BUILDING_IN_VIEW = 16, 64
# Vectors that pgvector draws to find the cells' centres: for each cell, and at least.
_DRAWN, _DRAWN_AT_LEAST = 50, 10_000
# Kilobytes for that, where `maintenance_work_mem` gives less: enough for a million vectors.
_MEMORY = 300_000
# How many times as many cells, or as few, as would be made now are made anew.
_TOO_MANY = 2
_POLL_SECONDS = 0.05


def prepare(
    connection: Connection[Any], table: VectorTable, dim: int, count: int, *, kind: str = IVF
) -> None:
    """Make the index for the rows that count, if there is none of this kind; writes go on.

    An inverted file is also made anew once the rows are many more, or fewer, than it was made for.
    Then any other index of theirs is dropped. PostgreSQL waits for the transactions that are open
    at that moment: whoever calls must hold none. More than 4,000 dimensions can't be indexed:
    nothing is made then, and searches stay exact.

    On two cores cells for 100,000 vectors of 256 dimensions took 3 s, a graph 13 s; writing 1,000
    more to cells took no longer than without, to a graph 1.2 s (docs/scaling.md). A graph is made
    fastest where it, 80 MB here, fits in the connection's `maintenance_work_mem`; from 300 MB on,
    more of that makes for more cells.

    Args:
        connection: In autocommit mode, as an index can't be made concurrently in a transaction.
        table: Where the vectors lie.
        dim: Length of those that count.
        count: How many they are, more or less.
        kind: `IVF` or `HNSW`.

    Raises:
        ValueError: The connection is not in autocommit mode.
        psycopg.Error: The index can't be made.
    """
    if dim > _MOST_DIMENSIONS:
        return
    with _alone(connection, table):
        if is_prepared(connection, table, dim, count, kind=kind):
            return
        # What a crash left: kept up to date by every write, but of no use.
        _drop(connection, [name for name, valid in _indexes(connection, table) if not valid])
        made = _make(connection, table, dim, count, kind)
        _drop(connection, [name for name, _ in _indexes(connection, table) if name != made])


def is_prepared(
    connection: Connection[Any], table: VectorTable, dim: int, count: int, *, kind: str = IVF
) -> bool:
    """Whether searches use an index of this kind, made for about as many rows as there are."""
    made = [name for name, valid in _indexes(connection, table) if valid]
    if kind == HNSW or not made:
        return kind == HNSW and _name(table, HNSW) in made
    wanted = _cells(connection, dim, count)
    return any(
        wanted / _TOO_MANY <= cells <= wanted * _TOO_MANY for cells in map(_cells_of, made) if cells
    )


def kind_of(connection: Connection[Any], table: VectorTable) -> str | None:
    """Return the kind of index that searches use; `None` where every row is looked at."""
    made = [name for name, valid in _indexes(connection, table) if valid]
    return None if not made else IVF if _cells_of(made[0]) else HNSW


def is_there(connection: Connection[Any], table: VectorTable) -> bool:
    """Whether there is an index, or what a crash left of one: each write keeps it up."""
    return bool(_indexes(connection, table))


def drop(connection: Connection[Any], table: VectorTable) -> None:
    """Drop the index, if there is one; searches are exact from then on.

    Args:
        connection: In autocommit mode.
        table: Where the vectors lie.

    Raises:
        ValueError: The connection is not in autocommit mode.
        psycopg.Error: The index can't be dropped.
    """
    with _alone(connection, table):
        _drop(connection, [name for name, _ in _indexes(connection, table)])


def _make(connection: Connection[Any], table: VectorTable, dim: int, count: int, kind: str) -> str:
    """Make an index, and return its name."""
    from psycopg import sql

    method: LiteralString
    if kind == HNSW:
        name, method, memory = _name(table, HNSW), "hnsw", 0
        options = {"m": _LINKS, "ef_construction": _BUILDING_IN_VIEW}
    else:
        cells = _cells(connection, dim, count)
        name, method, memory = f"{_name(table, IVF)}_{cells}", "ivfflat", _kilobytes(cells, dim)
        options = {"lists": cells}
    statement = sql.SQL(
        "CREATE INDEX CONCURRENTLY {index} ON {table} USING {method} "
        "(({vector}::halfvec({dim})) halfvec_ip_ops) WITH ({options}) WHERE {live}"
    ).format(
        **table.quoted(),
        index=sql.Identifier(name),
        method=sql.SQL(method),
        dim=sql.Literal(dim),
        options=sql.SQL(", ").join(
            sql.SQL("{} = {}").format(sql.Identifier(key), sql.Literal(value))
            for key, value in options.items()
        ),
    )
    with _at_least(connection, memory):
        connection.execute(statement)
    return name


def _drop(connection: Connection[Any], names: list[str]) -> None:
    from psycopg import sql

    for name in names:
        index = sql.Identifier(name)
        connection.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(index))


def _indexes(connection: Connection[Any], table: VectorTable) -> list[tuple[str, bool]]:
    """Return the names of what was made here, and whether searches can use it."""
    from psycopg.rows import tuple_row

    query = (
        "SELECT relname, indisvalid FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid "
        "WHERE indrelid = to_regclass(%s) AND relname ~ %s ORDER BY relname"
    )
    name = table.quoted()["table"].as_string(connection)
    ours = f"^({_name(table, HNSW)}|{_name(table, IVF)}_[0-9]+)$"
    with connection.cursor(row_factory=tuple_row) as cursor:
        return cursor.execute(query, (name, ours)).fetchall()


def _name(table: VectorTable, kind: str) -> str:
    """Return what an index's name begins with: it stands for the table, column and condition."""
    told = "\0".join((table.name, table.vector, table.live))
    return f"ix_{kind}_{hashlib.sha256(told.encode()).hexdigest()[:32]}"


def _cells_of(name: str) -> int:
    """Return how many cells an index of this name has; 0 for a graph."""
    found = re.fullmatch(rf"ix_{IVF}_[0-9a-f]+_([0-9]+)", name)
    return int(found[1]) if found else 0


def _cells(connection: Connection[Any], dim: int, count: int) -> int:
    """Return how many cells suit so many vectors: their root, or what the memory allows."""
    wanted = max(math.isqrt(count), 1)
    memory = max(_memory(connection), _MEMORY)
    while wanted > 1 and _kilobytes(wanted, dim) > memory:
        wanted = wanted * 9 // 10
    return wanted


def _kilobytes(cells: int, dim: int) -> int:
    """Return what pgvector takes to find the cells' centres (`ivfkmeans.c`), and a tenth more.

    The vectors drawn, how far each may be from each centre, and how far the centres lie apart.
    """
    drawn = max(_DRAWN * cells, _DRAWN_AT_LEAST)
    vector = 2 * dim + 16
    taken = drawn * (vector + 4 * cells + 8) + cells * (2 * vector + 4 * dim + 4 * cells + 12)
    return math.ceil(1.1 * taken / 1024)


def _memory(connection: Connection[Any]) -> int:
    """Return the connection's `maintenance_work_mem`, in kilobytes."""
    query = "SELECT setting::int8 FROM pg_settings WHERE name = 'maintenance_work_mem'"
    return int(_value(connection, query))


@contextmanager
def _at_least(connection: Connection[Any], kilobytes: int) -> Iterator[None]:
    """Let the connection take so much for maintenance for a while."""
    before = _memory(connection)
    setting = "SELECT set_config('maintenance_work_mem', %s, false)"
    connection.execute(setting, (f"{max(before, kilobytes)}kB",))
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute(setting, (f"{before}kB",))


@contextmanager
def _alone(connection: Connection[Any], table: VectorTable) -> Iterator[None]:
    """Keep others from making or dropping the same index."""
    if not connection.autocommit:
        raise ValueError("an index is made or dropped by a connection in autocommit mode")
    key = (_name(table, HNSW),)
    # Waiting within PostgreSQL would hold a snapshot, which making an index waits for in turn.
    while not _value(connection, "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", key):
        time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        # A lost connection took its lock along.
        if not connection.closed:
            connection.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", key)


def _value(connection: Connection[Any], query: Any, parameters: tuple[str, ...] = ()) -> Any:
    from psycopg.rows import scalar_row

    with connection.cursor(row_factory=scalar_row) as cursor:
        return cursor.execute(query, parameters).fetchone()
