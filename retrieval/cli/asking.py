"""`query`: what a gallery answers."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from retrieval.cli import options
from retrieval.cli.output import plural, print_table, to_json

if TYPE_CHECKING:
    from retrieval.embedding import FailedPhoto
    from retrieval.gallery import Gallery
    from retrieval.identification import Identification
    from retrieval.paths import AnyPath
    from retrieval.place import Place


@click.command()
@click.argument("images", type=options.PhotoPath(), nargs=-1, required=True)
@options.gallery
@click.option(
    "-k", type=click.IntRange(min=1), default=5, show_default=True, help="Nearest items to show."
)
@click.option(
    "--threshold",
    type=options.Distance(),
    help="Match below this, instead of the gallery's threshold; a cosine distance unless --rule "
    "says otherwise.",
)
@options.rule_of_query
@options.where
@options.device
@options.as_json
def query(
    images: tuple[AnyPath, ...],
    place: Place,
    k: int,
    threshold: float | None,
    rule: str | None,
    where: tuple[str, ...],
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
    with Gallery.open(place, device=device) as gallery:
        asked = {"k": k, "threshold": threshold, "rule": rule, "where": where}
        for number, answer in enumerate(_answers(gallery, images, asked)):
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


def _answers(
    gallery: Gallery, images: Iterable[AnyPath], asked: dict[str, Any]
) -> Iterator[Identification | FailedPhoto]:
    paths = list(_expand(images))
    if len(paths) == 1:
        yield gallery.identify(paths[0], **asked)
    else:
        yield from gallery.identify_many(paths, **asked)


def _expand(images: Iterable[AnyPath]) -> Iterator[AnyPath]:
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
    for line in _reasons(answer):
        click.echo(line)
    if answer.items:
        print_table(
            ("id", "label", "distance", "path"),
            [(item.id, item.label or "–", item.distance, item.path) for item in answer.items],
        )


def _reasons(answer: Identification) -> Iterator[str]:
    """Say why the answer is what it is."""
    if answer.among is not None:
        yield f"among {plural(answer.among, 'item')} where {' and '.join(answer.where)}"
    if answer.threshold is not None and answer.score is not None:
        relation = "below" if answer.decision == "match" else "not below"
        what = "nearest distance" if answer.rule == "nearest" else f"score ({answer.rule})"
        yield f"{what} {answer.score:.4f} is {relation} the threshold {answer.threshold:.4f}"
    if answer.margin is not None:
        name = answer.next_label if answer.next_label is not None else "an item without a label"
        yield f"next comes {name}, {answer.margin:.4f} farther off"
    if answer.p_value is not None:
        yield f"at most {answer.p_value:.1%} of strangers would come this close"
