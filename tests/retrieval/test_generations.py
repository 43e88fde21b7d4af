"""Generations: when one is written, which one is opened, and that none decides an answer."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from made_up import DIM, add, assert_exact

from db import Store
from indexes import ivf_building
from retrieval import generations
from retrieval.generations import INDEX_KINDS, changes_since, open_newest, usable, write_generation
from retrieval.searching import Searcher


@pytest.fixture(params=INDEX_KINDS)
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Store]:
    monkeypatch.setattr(generations, "_STALE_COUNT", 10)
    # Out of reach: every cell is looked into, and brute force must agree.
    monkeypatch.setattr(ivf_building, "_RECALL", 2)
    made = Store.create(
        tmp_path / "gallery.db",
        fingerprint="f",
        encoder_name="e",
        dim=DIM,
        settings={"index": request.param},
    )
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "index"


def write(store: Store, folder: Path, **how: float) -> bool:
    return write_generation(store, folder, "f", **how)


def test_answers_are_those_of_brute_force_through_a_history(store: Store, folder: Path) -> None:
    searcher = Searcher(store, folder)
    assert_exact(searcher, store)
    ids = add(store, 1, 40)
    assert_exact(searcher, store)
    with store.write() as tx:
        tx.remove_items(ids[::3])
    assert_exact(searcher, store)
    assert write(store, folder)
    assert_exact(Searcher(store, folder), store)
    add(store, 2, 5)
    with store.write() as tx:
        tx.remove_items(ids[1:4])
    assert_exact(Searcher(store, folder), store)
    assert_exact(searcher, store)


def test_a_generation_is_used_for_opening(store: Store, folder: Path) -> None:
    add(store, 1, 40)
    write(store, folder)
    with store.read() as tx:
        index, seq = open_newest(tx, folder)
        (generation,) = tx.generations()
        assert (len(index), seq) == (40, generation.seq)
        assert index.kind == generation.kind == INDEX_KINDS[tx.settings()["index"]]


def test_a_generation_is_written_only_when_enough_has_changed(store: Store, folder: Path) -> None:
    add(store, 1, 9)
    assert not write(store, folder)
    add(store, 2, 31)
    assert write(store, folder)
    assert not write(store, folder)
    assert not write(store, folder, stale_share=0)
    add(store, 3, 9)
    assert not write(store, folder)
    ids = add(store, 4, 1)
    assert not write(store, folder, stale_share=0.5)
    assert write(store, folder)
    with store.write() as tx:
        tx.remove_items(ids)
    assert write(store, folder, stale_share=0)


def test_another_kind_is_written_when_it_is_asked_for(store: Store, folder: Path) -> None:
    add(store, 1, 40)
    write(store, folder)
    with store.write() as tx:
        other = {"exact": "ivf", "ivf": "exact"}[tx.settings()["index"]]
        tx.set_settings({"index": other})
    assert not write(store, folder)
    assert write(store, folder, stale_share=0)
    with store.read() as tx:
        assert open_newest(tx, folder)[0].kind == INDEX_KINDS[other]


def test_the_kind_follows_from_the_size(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.write() as tx:
        tx.set_settings({})
    monkeypatch.setattr(generations, "_APPROXIMATE_FROM", 50 * DIM)
    for count, kind in ((40, "exact8"), (20, "ivf16")):
        add(store, count, count)
        write(store, folder)
        with store.read() as tx:
            assert open_newest(tx, folder)[0].kind == kind


def test_a_generation_of_nothing_is_exact(store: Store, folder: Path) -> None:
    ids = add(store, 1, 40)
    with store.write() as tx:
        tx.remove_items(ids)
    assert write(store, folder)
    with store.read() as tx:
        assert [(one.kind, one.count) for one in tx.generations()] == [("exact8", 0)]
    assert_exact(Searcher(store, folder), store)


def test_old_generations_are_dropped_and_their_files_collected(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generations, "_ORPHAN_SECONDS", -1)
    folder.mkdir()
    (folder / "gen-000001-1.npz.77.tmp").write_bytes(b"left by a crash")
    for seed in range(5):
        add(store, seed, 20)
        assert write(store, folder)
    with store.read() as tx:
        names = {generation.file_name for generation in tx.generations()}
    assert len(names) == 2
    assert {path.name for path in folder.iterdir()} == names


@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty", "missing", "another's"])
def test_a_bad_generation_is_passed_over(
    store: Store, folder: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    add(store, 1, 40)
    write(store, folder)
    (path,) = folder.iterdir()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    contents = {"flipped": data, "truncated": data[:-9], "empty": b"", "another's": b"PK" * 99}
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(contents[damage])
    with caplog.at_level(logging.WARNING):
        assert_exact(Searcher(store, folder), store)
    assert path.name in caplog.text


def test_the_older_generation_serves_when_the_newer_is_bad(store: Store, folder: Path) -> None:
    for seed in (1, 2):
        add(store, seed, 40)
        write(store, folder)
    with store.read() as tx:
        newest, older = tx.generations()
        (folder / newest.file_name).write_bytes(b"")
        assert open_newest(tx, folder)[1] == older.seq
    assert_exact(Searcher(store, folder), store)


def test_a_reader_from_before_a_purge_begins_anew(store: Store, folder: Path) -> None:
    ids = add(store, 1, 40)
    early, late = Searcher(store, folder), Searcher(store, folder)
    assert_exact(early, store)
    with store.write() as tx:
        tx.remove_items(ids[:20])
    assert_exact(late, store)
    write(store, folder, stale_share=0)
    with store.write() as tx:
        (generation,) = tx.generations()
        assert tx.purge_vectors(up_to=generation.seq) == 20
    with store.read() as tx:
        assert tx.purged_seq == generation.seq
        assert changes_since(tx, tx.purged_seq).removed_ids.tolist() == []
        assert len(usable(tx)) == 1
    for searcher in (early, late, Searcher(store, folder)):
        assert_exact(searcher, store)
        assert len(searcher._held.proposer) == 20


def test_a_searcher_renews_itself_from_the_newest_generation(store: Store, folder: Path) -> None:
    add(store, 1, 40)
    searcher = Searcher(store, folder)
    searcher.renew()
    assert searcher._held is None  # there was nothing to spare
    assert_exact(searcher, store)
    before = searcher._held.proposer
    searcher.renew()
    assert searcher._held.proposer is before
    write(store, folder)
    add(store, 2, 5)
    searcher.renew()
    assert searcher._held.proposer is not before
    assert_exact(searcher, store)
