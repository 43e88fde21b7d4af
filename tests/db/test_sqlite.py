"""A store in a SQLite file: what it is made of, what it is asked, what is wrong with it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import event

from db import NewItem, Store, StoreError

DIM = 8


def new_item(name: str) -> NewItem:
    return NewItem(
        path=f"/{name}.jpg", content_hash=name, width=4, height=3, file_size=100, mtime_ns=1
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    path = tmp_path / "gallery.db"
    made = Store.create(path, fingerprint="f", encoder_name="tiny", dim=DIM, settings={})
    yield made
    made.close()


def add(store: Store, *names: str) -> None:
    with store.write() as tx:
        tx.add_items([new_item(name) for name in names], np.ones((len(names), DIM), np.float32))


def test_what_changed_is_looked_up_and_not_searched_for(store: Store) -> None:
    add(store, "a")
    asked: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        asked.append((statement, values))

    event.listen(store._backend.engine, "before_cursor_execute", note)
    with store.read() as tx:
        list(tx.vectors(after_seq=tx.seq))
        tx.removed_since(tx.seq)
        event.remove(store._backend.engine, "before_cursor_execute", note)
        plans = [
            str(tx._connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all())
            for statement, values in asked
            if "FROM vectors" in statement
        ]
    assert len(plans) == 2
    assert "ix_vectors_added_seq" in plans[0]
    assert "ix_vectors_removed_seq" in plans[1]
    assert "SCAN" not in "".join(plans)


def test_the_file_is_in_wal_mode_and_packs_vectors(tmp_path: Path) -> None:
    path = tmp_path / "gallery.db"
    rng = np.random.default_rng(0)
    sizes = []
    Store.create(path, fingerprint="f", encoder_name="e", dim=1280, settings={}).close()
    for part in range(2):
        store = Store.open(path)
        with store.write() as tx:
            for number in range(300):
                item = new_item(f"{part}-{number}")
                tx.add_items([item], rng.standard_normal((1, 1280)).astype(np.float32))
        store.close()
        sizes.append(path.stat().st_size)
    raw = sqlite3.connect(path)
    assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    raw.close()
    assert (sizes[1] - sizes[0]) / 300 < 2560 * 1.25


def test_opening_refuses_what_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store"):
        Store.open(tmp_path / "absent.db")
    text = tmp_path / "text.db"
    text.write_text("not a database, but long enough to look at" * 30)
    with pytest.raises(StoreError, match="damaged or no SQLite"):
        Store.open(text)
    other = tmp_path / "other.db"
    sqlite3.connect(other).execute("CREATE TABLE t (x)").connection.close()
    with pytest.raises(StoreError, match="no lookalike store"):
        Store.open(other)


def test_damage_is_found(store: Store, tmp_path: Path) -> None:
    add(store, *(f"{'x' * n}" for n in range(1, 60)))
    assert store.damage() == []
    store.close()
    path = tmp_path / "gallery.db"
    page = bytearray(path.read_bytes())
    middle = len(page) // 2
    page[middle : middle + 4096] = b"\xff" * 4096
    path.write_bytes(page)
    try:
        found = Store.open(path).damage()
    except StoreError as error:
        found = [str(error)]
    assert found


def test_a_file_is_built_by_one_and_has_no_locks_by_name(store: Store, tmp_path: Path) -> None:
    assert (store.is_shared, store.place) == (False, str(tmp_path / "gallery.db"))
    with store.sharing() as first, store.sharing() as second:
        assert first.claim(["a", "b"]) == second.claim(["a", "b"]) == {"a", "b"}
        first.release(["a"])
    with pytest.raises(StoreError, match="no lock called purge"):
        store.exclusive("purge")
