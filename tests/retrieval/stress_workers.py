"""The processes of the stress test: each works on one gallery until it is killed, telling a log.

A writer tells what it is about to commit from within the transaction, so that it knows the sequence
number, and tells again once it is committed. A reader tells the sequence numbers before and after.
"""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import IO

from stress_model import IDENTITIES, K, queries, vectors_of

from db import NewItem, Store, Writer
from retrieval import Gallery, searching
from retrieval.folder import INDEX, STORE
from retrieval.identification import NearestItem
from retrieval.searching import Searcher

# So many items of one writer at most.
_MANY = 400
# Every so many answers, a reader opens the index anew.
_REOPENED = 50


def compact(gallery: Gallery) -> bool:
    """Bring the index up to date; the one line to change when there is another way."""
    return gallery._opened.searcher.write_generation()


def force_generations() -> None:
    """Let index files be due, and dropped ones be deleted, a hundred times more often."""
    for name, value in (("_STALE_COUNT", 20), ("_STALE_SHARE", 0.0), ("_ORPHAN_SECONDS", 2)):
        assert hasattr(searching, name), f"retrieval.searching has no {name} any more"
        setattr(searching, name, value)


def say(log: IO[str], **event: object) -> None:
    log.write(json.dumps(event) + "\n")
    log.flush()


def write(folder: Path, log_path: Path, name: str, life: int) -> None:
    """Add, remove and relabel items of its own, whose paths begin with its name."""
    choose = random.Random(f"{name} {life}")
    store = Store.open(folder / STORE)
    with store.read() as tx:
        mine = {item.id: item.label for item in tx.items() if item.path.startswith(f"/{name}/")}
    made = 0
    with log_path.open("w") as log:
        while True:
            wish = choose.random()
            many = choose.randint(1, 12)
            with store.write() as tx:
                if len(mine) < many or (wish < 0.5 and len(mine) < _MANY):
                    paths = [f"/{name}/{life}/{made + number}" for number in range(many)]
                    made += many
                    mine |= _add(log, tx, {path: _label(choose) for path in paths})
                elif wish < 0.75:
                    ids = choose.sample(sorted(mine), many)
                    say(log, seq=tx.seq, removed=ids)
                    assert tx.remove_items(ids) == many
                    for one in ids:
                        del mine[one]
                else:
                    ids, label = choose.sample(sorted(mine), many), _label(choose)
                    before = {one: mine[one] for one in ids}
                    say(log, seq=tx.seq, relabelled=dict.fromkeys(ids, label), before=before)
                    assert tx.relabel_items(ids, label) == many
                    mine |= dict.fromkeys(ids, label)
            say(log, done=tx.seq)
            time.sleep(choose.uniform(0, 0.02))


def _label(choose: random.Random) -> str | None:
    return choose.choice([None, *(f"label {number}" for number in range(12))])


def _add(log: IO[str], tx: Writer, labels: dict[str, str | None]) -> dict[int, str | None]:
    items = [
        NewItem(
            path=path, label=label, content_hash=path, width=1, height=1, file_size=1, mtime_ns=1
        )
        for path, label in labels.items()
    ]
    ids = tx.add_items(items, vectors_of(labels, tx.encoder.dim))
    say(log, seq=tx.seq, added=dict(zip(ids, labels.items(), strict=True)))
    return dict(zip(ids, labels.values(), strict=True))


def read(folder: Path, log_path: Path, name: str, life: int) -> None:
    """Ask for the nearest items, one query or several at a time."""
    choose = random.Random(f"{name} {life}")
    store = Store.open(folder / STORE)
    with store.read() as tx:
        asked = queries(tx.encoder.dim)
    with log_path.open("w") as log:
        while True:
            searcher = Searcher(store, folder / INDEX)
            for _ in range(_REOPENED):
                some = choose.sample(range(len(asked)), choose.choice([1, 1, 1, 1, 1, 1, 2, 12]))
                with store.glance() as glance:
                    first = glance.seq
                found = searcher.search(asked[some], K, IDENTITIES)
                with store.glance() as glance:
                    last = glance.seq
                say(
                    log,
                    first=first,
                    last=last,
                    queries=some,
                    items=[_told(one) for one in found.items],
                    identities=[_told(one) for one in found.identities],
                    count=found.count,
                )
                time.sleep(choose.uniform(0, 0.02))
            searcher.close()


def _told(nearest: list[NearestItem]) -> list[tuple[int, str | None, float]]:
    return [(one.id, one.label, one.distance) for one in nearest]


def keep_compact(folder: Path, log_path: Path, name: str, life: int) -> None:
    """Compact again and again."""
    choose = random.Random(f"{name} {life}")
    force_generations()
    with log_path.open("w") as log, Gallery.open(folder) as gallery:
        while True:
            say(log, written=compact(gallery))
            time.sleep(choose.uniform(0, 0.05))
