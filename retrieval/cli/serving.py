"""`serve`: a gallery over HTTP, with a page for people."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from retrieval.cli import options

if TYPE_CHECKING:
    from retrieval.place import Place

_NEEDS = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")


@click.command()
@options.gallery
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="The port to listen on; 0 takes any that is free.",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    help="Who may: lines read:TOKEN or write:TOKEN. Needed where other machines can connect.",
)
@click.option(
    "--cors-origin",
    "cors_origins",
    multiple=True,
    help="An origin of another site whose pages may ask, like https://shop.example.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes that share the gallery; each has an encoder of its own.",
)
@click.option(
    "--queue",
    type=click.IntRange(min=1),
    default=128,
    show_default=True,
    help="Photos that may wait in a process; beyond, requests are refused with Retry-After.",
)
@click.option(
    "--max-megabytes",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Size of a request, in MiB.",
)
@click.option(
    "--max-megapixels",
    type=click.IntRange(min=1, max=150),
    default=50,
    show_default=True,
    help="Size of a photo, in million pixels.",
)
@options.device
def serve(
    place: Place,
    host: str,
    port: int,
    token_file: Path | None,
    cors_origins: tuple[str, ...],
    workers: int,
    queue: int,
    max_megabytes: int,
    max_megapixels: int,
    device: str,
) -> None:
    """Serve a gallery: a web page for people, HTTP with JSON for programs (docs/service.md).

    Only this machine can connect, unless --host says otherwise; then a token is needed.
    """
    from retrieval.errors import LookalikeError

    missing = [name for name in _NEEDS if find_spec(name) is None]
    if missing:
        raise LookalikeError(
            f"The service needs {' and '.join(missing)}: run `pip install 'lookalike[serve]'`."
        )
    from retrieval.gallery import Gallery
    from retrieval.service import running
    from retrieval.service.security import Tokens, read_tokens
    from retrieval.service.settings import Limits, Settings

    limits = Limits(
        request_bytes=max_megabytes * 2**20, pixels=max_megapixels * 1_000_000, photos=queue
    )
    settings = Settings(
        tokens=Tokens() if token_file is None else read_tokens(token_file),
        cors_origins=cors_origins,
        device=device,
        limits=limits,
    )
    settings = running.require_safe(host, settings)
    # What is wrong with the gallery is said here, in one sentence, not by a process that dies.
    Gallery.open(place, device=device).close()
    with running.bind(host, port) as listening:
        shown = f"[{host}]" if ":" in host else host
        click.echo(
            f"{click.format_filename(str(place))} is served at "
            f"http://{shown}:{listening.getsockname()[1]} (Ctrl-C ends it)"
        )
        running.run(place, settings, listening, workers)
