"""`remove` and `relabel`: items change, photos on disk never do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from retrieval.cli import options
from retrieval.cli.output import plural, to_json

if TYPE_CHECKING:
    from retrieval.gallery import Gallery
    from retrieval.paths import AnyPath
    from retrieval.place import Place


@click.command()
@options.some_items
@options.gallery
@options.yes
@options.as_json
def remove(
    ids: tuple[int, ...],
    label: str | None,
    path: AnyPath | None,
    where: tuple[str, ...],
    place: Place,
    yes: bool,
    as_json: bool,
) -> None:
    """Remove items, by IDS, label, path or conditions. The photos stay where they are."""
    from retrieval.gallery import Gallery

    with Gallery.open(place) as gallery:
        found = _find(gallery, ids, label, path, where)
        if len(found) > 1 and not yes:
            click.confirm(f"Remove {len(found):,} items from {place}?", abort=True, err=True)
        removed = gallery.remove(found)
    click.echo(to_json({"removed": removed}) if as_json else f"removed {plural(removed, 'item')}")


@click.command()
@options.some_items
@click.option("--to", help="The new label.")
@click.option("--no-label", is_flag=True, help="Take the label away.")
@options.gallery
@options.as_json
def relabel(
    ids: tuple[int, ...],
    label: str | None,
    path: AnyPath | None,
    where: tuple[str, ...],
    to: str | None,
    no_label: bool,
    place: Place,
    as_json: bool,
) -> None:
    """Give items, by IDS, label, path or conditions, another label."""
    from retrieval.gallery import Gallery

    if bool(to) == no_label:
        raise click.UsageError("Say either --to LABEL or --no-label.")
    with Gallery.open(place) as gallery:
        changed = gallery.relabel(_find(gallery, ids, label, path, where), to)
    click.echo(
        to_json({"relabelled": changed}) if as_json else f"relabelled {plural(changed, 'item')}"
    )


def _find(
    gallery: Gallery,
    ids: tuple[int, ...],
    label: str | None,
    path: AnyPath | None,
    where: tuple[str, ...],
) -> list[int]:
    from retrieval.errors import GalleryError

    if not ids and label is None and path is None and not where:
        raise click.UsageError(
            "Say which items: ids, --label LABEL, --path PATH or --where CONDITION."
        )
    found = gallery.find(ids=list(ids) or None, label=label, path=path, where=where)
    missing = sorted(set(ids) - set(found))
    if missing:
        raise GalleryError(
            f"{gallery.name} has no item {', '.join(map(str, missing))} to do this with: "
            "`lookalike list` shows what there is; nothing was changed."
        )
    if not found:
        raise GalleryError(
            f"No item of {gallery.name} is meant by that: `lookalike list` shows what there is."
        )
    return found
