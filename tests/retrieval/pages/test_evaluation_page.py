"""An evaluation's page: well-formed, escaped, alone in the world, and honest about what lacks."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from retrieval.embedding import FailedPhoto
from retrieval.evaluation.protocol import Evaluation, Judged, OpenSetPlan
from retrieval.evaluation.summary import summarise_evaluation
from retrieval.pages.evaluation_page import evaluation_page

Judge = Callable[..., tuple[Evaluation, Judged]]
LABELS = [*"aaaaaa", *"bbbbb", *"cccc", *"ddd", *"ee", "f", "g", None]
HOSTILE = '</style><script>alert("x")</script><img src=//evil.example onerror=x>&amp;\u202e\udce9'
VOID = {"meta", "img"}


class Checked(HTMLParser):
    """Checks that elements nest, and collects them."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(made: tuple[Evaluation, Judged], gallery: str = "g") -> tuple[str, Checked]:
    evaluation, judged = made
    document = evaluation_page(evaluation, summarise_evaluation(evaluation, judged), Path(gallery))
    checked = Checked()
    checked.feed(document)
    checked.close()
    assert not checked.open
    return document, checked


@pytest.mark.parametrize(
    ("labels", "tau", "plan"),
    [
        (LABELS, 0.4, None),
        (LABELS, None, None),
        (LABELS, 0.4, OpenSetPlan(0.4, 3)),
        (["a"] * 5, 0.4, None),
        (["a"], 0.4, None),
        (["a", "b", "c"], 0.4, None),
        (["a", "b", "c"], None, OpenSetPlan(0.4, 3)),
        ([*"aabb"], 0.4, None),
        (["a", None], None, None),
    ],
)
def test_the_page_holds_whatever_lacks(
    judge: Judge, labels: list[str | None], tau: float | None, plan: OpenSetPlan | None
) -> None:
    document, page = read(judge(labels, threshold=tau, open_set=plan))
    assert not re.search(r"\bnan\b", document, re.IGNORECASE)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert ids == ["recognition", "decisions", "curves", "labels", "misses", "accepts"]
    assert [tag for tag, _ in page.elements].count("h1") == 1


def test_hostile_labels_and_paths_stay_text(judge: Judge, tmp_path: Path) -> None:
    labels = [HOSTILE if label == "a" else label for label in LABELS]
    document, page = read(
        judge(labels, threshold=0.4, open_set=OpenSetPlan(0.4, 3)), str(tmp_path / HOSTILE[:20])
    )
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "iframe", "object", "link", "a", "form"}
    assert not any(key.startswith("on") for _, attributes in page.elements for key in attributes)
    assert HOSTILE in page.text
    assert document.count("</style>") == 1


def test_nothing_is_fetched(judge: Judge) -> None:
    document, page = read(judge(LABELS, threshold=0.4))
    for _, attributes in page.elements:
        for key in ("src", "href", "srcset", "xlink:href", "action", "poster"):
            assert (attributes.get(key) or "data:").startswith("data:")
    assert not re.search(r"url\(|@import|https?://", document)


def test_plots_are_told_to_those_who_do_not_see_them(judge: Judge) -> None:
    _, page = read(judge(LABELS, threshold=0.4))
    plots = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert len(plots) == 4
    assert all(one["role"] == "img" and len(one["aria-label"] or "") > 20 for one in plots)


def test_photos_that_are_gone_leave_a_note(judge: Judge) -> None:
    _, page = read(judge(LABELS, threshold=0.4))
    assert "No photo to show" in page.text
    assert "img" not in {tag for tag, _ in page.elements}


def test_the_first_words_are_the_figures(judge: Judge) -> None:
    evaluation, judged = judge(LABELS, threshold=0.4)
    _, page = read((evaluation, judged))
    (decided,) = [one for one in evaluation.decisions if one.threshold == 0.4]
    rate = evaluation.recall[1]
    assert rate is not None
    assert "20 known photos and 2 strangers were searched among 23 items of 7 labels." in page.text
    assert f"right label for {rate.count} of the known photos" in page.text
    assert f"names {decided.dir:.1%} (" in page.text
    assert f"Of the strangers it accepts {decided.fpir:.1%} (" in page.text
    assert "2 strangers can't show an FPIR below 100.0%" in page.text
    assert "20 known photos are few" in page.text
    assert "In brackets: what 95 % of 1,000 draws of the labels span." in page.text


def test_it_says_what_lacks(judge: Judge) -> None:
    _, no_threshold = read(judge(LABELS))
    assert "has no threshold for the rule nearest" in no_threshold.text
    assert "In brackets" not in no_threshold.text
    _, no_strangers = read(judge([*"aabb"], threshold=0.4))
    assert "There were no strangers" in no_strangers.text
    assert "take both known photos and strangers" in no_strangers.text.replace(
        "DET take", "DET take"
    )
    _, no_known = read(judge(["a", "b", "c"], threshold=0.4))
    assert "There were no known photos" in no_known.text
    assert "so there is no recall" in no_known.text


def test_the_rows_of_many_labels_are_folded_away(judge: Judge) -> None:
    _, few = read(judge([f"l{n % 10}" for n in range(30)], threshold=0.4))
    assert "The other" not in few.text
    _, many = read(judge([f"l{n % 25}" for n in range(75)], threshold=0.4))
    assert "The other 15 rows" in many.text
    assert all(f"l{n}" in many.text for n in range(25))


def test_photos_that_could_not_be_read_are_named(judge: Judge) -> None:
    evaluation, judged = judge(LABELS)
    failed = (FailedPhoto(f"/x/{HOSTILE}", "the file is empty"),)
    _, page = read((dataclasses.replace(evaluation, failed=failed), judged))
    assert "1 photo could not be read" in page.text
    assert f"/x/{HOSTILE}" in page.text
    assert "the file is empty" in page.text
