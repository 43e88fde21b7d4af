"""A report as a browser shows it: legible on a phone and on a screen, quiet, and by itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from retrieval.evaluation.protocol import Evaluation, Judged, OpenSetPlan
from retrieval.evaluation.summary import summarise_evaluation
from retrieval.pages.evaluation_page import evaluation_page
from retrieval.pages.page import write_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Judge = Callable[..., tuple[Evaluation, Judged]]
SIZES = """all => all.map(one => {
    const box = one.getBoundingClientRect();
    return [box.width, box.height, box.left, box.right];
})"""
LETTERS = """all => all.map(text => {
    const drawing = text.ownerSVGElement;
    return parseFloat(getComputedStyle(text).fontSize)
        * drawing.getBoundingClientRect().width / drawing.viewBox.baseVal.width;
})"""


@pytest.fixture
def report(judge: Judge, tmp_path: Path) -> Path:
    """A report with every section filled, and with names longer than a phone is wide."""
    long = "a-name-without-a-space-" * 8
    labels = [f"{long}{n % 40}" if n % 2 else f"l{n % 40}" for n in range(150)]
    evaluation, judged = judge(labels, threshold=0.4, open_set=OpenSetPlan(0.3, 3), apart=0.8)
    document = evaluation_page(evaluation, summarise_evaluation(evaluation, judged), tmp_path)
    out = tmp_path / "report.html"
    write_page(out, document, outside=tmp_path / "gallery")
    return out


def opened(browser: Browser, report: Path, width: int, scheme: str) -> tuple[Page, list[str]]:
    """Open a page; return it with all it said and asked for."""
    page = browser.new_page(
        viewport={"width": width, "height": 800},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    heard: list[str] = []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("requestfailed", lambda request: heard.append(f"failed: {request.url}"))
    page.on("request", lambda request: heard.append(request.url))
    page.goto(report.as_uri())
    return page, [one for one in heard if one != report.as_uri() and not one.startswith("data:")]


@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_plots_have_room_and_the_page_fits(
    browser: Browser, report: Path, width: int, scheme: str
) -> None:
    page, heard = opened(browser, report, width, scheme)
    assert heard == []
    plots = page.locator("svg.plot").evaluate_all(SIZES)
    assert len(plots) == 4
    for wide, high, left, right in plots:
        assert wide >= 250
        assert high >= 150
        assert left >= 0
        assert right <= width
    # In pixels as shown, whatever the drawing was scaled by.
    assert min(page.locator("svg.plot text").evaluate_all(LETTERS)) >= 9.5
    # What is wider scrolls in a box of its own.
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def test_colours_follow_the_light(browser: Browser, report: Path) -> None:
    seen = []
    for scheme in ("light", "dark"):
        page, _ = opened(browser, report, 1200, scheme)
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        ink = page.locator("svg.plot text.name").first.evaluate("e => getComputedStyle(e).fill")
        assert paper != ink
        seen.append((paper, ink))
        page.close()
    assert seen[0][0] != seen[1][0]
    assert seen[0][1] != seen[1][1]
