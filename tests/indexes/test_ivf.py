"""The inverted file: what it misses, what it never misses, and that a change costs little."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexes import Changes, IvfIndex, load, save
from indexes.cells import near_cells, reach
from indexes.ivf_building import build

DIM, COUNT = 24, 6000


def clustered(seed: int, count: int) -> np.ndarray:
    """Vectors about 300 centres that are the same for every seed."""
    centres = np.random.default_rng(0).standard_normal((300, DIM))
    rng = np.random.default_rng(seed)
    vectors = centres[rng.integers(300, size=count)] + 0.4 * rng.standard_normal((count, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def stored() -> np.ndarray:
    return clustered(1, COUNT).astype(np.float16)


def chunks() -> Iterator[Changes]:
    vectors = stored()
    for start in range(0, COUNT, 1000):
        yield Changes(np.arange(start, start + 1000), vectors[start : start + 1000])


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    path = tmp_path_factory.mktemp("index") / "gen.ivf"
    return path, save(path, kind=IvfIndex.kind, dim=DIM, count=COUNT, chunks=chunks)


@pytest.fixture
def index(file: tuple[Path, str]) -> IvfIndex:
    path, checksum = file
    loaded = load(path, kind=IvfIndex.kind, sha256=checksum)
    assert isinstance(loaded, IvfIndex)
    return loaded


def nearest(queries: np.ndarray, vectors: np.ndarray, ids: np.ndarray, k: int) -> np.ndarray:
    return ids[np.argsort(-(queries @ vectors.astype(np.float32).T), axis=1, kind="stable")[:, :k]]


def recall(found: np.ndarray, true: np.ndarray) -> float:
    return float(np.mean([np.isin(a, b).mean() for a, b in zip(true, found, strict=True)]))


def test_a_few_cells_hold_nearly_all_neighbours(index: IvfIndex) -> None:
    assert index.probes < 60  # of 310
    queries = clustered(2, 300)
    true = nearest(queries, stored(), np.arange(COUNT), 10)
    tuned = recall(index.search(queries, 10).ids, true)
    assert tuned > 0.99
    assert recall(index.search(queries, 10, probes=1).ids, true) < tuned
    assert recall(index.search(queries, 10, probes=10_000).ids, true) > 0.999


def test_cells_far_off_the_nearest_are_passed_over() -> None:
    cells = np.array([[7, 3, 5, 2]])
    nearness = np.array([[0.9, 0.79, 0.77, 0.1]], dtype=np.float32)
    assert reach(1) == 0 < reach(2) == reach(4) / 2
    assert near_cells(cells, nearness, 0.12).tolist() == [[7, 3, -1, -1]]
    assert near_cells(cells, nearness, 0.12, least=3).tolist() == [[7, 3, 5, -1]]
    assert near_cells(cells, nearness, 1).tolist() == cells.tolist()


def test_a_query_looks_into_few_cells_or_many_as_it_needs(
    index: IvfIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []

    def count(cells: np.ndarray, *others: Any) -> np.ndarray:
        near = near_cells(cells, *others)
        looked.extend(np.count_nonzero(near >= 0, axis=1).tolist())
        return near

    monkeypatch.setattr("indexes.ivf.near_cells", count)
    index.search(clustered(2, 100), 10)
    known = np.mean(looked)
    looked.clear()
    anywhere = np.random.default_rng(5).standard_normal((100, DIM), dtype=np.float32)
    anywhere /= np.linalg.norm(anywhere, axis=1, keepdims=True)
    hits = index.search(anywhere, 10)
    assert known < index.probes / 2
    assert np.mean(looked) > 2 * known
    assert recall(hits.ids, nearest(anywhere, stored(), np.arange(COUNT), 10)) > 0.97
    looked.clear()
    index.search(clustered(2, 100), 10, probes=10_000)
    assert set(looked) == {310}  # who asks for all cells gets them
    # One at a time they go by centres in whole numbers of 8 bits, to the same cells but for a few.
    alone = np.concatenate([index.search(anywhere[n : n + 1], 10).ids for n in range(100)])
    assert recall(alone, hits.ids) > 0.99


def test_what_is_added_is_found_and_what_is_removed_is_not(index: IvfIndex) -> None:
    new = clustered(3, 500)
    ids = np.arange(500) + 7000
    index.apply(Changes(ids, new))
    assert index.search(new, 1).ids[:, 0].tolist() == ids.tolist()
    index.apply(Changes(removed_ids=ids[::2]))
    index.apply(Changes(removed_ids=np.arange(0, COUNT, 3)))
    assert len(index) == COUNT + 500 - 250 - 2000
    found = index.search(new, 20).ids
    gone = set(ids[::2].tolist()) | set(range(0, COUNT, 3))
    assert not gone & set(found.ravel().tolist())
    assert found[1::2, 0].tolist() == ids[1::2].tolist()


@pytest.mark.parametrize("count", [1, 20])
def test_what_is_added_may_be_like_nothing_there_was(index: IvfIndex, count: int) -> None:
    # Spread over more cells than mates are: no centre was made for it.
    rng = np.random.default_rng(5)
    about = rng.standard_normal((40, DIM))
    around = about + 0.5 * rng.standard_normal((100, 40, DIM))
    new, queries = np.split((around / np.linalg.norm(around, axis=2, keepdims=True)), 2)
    ids, vectors = np.arange(2000) + 7000, new.reshape(-1, DIM).astype(np.float32)
    index.apply(Changes(ids, vectors))
    asked = queries.reshape(-1, DIM).astype(np.float32)[:600]
    true = nearest(
        asked, np.concatenate([stored(), vectors]), np.concatenate([np.arange(COUNT), ids]), 1
    )
    told = [index.search(part, 1).ids[:, 0] for part in np.split(asked, len(asked) // count)]
    mine = true[:, 0] >= 7000
    assert mine.mean() > 0.5
    assert np.mean(np.concatenate(told)[mine] == true[mine, 0]) > 0.99


def test_a_removal_may_come_before_its_addition(index: IvfIndex) -> None:
    new = clustered(3, 2)
    index.apply(Changes(removed_ids=np.array([9001])))
    index.apply(Changes(np.array([9000, 9001]), new))
    assert len(index) == COUNT + 1
    assert index.search(new, 1).ids[0, 0] == 9000
    assert 9001 not in index.search(new, 5).ids


def test_as_many_as_it_holds_are_returned_however_far_off(index: IvfIndex) -> None:
    hits = index.search(clustered(2, 2), COUNT + 5, probes=1)
    assert [sorted(row[:COUNT].tolist()) for row in hits.ids] == [list(range(COUNT))] * 2
    assert (hits.ids[:, COUNT:] == -1).all()
    assert np.isposinf(hits.distances[:, COUNT:]).all()


@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.5])
def test_recall_among_some(index: IvfIndex, share: float) -> None:
    rng = np.random.default_rng(4)
    index.apply(Changes(removed_ids=np.arange(0, COUNT, 50)))
    allow = rng.choice(COUNT, round(share * COUNT), replace=False)
    alive = np.sort(allow[allow % 50 > 0])
    queries = clustered(2, 200)
    true = nearest(queries, stored()[alive], alive, 5)
    hits = index.search(queries, 5, allow=np.concatenate([allow, [10**6]]))
    assert recall(hits.ids, true) > 0.99


def test_distances_are_those_of_the_stored_vectors(index: IvfIndex) -> None:
    queries = clustered(2, 20)
    hits = index.search(queries, 10)
    found = stored()[hits.ids].astype(np.float64)
    true = 1 - np.einsum("qd,qkd->qk", queries.astype(np.float64), found)
    assert np.abs(hits.distances - true).max() <= hits.error < 1e-4


def test_few_vectors_have_few_cells(tmp_path: Path) -> None:
    for count in (1, 2, 5):
        index = IvfIndex(build(8, count, lambda n=count: [Changes(np.arange(n), np.eye(8)[:n])]))
        assert index.search(np.eye(8, dtype=np.float32), 1).ids[:count, 0].tolist() == list(
            range(count)
        )
