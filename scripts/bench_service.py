#!/usr/bin/env python
"""What `lookalike serve` gives to many clients at once, against what the encoder gives alone.

    .venv/bin/python scripts/bench_service.py PHOTOS QUERIES

A gallery is built from PHOTOS and served by a process of its own; this one is the clients, each of
which sends photos from QUERIES one after the other and waits for the answer. Alone: the same photos
decoded and encoded in this process, as a build does it, with no service and no search.
Past saturation: ten times as many clients as the service takes photos on; who is refused waits for
as long as `Retry-After` says.
"""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from urllib.parse import urlsplit

import click
import numpy as np
from benchmarking import processor, run_lookalike

from retrieval import Gallery
from retrieval.embedding import embed
from retrieval.gallery import DEFAULT_ENCODER
from retrieval.service.settings import Limits
from retrieval.sources import Source, find_photos

BOUNDARY = "a-line-no-photo-has"


@dataclass
class Load:
    """What some clients saw.

    Attributes:
        seconds: How long it took.
        answered: Seconds each answer took, of those that were one.
        statuses: How often each status came.
    """

    seconds: float = 0.0
    answered: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    def milliseconds(self, percentile: float) -> float:
        """How long an answer took at most, in this share of cases."""
        return 1000 * float(np.percentile(self.answered, percentile)) if self.answered else 0.0

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.answered) / self.seconds


def request(photo: Path, host: str) -> bytes:
    """Return a whole HTTP request that asks about a photo."""
    body = b"".join(
        (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="images"; '
            f'filename="{photo.name}"\r\n\r\n'.encode(),
            photo.read_bytes(),
            f"\r\n--{BOUNDARY}--\r\n".encode(),
        )
    )
    head = (
        f"POST /v1/identify HTTP/1.1\r\nHost: {host}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def client(
    address: tuple[str, int], photos: Iterator[bytes], until: float, load: Load
) -> None:
    """Ask about one photo after the other, until it is time to stop."""
    reader, writer = await asyncio.open_connection(*address)
    while time.perf_counter() < until:
        begun = time.perf_counter()
        writer.write(next(photos))
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        fields = dict(line.split(": ", 1) for line in head[1:] if line)
        await reader.readexactly(int(fields["content-length"]))
        status = int(head[0].split()[1])
        load.statuses[status] += 1
        if status == 200:
            load.answered.append(time.perf_counter() - begun)
        else:
            await asyncio.sleep(float(fields.get("retry-after", 0)))
    writer.close()
    await writer.wait_closed()


async def drive(
    address: tuple[str, int], requests: list[bytes], clients: int, seconds: float
) -> Load:
    """Let so many clients ask for so long, each beginning with another photo."""
    load, begun = Load(), time.perf_counter()
    await asyncio.gather(
        *(
            client(address, islice(cycle(requests), number, None), begun + seconds, load)
            for number in range(clients)
        )
    )
    load.seconds = time.perf_counter() - begun
    return load


@contextmanager
def served(gallery: Path, workers: int) -> Iterator[tuple[str, int]]:
    """Serve a gallery, and yield the address."""
    command = [Path(sys.executable).with_name("lookalike"), "serve", "-g", gallery, "--port", "0"]
    command += ["--workers", workers]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True) as process:
        try:
            said = process.stdout.readline() if process.stdout else ""
            url = urlsplit(said.split(" served at ")[1].split()[0])
            yield url.hostname or "", url.port or 0
        finally:
            process.terminate()


def alone(gallery: Path, photos: list[Path], count: int) -> float:
    """Photos a second that are decoded and encoded without a service."""
    with Gallery.open(gallery) as opened:
        encoder = opened.encoder
        list(embed(map(Source, photos[:32]), encoder))
        begun = time.perf_counter()
        list(embed(map(Source, islice(cycle(photos), count)), encoder))
        return count / (time.perf_counter() - begun)


@click.command(help=__doc__)
@click.argument("folder", metavar="PHOTOS", type=click.Path(path_type=Path, exists=True))
@click.argument("queries", type=click.Path(path_type=Path, exists=True))
@click.option("--encoder", default=DEFAULT_ENCODER, show_default=True)
@click.option("--seconds", default=10.0, show_default=True, help="Of each load.")
@click.option("--workers", default=1, show_default=True)
@click.option("--clients", "counts", multiple=True, type=int, default=(1, 8, 64))
def main(
    folder: Path, queries: Path, encoder: str, seconds: float, workers: int, counts: tuple[int, ...]
) -> None:
    """Print a Markdown table."""
    # Each client takes a file descriptor here, and one in the service, which inherits the limit.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    photos = list(find_photos(queries))
    room = Limits().photos * workers
    with tempfile.TemporaryDirectory() as scratch:
        gallery = Path(scratch) / "gallery"
        run_lookalike("build-index", folder, "-g", gallery, "--encoder", encoder)
        rate = alone(gallery, photos, max(64, round(100 * seconds)))
        with served(gallery, workers) as address:
            requests = [request(photo, f"{address[0]}:{address[1]}") for photo in photos]
            asyncio.run(drive(address, requests, 8, 1))
            loads = [
                (clients, asyncio.run(drive(address, requests, clients, seconds)))
                for clients in (*counts, 10 * room)
            ]
            after = asyncio.run(drive(address, requests, 1, 1))
    click.echo(f"{encoder}, {processor()}; {len(photos)} queries, {workers} worker(s).\n")
    click.echo(f"Decoded and encoded alone: {rate:.0f} photos/s.\n")
    click.echo("| clients | answers/s | of alone | p50 ms | p95 ms | p99 ms | refused |")
    click.echo("|---|---|---|---|---|---|---|")
    for clients, load in loads:
        refused = sum(count for status, count in load.statuses.items() if status != 200)
        figures = " | ".join(f"{load.milliseconds(one):.0f}" for one in (50, 95, 99))
        click.echo(
            f"| {clients} | {load.rate:.0f} | {load.rate / rate:.2f} | {figures} | {refused} |"
        )
    click.echo(
        f"\nStatuses past saturation: {dict(loads[-1][1].statuses)}. In the first second after it, "
        f"one client: p50 {after.milliseconds(50):.0f} ms, worst {after.milliseconds(100):.0f} ms, "
        f"{dict(after.statuses)}."
    )


if __name__ == "__main__":
    main()
