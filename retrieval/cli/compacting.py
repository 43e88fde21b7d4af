"""`compact`: a fresh index file, and the store without what has gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from retrieval.cli import options
from retrieval.cli.output import plural, to_json

if TYPE_CHECKING:
    from retrieval.place import Place


@click.command()
@options.gallery
@options.index
@options.when_down
@options.as_json
def compact(place: Place, index: str | None, when_down: str | None, as_json: bool) -> None:
    """Bring the index up to date, and purge what has gone from the store.

    Worth it after many items came or went one by one, and after reembed. Others may query, add and
    remove meanwhile; nobody's answers change.
    """
    from retrieval.gallery import Gallery

    with Gallery.open(place) as gallery:
        if index is not None or when_down is not None:
            gallery.choose_index(index, when_down=when_down)
        report = gallery.compact()
        info = gallery.info().index
    if as_json:
        click.echo(to_json(report))
        return
    written = f"a new one written, {info.kind}" if report.generation else "as fresh as can be"
    click.echo(f"index: {written}")
    click.echo(
        f"store: {plural(report.purged, 'vector')} purged, {report.freed / 1e6:.1f} MB given back"
    )
