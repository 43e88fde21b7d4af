"""What an evaluation's report shows beside its figures: curves, histograms, worst cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.evaluation.bands import Band, band_of_labels, band_of_repeats, label_codes
from retrieval.evaluation.cases import Case, LabelRow, label_rows, worst_accepts, worst_misses
from retrieval.evaluation.decisions import Searches, decision_rates
from retrieval.evaluation.intervals import Interval, labelled_rate
from retrieval.evaluation.openset import Spread
from retrieval.evaluation.protocol import Evaluation, Judged
from retrieval.evaluation.roc import Roc, verification_roc

_BINS = 40


@dataclass(frozen=True)
class AtThreshold:
    """What the gallery's threshold does, each rate with its 95 % interval.

    Attributes:
        dir: Known photos accepted under their own label / known; `None` without any.
        misidentification: Known photos accepted under another label / known; likewise.
        fpir: Strangers accepted / strangers; `None` without any.
        n_mated: Known photos searched, on average over repeats.
        n_non_mated: Strangers searched, likewise.
    """

    dir: Interval | None
    misidentification: Interval | None
    fpir: Interval | None
    n_mated: float
    n_non_mated: float


@dataclass(frozen=True, eq=False)
class Histograms:
    """How many searches have a score in each bin.

    Attributes:
        edges: float64 (b + 1,), ascending; a bin holds its lower edge, the last one both.
        right: int64 (b,), mated searches whose nearest identity is their own.
        wrong: int64 (b,), other mated searches.
        non_mated: int64 (b,).
        repeats: How many repeats of the open-set protocol they are counted over; 0 where the
            queries were searched once.
        without_score: Searches nothing was eligible for, which are in no bin.
    """

    edges: NDArray[np.float64]
    right: NDArray[np.int64]
    wrong: NDArray[np.int64]
    non_mated: NDArray[np.int64]
    repeats: int
    without_score: int


@dataclass(frozen=True, eq=False)
class Summary:
    """What a report shows beside an `Evaluation`.

    Attributes:
        at_threshold: What the gallery's threshold does to the queries; `None` without one.
        open_set_at_threshold: The same over the repeats of the open-set protocol; `None` without.
        histograms: Scores, over the repeats where there are any; `None` without any score.
        band: DIR over FPIR, likewise; `None` without mated or non-mated searches.
        roc: Verification by all pairs of a query and an item; `None` without both kinds of pairs.
        labels: How each label fares, worst first.
        misses: Known photos that are rejected or named wrongly, highest score first.
        accepts: Strangers and photos named wrongly, lowest score first.
    """

    at_threshold: AtThreshold | None
    open_set_at_threshold: AtThreshold | None
    histograms: Histograms | None
    band: Band | None
    roc: Roc | None
    labels: tuple[LabelRow, ...]
    misses: tuple[Case, ...]
    accepts: tuple[Case, ...]


def summarise_evaluation(evaluation: Evaluation, judged: Judged) -> Summary:
    """Make the numbers of a report; both arguments come from `protocol.evaluate`."""
    tau = evaluation.threshold
    once, repeats = judged.searches, judged.open_set
    return Summary(
        at_threshold=None if tau is None else at_threshold(once, judged.labels, tau),
        open_set_at_threshold=(
            None if tau is None or not repeats else at_threshold_over(repeats, tau)
        ),
        histograms=score_histograms(repeats or (once,), len(repeats), tau),
        band=band_of_repeats(repeats) if repeats else band_of_labels(once, judged.labels),
        roc=verification_roc(
            judged.vectors,
            judged.own,
            judged.gallery.vectors,
            judged.gallery.identities,
            exclude=judged.exclude,
        ),
        labels=tuple(label_rows(judged, tau)),
        misses=tuple(worst_misses(judged, tau)),
        accepts=tuple(worst_accepts(judged, tau)),
    )


def at_threshold(searches: Searches, labels: Sequence[str | None], threshold: float) -> AtThreshold:
    """Judge a threshold by searches made once; the intervals are bootstraps over labels."""
    codes = label_codes(labels)
    accepted = searches.score.astype(np.float64) < threshold

    def rate(hits: NDArray[np.bool_], of: NDArray[np.bool_]) -> Interval | None:
        return labelled_rate(hits[of], codes[of]).by_photo if of.any() else None

    return AtThreshold(
        dir=rate(accepted & searches.right, searches.mated),
        misidentification=rate(accepted & ~searches.right, searches.mated),
        fpir=rate(accepted, ~searches.mated),
        n_mated=float(np.count_nonzero(searches.mated)),
        n_non_mated=float(np.count_nonzero(~searches.mated)),
    )


def at_threshold_over(repeats: Sequence[Searches], threshold: float) -> AtThreshold:
    """Judge a threshold by repeats: means, and the 2.5 % and 97.5 % quantiles of single ones."""
    rates = [decision_rates(one, threshold) for one in repeats]

    def spread(values: list[float | None]) -> Interval | None:
        found = Spread.of([value for value in values if value is not None])
        return None if found is None else Interval(found.mean, found.low, found.high)

    return AtThreshold(
        dir=spread([one.dir for one in rates]),
        misidentification=spread([one.misidentification for one in rates]),
        fpir=spread([one.fpir for one in rates]),
        n_mated=float(np.mean([one.n_mated for one in rates])),
        n_non_mated=float(np.mean([one.n_non_mated for one in rates])),
    )


def score_histograms(
    searches: Sequence[Searches], repeats: int, threshold: float | None
) -> Histograms | None:
    """Count scores in 40 bins that reach from the lowest score to the highest, τ among them.

    Args:
        searches: One, or one for each repeat.
        repeats: How many repeats these are, 0 for none.
        threshold: τ.
    """
    scores = np.concatenate([one.score for one in searches]).astype(np.float64)
    mated = np.concatenate([one.mated for one in searches])
    right = np.concatenate([one.right for one in searches])
    finite = np.isfinite(scores)
    if not finite.any():
        return None
    ends = [*scores[finite].tolist(), *([] if threshold is None else [threshold])]
    low, high = min(ends), max(ends)
    # Of a single score the bins still need a width.
    edges = np.linspace(low, high if high > low else low + 0.01, _BINS + 1)

    def count(which: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.histogram(scores[which & finite], edges)[0].astype(np.int64)

    return Histograms(
        edges=edges,
        right=count(mated & right),
        wrong=count(mated & ~right),
        non_mated=count(~mated),
        repeats=repeats,
        without_score=int(np.count_nonzero(~finite)),
    )
