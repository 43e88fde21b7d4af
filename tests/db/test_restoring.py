"""A removed item can be had back: the same item, with a new row of the same vector."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from db import Item, NewItem, NotRestorable, Store

DIM = 4


@pytest.fixture
def store(store_place: Path | str) -> Iterator[Store]:
    made = Store.create(store_place, fingerprint="f", encoder_name="tiny", dim=DIM, settings={})
    yield made
    made.close()


def new_item(name: str, **changes: object) -> NewItem:
    values: dict[str, object] = {
        "path": f"/photos/{name}.jpg",
        "content_hash": name.ljust(64, "0"),
        "width": 4,
        "height": 3,
        "file_size": 100,
        "mtime_ns": 1_700_000_000_000_000_000,
        "label": "tea",
        "source_label": "Tea",
        "metadata": {"shelf": 3},
    }
    return NewItem(**(values | changes))  # type: ignore[arg-type]


def add(store: Store, *names: str) -> list[int]:
    vectors = np.eye(DIM, dtype=np.float32)[: len(names)]
    with store.write() as tx:
        return tx.add_items([new_item(name) for name in names], vectors)


def items(store: Store) -> list[Item]:
    with store.read() as tx:
        return list(tx.items())


def refusal(store: Store, item_id: int) -> str:
    """Restore an item, which must be refused and change nothing; return why."""
    before = items(store)
    with pytest.raises(NotRestorable) as refused, store.write() as tx:
        tx.restore_item(item_id)
    assert items(store) == before
    return str(refused.value)


def test_a_restored_item_is_what_it_was(store: Store) -> None:
    _, two, _ = add(store, "a", "b", "c")
    before = items(store)
    with store.read() as tx:
        vector = tx.vectors_of([two]).data
    with store.write() as tx:
        tx.relabel_items([two], "coffee")
    with store.write() as tx:
        assert tx.remove_items([two]) == 1
    with store.write() as tx:
        restored = tx.restore_item(two)
        seq = tx.seq
    assert restored.label == "coffee"
    with store.write() as tx:
        tx.relabel_items([two], "tea")
    assert items(store) == before
    with store.read() as tx:
        np.testing.assert_array_equal(tx.vectors_of([two]).data, vector)
        (came,) = tx.vectors(after_seq=seq - 1)
        assert came.item_ids.tolist() == [two]
        # The row that went is not the one that came: an index takes no id twice.
        assert tx.removed_since(0) == [2]
        assert came.ids.tolist() == [4]
        assert tx.count_items() == 3
        # Three came, one went, one came.
        assert tx.change_count == 5


def test_it_can_be_removed_and_restored_again(store: Store) -> None:
    (one,) = add(store, "a")
    for _ in range(3):
        with store.write() as tx:
            tx.remove_items([one])
        assert items(store) == []
        with store.write() as tx:
            tx.restore_item(one)
        assert [item.id for item in items(store)] == [one]


def test_the_latest_vector_comes_back(store: Store) -> None:
    (one,) = add(store, "a")
    latest = np.array([0, 0, 0, 1], dtype=np.float32)
    with store.write() as tx:
        tx.replace_image(one, new_item("z"), latest)
    with store.write() as tx:
        tx.remove_items([one])
    with store.write() as tx:
        assert tx.restore_item(one).path == "/photos/z.jpg"
    with store.read() as tx:
        np.testing.assert_array_equal(tx.vectors_of([one]).data[0], latest)


def test_what_was_not_removed_is_not_restored(store: Store) -> None:
    (one,) = add(store, "a")
    assert refusal(store, one).startswith("There is no removed item 1 to restore")
    assert refusal(store, 99).startswith("There is no removed item 99 to restore")


def test_what_was_added_again_is_not_restored(store: Store) -> None:
    (one,) = add(store, "a")
    with store.write() as tx:
        tx.remove_items([one])
    (again,) = add(store, "a")
    assert f"added again as item {again}" in refusal(store, one)


def test_what_another_encoder_made_is_not_restored(store: Store) -> None:
    one, _ = add(store, "a", "b")
    with store.write() as tx:
        tx.remove_items([one])
        other = tx.know_encoder(fingerprint="g", name="other", dim=DIM)
        tx.add_vectors([2], np.eye(DIM, dtype=np.float32)[:1], other)
        tx.switch_encoder(other)
    assert "before the gallery got its encoder" in refusal(store, one)


def test_a_purge_forgets_what_it_leaves_no_vector_of(store: Store) -> None:
    one, two, three = add(store, "a", "b", "c")
    with store.write() as tx:
        tx.remove_items([one])
        seq = tx.seq
    with store.write() as tx:
        tx.remove_items([two, three])
    with store.write() as tx:
        tx.restore_item(three)
    with store.write() as tx:
        assert tx.purge_vectors(up_to=seq) == 1
    assert "or a compaction has forgotten it" in refusal(store, one)
    with store.write() as tx:
        tx.restore_item(two)
    assert [item.id for item in items(store)] == [two, three]


def test_a_removal_that_is_undone_by_an_error_leaves_nothing_to_restore(store: Store) -> None:
    (one,) = add(store, "a")
    with pytest.raises(RuntimeError), store.write() as tx:
        tx.remove_items([one])
        raise RuntimeError
    assert refusal(store, one).startswith("There is no removed item 1 to restore")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ["a", "Tee", "ü"]),
        ("TEE", ["Tee"]),
        (".JPG", ["a", "Tee", "ü"]),
        ("photos", []),
        ("ü", ["ü"]),
        ("grün", ["ü"]),
        ("tea", ["a"]),
        ("shelf", []),
        ("_", []),
        ("%", []),
        ("'", []),
    ],
)
def test_items_are_found_by_what_people_see(store: Store, text: str, found: list[str]) -> None:
    made = [
        new_item("a", metadata={}),
        new_item("Tee", label=None, metadata={"shelf": 3}),
        new_item("ü", label=None, metadata={"colour": "grün"}),
    ]
    with store.write() as tx:
        tx.add_items(made, np.eye(DIM, dtype=np.float32)[:3])
    with store.read() as tx:
        page, total = tx.find_items(text=text)
        assert [Path(item.path).stem for item in page] == found
        assert total == len(found)


def test_found_items_come_in_pages(store: Store) -> None:
    ids = add(store, "a", "b", "c")
    with store.read() as tx:
        first, total = tx.find_items(label="tea", limit=2)
        rest, again = tx.find_items(label="tea", limit=2, after=first[-1].id)
        assert [item.id for item in first + rest] == ids
        assert (total, again) == (3, 3)
        assert tx.find_items(label="coffee") == ([], 0)
