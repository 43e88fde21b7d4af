"""`query` and `eval`: what a gallery answers, and how well."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from retrieval.cli import options
from retrieval.cli.output import percent, plural, print_table, progress_bar, to_json

if TYPE_CHECKING:
    from retrieval.embedding import FailedPhoto
    from retrieval.evaluation.protocol import Evaluation
    from retrieval.gallery import Gallery
    from retrieval.identification import Identification


class _Distance(click.ParamType[float]):
    """A cosine distance."""

    name = "distance"

    def convert(
        self, value: str | float, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            distance = float(value)
        except ValueError:
            distance = math.nan
        if not 0 <= distance <= 2:  # NaN too
            self.fail(f"{value!r} is no cosine distance: say a number from 0 to 2", param, ctx)
        return distance


class _Distances(click.ParamType[list[float]]):
    """Cosine distances, parted by commas."""

    name = "distances"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[float]:
        return [_Distance().convert(text, param, ctx) for text in value.split(",")]


@click.command()
@click.argument("images", type=click.Path(path_type=Path), nargs=-1, required=True)
@options.gallery
@click.option(
    "-k", type=click.IntRange(min=1), default=5, show_default=True, help="Nearest items to show."
)
@click.option(
    "--threshold",
    type=_Distance(),
    help="Match below this cosine distance, instead of the gallery's threshold.",
)
@options.device
@options.as_json
def query(
    images: tuple[Path, ...],
    gallery_path: Path,
    k: int,
    threshold: float | None,
    device: str,
    as_json: bool,
) -> None:
    """Say who or what is in each IMAGE: the matching label, or unknown.

    An IMAGE may be a folder: all photos in it and its subfolders are asked. The decision comes
    first, then the k nearest items. Exit code 2 if a photo could not be read.
    """
    from retrieval.gallery import Gallery
    from retrieval.identification import Identification

    failed = False
    with Gallery.open(gallery_path, device=device) as gallery:
        for number, answer in enumerate(_answers(gallery, images, k, threshold)):
            if not isinstance(answer, Identification):
                failed = True
                click.echo(f"{click.format_filename(answer.path)}: {answer.reason}", err=True)
            elif as_json:
                click.echo(to_json(answer))
            else:
                if number:
                    click.echo()
                _print_identification(answer)
    if failed:
        sys.exit(2)


@click.command("eval")
@click.argument("queries", type=click.Path(path_type=Path))
@options.gallery
@click.option(
    "--thresholds",
    type=_Distances(),
    default="0.1,0.2,0.3,0.4,0.5",
    show_default=True,
    help="Distances to judge the match decision at, beside the gallery's threshold.",
)
@options.device
@options.as_json
def evaluate(
    queries: Path, gallery_path: Path, thresholds: list[float], device: str, as_json: bool
) -> None:
    """Judge a gallery by QUERIES: a folder (labels are the parent folders) or a CSV path,label.

    A query whose label the gallery lacks is a stranger, and unknown the right answer to it.
    """
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


def _answers(
    gallery: Gallery, images: Iterable[Path], k: int, threshold: float | None
) -> Iterator[Identification | FailedPhoto]:
    paths = list(_expand(images))
    if len(paths) == 1:
        yield gallery.identify(paths[0], k=k, threshold=threshold)
    else:
        yield from gallery.identify_many(paths, k=k, threshold=threshold)


def _expand(images: Iterable[Path]) -> Iterator[Path]:
    from retrieval.errors import LookalikeError
    from retrieval.sources import find_photos

    for image in images:
        if image.is_dir():
            photos = list(find_photos(image))
            if not photos:
                raise LookalikeError(f"{image} holds no photos: name another folder or a photo.")
            yield from photos
        else:
            yield image


def _print_identification(answer: Identification) -> None:
    click.echo(click.format_filename(answer.query or ""))
    if answer.decision == "match":
        name = answer.label if answer.label is not None else f"item {answer.item_id} (no label)"
        click.echo(click.style(f"match: {name}", bold=True, fg="green"))
    elif answer.decision == "unknown":
        click.echo(click.style("unknown", bold=True, fg="yellow"))
    if answer.note:
        click.echo(answer.note)
    if answer.threshold is not None and answer.distance is not None:
        relation = "below" if answer.decision == "match" else "not below"
        click.echo(
            f"nearest distance {answer.distance:.4f} is {relation} the threshold "
            f"{answer.threshold:.4f}"
        )
    if answer.items:
        print_table(
            ("id", "label", "distance", "path"),
            [(item.id, item.label or "–", item.distance, item.path) for item in answer.items],
        )


def _print_evaluation(evaluation: Evaluation) -> None:
    click.echo(
        f"{evaluation.n_mated:,} mated queries, "
        f"{evaluation.n_non_mated:,} non-mated, against {plural(evaluation.items, 'item')} of "
        f"{plural(evaluation.labels, 'label')}"
    )
    if evaluation.failed:
        click.echo(f"{plural(len(evaluation.failed), 'photo')} could not be read:", err=True)
        for one in evaluation.failed:
            click.echo(f"  {one.path}: {one.reason}", err=True)
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
