"""`eval`: how well a gallery answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from retrieval.cli import options, pairing
from retrieval.cli.output import percent, plural, print_failed, print_table, progress_bar, to_json

if TYPE_CHECKING:
    from retrieval.evaluation.protocol import Evaluation


@click.command("eval")
@click.argument("queries", type=click.Path(path_type=Path), required=False)
@options.gallery_or_not
@pairing.judged_pairs
@click.option(
    "--thresholds",
    type=options.Distances(),
    default="0.1,0.2,0.3,0.4,0.5",
    show_default=True,
    help="Distances to judge the match decision at, beside the gallery's threshold.",
)
@options.device
@options.as_json
def evaluate(
    queries: Path | None,
    gallery_path: Path | None,
    pairs: Path | None,
    encoder: str | None,
    thresholds: list[float],
    device: str,
    as_json: bool,
) -> None:
    """Judge a gallery by QUERIES: a folder (labels are the parent folders) or a CSV path,label.

    A query whose label the gallery lacks is a stranger, and unknown the right answer to it.

    With --pairs instead of QUERIES, judge an encoder by pairs of photos: the same, or not?
    """
    if pairs is not None and queries is None:
        pairing.judge(
            pairs, gallery_path, encoder, thresholds=thresholds, device=device, as_json=as_json
        )
        return
    if queries is None or pairs is not None:
        raise click.UsageError("Say either QUERIES or --pairs PAIRS.csv.")
    if gallery_path is None or encoder is not None:
        raise click.UsageError("QUERIES go with -g GALLERY, which brings its own encoder.")

    from retrieval.gallery import Gallery

    with (
        Gallery.open(gallery_path, device=device) as gallery,
        progress_bar("embedding") as progress,
    ):
        evaluation = gallery.evaluate(queries, thresholds=thresholds, progress=progress)
    if as_json:
        click.echo(to_json(evaluation))
    else:
        _print_evaluation(evaluation)


def _print_evaluation(evaluation: Evaluation) -> None:
    click.echo(
        f"{evaluation.n_mated:,} mated queries, "
        f"{evaluation.n_non_mated:,} non-mated, against {plural(evaluation.items, 'item')} of "
        f"{plural(evaluation.labels, 'label')}"
    )
    print_failed(evaluation.failed)
    for k, rate in evaluation.recall.items():
        if rate is not None:
            click.echo(f"  recall@{k:<3} {rate.value:.3f}  ({rate.count:,} of {rate.n:,})")
    if evaluation.map_at_r is not None:
        click.echo(f"  MAP@R      {evaluation.map_at_r:.3f}")
    click.echo("the match decision at each threshold (* the gallery's):")
    print_table(
        ("threshold", "accuracy", "precision", "recall", "F1", "FPIR", "FNIR", "misidentified"),
        [
            (
                f"{rates.threshold:.4f}{'*' if rates.threshold == evaluation.threshold else ' '}",
                *map(percent, (rates.accuracy, rates.precision, rates.recall)),
                *map(percent, (rates.f1, rates.fpir, rates.fnir, rates.misidentification)),
            )
            for rates in evaluation.decisions
        ],
    )
