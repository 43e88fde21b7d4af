"""How a gallery is judged: by queries whose labels are known, or by its own items."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from db import Threshold
from retrieval.embedding import Embedded, FailedPhoto, Unreadable, embed
from retrieval.encoders import Encoder
from retrieval.errors import LookalikeError
from retrieval.evaluation.comparing import Compared, compare
from retrieval.evaluation.decisions import (
    DecisionRates,
    DirAtFpir,
    Searches,
    decision_curve,
    decision_rates,
    dir_at_fpir,
)
from retrieval.evaluation.distances import GalleryVectors
from retrieval.evaluation.drawing import draw_hidden, draw_items
from retrieval.evaluation.identities import NOBODY
from retrieval.evaluation.inputs import GROUP, Queries
from retrieval.evaluation.metrics import Rate, mean_average_precision_at_r, recall_at_k
from retrieval.evaluation.openset import FPIRS, OpenSet, TooFewRivals, hide, summarise
from retrieval.paths import AnyPath, any_path
from retrieval.rules import RULES, Rule, default_rule

RECALL_AT = (1, 5, 10)
# Items that play queries, at most: what more of them would tell is not worth their time.
_OWN_QUERIES = 10_000
# Rivals kept of each query where some will be hidden; too few are noticed, and doubled.
_RIVALS = 32
# Thresholds to judge at where none are asked for: so many, between the scores at these quantiles.
_JUDGED, _BETWEEN = 5, (0.05, 0.95)


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation measured.

    Attributes:
        queries: How many queries were judged.
        n_mated: How many have a mate in the gallery.
        n_non_mated: How many are strangers.
        items: How many items the gallery had.
        labels: How many labels it had.
        recall: Recall@k by k; `None` without mated queries.
        map_at_r: MAP@R; `None` without mated queries.
        rule: The rule whose scores the decisions are made by.
        threshold: The gallery's threshold τ; `None` where there is none for this rule.
        decisions: The match decision at each threshold, ascending.
        dir_at_fpir: DIR where a share of these very strangers passes.
        open_set: What the open-set protocol measured, where it was asked for.
        failed: Queries that could not be read.
    """

    queries: int
    n_mated: int
    n_non_mated: int
    items: int
    labels: int
    recall: dict[int, Rate | None]
    map_at_r: float | None
    rule: str
    threshold: float | None
    decisions: tuple[DecisionRates, ...]
    dir_at_fpir: tuple[DirAtFpir, ...]
    open_set: OpenSet | None
    failed: tuple[FailedPhoto, ...]


@dataclass(frozen=True)
class OpenSetPlan:
    """How the open-set protocol is to be run.

    Attributes:
        strangers: The share of labels to hide, in (0, 1).
        repeats: How often.
        seed: Equal seeds hide the same labels.
    """

    strangers: float
    repeats: int = 10
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Judged:
    """The searches behind an evaluation; one row per query.

    Attributes:
        paths: The queries' photos.
        labels: What they show; `None` where nobody said.
        vectors: Their vectors, float32 or float16 (n, dim).
        own: int64 (n,), their identities; `identities.NOBODY` where they have none here.
        exclude: Which items are kept out of their searches, as `compare` wants it.
        searches: What the rule made of them.
        compared: What they found.
        gallery: What they were compared with.
        open_set: The searches of each repeat of the open-set protocol.
    """

    paths: list[AnyPath]
    labels: list[str | None]
    vectors: NDArray[np.float32] | NDArray[np.float16]
    own: NDArray[np.int64]
    exclude: tuple[NDArray[np.int64], NDArray[np.int64]]
    searches: Searches
    compared: Compared
    gallery: GalleryVectors
    open_set: tuple[Searches, ...]


@dataclass(frozen=True, eq=False)
class _Asked:
    """Queries as vectors: what they show, and which items are kept out of their searches."""

    paths: list[AnyPath]
    labels: list[str | None]
    vectors: NDArray[np.float32] | NDArray[np.float16]
    own: NDArray[np.int64]
    exclude: tuple[NDArray[np.int64], NDArray[np.int64]]


def evaluate(
    gallery: GalleryVectors,
    stored: Threshold | None,
    queries: Queries | None,
    open_encoder: Callable[[], Encoder],
    *,
    rule: Rule | None = None,
    thresholds: Sequence[float] = (),
    open_set: OpenSetPlan | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Evaluation, Judged]:
    """Judge a gallery; see `Gallery.evaluate`.

    Args:
        gallery: Its vectors.
        stored: Its threshold.
        queries: The photos; `None` lets the gallery's own labelled items play queries.
        open_encoder: Asked only where photos have to be encoded.
        rule: How scores are made; `None` takes the threshold's, else the default.
        thresholds: Scores to judge at, beside the gallery's threshold.
        open_set: Also run the open-set protocol.
        progress: Told how many photos of how many are encoded, or, where the gallery's own items
            play queries, compared.

    Raises:
        LookalikeError: There is nothing to judge by.
    """
    if rule is None:
        rule = RULES[stored.rule] if stored else default_rule(len(gallery.codes))
    failed: list[FailedPhoto] = []
    if queries is None:
        asked = _own_items(gallery)
    else:
        asked, failed = _encode(queries, gallery, open_encoder(), progress)
        progress = None
    repeated: list[Searches] = []
    summary = None
    if open_set is None:
        compared = _compare(asked, gallery, rule.identities, progress)
    else:
        compared, repeated, summary = _hide_labels(asked, gallery, rule, open_set, progress)
    outcomes = compared.outcomes
    searches = Searches.of(outcomes.nearest_mate, compared.rival_distances, rule)
    tau = stored.value if stored and stored.rule == rule.name else None
    judged = sorted({*(thresholds or _spread(searches)), *([] if tau is None else [tau])})
    curve = decision_curve(searches)
    evaluation = Evaluation(
        queries=len(searches),
        n_mated=curve.n_mated,
        n_non_mated=curve.n_non_mated,
        items=len(gallery.items),
        labels=len(gallery.codes),
        recall={k: recall_at_k(outcomes, k) for k in RECALL_AT},
        map_at_r=mean_average_precision_at_r(outcomes),
        rule=rule.name,
        threshold=tau,
        decisions=tuple(decision_rates(searches, threshold) for threshold in judged),
        dir_at_fpir=tuple(dir_at_fpir(curve, fpir) for fpir in FPIRS),
        open_set=summary,
        failed=tuple(failed),
    )
    return evaluation, Judged(
        paths=asked.paths,
        labels=asked.labels,
        vectors=asked.vectors,
        own=asked.own,
        exclude=asked.exclude,
        searches=searches,
        compared=compared,
        gallery=gallery,
        open_set=tuple(repeated),
    )


def _encode(
    queries: Queries,
    gallery: GalleryVectors,
    encoder: Encoder,
    progress: Callable[[int, int], None] | None,
) -> tuple[_Asked, list[FailedPhoto]]:
    failed, read = [], []
    for done, one in enumerate(embed(queries.sources, encoder), start=1):
        if isinstance(one, Unreadable):
            failed.append(FailedPhoto(str(one.source.path), one.reason))
        elif isinstance(one, Embedded):
            read.append(one)
        if progress is not None:
            progress(done, len(queries.sources))
    if not read:
        raise LookalikeError(
            f"None of the {len(failed)} queries could be read; the first: {failed[0].path}: "
            f"{failed[0].reason}."
        )
    labels = [one.source.label.label if one.source.label else None for one in read]
    known = [
        None if one.source.path in queries.strangers else label
        for one, label in zip(read, labels, strict=True)
    ]
    asked = _Asked(
        paths=[one.source.path for one in read],
        labels=labels,
        vectors=np.stack([one.vector for one in read]),
        own=np.array([gallery.codes.get(label or "", NOBODY) for label in known]),
        exclude=_exclusions(
            [(one.content.content_hash, queries.group(one.source)) for one in read], gallery
        ),
    )
    return asked, failed


def _own_items(gallery: GalleryVectors) -> _Asked:
    labelled = np.flatnonzero(gallery.identities >= 0)
    if not len(labelled):
        raise LookalikeError(
            "The gallery has no labelled items to judge it by: name a folder or a CSV of queries."
        )
    chosen = labelled[draw_items(gallery.identities[labelled], _OWN_QUERIES)]
    items = [gallery.items[place] for place in chosen]
    return _Asked(
        paths=[any_path(item.path) for item in items],
        labels=[item.label for item in items],
        vectors=gallery.vectors[chosen],
        own=gallery.identities[chosen],
        exclude=_exclusions(
            [(item.content_hash, item.metadata.get(GROUP) or None) for item in items], gallery
        ),
    )


def _compare(
    asked: _Asked,
    gallery: GalleryVectors,
    rivals: int,
    progress: Callable[[int, int], None] | None,
) -> Compared:
    return compare(
        asked.vectors,
        asked.own,
        gallery.vectors,
        gallery.identities,
        rivals=rivals,
        exclude=asked.exclude,
        progress=progress,
    )


def _hide_labels(
    asked: _Asked,
    gallery: GalleryVectors,
    rule: Rule,
    plan: OpenSetPlan,
    progress: Callable[[int, int], None] | None,
) -> tuple[Compared, list[Searches], OpenSet]:
    known = np.fromiter(gallery.codes.values(), dtype=np.int64, count=len(gallery.codes))
    hidden = draw_hidden(known, plan.strangers, plan.repeats, plan.seed)
    rivals = max(_RIVALS, 4 * rule.identities)
    while True:
        compared = _compare(asked, gallery, rivals, progress)
        found = compared.rival_identities, compared.rival_distances
        mate = compared.outcomes.nearest_mate
        try:
            repeated = [hide(asked.own, mate, *found, labels, rule) for labels in hidden]
        except TooFewRivals:
            rivals *= 2
            continue
        summary = summarise(
            repeated,
            rule,
            strangers=plan.strangers,
            hidden_labels=len(hidden[0]),
            seed=plan.seed,
        )
        return compared, repeated, summary


def _exclusions(
    asked: list[tuple[str, str | None]], gallery: GalleryVectors
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number contents and groups alike for queries and items, as `compare` wants them."""
    theirs = [(item.content_hash, item.metadata.get(GROUP) or None) for item in gallery.items]
    numbers: dict[tuple[int, str | None], int] = {}
    columns = [
        [
            -1 if value is None else numbers.setdefault((column, value), len(numbers))
            for column, value in enumerate(row)
        ]
        for row in (*asked, *theirs)
    ]
    table = np.array(columns, dtype=np.int64).reshape(-1, 2)
    return table[: len(asked)], table[len(asked) :]


def _spread(searches: Searches) -> list[float]:
    """Choose round thresholds among the scores."""
    scores = searches.score[np.isfinite(searches.score)]
    if not len(scores):
        return []
    low, high = np.quantile(scores.astype(np.float64), _BETWEEN).tolist()
    step = (high - low) / (_JUDGED - 1)
    digits = 2 if not step else 1 - math.floor(math.log10(step))
    return [round(low + step * place, digits) for place in range(_JUDGED)]
