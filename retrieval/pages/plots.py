"""Plots as SVG that is part of the page: it scales, prints, and follows the page's colours."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from retrieval.pages.page import Html, join, tag

# In units of the drawing, which shrinks to a phone's width: text must stay legible there.
WIDTH = 440
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 26, 44


@dataclass(frozen=True)
class Axis:
    """An axis: what it shows, from where to where.

    Attributes:
        name: What it shows, with the unit.
        low: Where it begins; above 0 if `log`.
        high: Where it ends, above `low`.
        log: Whether equal steps are equal ratios.
        percent: Whether its ticks are shares, told as percentages.
        steps: About how many steps it is parted into, unless `log`.
    """

    name: str
    low: float
    high: float
    log: bool = False
    percent: bool = False
    steps: int = 5

    def share(self, values: ArrayLike) -> NDArray[np.float64]:
        """Place values along the axis, 0 at its beginning and 1 at its end; none lies outside."""
        given = np.clip(np.asarray(values, dtype=np.float64), self.low, self.high)
        if self.log:
            return np.asarray(np.log(given / self.low) / math.log(self.high / self.low))
        return (given - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Choose round values to mark.

        >>> Axis("x", 0, 1).ticks(), Axis("x", 0.001, 1, log=True).ticks()
        ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.001, 0.01, 0.1, 1.0])
        """
        if self.log:
            low, high = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            digits = (1, 2, 5) if high - low < 3 else (1,)
            marks = [float(f"{d}e{power}") for power in range(low, high + 1) for d in digits]
        else:
            rough = (self.high - self.low) / self.steps
            unit = 10.0 ** math.floor(math.log10(rough))
            step = next(unit * d for d in (1, 2, 5, 10) if unit * d >= rough * (1 - 1e-9))
            first = math.ceil(self.low / step - 1e-9)
            last = math.floor(self.high / step + 1e-9)
            marks = [float(f"{step * n:.10g}") for n in range(first, last + 1)]
        slack = 1e-9 * (self.high - self.low)
        return [mark for mark in marks if self.low - slack <= mark <= self.high + slack]

    def told(self, value: float) -> str:
        """Write a tick."""
        return f"{100 * value:.6g}%" if self.percent else f"{value:,.6g}"


@dataclass
class Frame:
    """A plot's area, and what is drawn in it.

    Attributes:
        x: The axis along the bottom.
        y: The axis along the left, whose name stands above it.
        top: Where the drawing's part for this plot begins.
        height: How high that part is, with all text.
        last: Whether the x axis shows its ticks and name, as the lowest of several frames does.
    """

    x: Axis
    y: Axis
    top: float = 0
    height: float = 320
    last: bool = True
    _marks: list[Html] = field(default_factory=list)

    def line(self, xs: ArrayLike, ys: ArrayLike, class_: str = "line") -> None:
        """Draw a line through points; it breaks where one is not finite."""
        runs = _runs(np.asarray(xs, dtype=np.float64), np.asarray(ys, dtype=np.float64))
        path = "".join(_path(self._across(x), self._down(y)) for x, y in runs)
        self._marks.append(tag("path", d=path, class_=class_))

    def band(self, xs: ArrayLike, low: ArrayLike, high: ArrayLike) -> None:
        """Fill the area between two lines."""
        columns = np.array([xs, low, high], dtype=np.float64)
        x, lower, upper = columns[:, np.isfinite(columns).all(axis=0)]
        if len(x):
            across = np.concatenate([x, x[::-1]])
            down = np.concatenate([upper, lower[::-1]])
            path = _path(self._across(across), self._down(down))
            self._marks.append(tag("path", d=f"{path}Z", class_="band"))

    def bars(self, edges: ArrayLike, heights: ArrayLike, class_: str) -> None:
        """Draw a histogram."""
        across = self._across(edges)
        down, floor = self._down(heights), self._down(0.0)
        path = "".join(
            f"M{left:.1f} {floor:.1f}V{up:.1f}H{right:.1f}V{floor:.1f}Z"
            for left, right, up in zip(across[:-1], across[1:], down, strict=True)
            if up < floor
        )
        self._marks.append(tag("path", d=path, class_=f"bars {class_}"))

    def upright(self, at: float, text: str | None) -> None:
        """Mark a place on the x axis, with a word beside it."""
        x = float(self._across(at))
        top, bottom = self._down(np.array([self.y.high, self.y.low]))
        self._marks.append(tag("path", d=f"M{x:.1f} {top:.1f}V{bottom:.1f}", class_="upright"))
        if text is not None:
            # Beside the line where there is room.
            left = x > WIDTH / 2
            where = {"x": f"{x - 5 if left else x + 5:.1f}", "y": f"{top + 11:.1f}"}
            anchor = "end" if left else "start"
            self._marks.append(tag("text", text, text_anchor=anchor, **where))

    def drawn(self) -> Html:
        """Return the plot: grid, ticks, names, and what was drawn."""
        left, right = _LEFT, WIDTH - _RIGHT
        top, bottom = self._down(np.array([self.y.high, self.y.low])).tolist()
        parts = [tag("text", self.y.name, x="4", y=f"{self.top + 15:.0f}", class_="name")]
        for value in self.y.ticks():
            y = float(self._down(value))
            parts.append(tag("path", d=f"M{left} {y:.1f}H{right}", class_="grid"))
            parts.append(_text(self.y.told(value), left - 6, y + 4, "end"))
        for value in self.x.ticks():
            x = float(self._across(value))
            parts.append(tag("path", d=f"M{x:.1f} {top:.1f}V{bottom:.1f}", class_="grid"))
            if self.last:
                # At the right end there is less room than half a label's width.
                close = x > WIDTH - 20
                parts.append(
                    _text(
                        self.x.told(value),
                        WIDTH - 2 if close else x,
                        bottom + 16,
                        "end" if close else "middle",
                    )
                )
        if self.last:
            parts.append(
                _text(self.x.name, (left + right) / 2, bottom + 36, "middle", class_="name")
            )
        return join(*parts, *self._marks)

    def _across(self, values: ArrayLike) -> NDArray[np.float64]:
        return _LEFT + self.x.share(values) * (WIDTH - _LEFT - _RIGHT)

    def _down(self, values: ArrayLike) -> NDArray[np.float64]:
        bottom = self.top + self.height - (_BOTTOM if self.last else 8)
        return bottom - self.y.share(values) * (bottom - self.top - _TOP)


def plot(said: str, frames: Sequence[Frame]) -> Html:
    """Put frames that stand one above the other into one drawing.

    Args:
        said: What it shows, for those who don't see it.
        frames: From top to bottom.
    """
    height = frames[-1].top + frames[-1].height
    return tag(
        "svg",
        *(frame.drawn() for frame in frames),
        viewBox=f"0 0 {WIDTH} {height:.0f}",
        role="img",
        aria_label=said,
        class_="plot",
    )


def _text(text: str, x: float, y: float, text_anchor: str, *, class_: str | None = None) -> Html:
    return tag("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=text_anchor, class_=class_)


def _path(across: NDArray[np.float64], down: NDArray[np.float64]) -> str:
    points = [f"{x:.1f} {y:.1f}" for x, y in zip(across.tolist(), down.tolist(), strict=True)]
    # Neighbours that fall together in the drawing say nothing more.
    kept = [one for place, one in enumerate(points) if not place or one != points[place - 1]]
    return "M" + "L".join(kept if len(kept) > 1 else 2 * kept)


def _runs(
    xs: NDArray[np.float64], ys: NDArray[np.float64]
) -> Iterable[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Part a line where a point is missing."""
    finite = np.isfinite(xs) & np.isfinite(ys)
    starts = np.flatnonzero(finite & ~np.concatenate([[False], finite[:-1]]))
    ends = np.flatnonzero(finite & ~np.concatenate([finite[1:], [False]])) + 1
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        yield xs[start:end], ys[start:end]
