"""`demo`: the whole way, from photos to answers, on a sample drawn on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from retrieval.cli.output import percent, plural, progress_bar, told_threshold

if TYPE_CHECKING:
    from retrieval.gallery import Gallery


@click.command()
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path("lookalike-demo"),
    show_default=True,
    help="Where the sample and its gallery go.",
)
def demo(folder: Path) -> None:
    """Draw some packagings, build a gallery of them, and identify known and unknown photos."""
    from retrieval.gallery import Gallery
    from retrieval.sample import write_sample

    click.echo(f"Drawing photos of packagings into {folder} …")
    sample = write_sample(folder)
    click.echo(
        f"  {len(sample.known)} known packagings, {len(sample.unknown)} strangers\n\n"
        f"$ lookalike build-index {sample.gallery} -g {folder / 'my-gallery'}"
    )
    path = folder / "my-gallery"
    gallery = Gallery.open(path) if path.exists() else Gallery.create(path)
    with gallery:
        with progress_bar("embedding") as progress:
            report = gallery.build(sample.gallery, progress=progress)
        click.echo(f"{report.added:,} added, {report.unchanged:,} unchanged")
        if tau := gallery.threshold():
            click.echo(told_threshold(tau))
        _ask(gallery, "photos of known packagings, in a view the gallery lacks", sample.queries)
        _ask(gallery, "photos of packagings the gallery has never seen", sample.strangers)
    photo = next(sample.queries.rglob("*.jpg"))
    click.echo(
        "\nNow you:\n"
        f"  lookalike query {photo} -g {path}\n"
        f"  lookalike query {sample.strangers} -g {path}\n"
        f"  lookalike eval {sample.queries} -g {path}\n"
        f"  lookalike info -g {path}\n"
        "  lookalike build-index YOUR-PHOTOS -g YOUR-GALLERY"
    )


def _ask(gallery: Gallery, title: str, folder: Path) -> None:
    from retrieval.identification import Identification
    from retrieval.sources import find_photos

    photos = list(find_photos(folder))
    answers = [one for one in gallery.identify_many(photos, k=1) if isinstance(one, Identification)]
    right = wrong = unknown = 0
    click.echo(f"\n{title}:")
    for number, (photo, answer) in enumerate(zip(photos, answers, strict=True)):
        unknown += answer.decision == "unknown"
        matched = answer.decision == "match"
        right += matched and answer.label == photo.parent.name
        wrong += matched and answer.label != photo.parent.name
        if number < 4:
            said = f"match: {answer.label}" if matched else "unknown"
            click.echo(f"  {photo.parent.name:<28} → {said}  ({answer.distance:.3f})")
    click.echo(
        f"  … {plural(len(photos), 'photo')}: {right} matched rightly, {wrong} wrongly, "
        f"{unknown} unknown ({percent(unknown / len(photos))})"
    )
