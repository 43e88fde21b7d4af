"""A run's page and table: every epoch, the figures there are, and nothing that is fetched."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser

from retrieval.pages.training_page import metrics_csv, training_page

HOSTILE = '</style><script>alert("x")</script><img src=//evil.example onerror=x>&amp;'
REHEARSAL = [
    {"epoch": 1, "loss": 5.25, "rate": 1e-3},
    {"epoch": 2, "loss": 2.5, "rate": 5e-4, "dir@fpir=0.05": 0.25, "recall@1": 0.75},
    {"epoch": 3, "loss": 1.25, "rate": 1e-9, "dir@fpir=0.05": 0.5, "recall@1": 0.875},
]
WHOLE = [{"epoch": 1, "loss": 3.0, "rate": 1e-3}]
PARTS = {"rehearsal": REHEARSAL, "whole": WHOLE}


class Seen(HTMLParser):
    def __init__(self, document: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(document)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def charts(self) -> list[str]:
        return [found["aria-label"] or "" for tag, found in self.elements if tag == "svg"]


def test_the_page_shows_loss_and_figures_of_each_part() -> None:
    page = Seen(training_page("mine", ["mode head: because"], PARTS))
    assert page.charts() == [
        "Loss over 3 epochs, 5.25 in the first and 1.25 at last",
        "dir@fpir=0.05 of the photos kept back, 50.0% at last",
        "recall@1 of the photos kept back, 87.5% at last",
        "Loss over 1 epochs, 3 in the first and 3 at last",
    ]
    assert "How mine was trained" in page.text
    assert "mode head: because." in page.text
    assert [tag for tag, _ in page.elements].count("tr") == 2 + len(REHEARSAL) + len(WHOLE)
    for told in ("5.2500", "1.00e-03", "0.875", "–"):
        assert told in page.text


def test_the_page_holds_whatever_lacks() -> None:
    assert Seen(training_page("mine", [], {"whole": []})).charts() == []
    still = [{"epoch": 1, "loss": 0.0, "rate": 0.0}]
    document = training_page("mine", [], {"whole": still})
    assert not re.search(r"\bnan\b|\binf\b", document, re.IGNORECASE)


def test_hostile_names_stay_text_and_nothing_is_fetched() -> None:
    document = training_page(HOSTILE, [HOSTILE], {"whole": WHOLE})
    page = Seen(document)
    assert not {tag for tag, _ in page.elements} & {"script", "iframe", "object", "link", "img"}
    assert page.text.count(HOSTILE) >= 2
    assert not re.search(r"url\(|@import|https?://", document)


def test_the_table_has_a_row_for_each_epoch() -> None:
    rows = list(csv.DictReader(io.StringIO(metrics_csv(PARTS))))
    assert list(rows[0]) == ["part", "epoch", "loss", "rate", "dir@fpir=0.05", "recall@1"]
    assert [(row["part"], row["epoch"]) for row in rows] == [
        ("rehearsal", "1"),
        ("rehearsal", "2"),
        ("rehearsal", "3"),
        ("whole", "1"),
    ]
    assert [row["recall@1"] for row in rows] == ["", "0.75", "0.875", ""]
    assert float(rows[2]["loss"]) == 1.25
