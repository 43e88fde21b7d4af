"""Writes to a store, and prints what it was told is done. Run by test_postgres_sharing.py.

`python writing_worker.py STORE NAME TIMES` adds two items and removes one, so many times;
`python writing_worker.py STORE claim PATH` claims a photo, and waits to be killed.
"""

from __future__ import annotations

import signal
import sys

import numpy as np

from db import NewItem, Store


def say(*words: str) -> None:
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


def new_item(path: str) -> NewItem:
    return NewItem(path=path, content_hash=path, width=1, height=1, file_size=1, mtime_ns=1)


def write(store: Store, name: str, times: int) -> None:
    vectors = np.eye(8, dtype=np.float32)[:2]
    before: list[int] = []
    for number in range(times):
        paths = [f"{name}-{number}-a", f"{name}-{number}-b"]
        with store.write() as tx:
            ids = tx.add_items([new_item(path) for path in paths], vectors)
            tx.remove_items(before[:1])
        before = ids
        say(*paths)


def main(place: str, name: str, what: str) -> None:
    store = Store.open(place)
    if name == "claim":
        with store.sharing() as share:
            say(*share.claim([what]))
            signal.pause()
    write(store, name, int(what))
    store.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
