"""Judging a gallery and telling it: as figures, as a page, as a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from db import Store
from retrieval.belonging import require_same
from retrieval.building import Progress
from retrieval.encoders import Encoder
from retrieval.encoders.artifact import EncoderSpec
from retrieval.errors import LookalikeError
from retrieval.evaluation.distances import gallery_vectors
from retrieval.evaluation.inputs import read_queries
from retrieval.evaluation.protocol import Evaluation, Judged, OpenSetPlan, evaluate
from retrieval.first_threshold import best_rule
from retrieval.pages.page import require_place, write_page
from retrieval.paths import AnyPath
from retrieval.rules import Rule


def require_places(report: Path | None, table: Path | None, *, outside: Path | None) -> None:
    """Make sure that both can be written: nobody wants to learn that after an hour of encoding.

    Args:
        report: The page, if one is wanted.
        table: The CSV, if one is wanted.
        outside: The gallery's folder, which nothing may be written into, if there is one yet.

    Raises:
        LookalikeError: One can't be written, or both are the same file.
    """
    for path in (report, table):
        if path is not None:
            require_place(path, outside=outside)
    if report is not None and table is not None and report.resolve() == table.resolve():
        raise LookalikeError(f"{report} can't be both the report and the table: name two files.")


def judge(
    store: Store,
    folder: Path,
    spec: EncoderSpec,
    open_encoder: Callable[[], Encoder],
    queries: AnyPath | None,
    *,
    split: str | None,
    rule: Rule | None,
    thresholds: Sequence[float],
    open_set: OpenSetPlan | None,
    report: Path | None,
    table: Path | None,
    progress: Progress | None,
) -> Evaluation:
    """Judge a gallery; see `Gallery.evaluate`. `folder` is its own, which nothing is written to.

    Raises:
        LookalikeError: There is nothing to judge by, or the report or the table can't be written.
    """
    require_places(report, table, outside=folder)
    asked = None if queries is None else read_queries(queries, split=split)
    with store.read() as tx:
        vectors, stored, mine = gallery_vectors(tx), tx.threshold(), tx.encoder
    if rule is None and stored is None:
        rule = best_rule(spec, vectors.codes)

    def same_encoder() -> Encoder:
        encoder = open_encoder()
        require_same(mine, encoder.spec.fingerprint)
        return encoder

    evaluation, judged = evaluate(
        vectors,
        stored,
        asked,
        same_encoder,
        rule=rule,
        thresholds=thresholds,
        open_set=open_set,
        progress=progress,
    )
    if report is not None or table is not None:
        _write(evaluation, judged, folder, report, table)
    return evaluation


def _write(
    evaluation: Evaluation, judged: Judged, folder: Path, report: Path | None, table: Path | None
) -> None:
    # Imported here, as an evaluation without them needs none of it.
    from retrieval.evaluation.rows import evaluation_rows, to_csv
    from retrieval.evaluation.summary import summarise_evaluation
    from retrieval.pages.evaluation_page import evaluation_page

    summary = summarise_evaluation(evaluation, judged)
    if report is not None:
        write_page(report, evaluation_page(evaluation, summary, folder), outside=folder)
    if table is not None:
        write_page(table, to_csv(evaluation_rows(evaluation, summary)), outside=folder)
