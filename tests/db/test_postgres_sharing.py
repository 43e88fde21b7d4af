"""A store on PostgreSQL that many use: none misses what another wrote, and none gets its work."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from postgres_server import PostgresServer
from postgres_stores import add, create

from db import Reader, Store, StoreError

WORKER = Path(__file__).with_name("writing_worker.py")


@pytest.fixture
def store(postgres_url: str) -> Iterator[Store]:
    made = create(postgres_url)
    yield made
    made.close()


def test_one_of_many_makes_a_gallery(postgres_url: str) -> None:
    said: list[str] = []
    start = threading.Barrier(4)

    def make() -> None:
        start.wait()
        try:
            create(postgres_url).close()
        except StoreError as error:
            said.append(str(error))

    makers = [threading.Thread(target=make) for _ in range(4)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert len(said) == 3
    assert all("holds a gallery already" in one for one in said)


def follow(tx: Reader, held: dict[int, int], after: int) -> None:
    """Bring what a follower of the change log holds, items by vector, to a snapshot."""
    for part in tx.vectors(after_seq=after):
        held.update(zip(part.ids.tolist(), part.item_ids.tolist(), strict=True))
    for gone in tx.removed_since(after):
        held.pop(gone, None)


def everything(tx: Reader) -> dict[int, int]:
    found: dict[int, int] = {}
    for part in tx.vectors():
        found.update(zip(part.ids.tolist(), part.item_ids.tolist(), strict=True))
    return found


def test_followers_of_many_writers_miss_nothing(store: Store, postgres_url: str) -> None:
    writers = [
        subprocess.Popen([sys.executable, str(WORKER), postgres_url, f"w{number}", "25"])
        for number in range(3)
    ]
    finished, faults = threading.Event(), list[str]()

    def read() -> None:
        own, held, after = Store.open(postgres_url), dict[int, int](), 0
        while True:
            last = finished.is_set()
            with own.read() as tx:
                follow(tx, held, after)
                after = tx.seq
                if held != everything(tx) or tx.count_items() != len(held):
                    faults.append(f"at {after}")
            if last:
                break
        own.close()
        if not held:
            faults.append("nothing was followed")

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    codes = [writer.wait(120) for writer in writers]
    finished.set()
    for reader in readers:
        reader.join()
    assert (codes, faults) == ([0, 0, 0], [])
    with store.read() as tx:
        # Each writes 25 times: adds two items, and from the second time on removes one.
        assert (tx.seq, tx.count_items()) == (75, 75 * 2 - 72)


def test_what_was_told_as_done_outlives_a_killed_server(own_server: PostgresServer) -> None:
    url = own_server.new_database()
    create(url).close()
    writer = subprocess.Popen(
        [sys.executable, str(WORKER), url, "w", "100000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert writer.stdout is not None
    told = [writer.stdout.readline().split() for _ in range(5)]
    own_server.kill()
    told += [line.split() for line in writer.stdout]
    assert writer.wait(60) != 0
    writer.stdout.close()
    own_server.start()
    store = Store.open(url)
    with store.read() as tx:
        # The last write may have become durable without anybody being told.
        assert tx.seq in (len(told), len(told) + 1)
        found = list(tx.items())
        kept = {item.path for item in found}
        assert {path for line in told[-1:] for path in line} <= kept or tx.seq > len(told)
        # Whole writes only: two items come at each, and one goes from the second on.
        assert len(kept) == tx.seq + 1 == tx.count_items() == tx.count_vectors()
        assert [item.id for item in tx.items_without_vector()] == []
    add(store, "after")
    store.close()


def test_a_photo_is_granted_to_one_builder(store: Store) -> None:
    with store.sharing() as first, store.sharing() as second:
        assert first.claim(["b", "a", "'; --"]) == {"a", "b", "'; --"}
        assert second.claim(["c", "a"]) == {"c"}
        assert first.claim(["a", "c"]) == {"a"}
        first.release(["a", "never"])
        assert second.claim(["a", "b"]) == {"a"}
        second.release(["b"])
        assert second.claim(["b"]) == set()
        assert second.claim([]) == set()
    with store.sharing() as third, store.read() as tx:
        assert third.claim(["a", "b", "c"]) == {"a", "b", "c"}
        assert tx.seq == 0


def test_what_a_dead_builder_claimed_is_free(store: Store, postgres_url: str) -> None:
    command = [sys.executable, str(WORKER), postgres_url, "claim", "a"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as builder:
        assert builder.stdout is not None
        assert builder.stdout.readline() == "a\n"
        with store.sharing() as share:
            assert share.claim(["a"]) == set()
            builder.send_signal(signal.SIGKILL)
            builder.wait()
            while not share.claim(["a"]):
                pass


def test_many_builders_are_never_granted_the_same(store: Store) -> None:
    everything = [f"/{n}" for n in range(300)]
    barrier = threading.Barrier(4)
    granted: list[set[str]] = []

    def build(number: int) -> None:
        rng = np.random.default_rng(number)
        own: set[str] = set()
        with store.sharing() as share:
            for _ in range(10):
                own |= share.claim(rng.permutation(everything)[:40].tolist())
            granted.append(own)
            barrier.wait(60)

    threads = [threading.Thread(target=build, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(map(len, granted)) == len(set().union(*granted))


def test_a_lock_by_name_is_held_by_one(store: Store) -> None:
    entered, order = threading.Event(), list[str]()

    def second() -> None:
        entered.set()
        with store.exclusive("index"):
            order.append("second")

    thread = threading.Thread(target=second)
    with store.exclusive("index"), store.exclusive("another"):
        thread.start()
        entered.wait()
        with store.write() as tx:  # which it does not keep from writing
            tx.set_settings({"a": 1})
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
