"""`list`, `info` and `check`: what is in a gallery, and whether it is sound."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from retrieval.cli import options
from retrieval.cli.output import origin, percent, plural, print_table, to_json

if TYPE_CHECKING:
    from retrieval.place import Place

_GROWTH = 10


@click.command("list")
@options.gallery
@click.option("--label", help="Only items of this label.")
@options.where
@click.option("--labels", "only_labels", is_flag=True, help="Only the labels, with their counts.")
@click.option("--failures", is_flag=True, help="Instead, the files that could not become items.")
@options.as_json
def list_items(
    place: Place,
    label: str | None,
    where: tuple[str, ...],
    only_labels: bool,
    failures: bool,
    as_json: bool,
) -> None:
    """List the items of a gallery, one a line."""
    from retrieval.gallery import Gallery

    if failures and where:
        raise click.UsageError("--where speaks of items, and --failures never became any.")
    with Gallery.open(place) as gallery:
        if failures:
            for failure in gallery.failures():
                click.echo(to_json(failure) if as_json else f"{failure.path}: {failure.reason}")
            return
        if only_labels:
            for name, count in gallery.labels(where=where).items():
                line = to_json({"label": name, "items": count})
                click.echo(line if as_json else f"{name}: {plural(count, 'item')}")
            return
        items = gallery.items(label=label, where=where)
    if as_json:
        for item in items:
            click.echo(to_json(item))
    else:
        print_table(
            ("id", "label", "width", "height", "path"),
            [(item.id, item.label or "–", item.width, item.height, item.path) for item in items],
        )


@click.command()
@options.gallery
@options.as_json
def info(place: Place, as_json: bool) -> None:
    """Say what a gallery is: items, encoder, threshold and where it came from."""
    from retrieval.gallery import Gallery

    with Gallery.open(place) as gallery:
        found = gallery.info()
    if as_json:
        click.echo(to_json(found))
        return
    click.echo(f"gallery    {found.path}")
    click.echo(
        f"items      {found.items:,} ({plural(found.labels, 'label')}, "
        f"{found.unlabelled:,} without one)"
    )
    click.echo(f"failures   {found.failures:,}")
    click.echo(f"encoder    {found.encoder}, {found.dim} dimensions, {found.precision} precision")
    click.echo(f"           {found.fingerprint}")
    if found.threshold is None:
        click.echo("threshold  none: query shows neighbours without a verdict")
    else:
        tuned = found.threshold
        click.echo(
            f"threshold  {tuned.value:.4f} ({tuned.rule}), {origin(tuned, tuned.objective)} "
            f"at {tuned.created_at:%Y-%m-%d %H:%M} UTC"
        )
        for line in _measured(tuned.details):
            click.echo(f"           {line}")
        if found.outgrown:
            click.echo("           outgrown: the gallery's size has changed; run tune-threshold")
    index = found.index
    held = f"{index.kind}, {plural(index.items, 'item')}" if index.kind else "no file yet"
    click.echo(f"index      {held}, {plural(index.changes, 'change')} since ({index.asked})")
    if found.verifier is not None:
        chosen = found.verifier.chosen
        click.echo(
            f"verifier   {found.verifier.model}, {percent(chosen.accuracy.value)} of pairs right; "
            f"verify goes by the {found.verifier.default}"
        )
        click.echo(
            f"           trained on {found.verifier.pairs:,} pairs from {found.verifier.source} at "
            f"{found.verifier.created_at}"
        )
    elif found.verifier_problem is not None:
        click.echo(f"verifier   {found.verifier_problem}")
    click.echo(f"on disk    {found.size / 1e6:.1f} MB, {plural(found.seq, 'write')} so far")


@click.command()
@options.gallery
@options.as_json
def check(place: Place, as_json: bool) -> None:
    """Prove that store, files and index of a gallery agree; say how to mend what doesn't.

    Exit code 1 if something is wrong.
    """
    from retrieval.gallery import Gallery

    with Gallery.open(place) as gallery:
        report = gallery.check()
    if as_json:
        click.echo(to_json(report))
    else:
        for problem in report.problems:
            click.echo(f"problem: {problem}")
        for note in report.notes:
            click.echo(f"note: {note}")
        looked = (
            f"{plural(report.items, 'item')}, {plural(report.vectors, 'vector')}, "
            f"{plural(report.generations, 'index file')}"
        )
        verdict = "all is well" if report.clean else plural(len(report.problems), "problem")
        click.echo(f"{looked}: {verdict}")
    if not report.clean:
        sys.exit(1)


def _measured(details: dict[str, Any]) -> Iterator[str]:
    """Say what was measured where a threshold was tuned, and what growth will make of it."""
    from retrieval.evaluation.conformal import forecast

    told = {name: value for name, value in details.items() if not isinstance(value, bool | list)}
    low_high = details.get("fpir_interval")
    if low_high:
        told["fpir"] = f"{details['fpir']:.3f} ({low_high[0]:.3f} to {low_high[1]:.3f})"
    yield "measured there: " + ", ".join(
        f"{name} {value:.3f}" if isinstance(value, float) else f"{name} {value}"
        for name, value in told.items()
    )
    if details.get("rehearsed"):
        yield "no promise: it was tuned on labels kept from the encoder while that was rehearsed"
    elif not details.get("promised", True):
        # What was asked for is no promise, or could not be one.
        why = "" if "asked" in details else ", as there are too few labels"
        yield f"no promise{why}: it only holds for these very photos"
    if "fpir" in details:
        grown = percent(forecast(details["fpir"], _GROWTH))
        yield f"with {_GROWTH} times the labels FPIR would be {grown} at most, on average"
