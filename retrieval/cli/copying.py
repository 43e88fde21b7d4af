"""`copy`: the same gallery in another place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from retrieval.cli import options
from retrieval.cli.output import plural, progress_bar, to_json

if TYPE_CHECKING:
    from retrieval.place import Place


@click.command()
@options.gallery
@click.option(
    "--to",
    type=options.GalleryPlace(),
    required=True,
    help="Where: a folder that is missing or empty, or postgresql://USER@HOST/NAME, an empty "
    "database.",
)
@options.index
@options.as_json
def copy(place: Place, to: Place, index: str | None, as_json: bool) -> None:
    """Copy a gallery to another place: from a folder into a database, back, or alike.

    Items keep their ids, and answers stay the same; removed items can be restored there too. The
    gallery copied may be used meanwhile. Broken off, the same command goes on; until both have been
    compared, nothing else opens the copy.
    """
    from retrieval.gallery import Gallery

    with Gallery.open(place) as gallery, progress_bar("copying", unit="rows") as progress:
        report = gallery.copy(to, index=index, progress=progress)
    if as_json:
        click.echo(to_json(report))
        return
    already = report.vectors - report.sent
    before = f" ({already:,} of them were there)" if already else ""
    click.echo(
        f"{report.path}: {plural(report.items, 'item')}, {plural(report.vectors, 'vector')}"
        f"{before}, the same as in {place}"
    )
    for note in report.notes:
        click.echo(f"note: {note}")
