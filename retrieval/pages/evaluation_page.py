"""An evaluation as a page: what it means, its figures, curves, and the worst photos."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from retrieval.evaluation.cases import Case, LabelRow, Shown
from retrieval.evaluation.decisions import DecisionRates, DirAtFpir
from retrieval.evaluation.intervals import Interval
from retrieval.evaluation.openset import OpenSet, OpenSetPoint, Spread
from retrieval.evaluation.protocol import Evaluation
from retrieval.evaluation.summary import AtThreshold, Summary
from retrieval.pages.evaluation_plots import det_chart, dir_chart, histogram_chart, roc_chart
from retrieval.pages.page import Html, Number, details, figure, join, name, page, table, tag
from retrieval.pages.thumbnails import picture

# Labels shown before the others are folded away.
_FIRST_LABELS = 10
# Fewer strangers than this can't show an FPIR of 5 % from 0: 3 / n.
_FEW = 60

_WORDS = (
    ("known photo, stranger", "a photo whose label the gallery has, and one whose label it lacks"),
    ("recall@k", "share of known photos with an item of their label among the k nearest"),
    ("MAP@R", "average precision over as many nearest items as the label has, then averaged"),
    ("score, τ", "what the rule makes of a search; it is accepted when its score is below τ"),
    ("DIR, FNIR", "share of known photos accepted under their own label, and 1 − DIR"),
    ("misidentified", "share of known photos accepted under another label"),
    ("FPIR", "share of strangers accepted, under whatever label"),
)


def evaluation_page(evaluation: Evaluation, summary: Summary, gallery: Path) -> Html:
    """Make the page of an evaluation; photos are read from where they are.

    Args:
        evaluation: What was measured.
        summary: What the page shows beside it.
        gallery: The gallery's folder, for its name.
    """
    return page(
        f"Evaluation of {gallery.resolve().name}",
        *_in_plain_words(evaluation, summary),
        _section("recognition", "Recognition", *_recognition(evaluation)),
        _section("decisions", "Decisions", *_decisions(evaluation)),
        _section("curves", "Curves", *_curves(evaluation, summary)),
        _section("labels", "Labels", *_labels(summary.labels)),
        _section("misses", "Worst misses", *_misses(summary.misses)),
        _section("accepts", "Worst false accepts", *_accepts(summary.accepts)),
        *_failed(evaluation),
        details(
            "What the words mean",
            tag(
                "dl",
                *(tag(*pair) for word, said in _WORDS for pair in (("dt", word), ("dd", said))),
            ),
        ),
    )


def _section(id_: str, title: str, *content: str) -> Html:
    return tag("section", tag("h2", title, id=id_), *content, aria_labelledby=id_)


def _in_plain_words(evaluation: Evaluation, summary: Summary) -> Iterable[Html]:
    yield tag(
        "p",
        f"{_count(evaluation.n_mated, 'known photo')} and "
        f"{_count(evaluation.n_non_mated, 'stranger')} were searched among "
        f"{_count(evaluation.items, 'item')} of {_count(evaluation.labels, 'label')}.",
        *_first_name(evaluation),
    )
    tau = evaluation.threshold
    if tau is None or summary.at_threshold is None:
        yield _warning(
            f"The gallery has no threshold for the rule {evaluation.rule}, so it accepts nobody "
            "and rejects nobody. lookalike tune-threshold gives it one."
        )
    else:
        yield tag(
            "p",
            f"The gallery's threshold is {tau:.4f} ({evaluation.rule}). ",
            *_does(summary.at_threshold),
        )
    found, hidden = evaluation.open_set, summary.open_set_at_threshold
    if found is not None and hidden is not None:
        yield tag(
            "p",
            f"With {_count(found.hidden_labels, 'label')} hidden from the gallery at random, "
            f"{found.repeats:,} times, the same threshold does this to "
            f"{hidden.n_mated:,.0f} known photos and {hidden.n_non_mated:,.0f} strangers each "
            "time. ",
            *_does(hidden),
        )
    yield from (_warning(said) for said in _warnings(evaluation))
    if summary.at_threshold is not None:
        yield tag(
            "p",
            "In brackets: what 95 % of 1,000 draws of the labels"
            + ("" if found is None else ", or of the repeats,")
            + " span. Photos of one label resemble each other, so it is labels that are drawn.",
            class_="quiet",
        )


def _first_name(evaluation: Evaluation) -> Iterable[str]:
    rate = evaluation.recall.get(1)
    if rate is not None:
        yield (
            f" The nearest item shows the right label for {rate.count:,} of the known photos "
            f"({rate.value:.1%})."
        )


def _does(rates: AtThreshold) -> Iterable[str]:
    if rates.dir is not None and rates.misidentification is not None:
        rejected = 1 - rates.dir.value - rates.misidentification.value
        yield (
            f"Of the known photos it names {_told(rates.dir)} rightly (DIR), "
            f"{_told(rates.misidentification)} wrongly, and rejects {max(rejected, 0):.1%}. "
        )
    if rates.fpir is not None:
        yield f"Of the strangers it accepts {_told(rates.fpir)} (FPIR)."


def _warnings(evaluation: Evaluation) -> Iterable[str]:
    strangers = float(evaluation.n_non_mated)
    known = float(evaluation.n_mated)
    found = evaluation.open_set
    if found is not None:
        strangers, known = found.n_non_mated, found.n_mated
    if not known:
        yield "There were no known photos, so nothing is said about recognising anybody."
    if not strangers:
        yield (
            "There were no strangers, so nothing is said about how many the gallery would let "
            "pass: add photos of labels it lacks, or hide some of its own with --strangers 0.2."
        )
    elif strangers < _FEW:
        what = f"{strangers:,.0f} stranger{'' if strangers == 1 else 's'}"
        yield (
            f"{what} can't show an FPIR below {min(1.0, 3 / strangers):.1%}, even if "
            "none were accepted: take the figures about strangers as a hint."
        )
    if 0 < known < _FEW:
        yield f"{known:,.0f} known photos are few: the figures about them can be off by a lot."


def _recognition(evaluation: Evaluation) -> Iterable[Html]:
    found = [(k, rate) for k, rate in evaluation.recall.items() if rate is not None]
    if not found or evaluation.map_at_r is None:
        yield tag("p", "No known photos, so there is no recall.")
        return
    yield table(
        "Known photos with an item of their label among the k nearest",
        ("k", "recall@k", "photos", "of"),
        [(str(k), Number(f"{rate.value:.1%}"), rate.count, rate.n) for k, rate in found],
    )
    yield tag("p", f"MAP@R is {evaluation.map_at_r:.3f}.")


def _decisions(evaluation: Evaluation) -> Iterable[Html]:
    if evaluation.decisions:
        yield table(
            f"The decision by {evaluation.rule} at each threshold; the gallery's is marked with *",
            (
                *("threshold", "accuracy", "precision", "recall", "F1"),
                *("FPIR", "FNIR", "misidentified"),
            ),
            [_decision(rates, evaluation.threshold) for rates in evaluation.decisions],
        )
    if evaluation.n_non_mated:
        yield table(
            "Known photos named rightly where at most a share of these strangers is accepted",
            ("FPIR", "DIR", "threshold"),
            [
                (
                    _share(one.fpir),
                    _share(one.dir),
                    Number("–" if one.threshold is None else f"{one.threshold:.4f}"),
                )
                for one in evaluation.dir_at_fpir
            ],
        )
        yield from _notes(evaluation.dir_at_fpir)
    if evaluation.open_set is not None:
        yield _open_set(evaluation.open_set)
        yield from _notes(evaluation.open_set.points)


def _decision(rates: DecisionRates, tau: float | None) -> Sequence[str]:
    mark = "*" if rates.threshold == tau else ""
    figures = (rates.accuracy, rates.precision, rates.recall, rates.f1)
    errors = (rates.fpir, rates.fnir, rates.misidentification)
    return f"{rates.threshold:.4f}{mark}", *map(_share, (*figures, *errors))


def _open_set(found: OpenSet) -> Html:
    return table(
        f"Open set: {_count(found.hidden_labels, 'label')} hidden at random, {found.repeats:,} "
        f"times (seed {found.seed}); mean and 95 % of the times",
        ("FPIR", "DIR", "misidentified", "threshold"),
        [
            (
                _share(point.fpir),
                _spread(point.dir),
                _spread(point.misidentification),
                Number("–" if point.threshold is None else f"{point.threshold.mean:.4f}"),
            )
            for point in found.points
        ],
    )


def _notes(points: Sequence[DirAtFpir | OpenSetPoint]) -> Iterable[Html]:
    """Say what was missing, below the table: beside it there is no room on a phone."""
    for point in points:
        if point.note is not None:
            yield tag("p", f"At FPIR {point.fpir:.1%}: {point.note}.", class_="quiet")


def _curves(evaluation: Evaluation, summary: Summary) -> Iterable[Html]:
    charts = []
    if summary.histograms is not None:
        charts.append(histogram_chart(summary.histograms, evaluation.rule, evaluation.threshold))
    if summary.band is not None:
        charts += [dir_chart(summary.band), det_chart(summary.band)]
    if summary.roc is not None:
        charts.append(roc_chart(summary.roc))
    if charts:
        yield tag("div", *charts, class_="charts")
    if summary.band is None:
        yield tag("p", "DIR over FPIR and DET take both known photos and strangers.")
    if summary.roc is None:
        yield tag("p", "The ROC takes pairs of one label and pairs of two.")


def _labels(rows: Sequence[LabelRow]) -> Iterable[Html]:
    first, others = rows[:_FIRST_LABELS], rows[_FIRST_LABELS:]
    yield _label_table("How the photos of each label fare at the gallery's threshold", first)
    if others:
        yield details(
            f"The other {_count(len(others), 'row')}", _label_table("Further labels", others)
        )


def _label_table(caption: str, rows: Sequence[LabelRow]) -> Html:
    header = ("label", "photos", "recall@1", "accepted right", "accepted wrong", "rejected")
    return table(
        f"{caption}, worst first",
        header,
        [
            (
                join(_label(row.label), "" if row.known else " (strangers)"),
                row.n,
                _share(None if row.recall_at_1 is None else row.recall_at_1.value),
                *(
                    Number("–" if count is None else f"{count:,}")
                    for count in (row.accepted_right, row.accepted_wrong, row.rejected)
                ),
            )
            for row in rows
        ],
    )


def _misses(cases: Sequence[Case]) -> Iterable[Html]:
    if not cases:
        yield tag("p", "None: every known photo there was is accepted under its own label.")
        return
    yield tag("p", "Known photos rejected or named wrongly; the highest scores first.")
    yield from map(_case, cases)


def _accepts(cases: Sequence[Case]) -> Iterable[Html]:
    if not cases:
        yield tag("p", "None: no stranger was searched, and no known photo is named wrongly.")
        return
    yield tag(
        "p",
        "Strangers accepted, and known photos accepted under another label; the lowest scores "
        "first."
        if cases[0].accepted
        else "None is accepted. These strangers and wrong names have the lowest scores: a larger "
        "threshold would accept them first.",
    )
    yield from map(_case, cases)


def _case(case: Case) -> Html:
    mate = case.mate
    if case.right:
        what = "the right name"
    elif case.known:
        what = "the wrong name"
    else:
        what = "a stranger"
    verdict = {None: "", True: ", accepted", False: ", rejected"}[case.accepted]
    figures = [
        figure(
            picture(str(case.path), None, f"Photo asked about, {case.label or 'without a label'}"),
            tag("b", "asked about"),
            _label(case.label),
            name(str(case.path), class_="path"),
        ),
        _item(case.nearest, "nearest item" + (", a mate" if case.right else "")),
    ]
    if mate is not None and not case.right:
        figures.append(_item(mate, "nearest of its own label"))
    return tag(
        "article",
        tag(
            "h3",
            _label(case.label),
            " looks like ",
            _label(case.nearest.item.label),
            f": {what}{verdict}, score {case.score:.4f}",
        ),
        tag("div", *figures, class_="figures"),
    )


def _item(shown: Shown, role: str) -> Html:
    item = shown.item
    alt = f"Photo of item {item.id}, {item.label or 'without a label'}"
    return figure(
        picture(item.path, item.content_hash, alt),
        role,
        _label(item.label),
        f"item {item.id}, distance {shown.distance:.4f}",
        name(item.path, class_="path"),
    )


def _failed(evaluation: Evaluation) -> Iterable[Html]:
    if evaluation.failed:
        rows = [(name(one.path), one.reason) for one in evaluation.failed]
        yield details(
            f"{_count(len(rows), 'photo')} could not be read",
            table("They count nowhere", ("photo", "reason"), rows),
        )


def _warning(said: str) -> Html:
    return tag("p", said, class_="warning")


def _label(label: str | None) -> Html:
    return join("no label") if label is None else name(label)


def _count(count: int, noun: str) -> str:
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {noun}s" if count else f"no {noun}s"


def _share(share: float | None) -> Number:
    return Number("–" if share is None else f"{share:.1%}")


def _told(rate: Interval) -> str:
    return f"{rate.value:.1%} ({rate.low:.1%} to {rate.high:.1%})"


def _spread(found: Spread | None) -> Number:
    if found is None:
        return Number("–")
    return Number(f"{found.mean:.1%} ({found.low:.1%} to {found.high:.1%})")
