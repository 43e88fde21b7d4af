#!/usr/bin/env python
"""The same gallery in a folder, in PostgreSQL with pgvector, and in PostgreSQL with Milvus.

    .venv/bin/python scripts/bench_backends.py

Needs the dev extra, whose packages bring both servers; they are started here, on this machine, and
PostgreSQL flushes what it commits. Everything is the whole path, from an embedding to a decision:
sequence number, index, the stored vectors that decide, labels. What was added or removed is durable
when its time ends, and the very next query, with a time of its own, must see it. Servers and client
share the processor, one backend after the other; compare them with each other only.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from bench_index import FINGERPRINT, K, fill, recall, true_neighbours
from benchmarking import processor
from clustered import Clustered
from numpy.typing import NDArray

from db import Store
from retrieval.asking import answer, doubt, question
from retrieval.compacting import compact
from retrieval.in_milvus import index_of
from retrieval.searching import Searcher

sys.path.append(str(Path(__file__).parent.parent / "tests" / "helpers"))
from milvus_server import MilvusProcess
from postgres_server import PostgresServer

Vectors = NDArray[np.float32]

PER_LABEL, CLIENTS = 50, 4
# Thresholds at which every query is matched, and none.
RULE, MATCH, UNKNOWN = "margin", 2.0, 0.0
PROBES = {
    "folder: ivf": (2, 8, 32),
    "ivf": (4, 8, 16, 32),
    "hnsw": (200, 400, 800),
    "milvus": (64, 256, 512),
}
# What a server of 4 GB would be given.
SETTINGS = {"fsync": "on", "shared_buffers": "1GB", "maintenance_work_mem": "1GB"}
SETTLED_SECONDS = 600.0


@dataclass
class Servers:
    """The servers, started when they are first asked for."""

    stack: ExitStack
    postgres: PostgresServer | None = None
    milvus: MilvusProcess | None = None
    # Its program and what it lays out in advance.
    empty_milvus: int = 0

    def database(self) -> str:
        """Return the URL of an empty database."""
        if self.postgres is None:
            self.postgres = self.stack.enter_context(PostgresServer(**SETTINGS))
        return self.postgres.new_database()

    def milvus_url(self) -> str:
        """Return what `--index` says."""
        if self.milvus is None:
            self.milvus = self.stack.enter_context(MilvusProcess())
            self.empty_milvus = on_disk(self.milvus.folder)
        return self.milvus.uri.replace("http", "milvus", 1)


@dataclass(frozen=True)
class Backend:
    """A way to keep and search a gallery."""

    name: str
    index: str
    is_shared: bool

    def create(self, servers: Servers, folder: Path, dim: int) -> Store:
        """Make an empty gallery's store."""
        index = servers.milvus_url() if self.index == "milvus" else self.index
        return Store.create(
            servers.database() if self.is_shared else folder / "gallery.db",
            fingerprint=FINGERPRINT,
            encoder_name="made up",
            dim=dim,
            settings={"index": index},
        )

    def memory(self, servers: Servers) -> int:
        """Return the bytes that the processes of its servers hold."""
        held = 0
        if self.is_shared and servers.postgres is not None:
            held += sum(map(proportional, family(servers.postgres.pid)))
        if self.index == "milvus" and servers.milvus is not None:
            held += proportional(servers.milvus.pid)
        return held

    def sizes(self, store: Store, servers: Servers, folder: Path) -> tuple[int, int]:
        """Return the bytes of the store and of the index."""
        if not self.is_shared:
            index = on_disk(folder / "index")
            return on_disk(folder) - index, index
        with store.read() as tx, store.lent() as connection:
            (index,) = connection.execute(
                "SELECT coalesce(sum(pg_relation_size(indexrelid)), 0)::int8 FROM pg_index "
                "JOIN pg_class ON pg_class.oid = indexrelid "
                "WHERE starts_with(relname, 'ix_ivf_') OR starts_with(relname, 'ix_hnsw_')"
            ).fetchone()
            stored = tx.size() - index
        if self.index == "milvus" and servers.milvus is not None:
            return stored, on_disk(servers.milvus.folder) - servers.empty_milvus
        return stored, index


BACKENDS = {
    one.name: one
    for one in (
        Backend("folder: exact", "exact", is_shared=False),
        Backend("folder: ivf", "ivf", is_shared=False),
        Backend("exact", "exact", is_shared=True),
        Backend("ivf", "ivf", is_shared=True),
        Backend("hnsw", "hnsw", is_shared=True),
        Backend("milvus", "milvus", is_shared=True),
    )
}


def family(pid: int) -> Iterator[int]:
    """Yield a process and its children."""
    yield pid
    yield from map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


def proportional(pid: int | str) -> int:
    """Return the bytes that a process holds, its share of what it shares."""
    told = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(told.split("\nPss:")[1].split()[0]) * 1024


def on_disk(folder: Path) -> int:
    """Return the bytes that files take up."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def ask(
    searcher: Searcher, query: Vectors, probes: int | None = None, threshold: float = MATCH
) -> tuple[float, list[int]]:
    """Identify one embedding; return the seconds and the ids of the nearest items."""
    asked = question(K, threshold, RULE)
    start = time.perf_counter()
    depth, identities = asked.depth, asked.identities
    again = doubt(asked) if probes is None else None
    found = searcher.search(query, depth, identities, probes=probes, doubt=again)
    told = answer(found, 0, asked, None, query[0])
    return time.perf_counter() - start, [item.id for item in told.items]


def ask_all(
    searcher: Searcher,
    queries: Vectors,
    probes: int | None = None,
    threshold: float = MATCH,
) -> tuple[list[float], NDArray[np.int64]]:
    """Identify one embedding after another."""
    rows = range(len(queries))
    told = [ask(searcher, queries[row : row + 1], probes, threshold) for row in rows]
    return [seconds for seconds, _ in told], np.array([ids for _, ids in told])


def ask_together(searcher: Searcher, queries: Vectors) -> tuple[list[float], float]:
    """Identify by several threads at once; return the seconds of each, and of all."""
    start = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        told = pool.map(lambda part: ask_all(searcher, part)[0], np.array_split(queries, CLIENTS))
        seconds = [one for part in told for one in part]
    return seconds, time.perf_counter() - start


def change(store: Store, searcher: Searcher, source: Clustered, turns: int) -> list[float]:
    """Return the median seconds of adding and removing, each with the query that follows."""
    times: list[list[float]] = [[] for _ in range(8)]
    labels = np.arange(1000) % len(source.centres)
    for turn in range(turns):
        for column, count in ((0, 1), (4, 1000)):
            if count > 1 and turn % 5:
                continue
            new = source.items(labels[:count], seed=1000 + turn)
            query = new[:1].astype(np.float32)
            start = time.perf_counter()
            ids = fill(store, new, labels[:count], 10**8 + turn * 10_000 + column * 1000)
            times[column].append(time.perf_counter() - start)
            seconds, nearest = ask(searcher, query)
            times[column + 1].append(seconds)
            if nearest[0] != ids[0]:
                raise click.ClickException("What was added is not found.")
            start = time.perf_counter()
            with store.write() as tx:
                tx.remove_items(ids)
            times[column + 2].append(time.perf_counter() - start)
            seconds, nearest = ask(searcher, query)
            times[column + 3].append(seconds)
            if ids[0] in nearest:
                raise click.ClickException("What was removed is found.")
    return [float(np.median(column)) for column in times]


class Measured:
    """The rows of the tables, one for each backend."""

    def __init__(self, source: Clustered, items: int, queries: int) -> None:
        self._source = source
        self._labels = np.sort(np.random.default_rng(4).integers(len(source.centres), size=items))
        self._vectors = source.items(self._labels, seed=1)
        asked = np.random.default_rng(5).choice(self._labels, 3 * queries)
        drawn = source.items(asked, seed=2).astype(np.float32)
        self._warming, self._alone, self._together = np.split(drawn, 3)
        self.built: list[str] = []
        self.asked: list[str] = []
        self.changed: list[str] = []
        self.deeper: list[str] = []

    def measure(self, backend: Backend, servers: Servers, folder: Path, turns: int) -> None:
        """Fill a gallery, ask it and change it."""
        items, dim = self._vectors.shape
        store = backend.create(servers, folder, dim)
        start = time.perf_counter()
        ids = np.array(fill(store, self._vectors, self._labels, 0))
        stored = time.perf_counter()
        compact(store, folder / "index", FINGERPRINT)
        if backend.index == "milvus":
            with store.read() as tx:
                index = index_of(tx.settings()["index"], tx.uid, tx.encoder)
            if not index.settle(SETTLED_SECONDS):
                raise click.ClickException("Milvus has not built its index.")
            index.close()
        built = time.perf_counter()
        own = proportional("self")
        searcher = Searcher(store, folder / "index")
        ask_all(searcher, self._warming)
        self._ask(backend, searcher, ids)
        own = max(proportional("self") - own, 0)
        served = f"{backend.memory(servers) / 1e6:,.0f} MB" if backend.is_shared else "–"
        of_store, of_index = (one / items for one in backend.sizes(store, servers, folder))
        self.built.append(
            f"{backend.name} | {stored - start:.1f} s | {built - stored:.1f} s | "
            f"{items / (built - start):,.0f} | {of_store:,.0f} | {of_index:,.0f} | {served} | "
            f"{own / 1e6:,.0f} MB"
        )
        told = [_ms(one) for one in change(store, searcher, self._source, turns)]
        pairs = (
            f"{durable} + {query}" for durable, query in zip(told[::2], told[1::2], strict=True)
        )
        self.changed.append(" | ".join((backend.name, *pairs)))
        searcher.close()
        store.close()

    def _ask(self, backend: Backend, searcher: Searcher, ids: NDArray[np.int64]) -> None:
        true = true_neighbours(self._vectors.astype(np.float32), ids, self._alone)
        alone, found = ask_all(searcher, self._alone)
        strangers, _ = ask_all(searcher, self._alone, threshold=UNKNOWN)
        together, seconds = ask_together(searcher, self._together)
        self.asked.append(
            f"{backend.name} | {recall(found, true):.4f} | {_middle_and_tail(alone)} | "
            f"{_middle_and_tail(strangers)} | {len(together) / seconds:,.0f} | "
            f"{_middle_and_tail(together)}"
        )
        for probes in PROBES.get(backend.name, ()):
            alone, found = ask_all(searcher, self._alone, probes)
            self.deeper.append(
                f"{backend.name} | {probes} | {recall(found, true):.4f} | {_middle_and_tail(alone)}"
            )


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.1f}"


def _middle_and_tail(seconds: list[float]) -> str:
    return " | ".join(f"{_ms(np.percentile(seconds, one))} ms" for one in (50, 99))


def _print(title: str, header: str, rows: list[str]) -> None:
    click.echo(f"\n{title}\n\n| {header} |\n|{'---|' * (header.count('|') + 1)}")
    for row in rows:
        click.echo(f"| {row} |")


@click.command()
@click.option("--items", default=100_000, show_default=True)
@click.option("--dim", default=256, show_default=True)
@click.option("--queries", default=500, show_default=True, help="Of each measurement.")
@click.option("--turns", default=20, show_default=True, help="How often one item is added.")
@click.option(
    "--backend",
    "backends",
    multiple=True,
    type=click.Choice(list(BACKENDS)),
    default=list(BACKENDS),
    help="One to measure; all of them if none is named.",
)
def main(items: int, dim: int, queries: int, turns: int, backends: tuple[str, ...]) -> None:
    """Print tables of building, asking and changing."""
    click.echo(f"{processor()}; {items:,} items of {dim} numbers, {PER_LABEL} a label")
    measured = Measured(Clustered.draw(max(items // PER_LABEL, 2), dim), items, queries)
    with ExitStack() as stack:
        servers = Servers(stack)
        for number, name in enumerate(backends):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) / str(number)
            folder.mkdir()
            measured.measure(BACKENDS[name], servers, folder, turns)
    _print(
        "Building: store, then index; bytes an item; memory of the servers, and more of the client",
        "backend | storing | indexing | items/s | store | index | servers | client",
        measured.built,
    )
    _print(
        f"Asking: one client, matches, then unknown; then {CLIENTS} threads, matches",
        "backend | recall@10 | p50 | p99 | p50 | p99 | queries/s | p50 | p99",
        measured.asked,
    )
    _print(
        "Changing, ms: until it is durable + the next query, which sees it",
        "backend | add 1 | remove 1 | add 1,000 | remove 1,000",
        measured.changed,
    )
    _print(
        "Looking farther, without a second look: cells, `hnsw.ef_search`, or Milvus's `ef`",
        "backend | looks at | recall@10 | p50 | p99",
        measured.deeper,
    )


if __name__ == "__main__":
    main()
