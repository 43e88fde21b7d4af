"""`make-pairs`, and what `eval --pairs` does: verification, are these two the same?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from retrieval.cli import options
from retrieval.cli.output import percent, plural, print_failed, print_table, progress_bar, to_json

if TYPE_CHECKING:
    from retrieval.evaluation.verification import PairEvaluation
    from retrieval.paths import AnyPath
    from retrieval.place import Place

# Distances to judge pairs at where none are asked for.
_THRESHOLDS = (0.05, 0.1, 0.15, 0.2)


@click.command("make-pairs")
@click.argument("photos", type=options.PhotoPath(), required=False)
@options.gallery_or_not
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="The CSV path_a,path_b,label."
)
@click.option("--count", default=7000, show_default=True, help="How many pairs, an even number.")
@click.option(
    "--hard",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="With -g: the share of hard pairs, near items of different labels and far items of one.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Equal seeds draw equal lists.",
)
@click.option("--force", is_flag=True, help="Replace the CSV where it exists.")
@options.as_json
def make_pairs(
    photos: AnyPath | None,
    place: Place | None,
    out: Path,
    count: int,
    hard: float,
    seed: int,
    force: bool,
    as_json: bool,
) -> None:
    """Draw pairs of PHOTOS for `eval --pairs`, half of them the same, half different.

    PHOTOS are a folder (labels are the parent folders) or a CSV path,label. With -g instead, the
    pairs are drawn among the gallery's own items. Every label has the same say, and no pair comes
    twice.
    """
    if (photos is None) == (place is None):
        raise click.UsageError("Say either PHOTOS or -g GALLERY.")
    if photos is not None:
        if hard:
            raise click.UsageError("--hard needs -g GALLERY, whose distances say what is hard.")
        from retrieval import pairing

        drawn = pairing.make_pairs(photos, out, count=count, seed=seed, overwrite=force)
    elif place is not None:
        from retrieval.gallery import Gallery

        with Gallery.open(place) as gallery:
            drawn = gallery.make_pairs(out, count=count, hard=hard, seed=seed, overwrite=force)
    if as_json:
        click.echo(to_json(drawn))
        return
    hard_ones = f" ({drawn.hard:,} of them hard)" if drawn.hard else ""
    click.echo(
        f"{drawn.path}: {plural(drawn.n_positive, 'positive pair')}, {drawn.n_negative:,} negative"
        f"{hard_ones}, of {plural(drawn.photos, 'photo')} of {plural(drawn.labels, 'label')}"
    )


def judged_pairs(command: Any) -> Any:
    """Give `eval` the options of pairs."""
    for decorate in (
        click.option(
            "--encoder",
            help="With --pairs, or a folder that brings its own gallery: the encoder to judge.",
        ),
        click.option(
            "--pairs",
            type=options.PhotoPath(),
            help="Judge the encoder of -g or --encoder by a CSV path_a,path_b,label instead; label "
            "is 1 (same) or 0 (different).",
        ),
    ):
        command = decorate(command)
    return command


def judge(
    pairs: AnyPath,
    place: Place | None,
    encoder: str | None,
    *,
    thresholds: list[float] | None,
    device: str,
    as_json: bool,
) -> None:
    """Judge an encoder by pairs, and print how it did."""
    if (place is None) == (encoder is None):
        raise click.UsageError("--pairs goes with either -g GALLERY or --encoder NAME.")
    thresholds = thresholds or list(_THRESHOLDS)
    with progress_bar("embedding") as progress:
        if place is not None:
            from retrieval.gallery import Gallery

            with Gallery.open(place, device=device) as gallery:
                evaluation = gallery.evaluate_pairs(pairs, thresholds=thresholds, progress=progress)
        elif encoder is not None:
            from retrieval.encoders.factory import borrowed_encoder
            from retrieval.evaluation.verification import evaluate_pairs
            from retrieval.pairing import read_pairs

            read_pairs(pairs)  # what would be refused is refused before an encoder is made
            with borrowed_encoder(encoder, device=device) as opened:
                evaluation = evaluate_pairs(pairs, opened, thresholds=thresholds, progress=progress)
    if as_json:
        click.echo(to_json(evaluation))
    else:
        _print_pairs(evaluation)


def _print_pairs(evaluation: PairEvaluation) -> None:
    click.echo(
        f"{plural(evaluation.n_positive, 'positive pair')}, {evaluation.n_negative:,} negative, of "
        f"{plural(evaluation.photos, 'photo')}, by {evaluation.encoder}"
    )
    print_failed(evaluation.failed)
    if evaluation.left_out:
        click.echo(f"{plural(evaluation.left_out, 'pair')} with them left out", err=True)
    if evaluation.auc is not None:
        click.echo(f"  AUC  {evaluation.auc:.4f}")
    if evaluation.eer is not None:
        click.echo(f"  EER  {evaluation.eer.value:.4f}  (threshold {evaluation.eer.threshold:.4f})")
    click.echo("the decision at each threshold:")
    print_table(
        ("threshold", "accuracy", "precision", "recall", "F1", "FAR", "FRR"),
        [
            (
                f"{rates.threshold:.4f}",
                *map(percent, (rates.accuracy, rates.precision, rates.recall)),
                *map(percent, (rates.f1, rates.far, rates.frr)),
            )
            for rates in evaluation.decisions
        ],
    )
