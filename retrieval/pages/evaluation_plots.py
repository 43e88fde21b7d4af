"""The plots of an evaluation's report, each with a caption that says what was counted."""

from __future__ import annotations

import math

import numpy as np

from retrieval.evaluation.bands import Band
from retrieval.evaluation.roc import Roc
from retrieval.evaluation.summary import Histograms
from retrieval.pages.page import Html, tag
from retrieval.pages.plots import Axis, Frame, plot


def histogram_chart(found: Histograms, rule: str, threshold: float | None) -> Html:
    """Show the scores of known photos, right and wrong, and of strangers."""
    x = Axis(f"score ({rule}); smaller is surer", float(found.edges[0]), float(found.edges[-1]))
    kinds = (
        (found.right, "known photos, nearest label right", "right"),
        (found.wrong, "known photos, nearest label wrong", "wrong"),
        (found.non_mated, "strangers", "strangers"),
    )
    frames = []
    for place, (counts, name, class_) in enumerate(kinds):
        last = place == len(kinds) - 1
        y = Axis(f"{name} ({counts.sum():,})", 0, _round_up(int(counts.max())), steps=3)
        frame = Frame(x, y, top=102 * place, height=138 if last else 102, last=last)
        frame.bars(found.edges, counts, class_)
        if threshold is not None:
            frame.upright(threshold, None if place else f"τ {threshold:.4f}")
        frames.append(frame)
    how = "How many searches have a score in each bin; each query is searched once."
    if found.repeats:
        how = (
            "How many searches have a score in each bin, over the "
            f"{found.repeats:,} repeats of the open-set protocol."
        )
    if found.without_score:
        how += f" {found.without_score:,} searches had nothing to be compared with."
    accepts = "" if threshold is None else " What lies left of τ is accepted."
    said = f"Histograms of scores of {', '.join(name for _, name, _ in kinds)}"
    return _chart("Scores", plot(said, frames), f"{how}{accepts}")


def roc_chart(roc: Roc) -> Html:
    """Show verification: would a threshold on one distance tell same from different?"""
    frame = Frame(
        Axis("pairs of two labels accepted (FAR)", 0, 1, percent=True),
        Axis("pairs of one label accepted (1 − FRR)", 0, 1, percent=True),
    )
    frame.line([0, 1], [0, 1], "chance")
    frame.line(roc.far, roc.tar)
    return _chart(
        "Verification (ROC)",
        plot(f"ROC of single pairs; the area under it is {roc.auc:.3f}", [frame]),
        f"Of single pairs, whatever the rule: {roc.queries:,} queries, each compared with every "
        f"item, make {roc.n_positive:,} pairs of one label and {roc.n_negative:,} of two. The area "
        f"under the curve is {roc.auc:.3f}; the dashed line is chance. It is no promise about "
        "searches: a search meets many pairs at once.",
    )


def dir_chart(band: Band) -> Html:
    """Show DIR over FPIR."""
    low = _decade(band.fpir[0])
    frame = Frame(
        Axis("strangers accepted (FPIR)", low, 1, log=True, percent=True),
        Axis("known photos named rightly (DIR)", 0, 1, percent=True),
    )
    frame.band(band.fpir, band.low, band.high)
    frame.line(band.fpir, band.dir)
    said = (
        f"DIR over FPIR, from {band.dir[0]:.1%} at FPIR {band.fpir[0]:.2%} to {band.dir[-1]:.1%} "
        "where all strangers are accepted"
    )
    return _chart("Identification (DIR over FPIR)", plot(said, [frame]), _how(band))


def det_chart(band: Band) -> Html:
    """Show FNIR over FPIR, both logarithmic, as ISO/IEC 19795-1 draws a DET."""
    miss, low_miss, high_miss = 1 - band.dir, 1 - band.high, 1 - band.low
    seen = miss[miss > 0]
    # No miss at all has no place on a logarithmic axis: the line ends where it is reached.
    least = _decade(float(seen.min())) if len(seen) else 0.1
    frame = Frame(
        Axis("strangers accepted (FPIR)", _decade(band.fpir[0]), 1, log=True, percent=True),
        Axis(
            "known photos not named rightly (FNIR)",
            least,
            1,
            log=True,
            percent=True,
        ),
    )
    frame.band(band.fpir, low_miss, high_miss)
    frame.line(band.fpir, np.where(miss > 0, miss, np.nan))
    said = (
        f"DET: FNIR at rank 1 over FPIR, from {miss[0]:.1%} at FPIR {band.fpir[0]:.2%} to "
        f"{miss[-1]:.1%} where all strangers are accepted; both axes are logarithmic"
    )
    return _chart(
        "Errors (DET)",
        plot(said, [frame]),
        "The same curve as errors, FNIR = 1 − DIR at rank 1, on logarithmic axes as in ISO/IEC "
        "19795-1: lower left is better.",
    )


def _how(band: Band) -> str:
    taken = "at the largest threshold that lets at most this share of the same strangers pass"
    if band.repeats is None:
        return (
            f"{band.n_mated:,.0f} known photos and {band.n_non_mated:,.0f} strangers; DIR is taken "
            f"{taken}. The band holds 95 % of 1,000 draws of the labels."
        )
    return (
        f"Mean of {band.repeats:,} repeats of the open-set protocol, on average with "
        f"{band.n_mated:,.0f} known photos and {band.n_non_mated:,.0f} strangers; DIR is taken "
        f"{taken}. The band holds 95 % of the repeats."
    )


def _chart(title: str, drawing: Html, caption: str) -> Html:
    return tag("figure", tag("h3", title), drawing, tag("figcaption", caption), class_="chart")


def _decade(value: float) -> float:
    """The power of ten at or below a share, and below 1."""
    return min(10.0 ** math.floor(math.log10(value) + 1e-9), 0.1)


def _round_up(count: int) -> int:
    """A round number at or above a count, for an axis to end at."""
    unit = int(10 ** (len(str(count)) - 1))
    return next(unit * n for n in (1, 2, 3, 5, 10) if unit * n >= max(count, 1))
