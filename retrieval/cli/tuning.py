"""`tune-threshold`: choosing the distance at which a nearest item becomes a match."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from retrieval.cli import options
from retrieval.cli.output import percent, to_json, told_threshold

if TYPE_CHECKING:
    from retrieval.paths import AnyPath
    from retrieval.place import Place


@click.command("tune-threshold")
@options.gallery
@click.option(
    "--objective",
    default="fpir=0.05",
    show_default=True,
    help="fpir=X promises that X of strangers are accepted at most; far=X, precision=X, f1, "
    "accuracy and eer promise nothing beyond these photos.",
)
@click.option(
    "--strangers",
    type=options.PhotoPath(),
    help="Photos of labels the gallery lacks: a folder (labels are the parent folders) or a CSV "
    "path,label. Without it the gallery's own labels are left out in turn.",
)
@click.option(
    "--confidence",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="With --strangers: promise it of this very threshold, with this probability.",
)
@options.rule
@options.device
@options.as_json
def tune_threshold(
    place: Place,
    objective: str,
    strangers: AnyPath | None,
    confidence: float | None,
    rule: str | None,
    device: str,
    as_json: bool,
) -> None:
    """Tune the threshold of a gallery, and put it in force.

    By default a photo of a label never seen is accepted with probability 5 % at most, on average
    over labels (docs/thresholds.md).
    """
    from retrieval.gallery import Gallery

    with Gallery.open(place, device=device) as gallery:
        tuned = gallery.tune_threshold(
            objective=objective, strangers=strangers, confidence=confidence, rule=rule
        )
    if as_json:
        click.echo(to_json(tuned))
        return
    details = tuned.details
    click.echo(told_threshold(tuned))
    click.echo(f"accepts {percent(details['fpir'])} of the strangers it was tuned on, by label")
    if details["dir"] is not None:
        click.echo(
            f"identifies {percent(details['dir'])} of the gallery's own photos by the others of "
            "their label"
        )
    if left_out := details.get("known"):
        click.echo(f"{left_out} photos of labels that the gallery knows were left out", err=True)
