"""The index proposes, the store decides: whatever happens to index files, answers stay right."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from db import NewItem, Store
from retrieval import searching
from retrieval.ranking import exact_distances
from retrieval.searching import Searcher

DIM = 16


def unit(seed: int, count: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def item(path: str, **changes: str) -> NewItem:
    values = {"content_hash": "0"} | changes
    return NewItem(path=path, width=1, height=1, file_size=1, mtime_ns=1, **values)


def add(store: Store, seed: int, count: int) -> list[int]:
    with store.write() as tx:
        return tx.add_items(
            [
                item(f"/{seed}/{n}", content_hash=f"{seed}-{n}", label=f"{n % 7}")
                for n in range(count)
            ],
            unit(seed, count),
        )


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(searching, "_STALE_COUNT", 10)
    made = Store.create(
        tmp_path / "gallery.db", fingerprint="f", encoder_name="e", dim=DIM, settings={}
    )
    yield made
    made.close()


def brute_force(store: Store, query: np.ndarray, k: int) -> list[tuple[int, float]]:
    with store.read() as tx:
        pairs = [
            (float(distance), int(item_id))
            for part in tx.vectors()
            for item_id, distance in zip(
                part.item_ids, exact_distances(query, part.data), strict=True
            )
        ]
    return [(item_id, distance) for distance, item_id in sorted(pairs)[:k]]


def assert_exact(searcher: Searcher, store: Store, k: int = 6) -> None:
    queries = unit(99, 4)
    for query, answer in zip(queries, searcher.search(queries, k).items, strict=True):
        assert [(one.id, one.distance) for one in answer] == brute_force(store, query, k)


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
    monkeypatch.setattr(searching, "_DEPTH_OF_IDENTITIES", depth)
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


def test_answers_are_those_of_brute_force_through_a_history(store: Store, tmp_path: Path) -> None:
    searcher = Searcher(store, tmp_path / "index")
    assert_exact(searcher, store)
    ids = add(store, 1, 40)
    assert_exact(searcher, store)
    with store.write() as tx:
        tx.remove_items(ids[::3])
    assert_exact(searcher, store)
    assert searcher.write_generation()
    assert_exact(Searcher(store, tmp_path / "index"), store)
    add(store, 2, 5)
    with store.write() as tx:
        tx.remove_items(ids[1:4])
    assert_exact(Searcher(store, tmp_path / "index"), store)
    assert_exact(searcher, store)


def test_a_generation_is_used_for_opening(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(store, 1, 40)
    Searcher(store, tmp_path / "index").write_generation()
    later = Searcher(store, tmp_path / "index")
    with store.read() as tx:
        index, seq = later._open(tx)
        assert (len(index), seq) == (40, tx.generations()[0].seq)


def test_a_generation_is_written_only_when_enough_has_changed(store: Store, tmp_path: Path) -> None:
    searcher = Searcher(store, tmp_path / "index")
    add(store, 1, 9)
    assert not searcher.write_generation()
    add(store, 2, 31)
    assert searcher.write_generation()
    assert not searcher.write_generation()
    add(store, 3, 9)
    assert not searcher.write_generation()
    add(store, 4, 1)
    assert searcher.write_generation()


def test_old_generations_are_dropped_and_their_files_collected(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "_ORPHAN_SECONDS", -1)
    searcher = Searcher(store, tmp_path / "index")
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "gen-000001-1.npz.77.tmp").write_bytes(b"left by a crash")
    for seed in range(5):
        add(store, seed, 20)
        assert searcher.write_generation()
    with store.read() as tx:
        names = {generation.file_name for generation in tx.generations()}
    assert len(names) == 2
    assert {path.name for path in (tmp_path / "index").iterdir()} == names


@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty", "missing", "another's"])
def test_a_bad_generation_is_passed_over(
    store: Store, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    add(store, 1, 40)
    Searcher(store, tmp_path / "index").write_generation()
    (path,) = (tmp_path / "index").iterdir()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    contents = {"flipped": data, "truncated": data[:-9], "empty": b"", "another's": b"PK" * 99}
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(contents[damage])
    with caplog.at_level(logging.WARNING):
        assert_exact(Searcher(store, tmp_path / "index"), store)
    assert path.name in caplog.text


def test_the_older_generation_serves_when_the_newer_is_bad(store: Store, tmp_path: Path) -> None:
    searcher = Searcher(store, tmp_path / "index")
    for seed in (1, 2):
        add(store, seed, 40)
        searcher.write_generation()
    with store.read() as tx:
        newest, older = tx.generations()
        (tmp_path / "index" / newest.file_name).write_bytes(b"")
        assert Searcher(store, tmp_path / "index")._open(tx)[1] == older.seq
    assert_exact(Searcher(store, tmp_path / "index"), store)


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
    monkeypatch.setattr(searching, "_DEPTH", 8)
    searcher = Searcher(store, tmp_path / "index")
    queries = np.repeat(centre, n_queries, axis=0)
    for answer in searcher.search(queries, 3).items:
        assert [(one.id, one.distance) for one in answer] == brute_force(store, centre[0], 3)
    first = searcher._held.index.search(queries, 8).ids[0].tolist()
    with store.read() as tx:
        named = {one.item_id for one in tx.glance.candidates(first, tx.encoder)}
    right = {item_id for item_id, _ in brute_force(store, centre[0], 3)}
    assert right - named, "the first candidates held the answer: this shows nothing"


def test_many_threads_are_answered_while_the_store_changes(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "_KEPT", 20)  # forgotten again and again
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
