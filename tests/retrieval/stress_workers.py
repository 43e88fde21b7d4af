"""The processes of the stress test: each works on one gallery until it is killed, telling a log.

A writer tells what it is about to commit from within the transaction, so that it knows the sequence
number, and tells again once it is committed. A reader tells the sequence numbers before and after.
"""

from __future__ import annotations

import json
import random
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path
from threading import Lock
from typing import IO

import numpy as np
from stress_model import IDENTITIES, K, queries, vectors_of

from db import NewItem, Store, Writer
from indexes import IvfIndex
from retrieval import Gallery, generations
from retrieval.folder import INDEX, STORE
from retrieval.identification import NearestItem
from retrieval.searching import Searcher

# So many items of one writer at most.
_MANY = 400
# After so many answers of each of its threads, a reader opens the index anew.
_REOPENED = 40
_SAYING = Lock()


def look_into_every_cell() -> None:
    """Let approximate indexes look at every vector: what can be missed then is a fault."""
    IvfIndex.probes = property(lambda index: int(index._main.nlist))


def say(log: IO[str], **event: object) -> None:
    line = json.dumps(event) + "\n"
    with _SAYING:
        log.write(line)
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
                elif wish < 0.6:
                    item_id, label = choose.choice(sorted(mine)), _label(choose)
                    path = f"/{name}/{life}/{made}"
                    made += 1
                    say(log, seq=tx.seq, added={item_id: (path, label)})
                    (vector,) = vectors_of([path], tx.encoder.dim)
                    tx.replace_image(item_id, _item(path, label), vector)
                    mine[item_id] = label
                elif wish < 0.8:
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
    items = [_item(path, label) for path, label in labels.items()]
    ids = tx.add_items(items, vectors_of(labels, tx.encoder.dim))
    say(log, seq=tx.seq, added=dict(zip(ids, labels.items(), strict=True)))
    return dict(zip(ids, labels.values(), strict=True))


def _item(path: str, label: str | None) -> NewItem:
    return NewItem(
        path=path, label=label, content_hash=path, width=1, height=1, file_size=1, mtime_ns=1
    )


def read(folder: Path, log_path: Path, name: str, life: int, threads: int = 1) -> None:
    """Ask for the nearest items, one query or several at a time, in threads that share an index."""
    look_into_every_cell()
    store = Store.open(folder / STORE)
    with store.read() as tx:
        asked = queries(tx.encoder.dim)
    with log_path.open("w") as log, ThreadPoolExecutor(threads) as pool:
        for opened in count():
            searcher = Searcher(store, folder / INDEX)
            ask = partial(_ask, log, store, searcher, asked)
            chosen = [random.Random(f"{name} {life} {opened} {one}") for one in range(threads)]
            list(pool.map(ask, chosen))
            searcher.close()


def _ask(
    log: IO[str],
    store: Store,
    searcher: Searcher,
    asked: np.ndarray,
    choose: random.Random,
) -> None:
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


def _told(nearest: list[NearestItem]) -> list[tuple[int, str | None, float]]:
    return [(one.id, one.label, one.distance) for one in nearest]


def keep_compact(folder: Path, log_path: Path, name: str, life: int) -> None:
    """Compact again and again, to index files of either kind."""
    choose = random.Random(f"{name} {life}")
    # Index files that nobody names are deleted while others may be opening them.
    assert generations._ORPHAN_SECONDS > 2
    generations._ORPHAN_SECONDS = 2
    with log_path.open("w") as log, Gallery.open(folder) as gallery:
        while True:
            if choose.random() < 0.2:
                gallery.choose_index(choose.choice(sorted(generations.INDEX_KINDS)))
            report = gallery.compact()
            say(log, written=report.generation, purged=report.purged)
            time.sleep(choose.uniform(0, 0.05))
