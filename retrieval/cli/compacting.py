"""`compact`: a fresh index file, and the store without what has gone."""

from __future__ import annotations

from pathlib import Path

import click

from retrieval.cli import options
from retrieval.cli.output import plural, to_json


@click.command()
@options.gallery
@options.index
@options.as_json
def compact(gallery_path: Path, index: str | None, as_json: bool) -> None:
    """Write a fresh index file, and purge what has gone from the store.

    Worth it after many items came or went one by one, and after reembed. Others may query, add and
    remove meanwhile; nobody's answers change.
    """
    from retrieval.gallery import Gallery

    with Gallery.open(gallery_path) as gallery:
        if index is not None:
            gallery.choose_index(index)
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
