"""`dedupe`: near-duplicates among a gallery's items, shown and, if wanted, removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from retrieval.cli import options
from retrieval.cli.output import plural, print_table, progress_bar, to_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from retrieval.deduplicating import DedupeReport, DuplicateGroup, GroupedItem
    from retrieval.place import Place


@click.command()
@options.gallery
@click.option(
    "--below",
    type=options.Distance(),
    default=0.05,
    show_default=True,
    help="The distance below which two items are near-duplicates; the same bytes always are.",
)
@click.option(
    "--within",
    type=click.Choice(["label", "any"]),
    default="label",
    show_default=True,
    help="Compare items of one label only (and those without one), or all.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="How many groups to show, the largest; all are counted, and --json tells all.",
)
@click.option("--remove", is_flag=True, help="Remove all but the item kept of each group.")
@options.yes
@options.as_json
def dedupe(
    place: Place,
    below: float,
    within: str,
    limit: int,
    remove: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Find near-duplicates among a gallery's items, and with --remove keep the best of each group.

    Kept is the item with a label, then the largest picture, then the largest file, then the oldest.
    Every other is a near-duplicate of that very item. Goes by the stored vectors alone.
    """
    from retrieval.gallery import Gallery

    with Gallery.open(place) as gallery:
        with progress_bar("comparing") as progress:
            report = gallery.dedupe(below=below, within=within, progress=progress)
        if not as_json:
            _print_groups(report, limit)
        if remove and report.groups:
            if not yes:
                what = plural(report.n_duplicates, "near-duplicate")
                click.confirm(f"Remove {what} from {place}?", abort=True, err=True)
            report = gallery.remove_duplicates(report)
    if as_json:
        click.echo(to_json(report))
    elif remove:
        _print_removed(report)


def _print_groups(report: DedupeReport, limit: int) -> None:
    where = "of one label" if report.within == "label" else "of any label"
    found = (
        f"{plural(report.n_duplicates, 'near-duplicate')} in {plural(len(report.groups), 'group')}"
        if report.groups
        else "no near-duplicates"
    )
    more = f", the largest {limit:,}" if limit < len(report.groups) else ""
    end = more + (":" if report.groups else "")
    click.echo(f"{plural(report.items, 'item')}, {found} {where} (below {report.below:g}){end}")
    if not report.groups:
        return
    print_table(
        ("", "id", "label", "pixels", "bytes", "distance", "path"),
        [row for group in report.groups[:limit] for row in _rows(group)],
    )
    mixed = sum(
        any(one.item.label not in (None, group.kept.label) for one in group.duplicates)
        for group in report.groups
    )
    if mixed:
        click.echo(
            f"{plural(mixed, 'group')} with several labels: `lookalike audit` helps to tell which "
            "is right"
        )


def _rows(group: DuplicateGroup) -> Iterator[tuple[object, ...]]:
    yield ("keep", *_told(group.kept, None))
    for one in group.duplicates:
        yield ("  same bytes" if one.same_bytes else "  near", *_told(one.item, one.distance))


def _told(item: GroupedItem, distance: float | None) -> tuple[object, ...]:
    return (
        *(item.id, item.label, f"{item.width}x{item.height}", item.file_size),
        *(distance, item.path),
    )


def _print_removed(report: DedupeReport) -> None:
    click.echo(f"removed {plural(report.removed, 'item')}")
    stayed = report.n_duplicates - report.removed
    if stayed:
        click.echo(f"{plural(stayed, 'item')} changed meanwhile and stayed: run it again", err=True)
    if report.removed:
        click.echo(
            "a photo that is still in its folder comes back with the next build-index: take it out"
        )
