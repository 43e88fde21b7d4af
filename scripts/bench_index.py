#!/usr/bin/env python
"""Searching and changing large galleries, beside hnswlib, usearch and FAISS on the same vectors.

    .venv/bin/python scripts/bench_index.py

Needs hnswlib and usearch (`pip install -e '.[bench]'`) but with --alone. Ours is the whole path:
sequence number, index, what came since, and the stored vectors that decide; theirs is the index
alone. 5 % of the gallery came and 2 % went after its index file was written. Each tool is told of
the first setting at which it finds so many of the ten true neighbours; tools take turns, and the
fastest of several rounds counts. Half of the queries are of labels that the gallery has.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from benchmarking import processor, run
from clustered import Clustered
from numpy.typing import NDArray

from db import NewItem, Store
from retrieval.compacting import compact
from retrieval.identification import is_match
from retrieval.proving import Doubt
from retrieval.rules import RULES, Rule
from retrieval.searching import Searcher

Vectors = NDArray[np.float32]
Ids = NDArray[np.int64]
Search = Callable[[Vectors], Ids]

K, PER_LABEL, ROUNDS = 10, 50, 3
LEVELS = (0.95, 0.99, 0.999)
EFS = (10, 14, 20, 28, 40, 56, 80, 112, 160, 224, 320, 448, 640)
PROBES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96)
CAME, WENT = 0.05, 0.02
TOOLS = ("hnswlib", "usearch", "faiss")
FPIR = 0.05
FINGERPRINT = "0" * 64

_OPEN = """
import sys, time
from pathlib import Path
import faiss, numpy
from db import Store
from retrieval.searching import Searcher
def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
before, since = peak(), time.perf_counter()
store = Store.open(Path(sys.argv[1]) / "gallery.db")
searcher = Searcher(store, Path(sys.argv[1]) / "index")
query = numpy.load(sys.argv[2])[:1]
searcher.search(query, 10, 2)
print(time.perf_counter() - since, before, peak())
"""


def fill(store: Store, vectors: NDArray[np.float16], labels: Ids, first: int) -> list[int]:
    """Store made-up items."""
    ids = []
    for start in range(0, len(labels), 20_000):
        some = range(start, min(start + 20_000, len(labels)))
        items = [
            NewItem(
                path=f"/photos/{labels[n]:07d}/{first + n:08d}.jpg",
                content_hash=f"{(first + n) * 0x9E3779B97F4A7C15 % 2**64:016x}" * 4,
                width=640,
                height=480,
                file_size=100_000,
                mtime_ns=0,
                label=f"label-{labels[n]:07d}",
            )
            for n in some
        ]
        with store.write() as tx:
            ids += tx.add_items(items, vectors[some.start : some.stop].astype(np.float32))
    return ids


def make(folder: Path, count: int, source: Clustered, labels: Ids) -> tuple[Ids, Any, float]:
    """Make a gallery; return the ids that are alive, their vectors, and the time of the index."""
    vectors = source.items(labels, seed=1)
    folder.mkdir()
    store = Store.create(
        folder / "gallery.db",
        fingerprint=FINGERPRINT,
        encoder_name="made up",
        dim=vectors.shape[1],
        settings={"index": "ivf"},
    )
    since = round(count * (1 - CAME))
    # In an order of its own: what comes later is of the same labels.
    order = np.random.default_rng(2).permutation(count)
    ids = fill(store, vectors[order[:since]], labels[order[:since]], 0)
    start = time.perf_counter()
    compact(store, folder / "index", FINGERPRINT)
    seconds = time.perf_counter() - start
    ids += fill(store, vectors[order[since:]], labels[order[since:]], since)
    gone = np.random.default_rng(3).choice(count, round(count * WENT), replace=False)
    with store.write() as tx:
        tx.remove_items([ids[one] for one in gone])
    store.close()
    alive = np.setdiff1d(np.arange(count), gone)
    return np.array(ids)[alive], vectors[order[alive]], seconds


def best(search: Search, queries: Vectors, *, at_once: bool) -> float:
    """Return queries per second."""
    start = time.perf_counter()
    if at_once:
        search(queries)
    else:
        for row in range(len(queries)):
            search(queries[row : row + 1])
    return len(queries) / (time.perf_counter() - start)


def recall(found: Ids, true: Ids) -> float:
    """Return the share of the true neighbours found."""
    return float(np.mean([np.isin(a, b).mean() for a, b in zip(true, found, strict=True)]))


def ours(searcher: Searcher, probes: int | None) -> Search:
    """Search by the whole path."""

    def search(queries: Vectors) -> Ids:
        found = searcher.search(queries, K, 1, probes=probes).items
        return np.array([[item.id for item in items] for items in found])

    return search


def rivals(vectors: Vectors, ids: Ids, tools: tuple[str, ...]) -> dict[str, Any]:
    """Build the other indexes: name to seconds and a maker of searches by ef and threads."""
    builders = {"hnswlib": with_hnswlib, "usearch": with_usearch, "faiss": with_faiss}
    made: dict[str, Any] = {}
    for tool in tools:
        start = time.perf_counter()
        name, maker = builders[tool](vectors, ids)
        made[name] = (time.perf_counter() - start, maker)
    return made


def with_hnswlib(vectors: Vectors, ids: Ids) -> tuple[str, Callable[[int, int], Search]]:
    """Build hnswlib's index."""
    import hnswlib

    index = hnswlib.Index("ip", vectors.shape[1])
    index.init_index(len(vectors), ef_construction=200, M=16)
    index.add_items(vectors, ids)

    def maker(ef: int, threads: int) -> Search:
        index.set_ef(max(ef, K))
        index.set_num_threads(threads)
        return lambda queries: index.knn_query(queries, K)[0].astype(np.int64)

    return "hnswlib", maker


def with_usearch(vectors: Vectors, ids: Ids) -> tuple[str, Callable[[int, int], Search]]:
    """Build usearch's index."""
    from usearch.index import Index

    index = Index(ndim=vectors.shape[1], metric="ip", dtype="f16")
    index.add(ids, vectors)

    def maker(ef: int, threads: int) -> Search:
        index.expansion_search = ef

        def search(queries: Vectors) -> Ids:
            keys = index.search(queries, K, threads=threads).keys
            return np.asarray(keys, dtype=np.int64).reshape(len(queries), K)

        return search

    return "usearch, f16", maker


def with_faiss(vectors: Vectors, ids: Ids) -> tuple[str, Callable[[int, int], Search]]:
    """Build FAISS's graph."""
    import faiss

    index = faiss.IndexHNSWSQ(
        vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, 16, faiss.METRIC_INNER_PRODUCT
    )
    index.train(vectors[:1000])
    index.add(vectors)

    def maker(ef: int, threads: int) -> Search:
        faiss.omp_set_num_threads(threads)
        parameters = faiss.SearchParametersHNSW(efSearch=ef)
        return lambda queries: ids[index.search(queries, K, params=parameters)[1]]

    return "FAISS HNSW, f16", maker


def true_neighbours(vectors: Vectors, ids: Ids, queries: Vectors) -> Ids:
    """Find the true neighbours."""
    import faiss

    faiss.omp_set_num_threads(2)
    found: Ids = faiss.knn(queries, vectors, K, faiss.METRIC_INNER_PRODUCT)[1]
    return ids[found]


def show_speeds(searcher: Searcher, others: dict[str, Any], queries: Vectors, true: Ids) -> None:
    """Print queries per second at each recall, tools taking turns."""
    some = slice(0, 2000)
    tools: dict[str, tuple[Callable[[int, int], Search], tuple[int, ...]]] = {
        "lookalike": (lambda probes, _: ours(searcher, probes), PROBES),
        **{name: (maker, EFS) for name, (_, maker) in others.items()},
    }
    searcher.search(queries[:1], K)
    for level in LEVELS:
        chosen: dict[str, tuple[int, float]] = {}
        for name, (maker, settings) in tools.items():
            for setting in settings:
                reached = recall(maker(setting, 2)(queries[some]), true[some])
                if reached >= level:
                    chosen[name] = (setting, reached)
                    break
        speeds: dict[str, list[list[float]]] = {name: [[], []] for name in chosen}
        for _ in range(ROUNDS):
            for name, (setting, _) in chosen.items():
                maker = tools[name][0]
                speeds[name][0].append(best(maker(setting, 1), queries[some], at_once=False))
                speeds[name][1].append(best(maker(setting, 2), queries, at_once=True))
        for name, (setting, reached) in chosen.items():
            single, many = (max(values) for values in speeds[name])
            click.echo(
                f"| {level} | {name} | {setting} | {reached:.4f} | {single:,.0f} | {many:,.0f} |"
            )


def show_decisions(
    searcher: Searcher, store: Store, vectors: Vectors, ids: Ids, queries: Vectors
) -> None:
    """Print how many decisions are those of exact search, by two rules."""
    with store.read() as tx:
        label_of = dict(tx.item_labels())
    shown = np.array([label_of[item_id] for item_id in ids.tolist()])
    exact: list[list[tuple[str, float]]] = []
    for start in range(0, len(queries), 100):
        similar = queries[start : start + 100] @ vectors.T
        near = np.argpartition(-similar, 400, axis=1)[:, :400]
        for row, places in enumerate(near):
            order = places[np.argsort(-similar[row, places], kind="stable")]
            first = {}
            for place in order.tolist():
                first.setdefault(shown[place], 1 - float(similar[row, place]))
            exact.append(list(first.items())[:2])
    for name in ("nearest", "margin"):
        rule = RULES[name]
        scores = rule([([d for _, d in one] + [np.inf])[:2] for one in exact])
        strangers = np.sort(scores[1::2])
        last = int(FPIR * len(strangers))
        threshold = float(strangers[last - 1 : last + 1].mean())  # midway: no score's own
        right = [
            one[0][0] if score < threshold else "" for one, score in zip(exact, scores, strict=True)
        ]
        told = []
        for doubt in (None, unless_matched(rule, threshold)):
            start = time.perf_counter()
            found = searcher.search(queries, K, 2, doubt=doubt).identities
            seconds = time.perf_counter() - start
            answers = [one[0].label if is_match(one, threshold, rule) else "" for one in found]
            same = sum(a == b for a, b in zip(answers, right, strict=True))
            told.append(f"{same:,} ({1000 * seconds / len(queries):.2f} ms a query)")
        click.echo(
            f"{name}: {told[1]} of {len(queries):,} decisions are those of exact search, "
            f"{told[0]} without a second look at doubtful ones"
        )


def unless_matched(rule: Rule, threshold: float) -> Doubt:
    """Look again for what would be unknown."""
    return lambda _, near: not is_match(near, threshold, rule)


def show_changes(folder: Path, source: Clustered, sizes: tuple[int, ...]) -> None:
    """Print what adding and removing costs, with the very next query, by size of the gallery."""
    click.echo("\n| items | add 1 | add 1,000 | remove 1 | remove 1,000 | query after an add |")
    click.echo("|---|---|---|---|---|---|")
    opened = {}
    for size in sizes:
        store = Store.open(folder / str(size) / "gallery.db")
        opened[size] = (store, Searcher(store, folder / str(size) / "index"))
    times: dict[int, list[list[float]]] = {size: [[], [], [], [], []] for size in sizes}
    labels = np.arange(1000) % len(source.centres)
    for turn in range(30):
        for size, (store, searcher) in opened.items():  # taking turns
            for column, count in ((0, 1), (1, 1000)):
                if count > 1 and turn % 6:
                    continue
                new = source.items(labels[:count], seed=1000 + turn)
                first = 10**8 + turn * 10_000 + column * 5000
                start = time.perf_counter()
                ids = fill(store, new, labels[:count], first)
                times[size][column].append(time.perf_counter() - start)
                start = time.perf_counter()
                (seen,) = searcher.search(new[:1].astype(np.float32), 1).items
                times[size][4].append(time.perf_counter() - start)
                if seen[0].id != ids[0]:
                    raise click.ClickException("What was added is not found.")
                start = time.perf_counter()
                with store.write() as tx:
                    tx.remove_items(ids)
                times[size][column + 2].append(time.perf_counter() - start)
                (seen,) = searcher.search(new[:1].astype(np.float32), 1).items
                if seen and seen[0].id == ids[0]:
                    raise click.ClickException("What was removed is found.")
    for size in sizes:
        told = [f"{1000 * float(np.median(column)):.1f} ms" for column in times[size]]
        click.echo(f"| {size:,} | {' | '.join(told)} |")
        opened[size][0].close()


@click.command()
@click.option("--items", default=1_000_000, show_default=True)
@click.option("--dim", default=256, show_default=True)
@click.option("--queries", "n_queries", default=10_000, show_default=True)
@click.option(
    "--tool",
    "tools",
    multiple=True,
    type=click.Choice(TOOLS),
    default=TOOLS,
    help="Another tool to compare with; all of them if none is named.",
)
@click.option("--alone", is_flag=True, help="Leave the other tools out.")
def main(items: int, dim: int, n_queries: int, tools: tuple[str, ...], alone: bool) -> None:
    """Print tables of speed, decisions, changes and opening."""
    click.echo(f"{processor()}\n{items:,} items of {dim} numbers, {PER_LABEL} a label")
    known = max(items // PER_LABEL, 2)
    source = Clustered.draw(2 * known, dim)
    rng = np.random.default_rng(4)
    labels = np.sort(rng.integers(known, size=items))
    asked = rng.integers(known, size=n_queries) + np.arange(n_queries) % 2 * known
    queries = source.items(asked, seed=5).astype(np.float32)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        np.save(folder / "queries.npy", queries)
        ids, vectors, seconds = make(folder / str(items), items, source, labels)
        vectors = vectors.astype(np.float32)
        store = Store.open(folder / str(items) / "gallery.db")
        searcher = Searcher(store, folder / str(items) / "index")
        others = {} if alone else rivals(vectors, ids, tools)
        click.echo(f"\nbuild: lookalike {seconds:.1f} s, read from the store and written")
        for name, (theirs, _) in others.items():
            click.echo(f"build: {name} {theirs:.1f} s")
        click.echo("\n| recall@10 at least | tool | setting | recall@10 | one at a time | batch |")
        click.echo("|---|---|---|---|---|---|")
        mated = queries[::2]
        show_speeds(searcher, others, mated, true_neighbours(vectors, ids, mated))
        others.clear()
        click.echo("")
        show_decisions(searcher, store, vectors, ids, queries)
        del vectors
        searcher.close()
        store.close()
        took, before, peak = map(
            float, run_open(folder / str(items), folder / "queries.npy").split()
        )
        size = sum(file.stat().st_size for file in (folder / str(items) / "index").iterdir())
        click.echo(
            f"opening and the first query: {took:.2f} s; peak memory {peak / 1e6:,.0f} MB, "
            f"{(peak - size) / 1e6:,.0f} MB beside the index file of {size / 1e6:,.0f} MB "
            f"({before / 1e6:,.0f} MB before it was opened)"
        )
        smaller = tuple(size for size in (10_000, 100_000) if size < items)
        for size in smaller:
            make(folder / str(size), size, source, np.sort(rng.integers(known, size=size)))
        show_changes(folder, source, (*smaller, items))


def run_open(gallery: Path, queries: Path) -> str:
    """Open a gallery in a process of its own."""
    return run(sys.executable, "-c", _OPEN, gallery, queries).output


if __name__ == "__main__":
    main()
