#!/usr/bin/env python
"""What conditions cost a query, and what they do to the share of strangers that pass.

    .venv/bin/python scripts/bench_filters.py PHOTOS

Speed: drawn vectors in a store, conditions that leave a share of them, and one query after another
by a `Searcher`; beside it the same by each of its two ways: the index, told which may be found, and
the scan of what is left. Strangers: a gallery of PHOTOS, each a stranger to all labels but its own,
of which conditions leave some drawn at random; each rule's threshold is the one that 5 % of the
strangers pass where all labels are left.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
from benchmarking import processor
from numpy.typing import NDArray

from db import NewItem, Store
from retrieval import Gallery, proving
from retrieval.conditions import conditions
from retrieval.evaluation.distances import gallery_vectors
from retrieval.gallery import DEFAULT_ENCODER
from retrieval.rules import RULES
from retrieval.searching import Searcher

SHARES = (0.0002, 0.001, 0.002, 0.005, 0.01, 0.02, 0.1, 0.5, 1.0)
LABELS = (1, 2, 5, 10, 20, 40, 80)
FPIR = 0.05
_CHUNK = 10_000


def filled(path: Path, items: int, dim: int) -> Store:
    """Make a store of drawn vectors whose items have a number in [0, 1) as metadata."""
    rng = np.random.default_rng(0)
    store = Store.create(path, fingerprint="f", encoder_name="drawn", dim=dim, settings={})
    shares = rng.permutation(items) / items
    for start in range(0, items, _CHUNK):
        vectors = rng.standard_normal((min(_CHUNK, items - start), dim), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        some = [
            NewItem(
                path=f"/{start + n}",
                content_hash=f"{start + n:064x}",
                width=1,
                height=1,
                file_size=1,
                mtime_ns=1,
                label=f"{(start + n) % 1000}",
                metadata={"share": f"{shares[start + n]:.9f}"},
            )
            for n in range(len(vectors))
        ]
        with store.write() as tx:
            tx.add_items(some, vectors)
    return store


def speed(items: int, dim: int, queries: int) -> Iterator[tuple[str, ...]]:
    """Yield a row for each share: items left, ms of the first and of later queries."""
    asked = np.random.default_rng(1).standard_normal((queries, 1, dim), dtype=np.float32)
    asked /= np.linalg.norm(asked, axis=2, keepdims=True)
    with tempfile.TemporaryDirectory() as scratch:
        store = filled(Path(scratch) / "gallery.db", items, dim)
        searcher = Searcher(store, Path(scratch) / "index")
        searcher.search(asked[0], 5)
        usual, took = proving.SCANNED, {}
        for share in SHARES:
            where = conditions(f"share<{share}")
            start = time.perf_counter()
            left = searcher.search(asked[0], 5, 2, where=where).among
            first = time.perf_counter() - start
            for scanned in (0, usual, items if left <= 5 * usual else 0):
                proving.SCANNED = scanned
                searcher.search(asked[0], 5, 2, where=where)
                took[scanned] = []
                for query in asked:
                    start = time.perf_counter()
                    searcher.search(query, 5, 2, where=where)
                    took[scanned].append(time.perf_counter() - start)
            proving.SCANNED = usual
            scan = statistics.median(took[items]) if left <= 5 * usual else math.nan
            ways = (first, statistics.median(took[usual]), statistics.median(took[0]), scan)
            yield f"{share:.2%}", f"{left:,}", *(f"{1000 * one:.1f}" for one in ways)
        store.close()


def strangers(photos: Path, encoder: str, draws: int) -> Iterator[tuple[str, ...]]:
    """Yield a row for each number of labels left: FPIR by each rule."""
    with tempfile.TemporaryDirectory() as scratch:
        with Gallery.create(Path(scratch) / "gallery", encoder=encoder) as gallery:
            gallery.build(photos)
        store = Store.open(Path(scratch) / "gallery" / "gallery.db")
        with store.read() as tx:
            held = gallery_vectors(tx)
        store.close()
    by_label = nearest_by_label(held.vectors.astype(np.float32), held.identities)
    labels = by_label.shape[1]
    by_label[np.arange(len(by_label)), held.identities] = np.inf
    rng = np.random.default_rng(0)
    thresholds = {
        name: np.quantile(rule(np.sort(by_label, axis=1)), FPIR) for name, rule in RULES.items()
    }
    for left in (*(one for one in LABELS if one < labels), labels):
        passed: dict[str, list[float]] = {name: [] for name in RULES}
        for _ in range(draws):
            some = np.sort(by_label[:, rng.permutation(labels)[:left]], axis=1)
            some = some[np.isfinite(some[:, 0])]
            for name, rule in RULES.items():
                passed[name].append(float(np.mean(rule(some) < thresholds[name])))
        yield str(left), *(f"{np.mean(passed[name]):.1%}" for name in RULES)


def nearest_by_label(
    vectors: NDArray[np.float32], identities: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the distance of each item to the nearest of each label, float64 `(n, labels)`."""
    distances = 1 - vectors @ vectors.T
    return np.stack(
        [distances[:, identities == label].min(axis=1) for label in np.unique(identities)], axis=1
    ).astype(np.float64)


@click.command(help=__doc__)
@click.argument("photos", type=click.Path(path_type=Path, exists=True))
@click.option("--encoder", default=DEFAULT_ENCODER, show_default=True)
@click.option("--items", default=100_000, show_default=True, help="Drawn vectors.")
@click.option("--dim", default=1280, show_default=True)
@click.option("--queries", default=50, show_default=True)
@click.option("--draws", default=50, show_default=True, help="Choices of labels.")
def main(photos: Path, encoder: str, items: int, dim: int, queries: int, draws: int) -> None:
    """Print two Markdown tables."""
    click.echo(f"{processor()}; {items:,} items of {dim} dimensions, ms:\n")
    click.echo("| share left | items left | first query | later ones | by the index | by a scan |")
    click.echo("|---|---|---|---|---|---|")
    for row in speed(items, dim, queries):
        click.echo(f"| {' | '.join(row)} |")
    click.echo(f"\n| labels left | {' | '.join(RULES)} |\n|---|{'---|' * len(RULES)}")
    for row in strangers(photos, encoder, draws):
        click.echo(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
