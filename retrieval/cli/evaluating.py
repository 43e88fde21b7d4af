"""`eval`: how well a gallery answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from retrieval.cli import options, pairing
from retrieval.cli.output import percent, plural, print_failed, print_table, progress_bar, to_json

if TYPE_CHECKING:
    from retrieval.evaluation.openset import OpenSet, Spread
    from retrieval.evaluation.protocol import Evaluation
    from retrieval.gallery import Gallery
    from retrieval.paths import AnyPath
    from retrieval.place import Place


@click.command("eval")
@click.argument("queries", type=options.PhotoPath(), required=False)
@options.gallery_or_not
@pairing.judged_pairs
@click.option("--split", help="Only the rows of the CSV whose column `split` says this.")
@options.rule
@click.option(
    "--thresholds",
    type=options.Distances(),
    help="Scores to judge the match decision at, beside the gallery's threshold.",
)
@click.option(
    "--strangers",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Also run the open-set protocol: hide this share of the labels from the gallery.",
)
@click.option(
    "--repeats",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="With --strangers: how often, with other labels each time.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Draws the hidden labels.")
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    help="Also write an HTML page with curves and the worst photos; an old one is replaced.",
)
@click.option(
    "--csv",
    "table",
    type=click.Path(path_type=Path),
    help="Also write the figures as CSV; an old file is replaced.",
)
@options.device
@options.as_json
def evaluate(
    queries: AnyPath | None,
    place: Place | None,
    pairs: AnyPath | None,
    encoder: str | None,
    split: str | None,
    rule: str | None,
    thresholds: list[float] | None,
    strangers: float | None,
    repeats: int,
    seed: int,
    report: Path | None,
    table: Path | None,
    device: str,
    as_json: bool,
) -> None:
    """Judge a gallery by QUERIES: a folder (labels are the parent folders) or a CSV path,label.

    A query whose label the gallery lacks is a stranger, and unknown the right answer to it. In a
    folder with subfolders probe and unknown, all photos in unknown are strangers; if it has a
    subfolder gallery too, -g may be left out. Without QUERIES the gallery's own items are the
    queries, each compared with the others.

    With --pairs instead of QUERIES, judge an encoder by pairs of photos: the same, or not?
    """
    if pairs is not None:
        if queries is not None:
            raise click.UsageError("Say either QUERIES or --pairs PAIRS.csv.")
        if report is not None or table is not None:
            raise click.UsageError("--report and --csv tell of QUERIES, not of --pairs.")
        pairing.judge(pairs, place, encoder, thresholds=thresholds, device=device, as_json=as_json)
        return
    from retrieval.evaluation.protocol import OpenSetPlan
    from retrieval.judging import require_places

    # Before a data set's own gallery is embedded, too.
    require_places(report, table, outside=place.folder if place is not None else None)
    plan = None if strangers is None else OpenSetPlan(strangers, repeats, seed)
    with (
        _gallery(queries, place, encoder, device) as gallery,
        progress_bar("embedding") as progress,
    ):
        evaluation = gallery.evaluate(
            queries,
            split=split,
            rule=rule,
            thresholds=thresholds or (),
            open_set=plan,
            report=report,
            table=table,
            progress=progress,
        )
    if as_json:
        click.echo(to_json(evaluation))
        return
    _print_evaluation(evaluation)
    if report is not None:
        click.echo(f"{click.format_filename(report)} shows it with curves and photos")
    if table is not None:
        click.echo(f"{click.format_filename(table)} has the figures as CSV")


@contextmanager
def _gallery(
    queries: AnyPath | None, place: Place | None, encoder: str | None, device: str
) -> Iterator[Gallery]:
    """Open the gallery to judge, or make the one that a data set brings."""
    from retrieval.evaluation.inputs import GALLERY, is_data_set
    from retrieval.gallery import DEFAULT_ENCODER, Gallery

    if place is not None:
        if encoder is not None:
            raise click.UsageError("-g GALLERY brings its own encoder: leave --encoder out.")
        with Gallery.open(place, device=device) as gallery:
            yield gallery
    elif queries is not None and is_data_set(queries):
        with TemporaryDirectory(prefix="lookalike-gallery-") as made:
            path = Path(made) / GALLERY
            name = encoder or DEFAULT_ENCODER
            with Gallery.create(path, encoder=name, device=device) as gallery:
                with progress_bar("embedding the gallery") as progress:
                    report = gallery.build(queries / GALLERY, progress=progress)
                print_failed(report.failed)
                yield gallery
    else:
        raise click.UsageError(
            "Say -g GALLERY, or name a folder with the subfolders gallery and probe."
        )


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
    click.echo(f"the match decision by {evaluation.rule} at each threshold (* the gallery's):")
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
    if evaluation.n_non_mated:
        click.echo("known queries identified (DIR) where a share of these strangers passes (FPIR):")
        print_table(
            ("FPIR", "DIR", "threshold", ""),
            [
                (percent(one.fpir), percent(one.dir), one.threshold, one.note or "")
                for one in evaluation.dir_at_fpir
            ],
        )
    if evaluation.open_set is not None:
        _print_open_set(evaluation.open_set)


def _print_open_set(found: OpenSet) -> None:
    click.echo(
        f"open set: {plural(found.hidden_labels, 'label')} hidden at random, "
        f"{found.repeats} times (seed {found.seed}); "
        f"{found.n_mated:,.0f} known and {found.n_non_mated:,.0f} stranger queries each; "
        "mean and 95 % of the times:"
    )
    print_table(
        ("FPIR", "DIR", "misidentified", "threshold", ""),
        [
            (
                percent(point.fpir),
                _spread(point.dir, percent),
                _spread(point.misidentification, percent),
                None if point.threshold is None else point.threshold.mean,
                point.note or "",
            )
            for point in found.points
        ],
    )


def _spread(found: Spread | None, told: Callable[[float], str]) -> str:
    if found is None:
        return "–"
    return f"{told(found.mean)} ({told(found.low)} to {told(found.high)})"
