"""Compaction: what has gone is purged, the index is fresh, and no answer changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from made_up import DIM, add, assert_exact, unit

from db import Store, StoreError
from retrieval.compacting import compact
from retrieval.searching import Searcher


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store.create(
        tmp_path / "gallery.db", fingerprint="f", encoder_name="e", dim=DIM, settings={}
    )
    yield made
    made.close()


def test_what_has_gone_is_purged_and_the_file_gets_smaller(store: Store, tmp_path: Path) -> None:
    ids = add(store, 1, 4000)
    folder = tmp_path / "index"
    searcher = Searcher(store, folder)
    assert_exact(searcher, store)
    with store.write() as tx:
        tx.remove_items(ids[100:])
    report = compact(store, folder, "f")
    assert (report.generation, report.purged) == (True, 3900)
    assert report.freed > 100_000
    assert_exact(searcher, store)
    assert_exact(Searcher(store, folder), store)
    assert store.damage() == []
    again = compact(store, folder, "f")
    assert (again.generation, again.purged, again.freed) == (False, 0, 0)


def test_the_vectors_of_an_encoder_of_before_are_purged(store: Store, tmp_path: Path) -> None:
    ids = add(store, 1, 10)
    with store.write() as tx:
        other = tx.know_encoder(fingerprint="g", name="other", dim=2)
        tx.add_vectors(ids, np.repeat([[0.6, 0.8]], 10, axis=0).astype(np.float32), other)
    # Half of a reembed: what is to come stays.
    assert compact(store, tmp_path / "index", "f").purged == 0
    with store.write() as tx:
        tx.switch_encoder(other)
    assert compact(store, tmp_path / "index", "f").purged == 0  # the gallery has another by now
    assert compact(store, tmp_path / "index", "g").purged == 10
    with store.read() as tx:
        assert tx.count_vectors() == 10
        assert [one.encoder_fingerprint for one in tx.generations()] == ["g"]


def test_others_write_while_a_generation_is_built(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retrieval import generations

    ids = add(store, 1, 50)
    folder, save = tmp_path / "index", generations.save

    def save_late(*args: object, **kwargs: object) -> str:
        checksum = save(*args, **kwargs)
        with store.write() as tx:
            tx.remove_items(ids[:5])
        add(store, 2, 3)
        return checksum

    monkeypatch.setattr(generations, "save", save_late)
    report = compact(store, folder, "f")
    assert (report.generation, report.purged) == (True, 0)
    assert_exact(Searcher(store, folder), store)
    monkeypatch.undo()
    assert compact(store, folder, "f").purged == 5
    assert_exact(Searcher(store, folder), store)


def test_an_empty_gallery_is_compacted(store: Store, tmp_path: Path) -> None:
    ids = add(store, 1, 3)
    with store.write() as tx:
        tx.remove_items(ids)
    assert compact(store, tmp_path / "index", "f").purged == 3
    assert Searcher(store, tmp_path / "index").search(unit(1, 1), 1).items == [[]]


def test_a_store_that_is_busy_says_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = add(store, 1, 4000)
    with store.write() as tx:
        tx.remove_items(ids)
        tx.purge_vectors(up_to=tx.seq)
    other = Store.open(Path(store.place))
    pooled = other._backend.engine.raw_connection()
    pooled.driver_connection.execute("PRAGMA busy_timeout = 1")
    pooled.close()
    with store.write(), pytest.raises(StoreError, match="busy"):
        other.shrink(0.1)
    other.close()
