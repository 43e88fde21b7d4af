"""Making indexes of vectors in PostgreSQL: which kind, how many cells, alone, after a crash."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import psycopg
import pytest
from pgvector_rows import DIM, clustered, small, write

from indexes import PgvectorIndex, VectorTable
from indexes.pgvector_building import HNSW, IVF, drop, is_prepared, is_there, kind_of, prepare

Connection = psycopg.Connection[Any]


def names(connection: Connection) -> list[str]:
    """The indexes of vectors that there are."""
    rows = connection.execute(r"SELECT relname FROM pg_class WHERE relname LIKE 'ix\_%'")
    return [name for (name,) in rows]


def test_preparing_again_and_dropping(connection: Connection) -> None:
    table = small(connection)
    other = VectorTable(table.name, table.id, table.vector, "encoder_id = 4")
    assert kind_of(connection, table) is None
    drop(connection, table)  # nothing to drop
    prepare(connection, table, DIM, 100)
    prepare(connection, table, DIM, 100)
    assert is_prepared(connection, table, DIM, 100)
    assert not is_prepared(connection, table, DIM, 100, kind=HNSW)
    assert not is_there(connection, other)
    prepare(connection, other, 7, 1, kind=HNSW)
    drop(connection, table)
    assert kind_of(connection, table) is None
    assert not is_prepared(connection, table, DIM, 100)
    assert is_prepared(connection, other, 7, 100, kind=HNSW)


def test_another_kind_takes_the_place_of_the_first(connection: Connection) -> None:
    table = small(connection)
    for kind in (IVF, HNSW, IVF):
        prepare(connection, table, DIM, 100, kind=kind)
        assert kind_of(connection, table) == kind
        assert names(connection) == [one for one in names(connection) if f"_{kind}_" in one]
        assert PgvectorIndex(connection, table, DIM).search(clustered(1, 1), 1).ids == [[0]]


def test_there_are_as_many_cells_as_suit_the_rows(connection: Connection) -> None:
    table = small(connection)
    prepare(connection, table, DIM, 100)
    (first,) = names(connection)
    assert first.endswith("_10")
    assert is_prepared(connection, table, DIM, 440)
    prepare(connection, table, DIM, 440)
    assert names(connection) == [first]
    for count in (441, 24):
        assert not is_prepared(connection, table, DIM, count)
    prepare(connection, table, DIM, 441)
    (second,) = names(connection)
    assert second.endswith("_21")
    assert PgvectorIndex(connection, table, DIM).search(clustered(1, 1), 1).ids == [[0]]


def test_cells_are_found_within_the_memory_there_is(connection: Connection) -> None:
    table = small(connection)
    connection.execute("SET maintenance_work_mem = '1MB'")
    prepare(connection, table, DIM, 100)
    prepare(connection, table, DIM, 10**9)  # refused by PostgreSQL if it took more than allowed
    (fewer,) = names(connection)
    connection.execute("SET maintenance_work_mem = '4GB'")
    prepare(connection, table, DIM, 10**9)
    (more,) = names(connection)
    assert 1000 < int(fewer.rpartition("_")[2]) < int(more.rpartition("_")[2]) < 31_000
    assert connection.execute("SHOW maintenance_work_mem").fetchone() == ("4GB",)


def test_what_a_crash_left_is_made_anew(connection: Connection, postgres_url: str) -> None:
    table = small(connection)
    state = "SELECT indisvalid FROM pg_index WHERE indexrelid::regclass::text LIKE 'ix_ivf_%'"
    with (
        psycopg.connect(postgres_url) as holding,
        psycopg.connect(postgres_url, autocommit=True) as building,
        ThreadPoolExecutor(1) as pool,
    ):
        # A build waits for a transaction that is open: there it dies, its index half made.
        write(holding, table, np.array([700]), clustered(3, 1))
        died = pool.submit(prepare, building, table, DIM, 100)
        while connection.execute(state).fetchall() != [(False,)]:
            assert not died.done()
        connection.execute("SELECT pg_terminate_backend(%s)", (building.info.backend_pid,))
        with pytest.raises(psycopg.errors.AdminShutdown):
            died.result()
    assert connection.execute(state).fetchall() == [(False,)]
    assert kind_of(connection, table) is None
    assert is_there(connection, table)
    prepare(connection, table, DIM, 100)
    assert kind_of(connection, table) == IVF
    assert connection.execute(state).fetchall() == [(True,)]


def test_preparing_at_once_makes_one_index(connection: Connection, postgres_url: str) -> None:
    table = small(connection)

    def work() -> None:
        with psycopg.connect(postgres_url, autocommit=True) as mine:
            prepare(mine, table, DIM, 100)

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work) for _ in range(4)]:
            done.result()
    assert kind_of(connection, table) == IVF
    locks = connection.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
    assert locks.fetchone() == (0,)


def test_an_index_is_not_made_within_a_transaction(
    connection: Connection, postgres_url: str
) -> None:
    table = small(connection)
    with psycopg.connect(postgres_url) as other, pytest.raises(ValueError, match="autocommit"):
        prepare(other, table, DIM, 100)
