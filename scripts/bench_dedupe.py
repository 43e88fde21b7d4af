#!/usr/bin/env python
"""How well photos are grouped into identities, and what near-duplicates and clusters cost.

    .venv/bin/python scripts/bench_dedupe.py PHOTOS
    .venv/bin/python scripts/bench_dedupe.py --items 100000

With PHOTOS, a folder with a subfolder for each label, several ways to cluster are judged by these
labels, each at the limits given: what belongs to no cluster counts as alone. With --items the time
and the memory of `dedupe` and `cluster` are measured instead, on so many made-up vectors in
clusters, a tenth of them copies; each command runs in a process of its own.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import numpy as np
from benchmarking import processor, run
from numpy.typing import NDArray

from db import NewItem, Store
from retrieval.clustering import cluster_items
from retrieval.deduplicating import find_duplicates
from retrieval.embedding import Embedded, embed
from retrieval.encoders import open_encoder
from retrieval.encoders.factory import make_artifact
from retrieval.evaluation.agreement import pair_agreement
from retrieval.evaluation.cluster_limits import BETA, tune_limit
from retrieval.evaluation.clusters import MeanLinkage, cluster
from retrieval.evaluation.distances import distance_blocks
from retrieval.evaluation.neighbourhoods import NeighbourGatherer
from retrieval.gallery import DEFAULT_ENCODER
from retrieval.sources import Source, find_photos

LIMITS = (0.14, 0.18, 0.22, 0.24, 0.26, 0.28, 0.30, 0.34)
DUPLICATE_LIMITS = (0.02, 0.03, 0.04, 0.05, 0.08, 0.10)
CHAINED = (0.08, 0.10, 0.12, 0.13, 0.14, 0.16)
WHISPERED = (0.14, 0.18, 0.22, 0.26, 0.30)
DENSE = ((2, 1), (3, 2), (5, 2), (8, 3))
SPLITS = 10

Vectors = NDArray[np.float32]
Labels = NDArray[np.int64]
Groupings = Callable[[], Iterator[tuple[object, Labels]]]


def links(vectors: Vectors, k: int) -> tuple[Labels, Labels, Vectors]:
    """Each vector with its k nearest: from, to, and how far."""
    gatherer = NeighbourGatherer(np.arange(len(vectors)), k)
    for rows, others, distances in distance_blocks(vectors, len(vectors)):
        gatherer.take(rows, others, distances)
    near = gatherer.neighbourhoods()
    return np.repeat(np.arange(len(vectors)), k), near.nearest.ravel(), near.distances.ravel()


def chained(vectors: Vectors, below: float) -> Labels:
    """Single linkage: whatever is nearer than the limit goes together."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    one, other, distances = links(vectors, 10)
    near = distances < below
    n = len(vectors)
    graph = coo_matrix((np.ones(near.sum()), (one[near], other[near])), (n, n))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def whispered(vectors: Vectors, below: float) -> Labels:
    """Chinese whispers (Biemann, 2006): each takes what most of its 10 nearest say, 20 times."""
    from scipy.sparse import coo_matrix

    one, other, distances = links(vectors, 10)
    near, n = distances < below, len(vectors)
    graph = coo_matrix((1 - distances[near], (one[near], other[near])), (n, n)).tocsr()
    graph = graph.maximum(graph.T).tocsr()
    said, rng = np.arange(n), np.random.default_rng(0)
    for _ in range(20):
        for place in rng.permutation(n):
            row = slice(graph.indptr[place], graph.indptr[place + 1])
            if row.start < row.stop:
                heard, whose = np.unique(said[graph.indices[row]], return_inverse=True)
                said[place] = heard[np.argmax(np.bincount(whose, graph.data[row]))]
    return said


def linked(vectors: Vectors, below: float, linkage: str, k: int | None = None) -> Labels:
    """scikit-learn's linkage, with all pairs or with those of the k nearest."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from sklearn.cluster import AgglomerativeClustering

    n = len(vectors)
    parts, graph = np.zeros(n, dtype=np.int64), None
    if k is not None:
        one, other, _ = links(vectors, k)
        graph = coo_matrix((np.ones(len(one)), (one, other)), (n, n)).tocsr()
        graph = graph + graph.T
        parts = connected_components(graph, directed=False)[1]
    found = np.arange(n)
    for part in range(parts.max() + 1):
        mine = np.flatnonzero(parts == part)
        if len(mine) > 1:
            way = AgglomerativeClustering(
                n_clusters=None,
                distance_threshold=below,
                metric="cosine",
                linkage=linkage,
                connectivity=None if graph is None else graph[mine][:, mine],
            )
            found[mine] = mine[0] + way.fit_predict(vectors[mine]) * n
    return found


def dense(vectors: Vectors, sizes: tuple[int, int]) -> Labels:
    """HDBSCAN of scikit-learn; noise is alone."""
    from sklearn.cluster import HDBSCAN

    least, samples = sizes
    found = HDBSCAN(min_cluster_size=least, min_samples=samples, copy=True).fit_predict(vectors)
    return np.where(found < 0, len(found) + np.arange(len(found)), found)


def first_come(vectors: Vectors, below: float) -> Labels:
    """As `dedupe` groups: what is near a vector that is kept goes with it."""
    from retrieval.evaluation.duplicate_groups import KeptGatherer

    gatherer = KeptGatherer(np.arange(len(vectors)), below=below)
    for rows, others, distances in distance_blocks(vectors, len(vectors)):
        gatherer.take(rows, others, distances)
    kept = gatherer.kept_for().kept
    return np.where(kept < 0, np.arange(len(kept)), kept)


def ways(vectors: Vectors) -> Iterator[tuple[str, Groupings]]:
    """The ways compared: a name, and what gives its groups at each of its limits."""

    def at(limits: tuple[float, ...], way: Callable[[Vectors, float], Labels]) -> Groupings:
        return lambda: ((limit, way(vectors, limit)) for limit in limits)

    linkage = MeanLinkage(vectors)
    yield "mean linkage (lookalike's)", lambda: ((one, linkage.join(one)) for one in LIMITS)
    yield "mean linkage, all pairs", at(LIMITS, lambda v, b: linked(v, b, "average"))
    yield (
        "mean linkage of scikit-learn, 10 nearest",
        at((*CHAINED, *LIMITS[1:]), lambda v, b: linked(v, b, "average", 10)),
    )
    yield (
        "complete linkage, all pairs",
        at((0.30, 0.34, 0.38, 0.42, 0.46, 0.50), lambda v, b: linked(v, b, "complete")),
    )
    yield "Chinese whispers, 10 nearest", at(WHISPERED, whispered)
    yield "single linkage, 10 nearest", at(CHAINED, chained)
    yield "first come, as dedupe", at(LIMITS, first_come)
    yield "HDBSCAN", lambda: ((one, dense(vectors, one)) for one in DENSE)


def judged(groups: Labels, labels: Labels) -> list[str]:
    """Figures of a grouping, as cells."""
    from sklearn.metrics import adjusted_rand_score, v_measure_score

    agreement = pair_agreement(groups, labels)
    sizes = np.unique(groups, return_counts=True)[1]
    clusters = int((sizes > 1).sum())
    figures = (
        *(agreement.precision, agreement.recall, agreement.f(1), agreement.f(BETA)),
        *(adjusted_rand_score(labels, groups), v_measure_score(labels, groups)),
        (sizes == 1).sum() / len(groups),
    )
    return [*(f"{one:.3f}" for one in figures), f"{clusters:,}"]


HEAD = "precision | recall | F1 | F0.5 | ARI | V | alone | clusters |\n|---|---|" + "---|" * 8


def quality(vectors: Vectors, labels: Labels, name: str) -> None:
    """Print how each way does at its best limit, and lookalike's at every one."""
    click.echo(f"\n| {name}, by way | at | {HEAD}")
    for way, groupings in ways(vectors):
        best = max(groupings(), key=lambda one: pair_agreement(one[1], labels).f(BETA))
        click.echo(f"| {way} | {best[0]} | {' | '.join(judged(best[1], labels))} |")
    click.echo(f"\n| {name}, lookalike's | at | {HEAD}")
    for k in (5, 10, 20):
        linkage = MeanLinkage(vectors, neighbours=k)
        for below in LIMITS if k == 10 else (0.26,):
            cells = judged(linkage.join(below), labels)
            click.echo(f"| {k} nearest | {below:.2f} | {' | '.join(cells)} |")


def smaller(vectors: Vectors, labels: Labels) -> None:
    """Print what fixed limits do with fewer photos of a label, and limits tuned by other labels."""
    rng = np.random.default_rng(0)
    click.echo(f"\n| photos of a label, way | at | {HEAD}")
    shuffled, names = rng.permutation(len(labels)), np.unique(labels)
    # Few labels with many photos and many with few, as in a shop.
    uneven = np.maximum(1, np.round(60 / np.arange(1, len(names) + 1) ** 0.8)).astype(int)
    wanted = {str(count): np.full(len(names), count) for count in (2, 4, 10, 20)}
    wanted["1 to 60"] = rng.permutation(uneven)
    for count, most in wanted.items():
        chosen = zip(names.tolist(), most.tolist(), strict=True)
        parts = [shuffled[labels[shuffled] == one][:some] for one, some in chosen]
        drawn = np.sort(np.concatenate(parts))
        for name, below, way in (
            ("mean linkage", 0.26, lambda v, b: cluster(v, below=b)),
            ("Chinese whispers", 0.22, whispered),
            ("Chinese whispers", 0.26, whispered),
        ):
            cells = judged(way(vectors[drawn], below), labels[drawn])
            click.echo(f"| {count}, {name} | {below} | {' | '.join(cells)} |")
    click.echo("\n| half of the labels, limit by the other half | at | F0.5 | at 0.26 | best |")
    click.echo("|---|---|---|---|---|")
    for split in range(SPLITS):
        known = np.isin(labels, rng.permutation(names)[: len(names) // 2])
        limit = tune_limit(vectors[known], labels[known])
        if limit is None:
            raise click.UsageError("There are fewer than 20 labels with several photos.")
        linkage = MeanLinkage(vectors[~known])
        tried = sorted({limit, 0.26, *LIMITS})
        f = {one: pair_agreement(linkage.join(one), labels[~known]).f(BETA) for one in tried}
        best = max(f, key=lambda one: f[one])
        click.echo(
            f"| {split + 1} | {limit:.2f} | {f[limit]:.3f} | {f[0.26]:.3f} "
            f"| {f[best]:.3f} at {best:.2f} |"
        )


def duplicates(vectors: Vectors, labels: Labels) -> None:
    """Print how many photos, all taken apart, `dedupe` would call near-duplicates."""
    head = " | ".join(f"below {limit:.2f}" for limit in DUPLICATE_LIMITS)
    click.echo(f"\n| near-duplicates of {len(labels):,} photos | {head} |")
    click.echo(f"|---|{'---|' * len(DUPLICATE_LIMITS)}")
    parts = [np.flatnonzero(labels == one) for one in np.unique(labels)]
    for name, pools in (("within a label", parts), ("any", [np.arange(len(labels))])):
        counts = []
        for limit in DUPLICATE_LIMITS:
            kept = [len(np.unique(first_come(vectors[pool], limit))) for pool in pools]
            counts.append(len(labels) - sum(kept))
        click.echo(f"| {name} | {' | '.join(f'{count:,}' for count in counts)} |")


def fill(path: Path, count: int, dim: int) -> None:
    """Make a store of vectors in clusters of 1 to 2,000, a tenth of them copies of another."""
    rng = np.random.default_rng(0)
    sizes = np.minimum(rng.zipf(1.7, count), 2000)
    which = np.repeat(np.arange(count), sizes)[:count]
    centres = rng.normal(size=(which.max() + 1, dim)).astype(np.float32)
    vectors = centres[which] + 0.6 * rng.normal(size=(count, dim)).astype(np.float32)
    copies = rng.choice(count, count // 10, replace=False)
    noise = 0.1 * rng.normal(size=(len(copies), dim)).astype(np.float32)
    vectors[copies] = vectors[rng.integers(0, count, len(copies))] + noise
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    of = {"width": 1, "height": 1, "file_size": 1, "mtime_ns": 1}
    order = rng.permutation(count)
    store = Store.create(path, fingerprint="", encoder_name="", dim=dim, settings={})
    for first in range(0, count, 5000):
        some = order[first : first + 5000]
        items = [NewItem(path=f"/{i}.jpg", content_hash=f"{i:064x}", **of) for i in some.tolist()]
        with store.write() as tx:
            tx.add_items(items, vectors[some])
    store.close()


def measure(what: str, path: Path) -> None:
    """Do what one of the commands does, and print what it found."""
    store = Store.open(path)
    if what == "dedupe":
        report = find_duplicates(store, below=0.05, within="any")
        found = f"{report.n_duplicates:,} near-duplicates in {len(report.groups):,} groups"
    else:
        clustering = cluster_items(
            store,
            path.with_suffix(".csv"),
            every=False,
            below=0.4,
            min_size=2,
            overwrite=True,
            progress=None,
        )
        found = f"{clustering.clustered:,} photos in {len(clustering.clusters):,} clusters"
    store.close()
    click.echo(found)


@click.command(help=__doc__)
@click.argument(
    "folder", metavar="PHOTOS", type=click.Path(path_type=Path, exists=True), required=False
)
@click.option("--items", type=int, help="Instead, measure the cost of so many drawn vectors.")
@click.option("--dim", default=256, show_default=True, help="With --items: their length.")
@click.option("--encoder", default=DEFAULT_ENCODER, show_default=True)
@click.option("--only", nargs=2, type=str, hidden=True)
def main(
    folder: Path | None, items: int | None, dim: int, encoder: str, only: tuple[str, str] | None
) -> None:
    """Print Markdown tables."""
    if only is not None:
        measure(only[0], Path(only[1]))
        return
    if items is not None:
        click.echo(f"{processor()}; {items:,} vectors of {dim} numbers\n")
        click.echo("| command | found | time | memory |\n|---|---|---|---|")
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "gallery.db"
            fill(path, items, dim)
            for what in ("dedupe", "cluster"):
                done = run(sys.executable, __file__, "--only", what, path)
                cost = f"{done.seconds:.0f} s | {done.peak_memory / 1e9:.2f} GB"
                click.echo(f"| `{what}` | {done.output.strip()} | {cost} |")
        return
    if folder is None:
        raise click.UsageError("Say PHOTOS or --items.")
    photos = list(find_photos(folder))
    codes = {name: code for code, name in enumerate(sorted({p.parent.name for p in photos}))}
    labels = np.array([codes[path.parent.name] for path in photos])
    click.echo(f"{encoder}, {processor()}; {len(photos):,} photos of {len(codes)} labels.")
    with tempfile.TemporaryDirectory() as scratch:
        running = open_encoder(make_artifact(encoder, Path(scratch) / "encoder"))
        outcomes = embed((Source(path) for path in photos), running)
        vectors = np.stack([one.vector for one in outcomes if isinstance(one, Embedded)])
        running.close()
    duplicates(vectors, labels)
    quality(vectors, labels, encoder)
    smaller(vectors, labels)


if __name__ == "__main__":
    main()
