"""A copy holds what the store holds, goes on where it was broken off, and is compared."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from postgres_server import PostgresServer
from sqlalchemy import update

from db import COPY, NewItem, Store, StoreError, compare, copy_rows, rows
from db.rows import REST
from db.schema import ItemRow, VectorRow

DIM = 8
HOSTILE = ["", "a\tb\nc\\N", "\\.", 'say "no"', "' OR 1=1 --", "\U0001f34e é", "null", "{", "\x01"]


def vectors(count: int, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def new_item(name: str, **changes: Any) -> NewItem:
    values: dict[str, Any] = {
        "path": f"/photos/{name}",
        "content_hash": name[:1].ljust(64, "0"),
        "width": 4,
        "height": 3,
        "file_size": 2**40,
        "mtime_ns": 1_700_000_000_000_000_001,
        "label": "tea",
    }
    return NewItem(**(values | changes))


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_CHUNK", 7)


@pytest.fixture
def source(store_place: Path | str) -> Iterator[Store]:
    """A store with everything in it, of two encoders, some of it removed and purged."""
    made = Store.create(
        store_place, fingerprint="f" * 64, encoder_name="tiny", dim=DIM, settings={"index": "exact"}
    )
    with made.write() as tx:
        ids = tx.add_items([new_item(f"{number:03}") for number in range(40)], vectors(40, 0))
    with made.write() as tx:
        tx.remove_items(ids[:3])
    with made.write() as tx:
        tx.purge_vectors(up_to=tx.seq - 1)
        tx.replace_image(ids[20], new_item("020", width=5), vectors(1, 1)[0])
    with made.write() as tx:
        hostile = [
            new_item(f"h{text}", label=text, source_label=text, metadata={text: [text, 0.1, 1e300]})
            for text in HOSTILE
        ]
        ids += tx.add_items(hostile, vectors(len(hostile), 2))
        tx.record_failure("/photos/broken\n.jpg", "it is\tno image")
        other = tx.know_encoder(fingerprint="e" * 64, name="other", dim=DIM)
        tx.know_encoder(fingerprint="d" * 64, name="without any", dim=DIM)
        tx.add_vectors(ids[5:10], vectors(5, 3), other)
        tx.add_threshold(
            0.1 + 0.2,
            rule="margin",
            objective="f1",
            source="gallery",
            details={"rates": [1 / 3]},
            calibration={"scores": [0.7]},
        )
    with made.write() as tx:  # the last ids given are nobody's any more
        (last,) = tx.add_items([new_item("last")], vectors(1, 4))
        tx.remove_items([last])
    with made.write() as tx:
        tx.purge_vectors(up_to=tx.seq)
        tx.remove_items(ids[38:40])
    yield made
    made.close()


@pytest.fixture(params=["sqlite", "postgres"])
def target_place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    if request.param == "sqlite":
        return tmp_path / "copy.db"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.new_database()


@pytest.fixture
def target(source: Store, target_place: Path | str) -> Iterator[Store]:
    with source.rows() as tx:
        made = Store.begin_copy(target_place, tx, name="the first")
    yield made
    made.close()


def run(source: Store, target: Store) -> tuple[int, str]:
    """Copy and compare, and return how many vectors were sent, with the digest."""
    told: list[int] = []
    with source.rows() as tx:
        sent = copy_rows(tx, target, told.append)
        with target.rows() as there:
            digest = compare(tx, there, told.append)
            compared = there.seq
        with target.filling() as writer:
            writer.finish(tx, tx.settings(), compared=compared, digest=digest)
        assert sum(told) == 3 * tx.count_rows()
    return sent, digest


def contents(store: Store) -> dict[str, Any]:
    """Return all that goes along."""
    with store.rows() as tx:
        tables = {
            row.__tablename__: [tuple(one) for part in tx.parts(row) for one in part]
            for row in (VectorRow, *REST)
        }
        rest = {"seq": tx.seq, "settings": tx.settings(), "threshold": tx.threshold()}
        return tables | rest | {"encoders": tx.encoders(), "gallery": tx.gallery()}


def test_a_copy_holds_the_same_and_goes_on_as_the_first_would(source: Store, target: Store) -> None:
    sent, _ = run(source, target)
    held = contents(source)
    assert contents(target) == held
    assert sent == len(held["vectors"])
    with source.read() as one, target.read() as other:
        assert one.uid != other.uid
        assert other.find_encoder("d" * 64) is None  # nothing is of it
    added = []
    for store in (source, target):
        with store.write() as tx:
            assert tx.restore_item(39).path == "/photos/038"
            added += tx.add_items([new_item("new")], vectors(1, 9))
            (stored,) = [one for one in tx.vectors() if added[-1] in one.item_ids][-1:]
            added.append(int(stored.ids[-1]))
    assert added[:2] == added[2:]  # neither an item nor a vector gets an id that was given before


def test_nothing_opens_a_copy_before_it_is_compared(
    source: Store, target: Store, target_place: Path | str
) -> None:
    with pytest.raises(StoreError, match="the same command, which began `lookalike copy -g the f"):
        Store.open(target_place)
    run(source, target)
    with closing(Store.open(target_place)) as opened, opened.read() as tx:
        mark = tx.watermark(COPY)
    assert mark is not None
    assert mark.details["verified"]
    with pytest.raises(StoreError, match="finished meanwhile"), target.filling():
        pass


def test_a_copy_broken_off_goes_on_and_catches_up(source: Store, target: Store) -> None:
    def fail_after(limit: int) -> Callable[[int], None]:
        done = 0

        def told(count: int) -> None:
            nonlocal done
            done += count
            if done > limit:
                raise KeyboardInterrupt

        return told

    with source.rows() as tx, pytest.raises(KeyboardInterrupt):
        copy_rows(tx, target, fail_after(30))
    with target.rows() as tx:
        there = sum(len(part) for part in tx.parts(VectorRow))
    assert 30 < there < 50
    with source.write() as tx:  # what is there already goes, is purged, or changes
        tx.purge_vectors(up_to=tx.seq)
        tx.remove_items([10, 11])
        tx.relabel_items([12], "coffee")
        tx.add_items([new_item("more")], vectors(1, 5))
        tx.set_settings({"index": "auto"})
    with source.rows() as tx, pytest.raises(KeyboardInterrupt):
        copy_rows(tx, target, fail_after(65))  # after the vectors
    with source.write() as tx:
        tx.restore_item(10)
    sent, _ = run(source, target)
    assert 0 < sent < 10
    assert contents(target) == contents(source)


@pytest.mark.parametrize("row", [ItemRow, VectorRow])
def test_a_difference_is_found(source: Store, target: Store, row: Any) -> None:
    with source.rows() as tx:
        copy_rows(tx, target, lambda _: None)
        changed = {"label": "else"} if row is ItemRow else {"added_seq": 9}
        with target.filling() as writer:
            writer._connection.execute(update(row).where(row.id == 30).values(changed))
        with target.rows() as there, pytest.raises(StoreError, match=f"The {row.__tablename__} of"):
            compare(tx, there, lambda _: None)


def test_two_copies_at_once_don_t_mix(source: Store, target: Store) -> None:
    with source.rows() as tx:
        copy_rows(tx, target, lambda _: None)
        with target.rows() as there:
            compared, digest = there.seq, compare(tx, there, lambda _: None)
        with target.filling():  # the other one
            pass
        with pytest.raises(StoreError, match="Another process"), target.filling() as writer:
            writer.finish(tx, {}, compared=compared, digest=digest)


def test_a_damaged_vector_is_told(tmp_path: Path, postgres_url: str) -> None:
    made = Store.create(
        tmp_path / "a.db", fingerprint="f" * 64, encoder_name="tiny", dim=DIM, settings={}
    )
    with made.write() as tx:
        tx.add_items([new_item("a")], vectors(1, 0) * np.float32("nan"))
    with made.rows() as tx:
        target = Store.begin_copy(postgres_url, tx, name="a")
        with pytest.raises(StoreError, match="Row 1 of vectors can't go along: it is damaged"):
            copy_rows(tx, target, lambda _: None)
    made.close()
    target.close()


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("label", "a\0b", "holds the character NUL"),
        ("meta", '{"a": "\\u0000"}', "hold the character NUL"),
        ("meta", '{"a": NaN}', "no infinite numbers"),
    ],
)
def test_what_postgresql_cannot_keep_is_told(
    tmp_path: Path, postgres_url: str, column: str, value: str, reason: str
) -> None:
    made = Store.create(
        tmp_path / "a.db", fingerprint="f" * 64, encoder_name="tiny", dim=DIM, settings={}
    )
    with made.write() as tx:
        tx.add_items([new_item("a")], vectors(1, 0))
    # As lookalike kept it before it knew of other databases.
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection, connection:
        connection.execute(f"UPDATE items SET {column} = ?", (value,))
    reason = f"Row 1 of items can't go along: .*({reason})"
    with made.rows() as tx:
        target = Store.begin_copy(postgres_url, tx, name="a")
        with pytest.raises(StoreError, match=reason):
            copy_rows(tx, target, lambda _: None)
    with made.write() as tx:
        tx.update_item(1, label="ab", meta={})
    run(made, target)
    assert contents(target) == contents(made)
    made.close()
    target.close()
