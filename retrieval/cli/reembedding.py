"""`reembed` and `compare`: another encoder, and what it would change."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from retrieval.cli import options
from retrieval.cli.output import (
    percent,
    plural,
    print_failed,
    print_some,
    print_table,
    progress_bar,
    to_json,
    told_threshold,
)

if TYPE_CHECKING:
    from retrieval.encoder_comparison import ComparedEncoder, EncoderComparison
    from retrieval.paths import AnyPath
    from retrieval.place import Place
    from retrieval.reembedding import ReembedReport


@click.command()
@options.gallery
@click.option(
    "--encoder",
    required=True,
    help="efficientnet_lite0, _lite1, _lite2, timm:NAME, or an encoder's folder; current drops "
    "what a broken-off reembed to another encoder has made.",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    help="A local checkpoint for timm:NAME, instead of the published weights.",
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16", "int8"]),
    help="Arithmetic of the encoder; without it, as the gallery has it.",
)
@click.option(
    "--drop-missing",
    is_flag=True,
    help="Remove the items whose photo is missing, has changed or can't be read.",
)
@options.device
@options.as_json
def reembed(
    place: Place,
    encoder: str,
    weights: Path | None,
    precision: str | None,
    drop_missing: bool,
    device: str,
    as_json: bool,
) -> None:
    """Give a gallery another encoder.

    All items are embedded anew from their photos, beside the old vectors; the gallery answers as
    before until all are done, and is then switched in one step. Stopped at any moment, the same
    command goes on from there.
    """
    from retrieval.gallery import Gallery

    with Gallery.open(place, device=device) as gallery:
        try:
            with progress_bar("embedding") as progress:
                report = gallery.reembed(
                    encoder,
                    weights=weights,
                    precision=precision,
                    drop_missing=drop_missing,
                    progress=progress,
                )
        except KeyboardInterrupt:
            click.echo(
                f"Stopped. {gallery.name} answers as before; the same command goes on from there.",
                err=True,
            )
            sys.exit(130)
    if as_json:
        click.echo(to_json(report))
    else:
        _print_report(report, place)


@click.command()
@options.gallery
@click.option(
    "--encoder",
    "encoders",
    multiple=True,
    required=True,
    help="An encoder as in build-index, or current for the gallery's own; say it once for each.",
)
@click.option(
    "--queries",
    type=options.PhotoPath(),
    help="Photos to ask, a folder (labels are the parent folders) or a CSV path,label; without it, "
    "the gallery's own items are asked, each among the others.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    help="Take so many items only: whole labels, or with --queries some of every label.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Draws items and labels.")
@options.device
@options.as_json
def compare(
    place: Place,
    encoders: tuple[str, ...],
    queries: AnyPath | None,
    limit: int | None,
    seed: int,
    device: str,
    as_json: bool,
) -> None:
    """Show what another encoder would change, before reembed switches to it.

    Each encoder embeds the gallery's items from their photos, and is judged by the same queries; a
    fifth of the labels is hidden ten times to see what strangers would get. One --encoder alone is
    compared with the gallery's current one. Nothing is written into the gallery.
    """
    from retrieval.gallery import Gallery

    if len(encoders) == 1:
        encoders = ("current", *encoders)
    with (
        Gallery.open(place, device=device) as gallery,
        progress_bar("embedding") as progress,
    ):
        found = gallery.compare(
            encoders, queries=queries, limit=limit, seed=seed, progress=progress
        )
    if as_json:
        click.echo(to_json(found))
    else:
        _print_comparison(found)


def _print_comparison(found: EncoderComparison) -> None:
    of = "" if found.items == found.of_items else f" (of {found.of_items:,}, seed {found.seed})"
    click.echo(
        f"{plural(found.items, 'item')}{of} of {plural(found.labels, 'label')}, "
        f"{found.queries:,} queries, {found.n_mated:,} of them mated; DIR by {found.rule}, a fifth "
        "of the labels hidden 10 times"
    )
    print_failed(found.failed)
    print_table(
        (
            *("encoder", "dim", "recall@1", "recall@5", "recall@10", "MAP@R"),
            *("DIR@1%", "DIR@5%", "DIR@10%", "photos/s", "other answers"),
        ),
        [_row(one, first=one is found.encoders[0]) for one in found.encoders],
    )
    for one in found.encoders[1:]:
        if one.changed:
            click.echo(
                f"{_called(one)} answers {one.changed:,} of {found.queries:,} queries otherwise "
                f"than {_called(found.encoders[0])}:"
            )
        for example in one.examples:
            right = "" if example.label is None else f" ({example.label})"
            click.echo(
                f"  {example.query}{right}: {example.before or '–'} → {example.after or '–'}"
            )


def _row(one: ComparedEncoder, *, first: bool) -> tuple[object, ...]:
    dirs = {point.fpir: point.dir for point in one.dir_at_fpir}
    return (
        _called(one),
        one.dim,
        *(None if rate is None else f"{rate.value:.3f}" for rate in one.recall.values()),
        None if one.map_at_r is None else f"{one.map_at_r:.3f}",
        *(percent(found.mean if (found := dirs.get(fpir)) else None) for fpir in (0.01, 0.05, 0.1)),
        None if one.photos_per_second is None else f"{one.photos_per_second:,.0f}",
        None if first else one.changed,
    )


def _called(one: ComparedEncoder) -> str:
    return f"current ({one.name})" if one.asked == "current" else one.asked


def _print_report(report: ReembedReport, gallery: Place) -> None:
    if not report.switched:
        click.echo(f"{gallery} belongs to {report.encoder}: nothing to embed")
        return
    said = [f"{report.embedded:,} embedded"]
    if report.kept:
        said.append(f"{report.kept:,} were done before")
    if report.dropped:
        said.append(f"{plural(len(report.dropped), 'item')} dropped")
    click.echo(", ".join(said))
    print_some("dropped", [f"{one.path}: {one.reason}" for one in report.dropped])
    click.echo(f"{gallery}: {plural(report.items, 'item')}, {report.encoder}")
    if report.threshold is None:
        click.echo("no threshold: query shows neighbours without a verdict")
    else:
        click.echo(told_threshold(report.threshold))
