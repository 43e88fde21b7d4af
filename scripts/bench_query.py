#!/usr/bin/env python
"""How long one query takes, cold from a shell and warm in a process, against what can't be avoided.

    .venv/bin/python scripts/bench_query.py PHOTOS QUERIES

A gallery of 10,000 items is built from PHOTOS, each also mirrored and cropped.
Cold: the whole command `lookalike query`, against `python -c "import torch, timm"`, which every
query of the peers begins with. Warm: `Gallery.identify`, against decoding and one forward pass of
the same photos. A figure is the median over runs, or over photos in the best of several rounds.
"""

from __future__ import annotations

import math
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import click
import numpy as np
from benchmarking import processor, run, run_lookalike
from PIL import Image, ImageOps

from retrieval import Gallery
from retrieval.embedding import read_file
from retrieval.gallery import DEFAULT_ENCODER
from retrieval.images import decode
from retrieval.sources import find_photos


def views(image: Image.Image) -> Iterator[Image.Image]:
    """Yield a photo and three others that could be of the same thing."""
    width, height = image.size
    yield image
    yield ImageOps.mirror(image)
    yield image.crop((0, 0, width * 4 // 5, height * 4 // 5))
    yield ImageOps.mirror(image.crop((width // 5, height // 5, width, height)))


def write_photos(photos: Sequence[Path], folder: Path, count: int) -> None:
    """Write `count` views of the photos, labelled as they are."""
    made = ((path, view) for path in photos for view in views(Image.open(path).convert("RGB")))
    for number, (path, view) in enumerate(islice(made, count)):
        (folder / path.parent.name).mkdir(parents=True, exist_ok=True)
        view.save(folder / path.parent.name / f"{number:06d}.jpg", quality=90)


def warm(gallery: Gallery, photos: list[Path], rounds: int) -> dict[str, float]:
    """Median seconds of a warm query and of its parts, each in its best round of the photos."""
    preprocessing, encoder = gallery.encoder.spec.preprocessing, gallery.encoder

    def pixels(path: Path) -> np.ndarray:
        image = decode(read_file(path)[0], min_side=preprocessing.resize).image
        return preprocessing.apply(image)[np.newaxis]

    best = dict.fromkeys(("decode", "forward", "parts", "identify"), math.inf)
    for _ in range(rounds):
        took: dict[str, list[float]] = {name: [] for name in best}
        for path in photos:
            start = time.perf_counter()
            gallery.identify(path)
            took["identify"].append(time.perf_counter() - start)
        for path in photos:
            start = time.perf_counter()
            seen = pixels(path)
            took["decode"].append(time.perf_counter() - start)
            encoder.encode(seen)
            took["parts"].append(time.perf_counter() - start)
            took["forward"].append(took["parts"][-1] - took["decode"][-1])
        best = {name: min(best[name], statistics.median(took[name])) for name in best}
    return best


@click.command(help=__doc__)
@click.argument("folder", metavar="PHOTOS", type=click.Path(path_type=Path, exists=True))
@click.argument("queries", type=click.Path(path_type=Path, exists=True))
@click.option("--encoder", default=DEFAULT_ENCODER, show_default=True)
@click.option("--items", default=10_000, show_default=True)
@click.option("--rounds", default=5, show_default=True)
def main(folder: Path, queries: Path, encoder: str, items: int, rounds: int) -> None:
    """Print a Markdown table."""
    photos = list(find_photos(queries))
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "gallery"
        write_photos(list(find_photos(folder)), Path(scratch) / "photos", items)
        run_lookalike("build-index", Path(scratch) / "photos", "-g", path, "--encoder", encoder)
        with Gallery.open(path) as gallery:
            for photo in photos[:20]:
                gallery.identify(photo)
            took = warm(gallery, photos, rounds)
            count = gallery.info().items
        cold = [run_lookalike("query", photos[0], "-g", path).seconds for _ in range(2 * rounds)]
        torch = [run(sys.executable, "-c", "import torch, timm").seconds for _ in range(2 * rounds)]
    ask, bare = statistics.median(cold), statistics.median(torch)
    click.echo(f"{encoder}, {processor()}; {count:,} items, {len(photos)} queries.\n")
    click.echo("| what | ms | ratio |")
    click.echo("|---|---|---|")
    for name, seconds, ratio in (
        ('`python -c "import torch, timm"`', bare, ""),
        ("**cold `lookalike query`**", ask, f"{ask / bare:.2f} of it"),
        ("decode and resize", took["decode"], ""),
        ("one forward pass", took["forward"], ""),
        ("both", took["parts"], ""),
        (
            "**warm `Gallery.identify`**",
            took["identify"],
            f"{took['identify'] / took['parts']:.2f} × both",
        ),
    ):
        click.echo(f"| {name} | {1000 * seconds:.2f} | {ratio} |")


if __name__ == "__main__":
    main()
