"""`train-verifier` and `verify`: do two photos show the same?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from retrieval.cli import options
from retrieval.cli.output import percent, plural, print_failed, print_table, progress_bar, to_json

if TYPE_CHECKING:
    from retrieval.paths import AnyPath
    from retrieval.place import Place
    from retrieval.verifying.answering import Verification
    from retrieval.verifying.figures import Figure
    from retrieval.verifying.model import TrainedVerifier


@click.command("train-verifier")
@options.gallery
@click.option(
    "--pairs",
    type=options.PhotoPath(),
    help="Learn from a CSV path_a,path_b,label instead of drawing pairs of the gallery's items.",
)
@click.option("--count", default=7000, show_default=True, help="How many pairs to draw, even.")
@click.option(
    "--hard",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="The share of hard pairs to draw; these are learnt from, and judge nothing.",
)
@click.option(
    "--model",
    type=click.Choice(["auto", "distance", "linear", "xgboost"]),
    default="auto",
    show_default=True,
    help="The classifier: auto keeps the one that does best, distance keeps none.",
)
@click.option(
    "--components",
    type=click.IntRange(min=0),
    default=64,
    show_default=True,
    help="Directions that embeddings are projected onto first (PCA); 0 for none.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Draws the pairs, deals labels out to folds, grows trees.",
)
@click.option("--overwrite", is_flag=True, help="Replace the verifier that is there.")
@options.device
@options.as_json
def train_verifier(
    place: Place,
    pairs: AnyPath | None,
    count: int,
    hard: float,
    model: str,
    components: int,
    seed: int,
    overwrite: bool,
    device: str,
    as_json: bool,
) -> None:
    """Learn from pairs of photos whether two of them show the same.

    The classifier is kept in the gallery's folder. It is judged by labels it has not learnt from,
    and verify goes by it only where it beats the plain distance (docs/verification.md).
    """
    from retrieval.gallery import Gallery

    with (
        Gallery.open(place, device=device) as gallery,
        progress_bar("embedding") as progress,
    ):
        trained = gallery.train_verifier(
            pairs=pairs,
            count=count,
            hard=hard,
            model=model,
            components=components,
            seed=seed,
            overwrite=overwrite,
            progress=progress,
        )
    if as_json:
        click.echo(to_json(trained))
    else:
        _print_trained(trained)


@click.command()
@click.argument("photo_a", metavar="A", type=options.PhotoPath())
@click.argument("photo_b", metavar="B", type=options.PhotoPath())
@options.gallery
@click.option(
    "--by",
    type=click.Choice(["auto", "distance", "classifier"]),
    default="auto",
    show_default=True,
    help="auto takes the classifier where it beats the distance.",
)
@click.option(
    "--threshold",
    type=options.Distance(),
    help="The same below this: a distance, or with the classifier 1 - probability.",
)
@options.device
@options.as_json
def verify(
    photo_a: AnyPath,
    photo_b: AnyPath,
    place: Place,
    by: str,
    threshold: float | None,
    device: str,
    as_json: bool,
) -> None:
    """Say whether the photos PHOTO_A and PHOTO_B show the same.

    Neither need be an item of the gallery: it lends its encoder, and its verifier if train-verifier
    has made one.
    """
    from retrieval.gallery import Gallery

    with Gallery.open(place, device=device) as gallery:
        found = gallery.verify(photo_a, photo_b, by=by, threshold=threshold)
    if as_json:
        click.echo(to_json(found))
    else:
        _print_verification(found)


def _print_trained(trained: TrainedVerifier) -> None:
    hard = f" ({trained.hard:,} of them hard)" if trained.hard else ""
    click.echo(
        f"{plural(trained.n_positive, 'positive pair')}, {trained.n_negative:,} negative{hard}, of "
        f"{plural(trained.photos, 'photo')} of {plural(trained.labels, 'label')}, "
        f"from {trained.source}"
    )
    print_failed(trained.failed)
    if trained.left_out:
        click.echo(f"{plural(trained.left_out, 'pair')} with them left out", err=True)
    click.echo(
        f"judged on {trained.judged_positive:,} positive and {trained.judged_negative:,} negative "
        f"ones in {trained.folds} folds of labels, none of them learnt from (95 % intervals over "
        "labels):"
    )
    print_table(
        ("", "accuracy", "AUC", "EER", "Brier", "log-loss", "calibration", "accuracy gained"),
        [
            (
                one.method,
                _shares(one.accuracy),
                _numbers(one.auc),
                _shares(one.eer),
                _numbers(one.brier),
                _numbers(one.log_loss),
                one.calibration,
                "–" if one.gain is None else _shares(one.gain),
            )
            for one in trained.methods
        ],
    )
    click.echo(_verdict(trained))


def _verdict(trained: TrainedVerifier) -> str:
    if trained.model == "distance":
        return "no classifier was trained: verify goes by the distance"
    if trained.default == "classifier":
        return f"{trained.model} beats the plain distance: verify goes by it"
    return (
        f"{trained.model} does not beat the plain distance outside the interval: verify goes by "
        "the distance unless told --by classifier"
    )


def _print_verification(found: Verification) -> None:
    if found.decision is not None:
        colour = "green" if found.decision == "same" else "yellow"
        click.echo(click.style(found.decision, bold=True, fg=colour))
    if found.note:
        click.echo(found.note)
    if found.probability is not None:
        click.echo(f"probability {percent(found.probability)} ({found.model})")
    click.echo(f"distance {found.distance:.4f}")
    if found.threshold is not None:
        what = "1 - probability" if found.by == "classifier" else "distance"
        relation = "below" if found.decision == "same" else "not below"
        click.echo(f"{what} {found.score:.4f} is {relation} the threshold {found.threshold:.4f}")


def _shares(figure: Figure) -> str:
    return f"{percent(figure.value)} ({percent(figure.low)} to {percent(figure.high)})"


def _numbers(figure: Figure) -> str:
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"
