"""An index on a Milvus server: shared, gone, killed, and as sure as it says."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from milvus_server import MilvusProcess

from indexes import Changes, milvus_calls
from indexes.milvus import LARGE, MilvusIndex
from indexes.protocol import CollectionGone, EngineError

pytestmark = pytest.mark.xdist_group("milvus")

Open = Callable[..., MilvusIndex]


@pytest.fixture
def collection(milvus_server: MilvusProcess, request: pytest.FixtureRequest) -> Iterator[Open]:
    """Open as many clients of one collection as a test likes; there is none at first."""
    opened: list[MilvusIndex] = []

    def connect(dim: int = 8) -> MilvusIndex:
        opened.append(MilvusIndex(milvus_server.uri, request.node.originalname, dim))
        return opened[-1]

    yield connect
    for index in opened:
        index.drop()
        index.close()


def unit(seed: int, count: int, dim: int = 8) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def added(first: int, vectors: np.ndarray) -> Changes:
    return Changes(np.arange(len(vectors)) + first, vectors)


def nearest(query: np.ndarray, vectors: np.ndarray, k: int) -> list[int]:
    return np.argsort(-(vectors @ query), kind="stable")[:k].tolist()


def test_a_dropped_collection_is_gone_until_it_is_made_anew(collection: Open) -> None:
    index = collection()
    assert not index.exists()
    index.create()
    first, vectors = index.identity(), unit(0, 20)
    index.apply(added(0, vectors))
    assert index.exists()
    collection().drop()
    assert not index.exists()
    for ask in (
        lambda: index.apply(added(0, vectors)),
        lambda: index.apply(Changes(removed_ids=np.array([1]))),
        lambda: index.search(vectors[:1], 1),
        lambda: index.search(vectors[:1], 1, allow=np.array([1])),
        lambda: len(index),
        index.identity,
        index.settle,
    ):
        with pytest.raises(CollectionGone, match="made anew"):
            ask()
    index.create()
    assert index.identity() != first
    assert len(index) == 0
    index.apply(added(0, vectors))
    assert index.search(vectors[3:4], 1).ids.tolist() == [[3]]


def test_making_what_is_there_changes_nothing(collection: Open) -> None:
    index = collection()
    index.create()
    index.apply(added(0, unit(0, 5)))
    identity = index.identity()
    collection().create()
    assert index.identity() == identity
    assert len(index) == 5
    with pytest.raises(EngineError, match="CreateCollection"):
        collection(9).create()


def test_a_client_that_is_told_the_timestamp_sees_what_another_wrote(collection: Open) -> None:
    writer, reader = collection(), collection()
    writer.create()
    for step, vector in enumerate(unit(1, 20)):
        writer.apply(added(step, vector[np.newaxis]))
        reader.require(writer.acknowledged)
        assert reader.search(vector[np.newaxis], 1).ids.tolist() == [[step]]
        writer.apply(Changes(removed_ids=np.array([step])))
        reader.require(writer.acknowledged)
        assert reader.search(vector[np.newaxis], 1).ids.tolist() == [[-1]]
    assert reader.acknowledged == writer.acknowledged > 0


def test_a_client_that_was_told_nothing_sees_all_that_came_before(collection: Open) -> None:
    writer = collection()
    writer.create()
    for step, vector in enumerate(unit(2, 5)):
        writer.apply(added(step, vector[np.newaxis]))
        assert collection().search(vector[np.newaxis], 1).ids.tolist() == [[step]]


def test_a_told_timestamp_never_goes_back(collection: Open) -> None:
    index = collection()
    index.require(5)
    index.require(3)
    assert index.acknowledged == 5


@pytest.mark.parametrize("count", [0, LARGE], ids=["graph", "cells"])
def test_what_is_sealed_is_found_under_any_allow_list(collection: Open, count: int) -> None:
    dim, rng = 16, np.random.default_rng(3)
    vectors, queries = unit(4, 30_000, dim), unit(5, 5, dim)
    index = collection(dim)
    index.create(count)
    index.apply(added(0, vectors))
    assert index.settle(120)
    gone = np.arange(0, 30_000, 7)
    index.apply(Changes(removed_ids=gone))
    live = np.setdiff1d(np.arange(30_000), gone)
    for size in (1, 100, 20_000):
        allow = rng.permutation(np.append(rng.choice(live, size, replace=False), gone[:3]))
        places = np.sort(np.setdiff1d(allow, gone))
        hits = index.search(queries, 10, allow=allow)
        for query, ids in zip(queries, hits.ids, strict=True):
            true = places[nearest(query, vectors[places], 10)].tolist()
            found = min(size, 10)
            assert len(set(ids[:found].tolist()) & set(true)) >= found - (size > 1000)
            assert (ids[found:] == -1).all()
    assert (index.search(queries, 10, allow=gone).ids == -1).all()
    everything = index.search(queries, 26_000)
    assert np.sort(everything.ids[:, : len(live)]).tolist() == [live.tolist()] * 5
    assert (everything.ids[:, len(live) :] == -1).all()
    most = index.search(queries, 16_000)
    np.testing.assert_allclose(most.distances, everything.distances[:, :16_000], atol=1e-5)


def test_recall_among_clustered_vectors(collection: Open) -> None:
    sys.path.insert(0, str(Path(milvus_calls.__file__).parents[1] / "scripts"))
    try:
        from clustered import Clustered
    finally:
        del sys.path[0]
    source, rng = Clustered.draw(2000, 64), np.random.default_rng(6)
    vectors = source.items(rng.integers(0, 2000, 20_000), seed=1)
    queries = source.items(rng.integers(0, 2000, 200), seed=2).astype(np.float32)
    index = collection(64)
    index.create()
    for start in range(0, 20_000, 5000):
        index.apply(added(start, vectors[start : start + 5000]))
    assert index.settle(120)
    true = [nearest(query, vectors.astype(np.float32), 10) for query in queries]
    found = index.search(queries, 10).ids.tolist()
    shared = [len(set(a) & set(b)) for a, b in zip(true, found, strict=True)]
    assert np.mean(shared) >= 9.9


def test_equal_distances_are_told_by_id(collection: Open) -> None:
    index = collection()
    index.create()
    vectors = np.repeat(unit(7, 1), 50, axis=0)
    ids = np.random.default_rng(0).permutation(50)
    index.apply(Changes(ids, vectors))
    assert index.search(vectors[:1], 50).ids.tolist() == [list(range(50))]
    assert index.search(vectors[:1], 50, allow=ids).ids.tolist() == [list(range(50))]


def test_a_server_killed_in_mid_change_ends_with_the_right_set(
    collection: Open, milvus_server: MilvusProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Down, its clients are told soon; back, the same changes give what they should."""
    monkeypatch.setattr(milvus_calls, "CONNECT_SECONDS", 1.0)
    dim, vectors = 256, unit(8, 40_000, 256)
    index = collection(dim)
    index.create()
    index.apply(added(0, vectors[:10_000]))
    changes = Changes(
        np.arange(5_000, 40_000), vectors[5_000:], removed_ids=np.arange(0, 10_000, 2)
    )
    failures: list[BaseException] = []

    def apply() -> None:
        try:
            index.apply(changes)
        except EngineError as failure:
            failures.append(failure)

    applying = threading.Thread(target=apply)
    applying.start()
    time.sleep(0.3)
    milvus_server.kill()
    applying.join()
    assert len(failures) == 1
    for ask in (lambda: index.search(vectors[:1], 1), collection(dim).exists):
        with pytest.raises(EngineError, match=r"No Milvus server answers at 127\.0\.0\.1:\d+"):
            ask()
    milvus_server.start()
    index.apply(changes)
    index.apply(changes)
    for client in (index, collection(dim)):
        assert len(client) == 35_000
        alive = np.setdiff1d(np.arange(40_000), np.arange(0, 10_000, 2))
        hits = client.search(vectors[:1], 36_000)
        assert np.sort(hits.ids[0, :35_000]).tolist() == alive.tolist()
        assert (hits.ids[0, 35_000:] == -1).all()


def test_a_server_that_stands_still_is_given_up(
    collection: Open, milvus_server: MilvusProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = collection()
    index.create()
    monkeypatch.setattr(milvus_calls, "CALL_SECONDS", 0.5)
    os.kill(milvus_server.pid, signal.SIGSTOP)
    try:
        with pytest.raises(EngineError, match=r"did not finish Search within 0\.5 s"):
            index.search(unit(0, 1), 1)
    finally:
        os.kill(milvus_server.pid, signal.SIGCONT)
    monkeypatch.undo()
    assert index.search(unit(0, 1), 1).ids.tolist() == [[-1]]
