"""An index on a Milvus server: shared, gone, killed, and as sure as it says."""

from __future__ import annotations

import contextlib
import os
import runpy
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from milvus_server import MilvusProcess

from indexes import Changes, milvus_calls
from indexes.milvus import LARGE, MilvusIndex
from indexes.protocol import CollectionGone, EngineError, Hits

Open = Callable[..., MilvusIndex]


@pytest.fixture
def collection(milvus_server: MilvusProcess) -> Iterator[Open]:
    """Open as many clients of one collection as a test likes; it is there, and empty."""
    opened: list[MilvusIndex] = []

    def connect(dim: int = 8) -> MilvusIndex:
        opened.append(MilvusIndex(milvus_server.uri, f"shared_{dim}", dim))
        opened[-1].create()
        return opened[-1]

    yield connect
    for index in opened:
        held = index.search(np.eye(1, index.dim, dtype=np.float32), 16_384).ids
        index.apply(Changes(removed_ids=held[held >= 0]))
        index.close()


@pytest.fixture
def passing(milvus_server: MilvusProcess) -> Iterator[Open]:
    """Open clients of a collection that isn't there at first, nor afterwards."""
    opened: list[MilvusIndex] = []

    def connect(dim: int = 8) -> MilvusIndex:
        opened.append(MilvusIndex(milvus_server.uri, "passing", dim))
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


def test_a_dropped_collection_is_gone_until_it_is_made_anew(passing: Open) -> None:
    index = passing()
    assert not index.exists()
    index.create()
    first, vectors = index.identity(), unit(0, 20)
    index.apply(added(0, vectors))
    assert index.exists()
    passing().drop()
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
    index.apply(added(0, unit(0, 5)))
    identity = index.identity()
    index.create(LARGE)
    assert index.identity() == identity
    assert len(index) == 5


def test_another_length_of_vectors_is_refused(
    collection: Open, milvus_server: MilvusProcess
) -> None:
    collection(8)
    other = MilvusIndex(milvus_server.uri, "shared_8", 9)
    with pytest.raises(EngineError, match="not for vectors of length 9"):
        other.create()
    other.close()


def test_a_client_that_is_told_the_timestamp_sees_what_another_wrote(collection: Open) -> None:
    writer, reader = collection(), collection()
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
    for step, vector in enumerate(unit(2, 5)):
        writer.apply(added(step, vector[np.newaxis]))
        assert collection().search(vector[np.newaxis], 1).ids.tolist() == [[step]]


def test_a_told_timestamp_never_goes_back(collection: Open) -> None:
    index = collection()
    index.require(5)
    index.require(3)
    assert index.acknowledged == 5


@pytest.mark.parametrize("count", [0, LARGE], ids=["graph", "cells"])
def test_what_is_settled_is_found(passing: Open, count: int) -> None:
    """The ten nearest of clustered vectors, all vectors, and those of an allow list."""
    dim, rng = 64, np.random.default_rng(3)
    source = clustered().draw(2000, dim)
    vectors = source.items(rng.integers(0, 2000, 24_000), seed=1).astype(np.float32)
    queries = source.items(rng.integers(0, 2000, 100), seed=2).astype(np.float32)
    index = passing(dim)
    index.create(count)
    for start in range(0, 24_000, 6000):
        index.apply(added(start, vectors[start : start + 6000]))
    assert index.settle(120)
    assert recall(index.search(queries, 10), queries, vectors, np.arange(24_000)) >= 0.99

    gone = np.arange(0, 24_000, 7)
    index.apply(Changes(removed_ids=gone))
    live = np.setdiff1d(np.arange(24_000), gone)
    for size in (1, 100, 20_000):
        allow = rng.permutation(np.append(rng.choice(live, size, replace=False), gone[:3]))
        hits = index.search(queries[:5], 10, allow=allow)
        among = np.setdiff1d(allow, gone)
        assert recall(hits, queries, vectors, among) >= (0.98 if size > 1000 else 1)
        assert (hits.ids[:, size:] == -1).all()
    assert (index.search(queries[:5], 10, allow=gone).ids == -1).all()

    everything = index.search(queries[:5], 21_000)
    assert np.sort(everything.ids[:, : len(live)]).tolist() == [live.tolist()] * 5
    assert (everything.ids[:, len(live) :] == -1).all()
    most = index.search(queries[:5], 16_000)
    assert (most.ids >= 0).all()
    assert (np.diff(most.distances) >= 0).all()


def clustered() -> type:
    """Return what draws vectors that lie as real ones do."""
    path = Path(milvus_calls.__file__).parents[1] / "scripts" / "clustered.py"
    return runpy.run_path(str(path))["Clustered"]


def recall(hits: Hits, queries: np.ndarray, vectors: np.ndarray, among: np.ndarray) -> float:
    """Return the share of the ten nearest that was found, or of as many as there are."""
    most = min(10, len(among))
    shares = [
        len(set(among[nearest(query, vectors[among], most)].tolist()) & set(ids.tolist())) / most
        for query, ids in zip(queries, hits.ids, strict=False)
    ]
    return float(np.mean(shares))


def test_equal_distances_are_told_by_id(collection: Open) -> None:
    index = collection()
    vectors = np.repeat(unit(7, 1), 50, axis=0)
    ids = np.random.default_rng(0).permutation(50)
    index.apply(Changes(ids, vectors))
    assert index.search(vectors[:1], 50).ids.tolist() == [list(range(50))]
    assert index.search(vectors[:1], 50, allow=ids).ids.tolist() == [list(range(50))]


def test_a_server_killed_in_mid_change_ends_with_the_right_set(
    passing: Open, milvus_server: MilvusProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Down, its clients are told soon; back, the same changes give what they should."""
    monkeypatch.setattr(milvus_calls, "CONNECT_SECONDS", 1.0)
    dim, vectors = 256, unit(8, 40_000, 256)
    index = passing(dim)
    index.create()
    index.apply(added(0, vectors[:10_000]))
    other = passing(dim)
    changes = Changes(
        np.arange(5_000, 40_000), vectors[5_000:], removed_ids=np.arange(0, 10_000, 2)
    )

    def apply() -> None:
        with contextlib.suppress(EngineError):
            index.apply(changes)

    applying = threading.Thread(target=apply)
    applying.start()
    while applying.is_alive() and len(other) == 10_000:  # removals come first
        pass
    milvus_server.kill()
    applying.join()
    for ask in (lambda: index.search(vectors[:1], 1), other.exists):
        with pytest.raises(EngineError, match=r"No Milvus server answers at 127\.0\.0\.1:\d+"):
            ask()
    milvus_server.start()
    monkeypatch.undo()
    index.apply(changes)
    index.apply(changes)
    for client in (index, other):
        assert len(client) == 35_000
        alive = np.setdiff1d(np.arange(40_000), np.arange(0, 10_000, 2))
        hits = client.search(vectors[:1], 36_000)
        assert np.sort(hits.ids[0, :35_000]).tolist() == alive.tolist()
        assert (hits.ids[0, 35_000:] == -1).all()


def test_a_server_that_stands_still_is_given_up(
    collection: Open, milvus_server: MilvusProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = collection()
    monkeypatch.setattr(milvus_calls, "CALL_SECONDS", 0.5)
    os.kill(milvus_server.pid, signal.SIGSTOP)
    try:
        with pytest.raises(EngineError, match=r"did not finish Search within 0\.5 s"):
            index.search(unit(0, 1), 1)
    finally:
        os.kill(milvus_server.pid, signal.SIGCONT)
    monkeypatch.undo()
    assert index.search(unit(0, 1), 1).ids.tolist() == [[-1]]


def test_what_a_collection_lacks_can_be_asked(collection: Open) -> None:
    index = collection()
    index.apply(Changes(np.array([3, 5, 9]), unit(1, 3)))
    index.apply(Changes(removed_ids=np.array([5])))
    assert index.missing(np.array([9, 5, 3, 7])).tolist() == [5, 7]
    assert index.missing(np.empty(0, dtype=np.int64)).tolist() == []
    many = np.arange(3, 25_000, 6)
    assert index.missing(many).tolist() == many[2:].tolist()
