"""`cluster`: photos without labels, grouped so that a person can name them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from retrieval.cli import options
from retrieval.cli.output import plural, print_failed, print_table, progress_bar, to_json

if TYPE_CHECKING:
    from retrieval.clustering import Clustering
    from retrieval.paths import AnyPath
    from retrieval.place import Place

_FROM = {"asked": "", "labels": ", as suits the gallery's own labels best", "default": ""}


@click.command()
@click.argument("folder", type=options.PhotoPath(), required=False)
@options.gallery_or_not
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="The CSV path,label to write."
)
@click.option(
    "--all", "every", is_flag=True, help="With -g alone: also the items that have a label."
)
@click.option(
    "--encoder",
    help="For FOLDER without -g: efficientnet_lite0 (the default), _lite1, _lite2, timm:NAME, or "
    "an encoder's folder.",
)
@click.option(
    "--below",
    type=options.Distance(),
    help="The mean distance below which groups are joined; by default what suits the gallery's own "
    "labels best, or 0.26 where there are fewer than ten.",
)
@click.option(
    "--min-size",
    type=click.IntRange(min=2),
    default=2,
    show_default=True,
    help="How many photos make a cluster; those in smaller groups get no label.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="How many clusters to show, the largest; --json tells all.",
)
@click.option("--force", is_flag=True, help="Replace the CSV where it exists.")
@options.device
@options.as_json
def cluster(
    folder: AnyPath | None,
    place: Place | None,
    out: Path,
    every: bool,
    encoder: str | None,
    below: float | None,
    min_size: int,
    limit: int,
    force: bool,
    device: str,
    as_json: bool,
) -> None:
    """Group the photos of FOLDER, or a gallery's items without a label, into likely identities.

    Writes a CSV path,label with a made-up name for each; what belongs to none gets no label. Put
    real names into it, and build-index --labels reads it. With FOLDER and -g, the gallery's encoder
    embeds the photos. A gallery itself is never changed.
    """
    if folder is None and place is None:
        raise click.UsageError("Say FOLDER or -g GALLERY, or both.")
    if every and (folder is not None or place is None):
        raise click.UsageError("--all goes with -g GALLERY alone: FOLDER's photos are all taken.")
    if encoder is not None and place is not None:
        raise click.UsageError("--encoder goes with FOLDER alone: a gallery has its own.")
    with progress_bar("embedding" if folder is not None else "comparing") as progress:
        if place is not None:
            from retrieval.gallery import Gallery

            with Gallery.open(place, device=device) as gallery:
                found = gallery.cluster(
                    out,
                    photos=folder,
                    every=every,
                    below=below,
                    min_size=min_size,
                    overwrite=force,
                    progress=progress,
                )
        elif folder is not None:
            from retrieval.clustering import cluster_folder
            from retrieval.gallery import DEFAULT_ENCODER

            found = cluster_folder(
                folder,
                out,
                encoder=encoder or DEFAULT_ENCODER,
                below=below,
                min_size=min_size,
                device=device,
                overwrite=force,
                progress=progress,
            )
    if as_json:
        click.echo(to_json(found))
    else:
        _print_clusters(found, limit)


def _print_clusters(found: Clustering, limit: int) -> None:
    print_failed(found.failed)
    more = f", the largest {limit:,}" if limit < len(found.clusters) else ""
    click.echo(
        f"{plural(found.photos, 'photo')}: {found.clustered:,} in "
        f"{plural(len(found.clusters), 'cluster')} (below {found.below:g}"
        f"{_FROM[found.below_from]}), {found.photos - found.clustered:,} in none"
        f"{more}{':' if found.clusters else ''}"
    )
    if found.clusters:
        print_table(
            ("label", "photos", "distance", "most central photo"),
            [(one.label, one.photos, one.distance, one.example) for one in found.clusters[:limit]],
        )
    path = click.format_filename(found.path)
    click.echo(f"{path} lists them: name the clusters there, then `build-index --labels {path}`")
