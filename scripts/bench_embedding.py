#!/usr/bin/env python
"""How fast photos become vectors: the peers' way, each stage alone, and build-index end to end.

    .venv/bin/python scripts/bench_embedding.py PHOTOS

PHOTOS is a folder of real photos. They are measured as they are and enlarged to 12 megapixels. The
peers' way is torch eager in float32 on batches of 32, decoded by Pillow in the main thread, with
torchvision's resize. `limit` is 1 / (1/decode + 1/encode): what two kinds of work that share the
cores can reach together. All rows of a size see the same files and the same weights, in one run.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path

import click
import numpy as np
from benchmarking import processor, run_lookalike
from numpy.typing import NDArray
from PIL import Image

from retrieval import Gallery
from retrieval.encoders import Artifact, Encoder, open_encoder
from retrieval.encoders.artifact import COMPILED
from retrieval.encoders.factory import make_artifact
from retrieval.gallery import DEFAULT_ENCODER
from retrieval.images import decode
from retrieval.sources import find_photos

_PEERS_BATCH = 32
# Photos given to the peers' way: its rate doesn't depend on how many.
_PEERS = 480
_MEGAPIXELS = 12
# Different photos among the enlarged ones.
_ENLARGED = 200


def peers(photos: Sequence[Path], artifact: Artifact) -> float:
    """Photos per second, as a script after the models' own documentation would do it."""
    import torch
    from safetensors.torch import load_file
    from torchvision import transforms

    from retrieval.encoders.artifact import WEIGHTS
    from retrieval.encoders.networks import rebuild

    spec = artifact.spec.preprocessing
    network = rebuild(artifact.spec.architecture)
    network.load_state_dict(load_file(artifact.folder / WEIGHTS))
    prepare = transforms.Compose(
        [
            transforms.Resize(spec.resize, transforms.InterpolationMode(spec.interpolation)),
            transforms.CenterCrop(spec.size),
            transforms.ToTensor(),
            transforms.Normalize(spec.mean, spec.std),
        ]
    )

    def embed(paths: Sequence[Path]) -> None:
        with torch.inference_mode():
            images = [prepare(Image.open(path).convert("RGB")) for path in paths]
            torch.nn.functional.normalize(network(torch.stack(images)))

    embed(photos[:_PEERS_BATCH])  # warm
    start = time.perf_counter()
    for first in range(0, len(photos), _PEERS_BATCH):
        embed(photos[first : first + _PEERS_BATCH])
    return len(photos) / (time.perf_counter() - start)


def decode_only(photos: Sequence[Path], encoder: Encoder) -> float:
    """Photos per second from file to the pixels a network sees, on all cores."""
    preprocessing = encoder.spec.preprocessing

    def load(path: Path) -> NDArray[np.uint8]:
        image = decode(path.read_bytes(), min_side=preprocessing.resize).image
        return preprocessing.apply(image)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        start = time.perf_counter()
        for _ in pool.map(load, photos):
            pass
        return len(photos) / (time.perf_counter() - start)


def encode_only(count: int, encoder: Encoder) -> float:
    """Images per second from pixels to vectors, through the encoder's queue."""
    size = encoder.spec.preprocessing.size
    rng = np.random.default_rng(0)
    shape = (encoder.batch_size, size, size, 3)
    batches = [rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(8)]
    encoder.submit(batches[0]).result()  # warm
    start = time.perf_counter()
    waiting = [
        encoder.submit(batch) for batch in islice(cycle(batches), count // encoder.batch_size)
    ]
    for one in waiting:
        one.result()
    return len(waiting) * encoder.batch_size / (time.perf_counter() - start)


def build_index(folder: Path, count: int, artifact: Artifact) -> tuple[float, float]:
    """Photos per second of the whole command, interpreter and all, and its peak memory in bytes."""
    with tempfile.TemporaryDirectory() as scratch:
        gallery = Path(scratch) / "gallery"
        Gallery.create(gallery, encoder=str(artifact.folder)).close()
        # Compiled once per machine: there for every build but the first.
        shutil.copytree(artifact.folder / COMPILED, gallery / "encoder" / COMPILED)
        run = run_lookalike("build-index", folder, "-g", gallery)
        with Gallery.open(gallery) as opened:
            stored = opened.info().items
    if stored != count:
        raise click.ClickException(f"{stored} of {count} photos were stored.")
    return count / run.seconds, run.peak_memory


def copied(photos: Sequence[Path], folder: Path, count: int) -> list[Path]:
    """Write `count` copies, each told apart by the number behind its end, which decoders ignore."""
    folder.mkdir()
    for number, path in zip(range(count), cycle(photos), strict=False):
        (folder / f"{number:06d}.jpg").write_bytes(path.read_bytes() + f"{number}".encode())
    return sorted(folder.iterdir())


def enlarged(photos: Sequence[Path], folder: Path) -> list[Path]:
    """Write copies of photos with twelve million pixels, as a telephone takes them."""
    folder.mkdir()
    for number, path in enumerate(photos):
        with Image.open(path) as image:
            scale = (_MEGAPIXELS * 1e6 / (image.width * image.height)) ** 0.5
            size = (round(image.width * scale), round(image.height * scale))
            large = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
        large.save(folder / f"{number:05d}.jpg", quality=90)
    return sorted(folder.iterdir())


def measure(title: str, folder: Path, photos: list[Path], artifact: Artifact, runs: int) -> None:
    """Print the rows of one photo size."""
    encoder = open_encoder(artifact)
    rows = dict.fromkeys(("decode", "encode", "build", "peers"), 0.0)
    memory = 0.0
    for run in range(runs):  # in turn, so that a slow minute slows all of them
        rows["decode"] = max(rows["decode"], decode_only(photos, encoder))
        rows["encode"] = max(rows["encode"], encode_only(2048, encoder))
        rate, peak = build_index(folder, len(photos), artifact)
        rows["build"], memory = max(rows["build"], rate), max(memory, peak)
        if run == 0:  # slow enough to be its own mean
            rows["peers"] = peers(photos[:_PEERS], artifact)
    limit = 1 / (1 / rows["decode"] + 1 / rows["encode"])
    precision = encoder.precision
    encoder.close()
    lines = (
        ("peers' way: torch eager, float32, Pillow", rows["peers"]),
        ("decode and resize only", rows["decode"]),
        (f"encode only ({precision})", rows["encode"]),
        ("limit of both on shared cores", limit),
        ("**build-index, end to end**", rows["build"]),
    )
    for name, rate in lines:
        of_limit = f"{rate / limit:.2f}" if "build" in name else ""
        peak = f"{memory / 1e6:.0f} MB" if "build" in name else ""
        times = f"{rate / rows['peers']:.1f}"
        click.echo(f"| {title} | {name} | {rate:.1f} | {times} | {of_limit} | {peak} |")


@click.command(help=__doc__)
@click.argument("folder", metavar="PHOTOS", type=click.Path(path_type=Path, exists=True))
@click.option("--encoder", default=DEFAULT_ENCODER, show_default=True)
@click.option("--small", default=8000, show_default=True, help="Photos as they are, copied.")
@click.option("--large", default=1000, show_default=True, help="Photos enlarged, copied.")
@click.option("--runs", default=3, show_default=True, help="The best of so many counts.")
def main(folder: Path, encoder: str, small: int, large: int, runs: int) -> None:
    """Print a Markdown table."""
    photos = list(find_photos(folder))
    with tempfile.TemporaryDirectory() as made:
        scratch = Path(made)
        artifact = make_artifact(encoder, scratch / "encoder")
        smaller = copied(photos, scratch / "small", small)
        bigger = enlarged(photos[:: max(len(photos) // _ENLARGED, 1)], scratch / "enlarged")
        bigger = copied(bigger, scratch / "large", large)
        with Image.open(photos[0]) as image:
            side = max(image.size)
        click.echo(f"{encoder}, {processor()}; {small:,} photos of some {side} px")
        click.echo(f"and {large:,} of {_MEGAPIXELS} megapixels.\n")
        click.echo("| photos | what | photos/s | × peers | of the limit | peak memory |")
        click.echo("|---|---|---|---|---|---|")
        measure(f"{side} px", scratch / "small", smaller, artifact, runs)
        measure(f"{_MEGAPIXELS} MP", scratch / "large", bigger, artifact, runs)


if __name__ == "__main__":
    main()
