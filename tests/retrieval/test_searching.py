"""The index proposes, the store decides: whatever happens to index files, answers stay right."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from made_up import DIM, add, brute_force, item, unit

from db import Store
from retrieval import proving
from retrieval.ranking import exact_distances
from retrieval.searching import Searcher


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store.create(
        tmp_path / "gallery.db", fingerprint="f", encoder_name="e", dim=DIM, settings={}
    )
    yield made
    made.close()


def nearest_by_hand(store: Store, query: np.ndarray, count: int) -> list[tuple[int, float]]:
    """Return the nearest item of each of the nearest identities, none beyond distance 1 but one."""
    with store.read() as tx:
        shown = {one.id: one.label or one.id for one in tx.items()}
    best: dict[str | int, tuple[int, float]] = {}
    for item_id, distance in brute_force(store, query, 10_000):
        best.setdefault(shown[item_id], (item_id, distance))
    found = list(best.values())[:count]
    return found[:1] + [one for one in found[1:] if one[1] <= 1]


@pytest.mark.parametrize("identities", [2, 3, 16])
@pytest.mark.parametrize("depth", [2, 40])
def test_the_nearest_identities_are_those_of_brute_force(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, identities: int, depth: int
) -> None:
    monkeypatch.setattr(proving, "_DEPTH_OF_IDENTITIES", depth)
    ids = add(store, 1, 60)
    with store.write() as tx:
        tx.add_items([item(f"/flat/{n}", label="flat") for n in range(200)], unit(5, 200) / 1)
        tx.relabel_items(ids[:9], None)  # each an identity of its own
    searcher = Searcher(store, tmp_path / "index")
    for again in range(2):  # what was learnt of the first round serves the second
        queries = np.concatenate([unit(99, 5), unit(5, 3)])
        found = searcher.search(queries, 3, identities).identities
        for query, nearest in zip(queries, found, strict=True):
            told = [(one.id, one.distance) for one in nearest]
            within = told[:1] + [one for one in told[1:] if one[1] <= 1]
            assert within == nearest_by_hand(store, query, identities), again
    with store.write() as tx:
        tx.relabel_items([searcher.search(queries[:1], 1).items[0][0].id], "renamed")
    renamed = searcher.search(queries[:1], 1, 2).identities[0]
    assert renamed[0].label == "renamed"
    assert [(one.id, one.distance) for one in renamed] == nearest_by_hand(store, queries[0], 2)


def test_without_a_threshold_two_identities_are_searched_for(store: Store, tmp_path: Path) -> None:
    searcher = Searcher(store, tmp_path / "index")
    assert searcher.search(unit(99, 1), 1, None).identities == [[]]
    add(store, 1, 40)
    assert len(searcher.search(unit(1, 1), 1, None).identities[0]) == 2
    assert len(searcher.search(unit(1, 1), 1).identities[0]) == 1
    with store.write() as tx:
        tx.add_threshold(*(0.5,), rule="nac", objective="", source="", details={}, calibration={})
    assert len(searcher.search(unit(1, 1), 1, None).identities[0]) == 7


def test_ties_come_in_order_of_id(store: Store, tmp_path: Path) -> None:
    vector = unit(1, 1)[0]
    with store.write() as tx:
        tx.add_items([item(f"/{n}") for n in range(5)], np.repeat(vector[np.newaxis], 5, axis=0))
    (answer,) = Searcher(store, tmp_path / "index").search(vector[np.newaxis], 3).items
    assert [one.id for one in answer] == [1, 2, 3]


@pytest.mark.parametrize("n_queries", [1, 12])
def test_answers_are_proven_where_codes_cannot_tell_items_apart(
    store: Store, tmp_path: Path, n_queries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    centre = unit(1, 1)
    # So close together that rounding to 8 bits shuffles their order.
    vectors = centre + rng.normal(0, 2e-3, (300, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with store.write() as tx:
        tx.add_items([item(f"/{n}") for n in range(300)], vectors)
    monkeypatch.setattr(proving, "_DEPTH", 8)
    searcher = Searcher(store, tmp_path / "index")
    queries = np.repeat(centre, n_queries, axis=0)
    for answer in searcher.search(queries, 3).items:
        assert [(one.id, one.distance) for one in answer] == brute_force(store, centre[0], 3)
    with store.read() as tx:
        hits = searcher._held.proposer.search(tx.glance, queries, 8, allow=None, probes=None)
        first = hits.ids[0].tolist()
        named = {one.item_id for one in tx.glance.candidates(first, tx.encoder)}
    right = {item_id for item_id, _ in brute_force(store, centre[0], 3)}
    assert right - named, "the first candidates held the answer: this shows nothing"


def test_many_threads_are_answered_while_the_store_changes(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proving, "_KEPT", 20)  # forgotten again and again
    ids = add(store, 1, 200)
    searcher = Searcher(store, tmp_path / "index")
    queries = unit(3, 40)

    def ask(number: int) -> list[tuple[int, float]]:
        (answer,) = searcher.search(queries[number : number + 1], 3).items
        return [(one.id, one.distance) for one in answer]

    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(ask, [*range(40)] * 5)
        with store.write() as tx:
            tx.relabel_items(ids, "another")
        add(store, 4, 20)
        assert all(len(answer) == 3 for answer in answers)
        again = list(pool.map(ask, range(40)))
    assert again == [brute_force(store, query, 3) for query in queries]


def test_exact_distances_do_not_depend_on_the_batch() -> None:
    stored, query = unit(1, 500).astype(np.float16), unit(2, 1)[0]
    together = exact_distances(query, stored)
    alone = np.array([exact_distances(query, row[np.newaxis])[0] for row in stored])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-14)
    assert ((together >= 0) & (together <= 2)).all()
