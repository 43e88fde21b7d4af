"""Plots: well-formed, where the numbers say, and silent about what is not there."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.evaluation.bands import Band
from retrieval.evaluation.summary import Histograms
from retrieval.pages.evaluation_plots import det_chart, dir_chart, histogram_chart
from retrieval.pages.plots import WIDTH, Axis, Frame, plot

X = Axis("time (s)", 0, 10)
Y = Axis("share", 0, 1, percent=True)


def drawing(frame: Frame) -> ET.Element:
    return ET.fromstring(plot("said", [frame]))


def points(svg: ET.Element, class_: str) -> list[tuple[float, float]]:
    found = [path.get("d") for path in svg.iter("path") if path.get("class") == class_]
    numbers = re.findall(r"-?[\d.]+ -?[\d.]+", " ".join(path or "" for path in found))
    return [(float(x), float(y)) for x, y in (pair.split() for pair in numbers)]


def test_a_line_goes_through_its_points() -> None:
    frame = Frame(X, Y)
    frame.line([0, 5, 10], [0, 0.5, 1])
    (left, bottom), (middle_x, middle_y), (right, top) = points(drawing(frame), "line")
    assert 0 < left < right <= WIDTH
    assert 0 < top < bottom < 320
    assert (middle_x, middle_y) == pytest.approx(((left + right) / 2, (top + bottom) / 2), abs=0.1)


def test_a_line_breaks_where_a_value_is_missing() -> None:
    frame = Frame(X, Y)
    frame.line([0, 1, 2, 3, 4], [0.1, 0.2, np.nan, 0.3, 0.4])
    (line,) = [path for path in drawing(frame).iter("path") if path.get("class") == "line"]
    assert (line.get("d") or "").count("M") == 2


def test_nothing_is_drawn_outside_its_axes() -> None:
    frame = Frame(X, Y)
    frame.line([-5, 20], [-1, 2])
    frame.band([-5, 20], [-1, -1], [3, np.nan])
    svg = drawing(frame)
    for x, y in points(svg, "line") + points(svg, "band"):
        assert 0 <= x <= WIDTH
        assert 0 <= y <= 320


def test_equal_ratios_are_equal_steps_on_a_logarithmic_axis() -> None:
    axis = Axis("x", 0.001, 1, log=True)
    assert axis.share([0.001, 0.01, 0.1, 1]).tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert axis.share(0).tolist() == 0


@given(st.floats(-10, 10), st.floats(1e-3, 1e6), st.sampled_from([3, 5]), st.booleans())
def test_ticks_are_a_few_round_values_within_the_axis(
    low: float, span: float, steps: int, log: bool
) -> None:
    if log:
        low = 10.0 ** round(low / 2)
        span = low * max(span, 9)
    axis = Axis("x", low, low + span, log=log, steps=steps)
    ticks = axis.ticks()
    assert 1 <= len(ticks) <= 16
    assert ticks == sorted(set(ticks))
    assert low - 1e-6 * span <= ticks[0]
    assert ticks[-1] <= low + span * (1 + 1e-6)


def test_ticks_are_told_in_the_axis_unit() -> None:
    assert [Y.told(one) for one in (0, 0.001, 0.25)] == ["0%", "0.1%", "25%"]
    assert X.told(1200) == "1,200"


def test_a_plot_says_what_it_shows_and_names_its_axes() -> None:
    svg = ET.fromstring(plot('a "<b>"', [Frame(X, Y)]))
    assert (svg.get("role"), svg.get("aria-label")) == ("img", 'a "<b>"')
    assert svg.get("viewBox") == f"0 0 {WIDTH} 320"
    texts = [text.text for text in svg.iter("text")]
    assert {"time (s)", "share", "100%", "10"} <= set(texts)


def test_bars_are_as_many_as_bins_that_hold_something() -> None:
    found = Histograms(
        np.linspace(0.2, 0.6, 5), np.array([1, 0, 3, 2]), np.zeros(4, int), np.ones(4, int), 0, 2
    )
    chart = ET.fromstring(histogram_chart(found, "nearest", 0.35))
    bars = {
        (path.get("class") or "").split()[-1]: (path.get("d") or "").count("M")
        for path in chart.iter("path")
        if "bars" in (path.get("class") or "")
    }
    assert bars == {"right": 3, "wrong": 0, "strangers": 4}
    assert [p.get("class") for p in chart.iter("path")].count("upright") == 3
    text = " ".join(chart.itertext())
    assert "τ 0.3500" in text
    assert "2 searches had nothing" in text
    assert "nearest" in text
    without = histogram_chart(found, "nearest", None)
    assert "upright" not in without
    assert "τ" not in without


def curve(dir_: list[float]) -> Band:
    grid = np.geomspace(0.05, 1, len(dir_))
    values = np.array(dir_)
    return Band(grid, values, values * 0.9, np.minimum(values * 1.1, 1), None, 40, 20)


def test_a_det_has_two_logarithmic_axes_and_no_zero() -> None:
    band = curve([0.2, 0.9, 0.99, 1.0])
    chart = ET.fromstring(det_chart(band))
    drawn = points(chart, "line")
    assert len(drawn) == 3
    ticks = {text.text for text in chart.iter("text")}
    assert {"1%", "10%", "100%"} <= ticks
    heights = [y for _, y in drawn]
    # FNIR 0.8 to 0.1 to 0.01: ratios 8 and 10.
    ratio = (heights[1] - heights[0]) / (heights[2] - heights[1])
    assert ratio == pytest.approx(np.log(8) / np.log(10), abs=0.01)


@pytest.mark.parametrize("values", [[1.0], [0.0, 0.0], [1.0, 1.0], [0.3, 0.8]])
def test_extreme_curves_are_drawn_all_the_same(values: list[float]) -> None:
    for chart in (det_chart, dir_chart):
        made = chart(curve(values))
        assert "nan" not in made
        assert len(list(ET.fromstring(made).iter("svg"))) == 1
