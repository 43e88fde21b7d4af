"""`build-index` and `add`: photos into a gallery."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from retrieval.cli import options
from retrieval.cli.output import plural, print_some, progress_bar, to_json, told_threshold

if TYPE_CHECKING:
    from retrieval.building import BuildReport
    from retrieval.gallery import Gallery
    from retrieval.paths import AnyPath
    from retrieval.place import Place


@click.command("build-index")
@click.argument("folder", type=options.PhotoPath())
@options.gallery
@click.option(
    "--encoder",
    help="efficientnet_lite0 (the default), _lite1, _lite2, timm:NAME, siamese (untrained without "
    "--weights), or an encoder's folder.",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    help="A local checkpoint for timm:NAME, instead of the published weights, or for siamese.",
)
@click.option(
    "--labels",
    help="folder: the parent folder's name (the default; photos directly in FOLDER get none); "
    "none; or a CSV with the columns path,label, whose further columns become metadata. Kept for "
    "the next run.",
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16", "int8"]),
    help="Arithmetic of the encoder; auto takes bfloat16 where the CPU has it. int8 is fitted to "
    "the photos in FOLDER. Kept.",
)
@options.index
@options.when_down
@options.device
@click.option("--prune", is_flag=True, help="Remove items whose photo is gone from FOLDER.")
@options.allow_duplicates
@options.as_json
def build_index(
    folder: AnyPath,
    place: Place,
    encoder: str | None,
    weights: Path | None,
    labels: str | None,
    precision: str | None,
    index: str | None,
    when_down: str | None,
    device: str,
    prune: bool,
    allow_duplicates: bool,
    as_json: bool,
) -> None:
    """Make a gallery of the photos in FOLDER, or bring it up to date.

    FOLDER may also be s3://BUCKET/PREFIX. All subfolders are searched. Run again, it embeds only
    what is new or changed and tells what is gone; stopped at any moment, it goes on from there. A
    photo that can't be read is noted and never ends the run.
    """
    from retrieval.folder import is_free
    from retrieval.gallery import DEFAULT_ENCODER, Gallery
    from retrieval.sources import find_photos, label_source, require_folder

    if weights is not None and encoder is None:
        raise click.UsageError("--weights goes with --encoder timm:NAME or siamese.")
    # What would be refused is refused before a gallery is made.
    require_folder(folder)
    if labels is not None:
        label_source(labels, folder)
    if is_free(place):
        gallery = Gallery.create(
            place,
            encoder=encoder or DEFAULT_ENCODER,
            weights=weights,
            precision=precision or "auto",
            device=device,
            photos=list(find_photos(folder)) if precision == "int8" else (),
        )
    else:
        gallery = Gallery.open(place, device=device)
    with gallery:
        if encoder is not None:
            gallery.require_encoder(encoder, weights)
        if precision is not None:
            gallery.require_precision(precision)
        if index is not None or when_down is not None:
            gallery.choose_index(index, when_down=when_down)
        try:
            with progress_bar("embedding") as progress:
                report = gallery.build(
                    folder,
                    labels=labels,
                    prune=prune,
                    allow_duplicates=allow_duplicates,
                    progress=progress,
                )
        except KeyboardInterrupt:
            _stopped(gallery)
        _print_report(report, gallery, as_json=as_json)


@click.command()
@click.argument("paths", type=options.PhotoPath(), nargs=-1, required=True)
@options.gallery
@click.option("--label", help="The label of all of them.")
@options.device
@options.allow_duplicates
@options.as_json
def add(
    paths: tuple[AnyPath, ...],
    place: Place,
    label: str | None,
    device: str,
    allow_duplicates: bool,
    as_json: bool,
) -> None:
    """Add photos, or folders of photos, to a gallery.

    PATHS are files and folders, on disk or in s3://BUCKET. Without --label, a photo in a folder
    gets its parent folder's name, and a photo named itself gets no label.
    """
    from retrieval.gallery import Gallery

    with Gallery.open(place, device=device) as gallery:
        try:
            with progress_bar("embedding") as progress:
                report = gallery.add(
                    paths, label=label, allow_duplicates=allow_duplicates, progress=progress
                )
        except KeyboardInterrupt:
            _stopped(gallery)
        _print_report(report, gallery, as_json=as_json)
    if report.failed and not (report.item_ids or report.unchanged or report.moved):
        sys.exit(2)


def _stopped(gallery: Gallery) -> None:
    items = plural(gallery.info().items, "item")
    click.echo(
        f"Stopped. {gallery.name} holds {items}; the same command goes on from there.", err=True
    )
    sys.exit(130)


def _print_report(report: BuildReport, gallery: Gallery, *, as_json: bool) -> None:
    if as_json:
        click.echo(to_json(report))
        return
    counts = {
        "added": report.added,
        "changed": report.changed,
        "unchanged": report.unchanged,
        "moved": report.moved,
        "relabelled": report.relabelled,
        "removed": report.removed,
        "duplicates left out": len(report.duplicates),
        "failed": len(report.failed),
    }
    # What every run tells, and of the rest only what happened.
    always = ("added", "unchanged", "moved", "failed")
    said = [f"{count:,} {what}" for what, count in counts.items() if count or what in always]
    click.echo(", ".join(said))
    print_some("can't be used", [f"{one.path}: {one.reason}" for one in report.failed])
    print_some(
        "stored already",
        [f"{one.path}: the same bytes as item {one.item_id}" for one in report.duplicates],
    )
    if report.gone and not report.removed:
        print_some("gone from the folder (--prune removes these items)", report.gone)
    info = gallery.info()
    click.echo(
        f"{gallery.name}: {plural(info.items, 'item')}, {plural(info.labels, 'label')}, "
        f"{info.encoder}"
    )
    if info.threshold is not None:
        click.echo(told_threshold(info.threshold))
    elif info.items:
        from retrieval.first_threshold import learnt_labels

        why = "tuning one takes two labels with several items and twenty items in all"
        if learnt_labels(gallery.encoder.spec, gallery.labels()):
            why = (
                "the encoder was trained on labels of this gallery, which tell nothing about "
                "strangers any more; supply some with tune-threshold --strangers"
            )
        click.echo(f"no threshold: {why}; until then query shows neighbours without a verdict")
