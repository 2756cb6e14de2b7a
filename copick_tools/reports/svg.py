"""A plot as SVG text, drawn by hand: small, styled by the page (light, dark, print), the same bytes for the same numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

Range = tuple[float, float]
Xy = tuple[float, float]
COLORS = 8  # that curves and methods are told apart by, as style.css has them


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from ``low`` to ``high``, about so many.

    >>> ticks(0, 1)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    >>> ticks(0, 37, 4)
    [0.0, 10.0, 20.0, 30.0]
    """
    span = high - low
    if not (math.isfinite(span) and span > 0):
        return [low]
    raw = span / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten between two numbers above zero, and numbers between them where there are few.

    >>> log_ticks(1e-4, 1e-3)
    [0.0001, 0.0002, 0.0005, 0.001]
    >>> log_ticks(1, 120)
    [1.0, 3.0, 10.0, 30.0, 100.0]
    >>> log_ticks(1, 1e6)
    [1.0, 10.0, 100.0, 1000.0, 10000.0, 100000.0, 1000000.0]
    """
    decades = math.log10(high) - math.log10(low)
    factors = (1, 2, 5) if decades <= 1.5 else (1, 3) if decades <= 2.5 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    marks = [float(f"{factor}e{power}") for power in powers for factor in factors]
    return [mark for mark in marks if low * 0.999 <= mark <= high * 1.001]


def around(values: Sequence[float], *, zero: bool = False) -> Range:
    """A range that holds the values with a little room; ``zero``: from 0, where all are positive."""
    low, high = min(values), max(values)
    low = 0.0 if zero and low >= 0 else low
    room = 0.06 * (high - low) or 0.5 * abs(high) or 1.0
    return (low if zero and low == 0 else low - room), high + room


@dataclass
class Plot:
    """x, y: ranges of the data. width, height: of the whole, in pixels. margins: left, top, right, bottom."""

    x: Range
    y: Range
    width: int
    height: int
    margins: tuple[int, int, int, int] = (52, 10, 14, 40)
    parts: list[str] = field(default_factory=list)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of the area of the data, in pixels."""
        left, top, right, bottom = self.margins
        return left, top, self.width - right, self.height - bottom

    def at(self, x: float, y: float) -> Xy:
        """Pixels of a data point."""
        left, top, right, bottom = self.box
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return left + across * (right - left), bottom - up * (bottom - top)

    def x_axis(self, label: str, about: int = 5, *, marks: Sequence[tuple[float, str]] | None = None) -> None:
        """Ticks below, with grid lines. marks: places and words, instead of round numbers."""
        _, top, _, bottom = self.box
        for mark, said in marks if marks is not None else [(mark, f"{mark:g}") for mark in ticks(*self.x, about)]:
            x = self.at(mark, self.y[0])[0]
            self.parts.append(f'<path class="grid" d="M{_n(x)} {_n(top)}V{_n(bottom)}"/>')
            self.text(x, bottom + 15, said, "tick", "middle")
        self.parts.append(f'<path class="axis" d="M{_n(self.box[0])} {_n(bottom)}H{_n(self.box[2])}"/>')
        if label:
            self.text((self.box[0] + self.box[2]) / 2, bottom + 32, label, "label", "middle")

    def y_axis(self, label: str, about: int = 4) -> None:
        """Ticks at the left, with grid lines."""
        left, top, right, bottom = self.box
        for mark in ticks(*self.y, about):
            y = self.at(self.x[0], mark)[1]
            self.parts.append(f'<path class="grid" d="M{_n(left)} {_n(y)}H{_n(right)}"/>')
            self.text(left - 7, y + 4, f"{mark:g}", "tick", "end")
        if label:
            x, y = 13, (top + bottom) / 2
            self.parts.append(
                f'<text class="label" text-anchor="middle" transform="translate({x} {_n(y)}) rotate(-90)">'
                f"{escape(label)}</text>"
            )

    def text(self, x: float, y: float, text: str, kind: str, anchor: str = "start") -> None:
        """Words at a place in pixels."""
        self.parts.append(f'<text class="{kind}" x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}">{escape(text)}</text>')

    def line(self, points: Sequence[Xy], kind: str = "line") -> None:
        """A line through data points."""
        if points:
            steps = " ".join(f"{_n(x)} {_n(y)}" for x, y in (self.at(*point) for point in points))
            self.parts.append(f'<path class="{kind}" d="M{steps}"/>')

    def area(self, points: Sequence[Xy], base: float) -> None:
        """The area between data points and a level."""
        if points:
            self.line([(points[0][0], base), *points, (points[-1][0], base)], "area")

    def dot(self, point: Xy, said: str, kind: str = "dot", radius: float = 4) -> None:
        """A data point; ``said`` shows when the pointer rests on it."""
        x, y = self.at(*point)
        title = f"<title>{escape(said)}</title>" if said else ""
        self.parts.append(f'<circle class="{kind}" cx="{_n(x)}" cy="{_n(y)}" r="{_n(radius)}">{title}</circle>')

    def cross(self, point: Xy, said: str, kind: str = "cross", radius: float = 3.5) -> None:
        """A data point as two strokes."""
        x, y = self.at(*point)
        arms = f"M{_n(x - radius)} {_n(y - radius)}l{_n(2 * radius)} {_n(2 * radius)}m0 {_n(-2 * radius)}l{_n(-2 * radius)} {_n(2 * radius)}"
        self.parts.append(f'<path class="{kind}" d="{arms}"><title>{escape(said)}</title></path>')

    def span(self, low: Xy, high: Xy, kind: str = "span") -> None:
        """An interval between two data points."""
        self.line([low, high], kind)

    def svg(self, said: str, kind: str = "plot") -> Markup:
        """The plot; ``said`` describes it to those who don't see it."""
        return Markup(
            f'<svg class="{kind}" viewBox="0 0 {self.width} {self.height}" width="{self.width}" '
            f'height="{self.height}" role="img" aria-label="{escape(said)}">{"".join(self.parts)}</svg>'
        )


def _n(value: float) -> str:
    """Pixels, to a tenth."""
    return f"{value:.1f}".removesuffix(".0")
