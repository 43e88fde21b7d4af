"""An evaluation as rows of a table: one figure a row, for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass, fields

from retrieval.evaluation.bands import Band
from retrieval.evaluation.cases import LabelRow
from retrieval.evaluation.openset import OpenSetPoint
from retrieval.evaluation.protocol import Evaluation
from retrieval.evaluation.summary import Summary


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        part: What it belongs to: `evaluation`, `recall`, `decisions`, `dir_at_fpir`, `open_set`,
            `labels` or `curve`.
        at: Where it was taken: k, a threshold, an FPIR, a label; `None` for the whole.
        figure: Its name, as in JSON.
        value: The figure; `None` where it does not exist.
        low: Where its 95 % interval begins, if it has one.
        high: Where that ends.
        count: Hits, where it is a share of something counted.
        n: What it was counted on: queries, or repeats of the open-set protocol.
        note: What is missing, for the reader.
    """

    part: str
    at: float | str | None
    figure: str
    value: float | str | None
    low: float | None = None
    high: float | None = None
    count: int | None = None
    n: int | None = None
    note: str | None = None


def evaluation_rows(evaluation: Evaluation, summary: Summary) -> list[Row]:
    """List all figures of an evaluation, those of each label, and the curve of DIR over FPIR."""
    return [
        *_whole(evaluation),
        *_decided(evaluation),
        *_open_set(evaluation),
        *(row for label in summary.labels for row in _label(label)),
        *_curve(summary.band),
    ]


def to_csv(rows: Iterable[Row]) -> str:
    """Write rows as CSV with a header: an empty cell is a value that does not exist.

    Numbers are written so that reading them gives them back exactly.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [field.name for field in fields(Row)]
    writer.writerow(names)
    # csv writes floats by repr, and None as nothing.
    writer.writerows([getattr(row, name) for name in names] for row in rows)
    return text.getvalue()


def _whole(evaluation: Evaluation) -> Iterable[Row]:
    for name in ("queries", "n_mated", "n_non_mated", "items", "labels"):
        yield Row("evaluation", None, name, getattr(evaluation, name))
    yield Row("evaluation", None, "map_at_r", evaluation.map_at_r)
    yield Row("evaluation", None, "rule", evaluation.rule)
    yield Row("evaluation", None, "threshold", evaluation.threshold)
    yield Row("evaluation", None, "failed", len(evaluation.failed))
    for k, rate in evaluation.recall.items():
        if rate is None:
            yield Row("recall", k, "recall", None)
        else:
            yield Row("recall", k, "recall", rate.value, count=rate.count, n=rate.n)


def _decided(evaluation: Evaluation) -> Iterable[Row]:
    for rates in evaluation.decisions:
        for field in fields(rates):
            if field.name != "threshold":
                value = getattr(rates, field.name)
                yield Row("decisions", rates.threshold, field.name, value)
    for one in evaluation.dir_at_fpir:
        for name, value in (("dir", one.dir), ("threshold", one.threshold)):
            yield Row("dir_at_fpir", one.fpir, name, value, n=one.n_non_mated, note=one.note)


def _open_set(evaluation: Evaluation) -> Iterable[Row]:
    found = evaluation.open_set
    if found is None:
        return
    for field in fields(found):
        if field.name != "points":
            yield Row("open_set", None, field.name, getattr(found, field.name))
    for point in found.points:
        yield from _point(point)


def _point(point: OpenSetPoint) -> Iterable[Row]:
    for name, found in (
        ("dir", point.dir),
        ("misidentification", point.misidentification),
        ("threshold", point.threshold),
    ):
        n, note = point.repeats, point.note
        if found is None:
            yield Row("open_set", point.fpir, name, None, n=n, note=note)
        else:
            yield Row(
                "open_set", point.fpir, name, found.mean, found.low, found.high, n=n, note=note
            )


def _label(row: LabelRow) -> Iterable[Row]:
    note = "known" if row.known else "strangers"
    if row.recall_at_1 is not None:
        rate = row.recall_at_1
        yield Row("labels", row.label, "recall@1", rate.value, count=rate.count, n=row.n, note=note)
    for name in ("accepted_right", "accepted_wrong", "rejected"):
        yield Row("labels", row.label, name, getattr(row, name), n=row.n, note=note)


def _curve(band: Band | None) -> Iterable[Row]:
    if band is None:
        return
    for fpir, value, low, high in zip(
        *(side.tolist() for side in (band.fpir, band.dir, band.low, band.high)), strict=True
    ):
        yield Row("curve", fpir, "dir", value, low, high, n=band.repeats)
