"""Printing: JSON, tables, progress."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from retrieval.json_text import to_json as to_json

if TYPE_CHECKING:
    from db import Threshold
    from retrieval.building import Progress
    from retrieval.embedding import FailedPhoto

# Lines printed before "and N more".
_SHOWN = 10


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print columns; numbers to the right."""
    cells = [list(header), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    right = [
        all(isinstance(row[column], (int, float)) or row[column] is None for row in rows)
        for column in range(len(header))
    ]
    for row in cells:
        line = "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        )
        click.echo(f"  {line}".rstrip())


@contextmanager
def progress_bar(what: str, *, unit: str = "photos") -> Iterator[Progress]:
    """Show a bar with rate and time left on stderr while a terminal looks on."""
    from tqdm import tqdm

    with tqdm(desc=what, unit=f" {unit}", disable=None, leave=False) as bar:

        def update(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield update


def print_failed(failed: Sequence[FailedPhoto]) -> None:
    """Tell on stderr which photos could not be read, and why."""
    if failed:
        click.echo(f"{plural(len(failed), 'photo')} could not be read:", err=True)
    for one in failed:
        click.echo(f"  {one.path}: {one.reason}", err=True)


def print_some(title: str, lines: list[str]) -> None:
    """Tell the first few lines on stderr, under a title, if there are any."""
    if not lines:
        return
    click.echo(f"{title}:", err=True)
    for line in lines[:_SHOWN]:
        click.echo(f"  {line}", err=True)
    if len(lines) > _SHOWN:
        click.echo(f"  and {len(lines) - _SHOWN:,} more (--json lists all)", err=True)


def percent(share: float | None) -> str:
    """Return a share as a percentage, or a dash where there is none."""
    return "–" if share is None else f"{share:.1%}"


def origin(threshold: Threshold, objective: str = "") -> str:
    """Say where a threshold came from, and what for if that is wanted."""
    meant = f" for {objective}" if objective else ""
    if threshold.source == "hand":
        return "set by hand"
    if threshold.source == "encoder":
        return f"came with the encoder{meant}"
    return f"tuned{meant} on {threshold.source}"


def told_threshold(threshold: Threshold) -> str:
    """Return a threshold as one line: `threshold 0.5390 (margin, fpir=0.05, tuned on gallery)`."""
    rule, objective = threshold.rule, threshold.objective
    return f"threshold {threshold.value:.4f} ({rule}, {objective}, {origin(threshold)})"


def plural(count: int, noun: str) -> str:
    """Return a count with its noun: `1 item`, `2 items`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
