"""The store's promises: snapshots, sequence numbers, ids, refusals."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import update

from db import NewItem, Store, StoredEncoder, StoreError, Watermark
from db.schema import FileRow

DIM = 8


def vector(seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal(DIM).astype(np.float32)
    return values / np.linalg.norm(values)


def new_item(name: str, **changes: object) -> NewItem:
    values = {
        "path": f"/photos/{name}.jpg",
        "content_hash": name.ljust(64, "0"),
        "width": 4,
        "height": 3,
        "file_size": 100,
        "mtime_ns": 1_700_000_000_000_000_000,
        "label": "tea",
    }
    return NewItem(**(values | changes))


@pytest.fixture
def store(store_place: Path | str) -> Iterator[Store]:
    made = Store.create(
        store_place, fingerprint="f" * 64, encoder_name="tiny", dim=DIM, settings={}
    )
    yield made
    made.close()


def add(store: Store, *names: str, **changes: object) -> list[int]:
    with store.write() as tx:
        items = [new_item(name, **changes) for name in names]
        return tx.add_items(items, np.array([vector(len(name)) for name in names]))


def test_an_item_comes_back_as_it_went_in(store: Store) -> None:
    item = new_item("a", metadata={"shelf": 3}, source_label="tea")
    with store.write() as tx:
        (item_id,) = tx.add_items([item], vector(1)[np.newaxis])
    with store.read() as tx:
        (found,) = tx.items()
        (stored,) = list(tx.vectors())
    assert found.id == item_id
    names = [field.name for field in fields(item)]
    assert [getattr(found, n) for n in names] == [getattr(item, n) for n in names]
    assert stored.item_ids.tolist() == [item_id]
    assert stored.data.dtype == np.float16
    np.testing.assert_array_equal(stored.data[0], vector(1).astype(np.float16))


def test_vectors_are_found_by_item(store: Store) -> None:
    one, two, three = add(store, "a", "bb", "ccc")
    with store.write() as tx:
        tx.remove_items([two])
    with store.read() as tx:
        found = tx.vectors_of([three, two, one])
        assert len(tx.vectors_of([]).ids) == 0
    assert found.item_ids.tolist() == [one, three]
    np.testing.assert_array_equal(found.data[1], vector(3).astype(np.float16))


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({}, ["a", "bb", "ccc"]),
        ({"label": "tea"}, ["a", "bb"]),
        ({"paths": ["/photos/bb.jpg"]}, ["bb"]),
        ({"content_hash": "a".ljust(64, "0")}, ["a"]),
        ({"label": "coffee", "paths": ["/photos/a.jpg"]}, []),
        ({"ids": []}, []),
    ],
)
def test_items_meet_every_condition(
    store: Store, condition: dict[str, object], expected: list[str]
) -> None:
    add(store, "a", "bb")
    add(store, "ccc", label="coffee")
    with store.read() as tx:
        found = [Path(item.path).stem for item in tx.items(**condition)]
    assert found == expected


def test_a_block_that_raises_leaves_nothing(store: Store) -> None:
    add(store, "a")
    with pytest.raises(RuntimeError), store.write() as tx:
        tx.add_items([new_item("bb")], vector(2)[np.newaxis])
        tx.remove_items([1])
        raise RuntimeError
    with store.read() as tx:
        assert [item.id for item in tx.items()] == [1]
        assert [part.item_ids.tolist() for part in tx.vectors()] == [[1]]
        assert tx.seq == 1


def test_ids_are_never_given_out_again(store: Store) -> None:
    first = add(store, "a", "bb")
    with store.write() as tx:
        assert tx.remove_items(first) == 2
    second = add(store, "a", "bb")
    assert not set(first) & set(second)
    with store.read() as tx:
        (stored,) = tx.vectors()
        assert min(stored.ids) > 2


def test_sequence_numbers_are_the_change_log(store: Store) -> None:
    ids = add(store, "a", "bb")
    with store.read() as tx:
        before = tx.seq
        old = np.concatenate([part.ids for part in tx.vectors()])
    add(store, "ccc")
    with store.write() as tx:
        tx.remove_items(ids[:1])
    with store.read() as tx:
        came = np.concatenate([part.ids for part in tx.vectors(after_seq=before)])
        gone = tx.removed_since(before)
        assert tx.seq == before + 2
        assert list(tx.vectors(after_seq=tx.seq)) == []
    assert len(came) == 1
    assert came[0] not in old
    assert gone == [old[0]]
    with store.read() as tx:
        assert (tx.change_count, tx.count_items()) == (4, 2)


def test_replacing_an_image_keeps_the_item_and_changes_the_vector(store: Store) -> None:
    (item_id,) = add(store, "a")
    with store.read() as tx:
        before, (old,) = tx.seq, tx.vectors()
    with store.write() as tx:
        tx.replace_image(item_id, new_item("a", content_hash="9" * 64), vector(7))
    with store.read() as tx:
        (item,) = tx.items()
        (new,) = tx.vectors()
        assert tx.removed_since(before) == old.ids.tolist()
    assert item.id == item_id
    assert item.content_hash == "9" * 64
    assert new.ids[0] != old.ids[0]
    np.testing.assert_array_equal(new.data[0], vector(7).astype(np.float16))


def test_a_reader_sees_one_moment(store: Store) -> None:
    add(store, "a")
    with store.read() as tx:
        assert tx.count_items() == 1
        add(store, "bb")
        assert tx.count_items() == 1
        assert tx.seq == 1
    with store.read() as tx:
        assert tx.count_items() == 2


def test_candidates_are_only_live_ones(store: Store) -> None:
    ids = add(store, "a", "bb")
    with store.write() as tx:
        tx.remove_items(ids[:1])
    with store.read() as tx:
        (found,) = tx.glance.candidates([1, 2, 99], tx.encoder)
        assert (found.vector_id, found.item_id) == (2, ids[1])
        assert (found.label, found.path, found.metadata) == ("tea", "/photos/bb.jpg", "{}")
        assert found.data == vector(2).astype("<f2").tobytes()
        assert tx.glance.candidates([], tx.encoder) == []
        assert tx.count_vectors() == 1


def test_more_can_be_asked_for_than_a_statement_takes(store: Store) -> None:
    ids = add(store, "a", "bb")
    with store.read() as tx:
        many = list(range(1, 40_000))
        assert [one.item_id for one in tx.glance.candidates(many, tx.encoder)] == ids
        assert len(tx.stored_contents([str(n) for n in many])) == 0


def test_content_prefixes_are_sorted(store: Store) -> None:
    for number, text in enumerate(("ff" * 32, "0a" * 32)):
        add(store, f"{number}", content_hash=text)
    with store.read() as tx:
        assert tx.content_prefixes().tolist() == [int("0a" * 8, 16), int("ff" * 8, 16)]
        assert tx.stored_contents(["ff" * 32, "0b" * 32]) == {"ff" * 32}


def test_two_items_cannot_share_a_path(store: Store) -> None:
    add(store, "a")
    with pytest.raises(StoreError, match=r"UNIQUE|unique"):
        add(store, "a")


def test_a_vector_of_another_length_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match=r"shape \(1, 3\)"), store.write() as tx:
        tx.add_items([new_item("a")], np.ones((1, 3), np.float32))


def test_the_newest_threshold_is_in_force(store: Store) -> None:
    with store.read() as tx:
        assert tx.threshold() is None
    for value in (0.25, 0.5):
        with store.write() as tx:
            tx.add_threshold(
                value,
                rule="margin",
                objective="fpir=0.05",
                source="gallery",
                details={"n": 3},
                calibration={"scores": [0.5]},
            )
    with store.read() as tx:
        threshold = tx.threshold()
    assert threshold is not None
    assert threshold.value == 0.5
    assert threshold.encoder_fingerprint == "f" * 64
    assert threshold.details == {"n": 3}
    assert (threshold.rule, threshold.calibration) == ("margin", {"scores": [0.5]})


def test_a_failure_is_replaced_and_then_forgotten_by_success(store: Store) -> None:
    for reason in ("empty", "truncated"):
        with store.write() as tx:
            tx.record_failure("/photos/a.jpg", reason)
    with store.read() as tx:
        assert [(f.path, f.reason) for f in tx.failures()] == [("/photos/a.jpg", "truncated")]
    add(store, "a")
    with store.read() as tx:
        assert tx.failures() == []


def test_generations_come_newest_first(store: Store) -> None:
    for number in (1, 2):
        with store.write() as tx:
            tx.add_generation(
                kind="exact",
                file_name=f"gen-{number}",
                sha256="0" * 64,
                seq=number,
                count=number,
                changes=number,
            )
    with store.read() as tx:
        assert [(g.file_name, g.count) for g in tx.generations()] == [("gen-2", 2), ("gen-1", 1)]


def test_labels_are_counted(store: Store) -> None:
    add(store, "a", "bb")
    add(store, "ccc", label=None)
    with store.read() as tx:
        assert tx.label_counts() == {"tea": 2}
        assert tx.count_items("tea") == 2
    with store.write() as tx:
        assert tx.relabel_items([3], "tea") == 1
    with store.read() as tx:
        assert tx.label_counts() == {"tea": 3}


def test_float16_moves_a_distance_by_less_than_a_ten_thousandth() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((500, 1280)).astype(np.float32)
    vectors[:250] += 20 * vectors[250:]  # near pairs too, where a distance is small
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = vectors[250:]
    exact = 1 - queries @ vectors.T
    stored = 1 - queries @ vectors.astype("<f2").astype(np.float32).T
    assert np.abs(exact - stored).max() < 1e-4


def test_creating_over_a_store_is_refused(store: Store, store_place: Path | str) -> None:
    with pytest.raises(StoreError, match="already"):
        Store.create(store_place, fingerprint="f", encoder_name="e", dim=2, settings={})


# Another encoder


def second(store: Store) -> StoredEncoder:
    with store.write() as tx:
        return tx.know_encoder(fingerprint="s" * 64, name="second", dim=3)


def held(store: Store, encoder: StoredEncoder) -> list[int]:
    with store.read() as tx:
        return [int(one) for part in tx.seen_through(encoder).vectors() for one in part.item_ids]


def test_vectors_of_another_encoder_are_seen_by_nobody_until_the_switch(store: Store) -> None:
    with store.write() as tx:
        ids = tx.add_items([new_item("a"), new_item("b")], np.stack([vector(0), vector(1)]))
        first = tx.encoder
        tx.add_threshold(0.5, rule="nearest", objective="", source="", details={}, calibration={})
    other = second(store)
    assert second(store) == other
    with store.write() as tx:
        tx.add_vectors(ids[:1], np.eye(3, dtype=np.float32)[:1], other)
        with pytest.raises(StoreError, match="shape"):
            tx.add_vectors(ids[1:], vector(0)[np.newaxis], other)
    assert held(store, other) == ids[:1]
    with store.read() as tx:
        assert tx.encoder == first
        assert tx.count_vectors() == 2
        lacking = tx.seen_through(other).items_without_vector
        assert [item.id for item in lacking()] == ids[1:]
        assert [item.id for item in lacking(ids[:1])] == []
    with pytest.raises(StoreError, match="Not every item"), store.write() as tx:
        tx.switch_encoder(other)
    with store.write() as tx:
        tx.add_vectors(ids[1:], np.eye(3, dtype=np.float32)[1:2], other)
        tx.switch_encoder(other)
        assert tx.encoder == other
        assert tx.threshold() is None
        switched = tx.seq
    with store.read() as tx:
        assert (tx.encoder, tx.seq) == (other, switched)
        assert [part.data.shape for part in tx.vectors()] == [(2, 3)]
        assert tx.find_encoder(first.fingerprint) == first
        assert len(tx.seen_through(first).removed_since(switched - 1)) == 2
    assert held(store, first) == []


def test_a_removed_item_has_no_vector_of_any_encoder(store: Store) -> None:
    with store.write() as tx:
        ids = tx.add_items([new_item("a"), new_item("b")], np.stack([vector(0), vector(1)]))
    other = second(store)
    with store.write() as tx:
        tx.add_vectors(ids, np.eye(3, dtype=np.float32)[:2], other)
        tx.remove_items(ids[:1])
        tx.replace_image(ids[1], new_item("b", content_hash="c" * 64), vector(2))
    assert held(store, other) == []
    with store.read() as tx:
        assert [item.id for item in tx.seen_through(other).items_without_vector()] == ids[1:]


def test_unfinished_vectors_are_dropped_but_those_of_one_encoder(store: Store) -> None:
    with store.write() as tx:
        first = tx.encoder
        ids = tx.add_items([new_item("a")], vector(0)[np.newaxis])
    other = second(store)
    with store.write() as tx:
        tx.add_vectors(ids, np.eye(3, dtype=np.float32)[:1], other)
        tx.drop_unfinished_vectors(but=other)
    assert held(store, other) == ids
    with store.write() as tx:
        tx.drop_unfinished_vectors()
    assert held(store, other) == []
    assert held(store, first) == ids


# What is kept beside the items


def test_files_are_kept_and_replaced(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("db.writer._PART", 10)
    kept = {"encoder/'%s'.bin": bytes(range(256)), "encoder/empty": b""}
    with store.write() as tx:
        tx.put_file("encoder/'%s'.bin", b"before, and longer than a part" * 20)
        for name, data in kept.items():
            tx.put_file(name, data)
        tx.put_file("verifier/a", b"a")
    with store.read() as tx:
        sums = {name: hashlib.sha256(data).hexdigest() for name, data in kept.items()}
        assert tx.files("encoder/") == sums
        assert set(tx.files()) == {*sums, "verifier/a"}
        assert {name: tx.file(name) for name in sums} == kept
        with pytest.raises(StoreError, match="keeps no file encoder/absent"):
            tx.file("encoder/absent")
    with store.write() as tx:
        tx.drop_files("encoder/")
    with store.read() as tx:
        assert list(tx.files()) == ["verifier/a"]


def test_a_damaged_file_is_told(store: Store) -> None:
    with store.write() as tx:
        tx.put_file("a", b"whole")
        tx._connection.execute(update(FileRow).values(data=b"whale"))
    with (
        pytest.raises(StoreError, match=r"The file a that .* keeps is damaged"),
        store.read() as tx,
    ):
        tx.file("a")


def test_watermarks_are_noted_without_a_write(store: Store) -> None:
    with store.read() as tx:
        assert tx.watermark("milvus") is None
    for seq in (3, 5):
        store.set_watermark("milvus", seq, {"z": seq, "a": None})
    store.set_watermark("another's", 1, {})
    with store.read() as tx:
        assert tx.watermark("milvus") == Watermark("milvus", 5, {"z": 5, "a": None})
        assert tx.seq == 0
    for _ in range(2):
        store.drop_watermark("milvus")
    with store.read() as tx:
        assert tx.watermark("milvus") is None
        assert tx.watermark("another's") is not None


def test_a_gallery_has_a_name_of_its_own(store: Store, tmp_path: Path) -> None:
    other = Store.create(tmp_path / "b.db", fingerprint="f", encoder_name="", dim=2, settings={})
    with store.read() as tx, other.read() as others:
        assert len(tx.uid) == 32
        assert tx.uid != others.uid
    other.close()


def test_an_index_in_the_same_database_sees_the_snapshot(store: Store) -> None:
    add(store, "a")
    with store.read() as tx, store.glance() as glance:
        assert glance.seq == tx.seq == 1
        add(store, "bb")
        for connection in (tx.driver_connection, glance.driver_connection):
            assert connection.execute("SELECT count(*) FROM vectors").fetchone() == (1,)


def test_what_items_show_is_told_at_a_glance(store: Store) -> None:
    add(store, "a")
    (unlabelled,) = add(store, "bb", label=None)
    with store.glance() as glance:
        assert glance.identities([1, 2, 99]) == {1: "tea", 2: unlabelled}
        assert glance.identities([]) == {}
