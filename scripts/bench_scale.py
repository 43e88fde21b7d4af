#!/usr/bin/env python
"""What a gallery of 10 or 100 million items would take, by measuring smaller ones.

    .venv/bin/python scripts/bench_scale.py

Galleries of made-up vectors are filled, indexed, opened and asked at several sizes, with the
approximate index and with the exact one; encoding photos takes what it takes, per photo, whatever
the size. Each figure is fitted by its law: bytes, storing and an exact search grow with n, building
the approximate index with n √n (each vector is compared with the centres, which are some √n), a
query's comparisons in it with √n.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import click
import numpy as np
from bench_index import FINGERPRINT, fill
from benchmarking import processor
from clustered import Clustered
from numpy.typing import NDArray

from db import Store
from retrieval.compacting import compact
from retrieval.searching import Searcher

QUERIES, PER_LABEL = 500, 50
FAR = (1_000_000, 10_000_000, 100_000_000)


def measure(folder: Path, items: int, dim: int) -> dict[str, float]:
    """Fill, index, open and ask one gallery."""
    rng = np.random.default_rng(items)
    source = Clustered.draw(max(items // PER_LABEL, 1), dim, seed=items)
    labels = np.sort(rng.integers(len(source.centres), size=items))
    store = Store.create(
        folder / "gallery.db",
        fingerprint=FINGERPRINT,
        encoder_name="made up",
        dim=dim,
        settings={"index": "ivf"},
    )
    vectors = source.items(labels, seed=1)
    start = time.perf_counter()
    fill(store, vectors, labels, 0)
    stored = time.perf_counter()
    compact(store, folder / "index", FINGERPRINT)
    built = time.perf_counter()
    queries = source.items(rng.choice(labels, QUERIES), seed=2).astype(np.float32)
    searcher = Searcher(store, folder / "index")
    searcher.search(queries[:1], 10, 2)
    opened = time.perf_counter()
    query = per_query(searcher, queries)
    (file,) = (folder / "index").iterdir()
    with store.write() as tx:
        tx.set_settings({"index": "exact"})
    compact(store, folder / "index", FINGERPRINT)
    exact = per_query(Searcher(store, folder / "index"), queries)
    store.close()  # folds the write-ahead log into the file
    return {
        "store": (folder / "gallery.db").stat().st_size,
        "index": file.stat().st_size,
        "storing": stored - start,
        "indexing": built - stored,
        "opening": opened - built,
        "query": query,
        "exact": exact,
    }


def per_query(searcher: Searcher, queries: NDArray[np.float32]) -> float:
    """Return the seconds that one query takes, after some that warm up."""
    half = len(queries) // 2
    for row in range(half):
        searcher.search(queries[row : row + 1], 10, 2)
    start = time.perf_counter()
    for row in range(half, len(queries)):
        searcher.search(queries[row : row + 1], 10, 2)
    return (time.perf_counter() - start) / (len(queries) - half)


LAWS = {
    "store": lambda n: n,
    "index": lambda n: n,
    "storing": lambda n: n,
    "indexing": lambda n: n * np.sqrt(n),
    "opening": lambda n: n,
    "query": lambda n: np.sqrt(n),
    "exact": lambda n: n,
}


@click.command()
@click.option(
    "--items", "sizes", multiple=True, type=int, default=(25_000, 50_000, 100_000, 200_000)
)
@click.option("--dim", default=256, show_default=True)
def main(sizes: tuple[int, ...], dim: int) -> None:
    """Print what was measured and what follows from it."""
    click.echo(f"{processor()}\n{dim} numbers a vector\n")
    click.echo("| items | store | index file | storing | indexing | opening | query | exact |")
    click.echo("|---|---|---|---|---|---|---|---|")
    measured = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            measured.append(measure(Path(folder), size, dim))
        click.echo(_row(f"{size:,}", measured[-1]))
    for far in FAR:
        fitted = {}
        for name, law in LAWS.items():
            # A constant part and one that follows the law, by least squares.
            rows = np.array([[1.0, law(size)] for size in sizes])
            values = np.array([one[name] for one in measured])
            constant, factor = np.linalg.lstsq(rows / values[:, None], np.ones(len(sizes)))[0]
            fitted[name] = max(constant, 0.0) + max(factor, 0.0) * law(far)
        click.echo(_row(f"{far:,} (extrapolated)", fitted))


def _row(name: str, told: dict[str, float]) -> str:
    return (
        f"| {name} | {told['store'] / 1e9:,.2f} GB | {told['index'] / 1e9:,.2f} GB | "
        f"{told['storing']:,.0f} s | {told['indexing']:,.0f} s | {told['opening']:,.2f} s | "
        f"{1000 * told['query']:,.2f} ms | {1000 * told['exact']:,.2f} ms |"
    )


if __name__ == "__main__":
    main()
