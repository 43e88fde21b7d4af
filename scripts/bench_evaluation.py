#!/usr/bin/env python
"""How fast are queries compared with all items, and how much memory does it take?

    .venv/bin/python scripts/bench_evaluation.py

Vectors are drawn: labels around kinds, items around labels, a tenth of the queries strangers. As in
`lookalike eval`, what shares a query's capture session is kept out of its search. FAISS's own exact
search for the 10 nearest, and `compare`, which also finds what the metrics need, take turns; each
has a process of its own. In the end all items are compared with one another.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass

import click
import numpy as np
from benchmarking import Run, processor, run
from numpy.typing import NDArray

from retrieval.evaluation.comparing import compare
from retrieval.evaluation.identities import NOBODY

FAISS, COMPARE, ALL = "faiss", "compare", "all"
_KINDS = 1_000
_SESSIONS = 5  # of each label
_BLOCK = 4096
# How far labels lie from their kind, and items from their label, in lengths of a kind's vector.
_LABEL_SPREAD, _ITEM_SPREAD = 0.7, 1.2

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Drawn:
    """Vectors float16 (n, dim), what they show (n,), and what excludes (n, 2)."""

    vectors: NDArray[np.float16]
    identities: Ints
    exclude: Ints


class World:
    """Labels, and photos of them."""

    def __init__(self, labels: int, dim: int) -> None:
        """Draw the labels."""
        self.random = np.random.default_rng(0)
        kinds = self._noise(_KINDS, dim)
        self.labels = np.empty((labels, dim), dtype=np.float16)
        for first in range(0, labels, _BLOCK):
            part = self.labels[first : first + _BLOCK]
            kind = kinds[self.random.integers(0, _KINDS, len(part))]
            part[:] = kind + _LABEL_SPREAD * self._noise(len(part), dim)

    def photos(self, shown: Ints, first_content: int) -> Drawn:
        """Draw a photo of each of these labels, whose contents are all different."""
        vectors = np.empty((len(shown), self.labels.shape[1]), dtype=np.float16)
        for first in range(0, len(shown), _BLOCK):
            part = shown[first : first + _BLOCK]
            drawn = self.labels[part] + _ITEM_SPREAD * self._noise(len(part), vectors.shape[1])
            drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
            vectors[first : first + _BLOCK] = drawn
        contents = first_content + np.arange(len(shown))
        sessions = shown * _SESSIONS + self.random.integers(0, _SESSIONS, len(shown))
        return Drawn(vectors, shown, np.stack([contents, sessions], axis=1))

    def _noise(self, count: int, dim: int) -> NDArray[np.float32]:
        return self.random.standard_normal((count, dim), dtype=np.float32)


def draw(what: str, queries: int, items: int, labels: int, dim: int) -> tuple[Drawn, Drawn]:
    """Draw queries and items; to compare all, the items are their own queries."""
    world = World(labels, dim)
    held = world.photos(world.random.permutation(np.arange(items) % labels), 0)
    if what == ALL:
        return held, held
    asked = world.photos(world.random.integers(0, labels, queries), items)
    strangers = world.random.random(queries) < 0.1
    return Drawn(asked.vectors, np.where(strangers, NOBODY, asked.identities), asked.exclude), held


def measure(what: str, asked: Drawn, held: Drawn, rivals: int, threads: int) -> float:
    """Do it once; return the seconds it took."""
    if what != FAISS:
        queries = asked.vectors if what == ALL else asked.vectors.astype(np.float32)
        start = time.perf_counter()
        compare(
            queries,
            asked.identities,
            held.vectors,
            held.identities,
            rivals=rivals,
            exclude=(asked.exclude, held.exclude),
        )
        return time.perf_counter() - start
    import faiss

    faiss.omp_set_num_threads(threads)
    index = faiss.IndexFlatIP(held.vectors.shape[1])
    index.add(held.vectors.astype(np.float32))
    queries = asked.vectors.astype(np.float32)
    start = time.perf_counter()
    index.search(queries, 10)
    return time.perf_counter() - start


@click.command(help=__doc__)
@click.option("--queries", default=10_000, show_default=True)
@click.option("--items", default=100_000, show_default=True)
@click.option("--dim", default=1280, show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--rounds", default=3, show_default=True, help="The fastest of so many counts.")
@click.option("--alone", nargs=3, type=(str, int, int), hidden=True)
def main(
    queries: int,
    items: int,
    dim: int,
    threads: int,
    rounds: int,
    alone: tuple[str, int, int] | None,
) -> None:
    """Print a Markdown table."""
    if alone is not None:
        what, labels, rivals = alone
        asked, held = draw(what, queries, items, labels, dim)
        click.echo(measure(what, asked, held, rivals, threads))
        return

    # Children inherit it: both use one BLAS library or another, each with so many threads.
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(threads)
    sizes = ["--queries", queries, "--items", items, "--dim", dim, "--threads", threads]

    def once(what: str, labels: int, rivals: int) -> Run:
        done = run(sys.executable, __file__, *sizes, "--alone", what, labels, rivals)
        return Run(float(done.output), done.peak_memory, done.output)

    few, many = max(items // 100, 1), max(items // 10, 1)
    click.echo(f"{processor()}; {threads} threads, {dim} dimensions.\n")
    click.echo("| queries | items | labels | rivals | FAISS | compare | ratio | peak memory |")
    click.echo("|---|---|---|---|---|---|---|---|")
    for labels, rivals in ((few, 2), (many, 32), (items, 2), (items, 32)):
        runs = [(once(FAISS, labels, rivals), once(COMPARE, labels, rivals)) for _ in range(rounds)]
        theirs = min(run.seconds for run, _ in runs)
        ours = min(run.seconds for _, run in runs)
        peak = max(run.peak_memory for _, run in runs)
        click.echo(
            f"| {queries:,} | {items:,} | {labels:,} | {rivals} | {theirs:.1f} s | {ours:.1f} s "
            f"| {theirs / ours:.2f} | {peak / 1e6:.0f} MB |"
        )
    last = once(ALL, many, 2)
    click.echo(
        f"| {items:,} | {items:,} | {many:,} | 2 |  | {last.seconds:.1f} s "
        f"|  | {last.peak_memory / 1e6:.0f} MB |"
    )


if __name__ == "__main__":
    main()
