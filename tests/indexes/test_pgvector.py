"""The index over PostgreSQL: what cells and graph find, and what transactions see."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, LiteralString

import numpy as np
import psycopg
import pytest
from pgvector_rows import DIM, clustered, new_table, remove, small, write
from postgres_server import PostgresServer
from psycopg import sql

from indexes import Hits, PgvectorIndex, VectorTable
from indexes.pgvector_building import HNSW, IVF, is_there, prepare

COUNT, K = 8000, 10
KINDS = [IVF, HNSW]
SETTINGS = (
    *("jit", "enable_sort", "maintenance_work_mem"),
    *("ivfflat.probes", "ivfflat.iterative_scan", "ivfflat.max_probes"),
    *("hnsw.ef_search", "hnsw.iterative_scan", "hnsw.max_scan_tuples"),
)

Connection = psycopg.Connection[Any]


def nearest(queries: np.ndarray, ids: np.ndarray, k: int = K) -> np.ndarray:
    """What brute force finds among the rows with these ids."""
    held = clustered(1, COUNT).astype(np.float16).astype(np.float32)[ids]
    return ids[np.argsort(1 - queries @ held.T, axis=1, kind="stable")[:, :k]]


def recall(hits: Hits, true: np.ndarray) -> float:
    shared = [len(np.intersect1d(a, b)) for a, b in zip(hits.ids, true, strict=True)]
    return sum(shared) / true.size


@pytest.fixture(scope="module", params=KINDS)
def large(
    request: pytest.FixtureRequest, postgres_server: PostgresServer
) -> tuple[str, VectorTable]:
    """The URL of a database, and its table with a prepared index: for tests that leave it so."""
    url = postgres_server.new_database()
    with psycopg.connect(url, autocommit=True) as connection:
        table = new_table(connection)
        write(connection, table, np.arange(COUNT), clustered(1, COUNT))
        # What another encoder made, of another length, is no concern of this index.
        write(connection, table, np.arange(COUNT, COUNT + 50), np.eye(50, 7), encoder=4)
        prepare(connection, table, DIM, COUNT, kind=request.param)
    return url, table


@pytest.fixture
def asking(large: tuple[str, VectorTable]) -> Iterator[Connection]:
    """A connection to the large table, not in autocommit mode."""
    with psycopg.connect(large[0]) as connection:
        yield connection
        connection.rollback()
        # Not counted later, while another test looks.
        connection.execute("SELECT pg_stat_force_next_flush()")


def index_scans(connection: Connection) -> int:
    """How often an index of vectors was used, as PostgreSQL counts."""
    return counted(
        connection,
        "SELECT sum(idx_scan) FROM pg_stat_user_indexes WHERE indexrelname LIKE 'ix\\_%'",
    )


def all_scans(connection: Connection) -> int:
    """How often a table was read, through an index or not."""
    return counted(connection, "SELECT sum(seq_scan + idx_scan) FROM pg_stat_user_tables")


def counted(connection: Connection, query: LiteralString) -> int:
    connection.execute("SELECT pg_stat_force_next_flush()")
    connection.commit()
    found = connection.execute(query).fetchone()
    connection.commit()
    assert found is not None
    return int(found[0])


def settings(connection: Connection) -> list[str]:
    rows = [connection.execute("SELECT current_setting(%s)", (one,)) for one in SETTINGS]
    return [row.fetchone()[0] for row in rows]


def test_an_index_finds_nearly_all(asking: Connection, large: tuple[str, VectorTable]) -> None:
    # Whatever the server is set to.
    asking.execute("SET hnsw.ef_search = 1")
    asking.execute("SET ivfflat.probes = 1")
    queries = clustered(2, 200)
    hits = PgvectorIndex(asking, large[1], DIM).search(queries, K)
    assert recall(hits, nearest(queries, np.arange(COUNT))) >= 0.99


@pytest.mark.parametrize("asked_before", [0, 20])
@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("allowed", [None, 6000])
def test_a_search_uses_the_index(
    asking: Connection,
    large: tuple[str, VectorTable],
    asked_before: int,
    count: int,
    allowed: int | None,
) -> None:
    index = PgvectorIndex(asking, large[1], DIM)
    allow = None if allowed is None else np.arange(allowed)
    # By then the statement is prepared, and planned for any parameters.
    for seed in range(asked_before):
        index.search(clustered(seed, count), K, allow=allow)
    before = index_scans(asking)
    index.search(clustered(2, count), K, allow=allow)
    assert index_scans(asking) == before + count


def test_a_table_that_is_quickly_read_is_searched_by_its_index_too(
    connection: Connection,
) -> None:
    # PostgreSQL underrates what reading vectors costs, and would rather read them all.
    table = small(connection)
    prepare(connection, table, DIM, 100)
    before = index_scans(connection)
    PgvectorIndex(connection, table, DIM).search(clustered(2, 1), K)
    assert index_scans(connection) == before + 1


def test_the_statement_is_planned_by_the_index(
    asking: Connection, large: tuple[str, VectorTable]
) -> None:
    index = PgvectorIndex(asking, large[1], DIM)
    statement = index._statement("", many=True, exact=False)
    asking.execute("SET LOCAL enable_sort = off")
    queries = [str(query.tolist()) for query in clustered(2, 3)]
    plan = asking.execute(
        sql.SQL("EXPLAIN (FORMAT TEXT) {}").format(statement), {"query": queries, "k": K}
    ).fetchall()
    assert re.search("Index Scan using ix_(ivf|hnsw)_", str(plan))
    assert "Sort" not in str(plan)


def test_an_exact_search_is_exact_and_leaves_the_index_alone(
    asking: Connection, large: tuple[str, VectorTable]
) -> None:
    queries = clustered(2, 20)
    before = index_scans(asking)
    hits = PgvectorIndex(asking, large[1], DIM, exact=True).search(queries, K)
    one = PgvectorIndex(asking, large[1], DIM, exact=True).search(queries[:1], K)
    assert recall(hits, nearest(queries.astype(np.float16), np.arange(COUNT))) == 1
    assert one.ids.tolist() == hits.ids[:1].tolist()
    assert index_scans(asking) == before


@pytest.mark.parametrize("probes", [1, None])
@pytest.mark.parametrize("size", [1, 9, 10, 500, 5000, 5001, 7900])
def test_filters_of_every_size_are_kept_to(
    asking: Connection, large: tuple[str, VectorTable], size: int, probes: int | None
) -> None:
    allow = np.sort(np.random.default_rng(size).choice(COUNT, size, replace=False))
    queries = clustered(2, 20)
    # Ids that were never given out, and those of another encoder, are allowed in vain.
    others = np.arange(COUNT, COUNT + 70)
    hits = PgvectorIndex(asking, large[1], DIM).search(
        queries, K, allow=np.concatenate([allow, others]), probes=probes
    )
    found = min(K, size)
    assert np.isin(hits.ids[:, :found], allow).all()
    assert (hits.ids[:, found:] == -1).all()
    if probes is None:
        assert recall(hits, nearest(queries, allow)) >= 0.99


def test_ids_far_apart_are_not_told_as_bits(connection: Connection) -> None:
    table = new_table(connection)
    far = np.array([3, 2**62], dtype=np.int64)
    write(connection, table, far, clustered(1, 2))
    prepare(connection, table, DIM, 100)
    allow = np.concatenate([np.arange(10_000), far[1:]])
    hits = PgvectorIndex(connection, table, DIM).search(clustered(1, 1), 3, allow=allow)
    assert hits.ids.tolist() == [[*far, -1]]


def test_a_search_goes_on_where_the_nearest_are_not_allowed(
    asking: Connection, large: tuple[str, VectorTable]
) -> None:
    asking.execute("SET hnsw.max_scan_tuples = 1")
    asking.execute("SET ivfflat.max_probes = 1")
    query = clustered(2, 1)
    allow = np.sort(nearest(query, np.arange(COUNT), COUNT)[0, 2000:])
    before = index_scans(asking), all_scans(asking)
    hits = PgvectorIndex(asking, large[1], DIM).search(query, K, allow=allow)
    assert np.isin(hits.ids, allow).all()
    assert (index_scans(asking), all_scans(asking)) == (before[0] + 1, before[1] + 1)


def test_a_small_share_is_read_by_its_ids(
    asking: Connection, large: tuple[str, VectorTable], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexes.pgvector._FEW_ALLOWED", 0)
    query, allow = clustered(2, 1), np.arange(3000, 3100)
    before = index_scans(asking)
    hits = PgvectorIndex(asking, large[1], DIM).search(query, K, allow=allow)
    assert index_scans(asking) == before
    assert recall(hits, nearest(query, allow)) == 1


def test_what_a_filter_hides_from_the_index_is_found(
    asking: Connection, large: tuple[str, VectorTable], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexes.pgvector._FEW_ALLOWED", 0)
    monkeypatch.setattr("indexes.pgvector._SMALL_SHARE", 0)
    monkeypatch.setattr("indexes.pgvector._SCANNED", 100)
    query = clustered(2, 1)
    # The furthest of all: a graph is given up long before it comes to them.
    allow = nearest(query, np.arange(COUNT), COUNT)[0, -50:]
    before = index_scans(asking)
    hits = PgvectorIndex(asking, large[1], DIM).search(query, K, allow=allow)
    assert index_scans(asking) == before + 1
    assert recall(hits, nearest(query, np.sort(allow))) == 1


@pytest.mark.parametrize("exact", [False, True])
def test_settings_stay_with_the_search(
    asking: Connection, large: tuple[str, VectorTable], exact: bool
) -> None:
    asking.execute("SELECT '[1]'::halfvec")  # pgvector's settings are known from here on
    asking.execute("SET LOCAL hnsw.ef_search = 77")
    before = settings(asking)
    index = PgvectorIndex(asking, large[1], DIM, exact=exact)
    index.search(clustered(2, 3), K, probes=300)
    assert settings(asking) == before
    asking.rollback()
    asking.autocommit = True
    before = settings(asking)
    index.search(clustered(2, 3), K, probes=300)
    assert settings(asking) == before
    assert asking.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_more_than_can_be_kept_in_view_are_found(
    asking: Connection, large: tuple[str, VectorTable]
) -> None:
    hits = PgvectorIndex(asking, large[1], DIM).search(clustered(2, 2), COUNT + 5)
    assert (np.sort(hits.ids[:, :COUNT]) == np.arange(COUNT)).all()
    assert (hits.ids[:, COUNT:] == -1).all()


def test_the_error_is_what_rounding_the_query_costs(
    asking: Connection, large: tuple[str, VectorTable]
) -> None:
    index = PgvectorIndex(asking, large[1], DIM)
    queries = clustered(2, 50)
    hits = index.search(queries, K)
    held = clustered(1, COUNT).astype(np.float16).astype(np.float64)
    true = 1 - np.einsum("qd,qkd->qk", queries.astype(np.float64), held[hits.ids])
    assert np.abs(hits.distances - true).max() <= hits.error < 5e-4
    # What is a 16-bit float already loses nothing.
    assert index.search(np.eye(DIM, dtype=np.float32), K).error == pytest.approx(1e-5)


def test_as_many_queries_as_one_likes(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexes.pgvector._TOGETHER", 7)
    index = PgvectorIndex(connection, small(connection), DIM)
    queries = clustered(1, 100)
    assert index.search(queries, 1).ids[:, 0].tolist() == list(range(100))


def test_equally_near_ones_come_in_the_order_of_their_ids(connection: Connection) -> None:
    table = new_table(connection)
    write(connection, table, np.array([9, 4, 7]), np.repeat(clustered(1, 1), 3, axis=0))
    hits = PgvectorIndex(connection, table, DIM, exact=True).search(clustered(2, 1), 2)
    assert hits.ids.tolist() == [[4, 7]]


@pytest.mark.parametrize("kind", [None, *KINDS])
def test_a_removed_row_is_never_returned(connection: Connection, kind: str | None) -> None:
    table = small(connection)
    if kind:
        prepare(connection, table, DIM, 100, kind=kind)
    index = PgvectorIndex(connection, table, DIM)
    remove(connection, table, np.arange(0, 100, 2))
    for allow in (None, np.arange(100), np.arange(10_000)):
        hits = index.search(clustered(1, 100), 60, allow=allow)
        assert (np.sort(hits.ids[:, :50]) == np.arange(1, 100, 2)).all()
        assert (hits.ids[:, 50:] == -1).all()
    assert len(index) == 50


@pytest.mark.parametrize("kind", KINDS)
def test_a_search_sees_what_its_transaction_wrote(connection: Connection, kind: str) -> None:
    table = small(connection)
    prepare(connection, table, DIM, 100, kind=kind)
    index = PgvectorIndex(connection, table, DIM)
    new = clustered(5, 3)
    with connection.transaction(force_rollback=True):
        write(connection, table, np.arange(500, 503), new)
        remove(connection, table, np.array([0]))
        assert index.search(new, 1).ids[:, 0].tolist() == [500, 501, 502]
        assert len(index) == 102
        assert 0 not in index.search(clustered(1, 1), 100).ids
    assert index.search(clustered(1, 1), 1).ids.tolist() == [[0]]
    assert len(index) == 100


def test_a_snapshot_sees_nothing_of_later_writes(connection: Connection, postgres_url: str) -> None:
    table = small(connection)
    prepare(connection, table, DIM, 100)
    new = clustered(5, 1)
    with psycopg.connect(postgres_url) as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        reader.read_only = True
        index = PgvectorIndex(reader, table, DIM)
        reader.execute("SELECT 1")
        seen = index.search(new, 5).ids.tolist()
        write(connection, table, np.array([500]), new)
        remove(connection, table, np.array(seen[0][:1]))
        assert index.search(new, 5).ids.tolist() == seen
        assert len(index) == 100
        reader.rollback()
        assert index.search(new, 5).ids.tolist() == [[500, *seen[0][1:]]]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_written_after_preparing_are_found(connection: Connection, kind: str) -> None:
    table = new_table(connection)
    prepare(connection, table, DIM, 100, kind=kind)
    write(connection, table, np.arange(600), clustered(1, 600))
    hits = PgvectorIndex(connection, table, DIM).search(clustered(1, 600), 1)
    assert hits.ids[:, 0].tolist() == list(range(600))


def test_longer_vectors_than_can_be_indexed_are_searched_exactly(connection: Connection) -> None:
    dim = 4001
    table = new_table(connection)
    write(connection, table, np.arange(3), np.eye(3, dim))
    prepare(connection, table, dim, 3)
    assert not is_there(connection, table)
    queries = np.eye(3, dim, dtype=np.float32)
    assert PgvectorIndex(connection, table, dim).search(queries, 1).ids[:, 0].tolist() == [0, 1, 2]


def test_the_connection_is_the_callers(connection: Connection) -> None:
    connection.row_factory = psycopg.rows.dict_row
    index = PgvectorIndex(connection, small(connection), DIM)
    assert index.search(clustered(1, 1), 1).ids.tolist() == [[0]]
    assert len(index) == 100
    index.close()
    assert connection.execute("SELECT 1 AS one").fetchone() == {"one": 1}
