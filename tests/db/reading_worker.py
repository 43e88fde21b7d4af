"""Reads a store each time it is told to, and prints what it found.

Run by test_connection.py: `python reading_worker.py STORE`; each line of standard input is a wish.
"""

from __future__ import annotations

import sys
from pathlib import Path

from db import Store, StoreError


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def answer(store: Store, wish: str) -> str:
    if wish == "write":
        with store.write() as tx:
            tx.remove_items([1])
    if wish == "glance":
        with store.glance() as glance:
            return f"seq {glance.seq}"
    with store.read() as tx:
        if wish == "hold":
            say(f"holding {tx.seq}")
            sys.stdin.readline()
        return f"items {tx.count_items()}"


def main(path: Path) -> None:
    store = Store.open(path)
    for line in sys.stdin:
        try:
            say(answer(store, line.strip()))
        except StoreError as error:
            say(f"refused: {error}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
