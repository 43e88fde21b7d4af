#!/usr/bin/env python
"""Whether a build's memory stays flat, and whether interruptions change what comes of it.

    .venv/bin/python scripts/bench_memory.py PHOTOS

Galleries of 5,000 and of 50,000 photos are built: copies of PHOTOS with one pixel changed. The
larger one is built once more and interrupted ten times on the way, as by Ctrl-C; it must end up
with the same items and vectors.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import tempfile
import time
from itertools import cycle
from pathlib import Path

import click
import numpy as np
from benchmarking import processor, run_lookalike
from numpy.typing import NDArray
from PIL import Image

from db import Store
from retrieval.encoders.factory import make_artifact
from retrieval.gallery import DEFAULT_ENCODER
from retrieval.sources import find_photos


def write_photos(photos: list[Path], folder: Path, count: int) -> None:
    """Write `count` copies, each with one pixel of another colour, a hundred to a folder."""
    for number, path in zip(range(count), cycle(photos), strict=False):
        place = folder / f"{number // 100:04d}"
        place.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            copy = image.convert("RGB")
        x, y = number % copy.width, number // copy.width % copy.height
        copy.putpixel((x, y), (number % 256, number // 256 % 256, 0))
        copy.save(place / f"{number:06d}.jpg", quality=90)


def contents(gallery: Path) -> tuple[dict[str, tuple[str | None, str]], NDArray[np.float16]]:
    """Return what each path's item is, and the vectors in the order of the paths."""
    store = Store.open(gallery / "gallery.db")
    with store.read() as tx:
        items = {item.id: item for item in tx.items()}
        parts = list(tx.vectors())
    store.close()
    item_ids = np.concatenate([part.item_ids for part in parts]).tolist()
    order = sorted(range(len(item_ids)), key=lambda row: items[item_ids[row]].path)
    held = {item.path: (item.label, item.content_hash) for item in items.values()}
    return held, np.concatenate([part.data for part in parts])[order]


def interrupted(arguments: list[object], times: int, seconds: float) -> int:
    """Run build-index, interrupt it `times` times at random moments, then let it end.

    Returns:
        How many of the interruptions found it at work.
    """
    # A shell's background job ignores interruptions, and so would its children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    choose, met = random.Random(0), 0
    command = [Path(sys.executable).with_name("lookalike"), *map(str, arguments)]
    for _ in range(times):
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(command, stdout=quiet, stderr=quiet)
        time.sleep(choose.uniform(0.5, 2 * seconds / times))
        process.send_signal(signal.SIGINT)
        met += process.wait() == 130
    run_lookalike(*arguments)
    return met


@click.command(help=__doc__)
@click.argument("folder", metavar="PHOTOS", type=click.Path(path_type=Path, exists=True))
@click.option("--encoder", default=DEFAULT_ENCODER, show_default=True)
@click.option("--few", default=5_000, show_default=True)
@click.option("--many", default=50_000, show_default=True)
@click.option("--interruptions", default=10, show_default=True)
def main(folder: Path, encoder: str, few: int, many: int, interruptions: int) -> None:
    """Print a Markdown table."""
    photos = list(find_photos(folder))
    with tempfile.TemporaryDirectory() as made:
        scratch = Path(made)
        artifact = make_artifact(encoder, scratch / "encoder")  # by a process that needs torch
        runs = {}
        for count in (few, many):
            write_photos(photos, scratch / f"{count}", count)
            build = ["build-index", scratch / f"{count}", "--encoder", artifact.folder, "-g"]
            runs[count] = run_lookalike(*build, scratch / f"gallery-{count}")
        met = interrupted([*build, scratch / "interrupted"], interruptions, runs[many].seconds)
        items, vectors = contents(scratch / f"gallery-{many}")
        same_items, same_vectors = contents(scratch / "interrupted")
    click.echo(f"{encoder}, {processor()}\n")
    click.echo("| photos | seconds | photos/s | peak memory | of the first |")
    click.echo("|---|---|---|---|---|")
    for count, run in runs.items():
        share = run.peak_memory / runs[few].peak_memory
        click.echo(
            f"| {count:,} | {run.seconds:.1f} | {count / run.seconds:.0f} "
            f"| {run.peak_memory / 1e6:.0f} MB | {share:.2f} |"
        )
    click.echo(f"\nInterrupted {interruptions} times, {met} of them at work, then finished:")
    click.echo(f"the same {len(items):,} items: {items == same_items};")
    apart = np.abs(vectors.astype(np.float32) - same_vectors.astype(np.float32)).max()
    click.echo(f"largest difference of a coordinate of a vector: {apart:.2g}.")


if __name__ == "__main__":
    main()
