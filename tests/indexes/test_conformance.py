"""One suite for every index: NumPy brute force's answers. A backend joins through `BACKENDS`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from milvus_server import MilvusProcess
from pgvector_rows import new_table, remove, write
from postgres_server import PostgresServer

from indexes import Changes, ExactIndex, Hits, IvfIndex, PgvectorIndex, VectorIndex
from indexes.ivf_building import build
from indexes.milvus import MilvusIndex
from indexes.pgvector_building import HNSW, IVF, prepare


def in_cells(dim: int) -> VectorIndex:
    """An inverted file whose first vectors have all gone, and that looks into every cell."""
    first = unit(np.random.default_rng(9), 30, dim)
    ids = np.arange(30) + 50_000
    main = build(dim, 30, lambda: [added(ids, first)])
    main.nprobe = main.nlist
    index = IvfIndex(main)
    index.apply(removed(*ids))
    return index


class InPostgres(PgvectorIndex):
    """An index over a table that takes changes in as the store would."""

    def __init__(self, connection: psycopg.Connection[Any], dim: int, kind: str | None) -> None:
        super().__init__(connection, new_table(connection), dim, exact=kind is None)
        self._kind = kind
        self._gone = np.empty(0, dtype=np.int64)

    def apply(self, changes: Changes) -> None:
        if changes.added_vectors is not None:
            write(self._connection, self._table, changes.added_ids, changes.added_vectors)
        self._gone = np.union1d(self._gone, changes.removed_ids)
        remove(self._connection, self._table, self._gone)
        super().apply(changes)

    def search(self, queries: np.ndarray, k: int, **asked: Any) -> Hits:
        if self._kind is not None:
            prepare(self._connection, self._table, self.dim, len(self), kind=self._kind)
        # Looks into every cell: what a graph misses is told elsewhere.
        hits = super().search(queries, k, probes=1000, **asked)
        # The rows were rounded to 16 bits when they were written.
        return replace(hits, error=hits.error + 2**-11)

    def close(self) -> None:
        super().close()
        self._connection.execute(f"DELETE FROM {self._table.quoted()['table'].as_string()}")


Make = Callable[[int], VectorIndex]

BACKENDS: dict[str, Make] = {"exact": ExactIndex, "ivf": in_cells}
# Backends that live on a server, by the fixture that makes their indexes.
SERVED = [
    pytest.param("on_postgres_ivf", id="pgvector-ivf"),
    pytest.param("on_postgres_hnsw", id="pgvector-hnsw"),
    pytest.param("on_postgres_exact", id="pgvector-exact"),
    pytest.param("on_milvus", id="milvus"),
]
ROUNDING = 1e-5  # of distances, to float32


@pytest.fixture(params=[*(pytest.param(one, id=one) for one in BACKENDS), *SERVED], scope="module")
def make(request: pytest.FixtureRequest) -> Make:
    made = BACKENDS.get(request.param)
    return request.getfixturevalue(request.param) if made is None else made


@pytest.fixture(params=SERVED, scope="module")
def make_served(request: pytest.FixtureRequest) -> Make:
    return request.getfixturevalue(request.param)


def in_postgres(server: PostgresServer, kind: str | None) -> Iterator[Make]:
    """Make empty indexes, each over a table of its own."""
    with psycopg.connect(server.new_database(), autocommit=True) as connection:
        yield lambda dim: InPostgres(connection, dim, kind)


@pytest.fixture(scope="module")
def on_postgres_ivf(postgres_server: PostgresServer) -> Iterator[Make]:
    yield from in_postgres(postgres_server, IVF)


@pytest.fixture(scope="module")
def on_postgres_hnsw(postgres_server: PostgresServer) -> Iterator[Make]:
    yield from in_postgres(postgres_server, HNSW)


@pytest.fixture(scope="module")
def on_postgres_exact(postgres_server: PostgresServer) -> Iterator[Make]:
    yield from in_postgres(postgres_server, None)


@pytest.fixture(scope="module")
def on_milvus(milvus_server: MilvusProcess) -> Iterator[Make]:
    """Make empty indexes: a collection of each length of vectors, emptied where it was used."""
    made: list[MilvusIndex] = []

    def make(dim: int) -> MilvusIndex:
        index = MilvusIndex(milvus_server.uri, f"conformance_{dim}", dim)
        made.append(index)
        if index.exists():
            before = MilvusIndex(milvus_server.uri, f"conformance_{dim}", dim)
            held = before.search(np.eye(1, dim, dtype=np.float32), 16_384).ids
            before.apply(removed(*held[held >= 0]))
            index.require(before.acknowledged)
            before.close()
        index.create()
        return index

    yield make
    for index in made:
        index.drop()
        index.close()


def unit(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    vectors = rng.standard_normal((count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def added(ids: np.ndarray, vectors: np.ndarray) -> Changes:
    return Changes(added_ids=np.asarray(ids, dtype=np.int64), added_vectors=vectors)


def removed(*ids: int) -> Changes:
    return Changes(removed_ids=np.array(ids, dtype=np.int64))


def assert_nearest(hits: Hits, queries: np.ndarray, held: dict[int, np.ndarray], k: int) -> None:
    """Compare with brute force over `held`, within the error that the index owns to."""
    assert hits.ids.shape == hits.distances.shape == (len(queries), k)
    assert hits.ids.dtype == np.int64
    assert hits.distances.dtype == np.float32
    found = min(k, len(held))
    assert (hits.ids[:, found:] == -1).all()
    assert np.isposinf(hits.distances[:, found:]).all()
    for query, ids, distances in zip(queries, hits.ids, hits.distances, strict=True):
        true = {i: 1 - float(query @ vector) for i, vector in held.items()}
        assert len(set(ids[:found].tolist())) == found
        assert (np.diff(distances[:found]) >= 0).all()
        error = hits.error + ROUNDING
        np.testing.assert_allclose(
            distances[:found], [true[i] for i in ids[:found]], rtol=0, atol=error
        )
        if found:
            left_out = [distance for i, distance in true.items() if i not in set(ids.tolist())]
            assert min(left_out, default=2) >= distances[found - 1] - error


@pytest.mark.parametrize("make", BACKENDS.values(), ids=BACKENDS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_history_of_changes_ends_as_brute_force_says(make: Make, data: st.DataObject) -> None:
    assert_history(make, data)


@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_any_history_on_a_server_ends_as_brute_force_says(
    make_served: Make, data: st.DataObject
) -> None:
    assert_history(make_served, data)


def assert_history(make: Make, data: st.DataObject) -> None:
    """Draw a history of changes, and compare with brute force over what it leaves."""
    dim = data.draw(st.sampled_from([2, 8, 33]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    pool = unit(rng, 60, dim)
    if data.draw(st.booleans()):
        pool[30:] = pool[:30]  # exact duplicates
    index, held, gone, past = make(dim), {}, set(), []
    for _ in range(data.draw(st.integers(1, 6))):
        if past and data.draw(st.booleans()):
            change = data.draw(st.sampled_from(past))  # replayed: must change nothing
        else:
            come = np.array(sorted(data.draw(st.sets(st.integers(0, 59)))), dtype=np.int64)
            go = np.array(sorted(data.draw(st.sets(st.integers(0, 70)))), dtype=np.int64)
            change = Changes(come * 7, pool[come], go * 7)
        past.append(change)
        index.apply(change)
        gone |= set(change.removed_ids.tolist())
        held |= dict(zip(change.added_ids.tolist(), change.added_vectors, strict=True))
        held = {i: vector for i, vector in held.items() if i not in gone}
        assert len(index) == len(held)
    allow = None
    if data.draw(st.booleans()):
        allow = np.array(sorted(data.draw(st.sets(st.integers(0, 70)))), dtype=np.int64) * 7
        held = {i: vector for i, vector in held.items() if i in set(allow.tolist())}
    k = data.draw(st.integers(1, 12))
    queries = unit(rng, data.draw(st.integers(0, 12)), dim)
    assert_nearest(index.search(queries, k, allow=allow), queries, held, k)


@pytest.mark.parametrize("n_queries", [1, 7, 8, 40])
def test_large_and_partly_removed(make: Make, n_queries: int) -> None:
    rng = np.random.default_rng(0)
    vectors, queries = unit(rng, 9000, 24), unit(rng, n_queries, 24)
    ids = np.arange(9000) * 3 + 5
    index = make(24)
    index.apply(added(ids, vectors))
    index.apply(removed(*ids[::9]))
    held = {int(i): v for n, (i, v) in enumerate(zip(ids, vectors, strict=True)) if n % 9}
    assert_nearest(index.search(queries, 10), queries, held, 10)
    allow = rng.choice(ids, 90, replace=False)
    few = {i: v for i, v in held.items() if i in set(allow.tolist())}
    assert_nearest(index.search(queries, 10, allow=allow), queries, few, 10)


def test_the_error_is_small(make: Make) -> None:
    index = make(256)
    index.apply(added(np.arange(500), unit(np.random.default_rng(0), 500, 256)))
    assert index.search(unit(np.random.default_rng(1), 1, 256), 1).error < 0.02


def test_vectors_of_growing_coordinates_stay_findable(make: Make) -> None:
    dim, rng = 64, np.random.default_rng(0)
    index, held = make(dim), {}
    for step, sharpness in enumerate((0.5, 1, 3, 10, 100)):
        vectors = np.sign(rng.standard_normal((20, dim))) * rng.random((20, dim)) ** sharpness
        vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        ids = np.arange(20) + 100 * step
        index.apply(added(ids, vectors))
        held |= dict(zip(ids.tolist(), vectors, strict=True))
    queries = unit(rng, 9, dim)
    assert_nearest(index.search(queries, 10), queries, held, 10)
    assert_nearest(index.search(queries[:1], 10), queries[:1], held, 10)
    assert index.search(queries, 1).error < 0.1


def test_the_empty_index_answers_with_padding(make: Make) -> None:
    assert_nearest(make(4).search(np.eye(4, dtype=np.float32), 3), np.eye(4), {}, 3)


def test_a_vector_is_at_distance_zero_from_itself(make: Make) -> None:
    vectors = unit(np.random.default_rng(1), 50, 512)
    index = make(512)
    index.apply(added(np.arange(50), vectors))
    hits = index.search(vectors, 1)
    assert hits.ids[:, 0].tolist() == list(range(50))
    assert (hits.distances >= 0).all()
    assert hits.distances.max() < hits.error < 0.03


def test_bad_questions_are_refused(make: Make) -> None:
    index = make(4)
    with pytest.raises(ValueError, match=r"shape \(n, 4\)"):
        index.search(np.ones((2, 5), np.float32), 1)
    with pytest.raises(ValueError, match=r"shape \(n, 4\)"):
        index.search(np.ones(4, np.float32), 1)
    with pytest.raises(ValueError, match="at least 1"):
        index.search(np.ones((1, 4), np.float32), 0)


def test_closed_means_empty(make: Make) -> None:
    index = make(4)
    index.apply(added(np.array([1]), np.eye(4, dtype=np.float32)[:1]))
    index.close()
    assert len(index) == 0
