"""The picture of a training run: loss, learning rate and figures over the epochs."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from retrieval.pages.page import Html, Number, page, table, tag
from retrieval.pages.plots import Axis, Frame, plot

History = Sequence[Mapping[str, float]]

_EPOCH, _RATE, _LOSS = "epoch", "rate", "loss"


def training_page(name: str, reasons: Sequence[str], parts: Mapping[str, History]) -> Html:
    """Make the page of a run.

    Args:
        name: The encoder's name.
        reasons: Why the run was planned as it was.
        parts: The rows of each part of the run, one an epoch: `epoch`, `loss`, `rate`, and in some
            epochs figures, shares of one by name.
    """
    body: list[str] = [tag("p", f"{reason}.", class_="quiet") for reason in reasons]
    for part, rows in parts.items():
        if not rows:
            continue
        charts = [_loss_chart(rows)]
        charts += [_figure_chart(figure, rows) for figure in _figures(rows)]
        body.append(tag("h2", f"Training: {part}"))
        body.append(tag("div", *charts, class_="charts"))
        body.append(_table(part, rows))
    return page(f"How {name} was trained", *body)


def metrics_csv(parts: Mapping[str, History]) -> str:
    """Write the same as CSV: a row an epoch, columns `part`, `epoch`, `loss`, `rate`, figures."""
    names = list(dict.fromkeys(figure for rows in parts.values() for figure in _figures(rows)))
    text = io.StringIO()
    writer = csv.DictWriter(text, ["part", _EPOCH, _LOSS, _RATE, *names], lineterminator="\n")
    writer.writeheader()
    for part, rows in parts.items():
        writer.writerows({"part": part, **row} for row in rows)
    return text.getvalue()


def _figures(rows: History) -> list[str]:
    names = dict.fromkeys(name for row in rows for name in row)
    return [name for name in names if name not in (_EPOCH, _LOSS, _RATE)]


def _loss_chart(rows: History) -> Html:
    losses = [row[_LOSS] for row in rows]
    frame = Frame(_epochs(rows), Axis("mean over the steps of the epoch", 0, max(losses) or 1))
    frame.line([row[_EPOCH] for row in rows], losses)
    said = (
        f"Loss over {len(rows)} epochs, {losses[0]:.3g} in the first and {losses[-1]:.3g} at last"
    )
    return tag("figure", tag("h3", "Loss"), plot(said, [frame]), class_="chart")


def _figure_chart(figure: str, rows: History) -> Html:
    judged = [row for row in rows if figure in row]
    frame = Frame(_epochs(rows), Axis("of the photos kept back", 0, 1, percent=True))
    frame.line([row[_EPOCH] for row in judged], [row[figure] for row in judged])
    said = f"{figure} of the photos kept back, {judged[-1][figure]:.1%} at last"
    return tag("figure", tag("h3", figure), plot(said, [frame]), class_="chart")


def _epochs(rows: History) -> Axis:
    return Axis(_EPOCH, 0, max(1, rows[-1][_EPOCH]))


def _table(part: str, rows: History) -> Html:
    figures = _figures(rows)
    cells = [
        [
            f"{row[_EPOCH]:g}",
            Number(f"{row[_LOSS]:.4f}"),
            Number(f"{row[_RATE]:.2e}"),
            *(Number(f"{row[name]:.3f}") if name in row else Number("–") for name in figures),
        ]
        for row in rows
    ]
    return table(f"The epochs of {part}", [_EPOCH, _LOSS, "learning rate", *figures], cells)
