#!/usr/bin/env python
"""How well `lookalike audit` finds planted mistakes, and copies of the same photo.

    .venv/bin/python scripts/bench_audit.py PHOTOS
    .venv/bin/python scripts/bench_audit.py --items 100000

Wrong labels are planted on 2 % of the photos, at random or as the label of the nearest photo that
has another one, and each way to rank suspects is judged on the same draws. Copies are photos saved
once more, smaller, cut, mirrored or brighter. With --items the time and the memory of an audit are
measured instead, on so many drawn vectors, 50 to a label.
"""

from __future__ import annotations

import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import click
import numpy as np
from benchmarking import processor
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from db import NewItem, Store
from retrieval.auditing import audit
from retrieval.embedding import Embedded, embed, embed_image
from retrieval.encoders import open_encoder
from retrieval.encoders.factory import make_artifact
from retrieval.evaluation.distances import distance_blocks
from retrieval.evaluation.mislabelled import NEIGHBOURS, SUSPICIOUS, suspicion
from retrieval.evaluation.neighbourhoods import NeighbourGatherer, Neighbourhoods
from retrieval.gallery import DEFAULT_ENCODER
from retrieval.sources import Source, find_photos

PLANTED = 0.02
LIMITS = (0.02, 0.05, 0.08, 0.10)
COPIES = 150

Vectors = NDArray[np.float32]
Labels = NDArray[np.int64]


def neighbourhoods(vectors: Vectors, labels: Labels, k: int = NEIGHBOURS) -> Neighbourhoods:
    """What is near each item."""
    gatherer = NeighbourGatherer(labels, k)
    for rows, others, distances in distance_blocks(vectors, len(vectors)):
        gatherer.take(rows, others, distances)
    return gatherer.neighbourhoods()


def votes(near: Neighbourhoods, labels: Labels) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the votes of each item's own label, and of the strongest other one."""
    theirs = labels[near.nearest]
    own = theirs == labels[:, np.newaxis]
    count = (theirs[:, :, np.newaxis] == theirs[:, np.newaxis]).sum(axis=2)
    return own.sum(axis=1), np.where(own, 0, count).max(axis=1)


def rankings(vectors: Vectors, labels: Labels) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Score each item by each of the ways compared; NaN where a way has nothing to say."""
    near = neighbourhoods(vectors, labels)
    found = suspicion(near, labels)
    mate, other = near.mate_distance.astype(float), found.rival_distance.astype(float)
    yield "distance to the nearest mate", mate
    with np.errstate(invalid="ignore"):
        yield "difference of the distances", mate - other
        yield "relative distance", (mate - other) / (mate + other)
    own, others = votes(near, labels)
    yield f"vote of {NEIGHBOURS}", (others - own) / NEIGHBOURS
    own, others = votes(neighbourhoods(vectors, labels, 2 * NEIGHBOURS), labels)
    yield f"vote of {2 * NEIGHBOURS}", (others - own) / (2 * NEIGHBOURS)
    yield "lookalike's score", found.score


def average_precision(scores: NDArray[np.float64], planted: NDArray[np.bool_]) -> float:
    """Mean, over the planted, of the precision down to each; what has no score comes last."""
    hits = planted[np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable")]
    return float((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())


def mislabelled(vectors: Vectors, labels: Labels, per_label: int | None, draws: int) -> None:
    """Print how each way of ranking finds the planted."""
    rng = np.random.default_rng(0)
    measured: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    for _ in range(draws):
        shuffled = rng.permutation(len(labels))
        groups = [shuffled[labels[shuffled] == one][:per_label] for one in np.unique(labels)]
        drawn = np.sort(np.concatenate(groups))
        right, some = labels[drawn], vectors[drawn]
        chosen = rng.choice(len(some), max(3, round(PLANTED * len(some))), replace=False)
        distances = np.where(right[chosen, None] == right, np.inf, 1 - some[chosen] @ some.T)
        wrong = {
            "at random": (right[chosen] + rng.integers(1, right.max() + 1, len(chosen)))
            % (right.max() + 1),
            "look-alike": right[distances.argmin(axis=1)],
        }
        planted = np.zeros(len(some), dtype=bool)
        planted[chosen] = True
        for how, labels_given in wrong.items():
            said = right.copy()
            said[chosen] = labels_given
            for way, scores in rankings(some, said):
                order = np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable")
                top = planted[order[: len(chosen)]].mean()
                named = scores > SUSPICIOUS
                row = (
                    float(top),
                    average_precision(scores, planted),
                    float(named[planted].mean()),
                    float(named[~planted].mean()),
                )
                measured.setdefault((how, way), []).append(row)
    click.echo(
        "\n| planted | ranked by | precision at n | average precision | found | others named |"
    )
    click.echo("|---|---|---|---|---|---|")
    for (how, way), rows in measured.items():
        top, precision, found, named = np.mean(rows, axis=0)
        ours = way == "lookalike's score"
        told = f"{found:.3f} | {named:.3f}" if ours else "– | –"
        click.echo(f"| {how} | {way} | {top:.3f} | {precision:.3f} | {told} |")


def _saved(image: Image.Image, kind: str = "JPEG", quality: int = 90) -> bytes:
    data = BytesIO()
    image.save(data, kind, quality=quality)
    return data.getvalue()


def _cut(image: Image.Image, share: float) -> Image.Image:
    return ImageOps.crop(image, round(min(image.size) * share / 2))


CHANGES: dict[str, Callable[[Image.Image], bytes]] = {
    "JPEG, quality 90": _saved,
    "JPEG, quality 50": lambda image: _saved(image, quality=50),
    "WebP, quality 75": lambda image: _saved(image, "WEBP", 75),
    "twice the size": lambda image: _saved(ImageOps.scale(image, 2)),
    "half the size": lambda image: _saved(ImageOps.scale(image, 0.5)),
    "5 % cut off": lambda image: _saved(_cut(image, 0.05)),
    "10 % cut off": lambda image: _saved(_cut(image, 0.1)),
    "mirrored": lambda image: _saved(ImageOps.mirror(image)),
    "a fifth brighter": lambda image: _saved(ImageEnhance.Brightness(image).enhance(1.2)),
}


def duplicates(
    photos: list[Path], vectors: Vectors, labels: Labels, encode: Callable[[bytes], Vectors]
) -> None:
    """Print which share of copies, and how many pairs of other photos, lie below each limit."""
    click.echo(f"\n| pairs | {' | '.join(f'below {limit:.2f}' for limit in LIMITS)} |")
    click.echo(f"|---|{'---|' * len(LIMITS)}")
    chosen = random.Random(0).sample(range(len(photos)), min(COPIES, len(photos)))
    for name, change in CHANGES.items():
        distances = []
        for one in chosen:
            with Image.open(photos[one]) as image:
                copy = encode(change(image.convert("RGB")))
            distances.append(1 - float(copy @ vectors[one]))
        shares = [np.mean(np.array(distances) < limit) for limit in LIMITS]
        click.echo(f"| copy: {name} | {' | '.join(f'{share:.3f}' for share in shares)} |")
    counts, pairs = np.zeros(len(LIMITS), dtype=int), 0
    for rows, others, block in distance_blocks(vectors, len(vectors)):
        across = (labels[rows, np.newaxis] != labels[others]) & np.isfinite(block)
        pairs += int(across.sum())
        counts += [int((block[across] < limit).sum()) for limit in LIMITS]
    told = " | ".join(f"{count:,}" for count in counts)
    click.echo(f"| of the {pairs:,} pairs of two labels | {told} |")


def large(count: int, dim: int = 1280) -> None:
    """Print how long an audit of so many items takes, and the most this process held."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "gallery.db"
        store = Store.create(path, fingerprint="", encoder_name="", dim=dim, settings={})
        for first in range(0, count, 5000):
            some = range(first, min(first + 5000, count))
            vectors = rng.normal(size=(len(some), dim)).astype(np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            of = {"width": 1, "height": 1, "file_size": 1, "mtime_ns": 1}
            items = [
                NewItem(path=f"/{i}.jpg", content_hash=f"{i:064x}", label=f"{i // 50}", **of)
                for i in some
            ]
            with store.write() as tx:
                tx.add_items(items, vectors)
        start = time.perf_counter()
        audit(store, duplicates_below=0.05, limit=50)
        seconds = time.perf_counter() - start
        store.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    click.echo(f"{processor()}: {count:,} items, {seconds:.0f} s, {peak:.2f} GB at most")


@click.command(help=__doc__)
@click.argument(
    "folder", metavar="PHOTOS", type=click.Path(path_type=Path, exists=True), required=False
)
@click.option("--items", type=int, help="Instead, measure an audit of so many drawn vectors.")
@click.option("--encoder", default=DEFAULT_ENCODER, show_default=True)
@click.option("--per-label", type=int, help="Keep so many photos of each label; all by default.")
@click.option("--draws", default=30, show_default=True)
def main(
    folder: Path | None, items: int | None, encoder: str, per_label: int | None, draws: int
) -> None:
    """Print Markdown tables."""
    if items is not None:
        large(items)
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
        mislabelled(vectors, labels, per_label, draws)
        duplicates(photos, vectors, labels, lambda data: embed_image(data, running))
        running.close()


if __name__ == "__main__":
    main()
