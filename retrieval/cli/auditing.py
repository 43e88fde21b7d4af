"""`audit`: what in a gallery is likely mislabelled, and what is there twice under two labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from retrieval.cli import options
from retrieval.cli.output import plural, print_table, progress_bar, to_json

if TYPE_CHECKING:
    from retrieval.auditing import Audit
    from retrieval.place import Place


@click.command()
@options.gallery
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Also write an HTML page with the photos; a file that is there is replaced.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="How many items and how many pairs to show, the worst; all are counted.",
)
@click.option(
    "--duplicates-below",
    type=options.Distance(),
    default=0.05,
    show_default=True,
    help="The distance below which two items show the same picture.",
)
@options.as_json
def audit(
    place: Place, out: Path | None, limit: int, duplicates_below: float, as_json: bool
) -> None:
    """Find items that are likely mislabelled, and pictures that are there under two labels.

    Goes by the stored vectors alone, and changes nothing.
    """
    from retrieval.gallery import Gallery

    with Gallery.open(place) as gallery, progress_bar("comparing") as progress:
        found = gallery.audit(duplicates_below=duplicates_below, limit=limit, progress=progress)
    if out is not None:
        from retrieval.pages.audit_page import audit_page
        from retrieval.pages.page import write_page

        write_page(out, audit_page(found, place), outside=place.folder)
    if as_json:
        click.echo(to_json(found))
        return
    _print_audit(found, place)
    if out is not None:
        click.echo(f"{click.format_filename(out)} shows them with their photos")


def _print_audit(audit: Audit, gallery: Place) -> None:
    click.echo(
        f"{plural(audit.items, 'item')} of {plural(audit.labels, 'label')}; "
        f"{audit.judged:,} judged by their mates, {audit.alone:,} alone with their label, "
        f"{audit.unlabelled:,} without one"
    )
    click.echo(_heading("likely mislabelled", len(audit.suspects), audit.n_suspects))
    if audit.suspects:
        print_table(
            ("id", "label", "suggested", "score", "to own", "to suggested", "path"),
            [
                (
                    *(one.item.id, one.item.label, one.suggested_label, one.score),
                    *(one.mate_distance, one.other_distance, one.item.path),
                )
                for one in audit.suspects
            ],
        )
    what = f"near-duplicates across labels (below {audit.duplicates_below:g})"
    click.echo(_heading(what, len(audit.duplicates), audit.n_duplicates))
    if audit.duplicates:
        print_table(
            ("id", "label", "id", "label", "distance", "paths"),
            [
                (
                    *(pair.first.id, pair.first.label, pair.second.id, pair.second.label),
                    *(pair.distance, f"{pair.first.path}  {pair.second.path}"),
                )
                for pair in audit.duplicates
            ],
        )
    _print_mending(audit, gallery)


def _print_mending(audit: Audit, gallery: Place) -> None:
    from retrieval.mending import mend_duplicate, mend_suspect

    if audit.suspects:
        click.echo("if its neighbours are right about the first:")
        click.echo(f"  {click.format_filename(mend_suspect(audit.suspects[0], gallery))}")
    if audit.duplicates:
        click.echo("if the label of the first pair's first is right:")
        click.echo(f"  {click.format_filename(mend_duplicate(audit.duplicates[0], gallery))}")


def _heading(what: str, shown: int, count: int) -> str:
    if not count:
        return f"{what}: none"
    return f"{what}: {count:,}" + (f", the worst {shown:,}" if shown < count else "") + ":"
