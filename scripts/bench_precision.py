#!/usr/bin/env python
"""What each arithmetic costs in quality and gains in speed.

    .venv/bin/python scripts/bench_precision.py PHOTOS QUERIES

The same photos are encoded in float32, bfloat16 and int8 (fitted to PHOTOS, as build-index does).
Cosines are those of a photo's vector with its float32 vector, over all photos; recall@1 is that of
QUERIES against PHOTOS, labels being the folders' names.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import click
import numpy as np
from benchmarking import processor
from numpy.typing import NDArray

from retrieval.embedding import Embedded, embed
from retrieval.encoders import Artifact, Encoder, open_encoder
from retrieval.encoders.factory import make_artifact
from retrieval.encoders.quantising import quantise
from retrieval.gallery import DEFAULT_ENCODER
from retrieval.sources import Source, find_photos


def vectors(photos: list[Path], encoder: Encoder) -> NDArray[np.float32]:
    """Embed photos that can all be read."""
    outcomes = embed((Source(path) for path in photos), encoder)
    return np.stack([one.vector for one in outcomes if isinstance(one, Embedded)])


def images_per_second(encoder: Encoder, count: int = 2048) -> float:
    """The encoder's rate through its queue, the best of three."""
    size = encoder.spec.preprocessing.size
    batch = np.zeros((encoder.batch_size, size, size, 3), dtype=np.uint8)
    encoder.submit(batch).result()
    rates = []
    for _ in range(3):
        start = time.perf_counter()
        waiting = [encoder.submit(batch) for _ in range(count // len(batch))]
        for one in waiting:
            one.result()
        rates.append(len(waiting) * len(batch) / (time.perf_counter() - start))
    return max(rates)


@click.command(help=__doc__)
@click.argument("folder", metavar="PHOTOS", type=click.Path(path_type=Path, exists=True))
@click.argument("queries", type=click.Path(path_type=Path, exists=True))
@click.option("--encoder", default=DEFAULT_ENCODER, show_default=True)
def main(folder: Path, queries: Path, encoder: str) -> None:
    """Print a Markdown table."""
    gallery, asked = list(find_photos(folder)), list(find_photos(queries))
    labels = np.array([path.parent.name for path in gallery])
    wanted = np.array([path.parent.name for path in asked])
    click.echo(f"{encoder}, {processor()}; {len(gallery):,} photos, {len(asked)} queries.\n")
    click.echo("| precision | images/s | lowest cosine | mean cosine | recall@1 |")
    click.echo("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        artifact: Artifact = make_artifact(encoder, Path(scratch) / "encoder")
        artifact = quantise(artifact, gallery)
        exact: NDArray[np.float32] | None = None
        for precision in ("float32", "bfloat16", "int8"):
            running = open_encoder(artifact, precision=precision)
            stored, query = vectors(gallery, running), vectors(asked, running)
            both = np.concatenate([stored, query])
            exact = both if exact is None else exact
            cosines = np.sum(both * exact, axis=1)
            recall = (labels[(query @ stored.T).argmax(axis=1)] == wanted).mean()
            click.echo(
                f"| {precision} | {images_per_second(running):.0f} | {cosines.min():.4f} "
                f"| {cosines.mean():.4f} | {recall:.3f} |"
            )
            running.close()


if __name__ == "__main__":
    main()
