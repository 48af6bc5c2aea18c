"""Charts as inline SVG: lines, bands, stacked areas and points over linear or logarithmic axes.

Colours are classes (``c0`` ... ``c7``), so that the page's style sheet decides them for light and dark.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH, HEIGHT = 760.0, 260.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 24.0, 12.0, 34.0
Numbers = Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One axis: its range, its ticks (value and label) and what it says."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    title: str = ""
    logarithmic: bool = False

    def share(self, value: float) -> float:
        """Return where ``value`` lies: 0 at the low end, 1 at the high end; values outside are put on the edge."""
        if self.logarithmic:
            low, high, value = math.log(self.low), math.log(self.high), math.log(max(value, 1e-12))
        else:
            low, high = self.low, self.high
        if high <= low:
            return 0.0
        return min(1.0, max(0.0, (value - low) / (high - low)))


@dataclass(slots=True, kw_only=True)
class Chart:
    """An SVG that is drawn piece by piece."""

    x: Axis
    y: Axis
    label: str
    """What a screen reader says."""
    height: float = HEIGHT
    _parts: list[str] = field(default_factory=list)

    def line(self, x: Numbers, y: Numbers, style: str) -> None:
        """Draw a line; it is interrupted where ``y`` is NaN, and runs along the edge where it is infinite."""
        for run in _runs(x, y):
            points = " ".join(self._point(a, b) for a, b in run)
            self._parts.append(f'<polyline class="line {style}" points="{points}"/>')

    def band(self, x: Numbers, low: Numbers, high: Numbers, style: str) -> None:
        """Fill between two lines."""
        known = [(a, b, c) for a, b, c in zip(x, low, high, strict=True) if not (math.isnan(b) or math.isnan(c))]
        if len(known) < 2:
            return
        there = [self._point(a, b) for a, b, _ in known]
        back = [self._point(a, c) for a, _, c in reversed(known)]
        self._parts.append(f'<polygon class="area {style}" points="{" ".join((*there, *back))}"/>')

    def level(self, y: float, style: str, text: str) -> None:
        """Draw a line across, with a word."""
        height = self._y(y)
        self._parts.append(
            f'<line class="level {style}" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{height:.1f}" y2="{height:.1f}"/>'
            f'<text class="note {style}" x="{WIDTH - _RIGHT - 4}" y="{height - 4:.1f}" text-anchor="end">'
            f"{escape(text)}</text>"
        )

    def point(self, x: float, y: float, style: str, *, tip: str, radius: float = 5.0) -> None:
        """Draw a point that says ``tip`` under the mouse."""
        self._parts.append(
            f'<circle class="point {style}" cx="{self._x(x):.1f}" cy="{self._y(y):.1f}" r="{radius}">'
            f"<title>{escape(tip)}</title></circle>"
        )

    def words(self, labels: Sequence[tuple[float, float, str, str]]) -> None:
        """Write words beside points (x, y, text, style), moved up or down until none covers another."""
        taken: list[tuple[float, float, float]] = []
        for x, y, text, style in sorted(labels, key=lambda label: (-self._y(label[1]), label[0])):
            width = 6.4 * len(text)
            right = self._x(x) + 9 + width > WIDTH - _RIGHT
            left = self._x(x) - 9 - width if right else self._x(x) + 9
            height = self._y(y) + 4
            while any(abs(height - h) < 12 and left < b and a < left + width for a, b, h in taken):
                height -= 3
            taken.append((left, left + width, height))
            self._parts.append(f'<text class="word {style}" x="{left:.1f}" y="{height:.1f}">{escape(text)}</text>')

    def svg(self) -> str:
        """Return the element, for a page."""
        return (
            f'<div class="chart"><svg viewBox="0 0 {WIDTH:g} {self.height:g}" role="img" '
            f'aria-label="{escape(self.label, quote=True)}">{self.drawing()}</svg></div>'
        )

    def drawing(self) -> str:
        """Return what the element holds."""
        return self._frame() + "".join(self._parts)

    def _frame(self) -> str:
        bottom = self.height - _BOTTOM
        parts = []
        for value, text in self.y.ticks:
            y = self._y(value)
            parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(text)}</text>')
        for value, text in self.x.ticks:
            x = self._x(value)
            parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"/>')
            parts.append(f'<text x="{x:.1f}" y="{bottom + 14}" text-anchor="middle">{escape(text)}</text>')
        parts.append(
            f'<text class="title" x="{WIDTH - _RIGHT}" y="{self.height - 5}" text-anchor="end">'
            f"{escape(self.x.title)}</text>"
        )
        return "".join(parts)

    def _point(self, x: float, y: float) -> str:
        return f"{self._x(x):.1f},{self._y(y):.1f}"

    def _x(self, value: float) -> float:
        return _LEFT + self.x.share(value) * (WIDTH - _LEFT - _RIGHT)

    def _y(self, value: float) -> float:
        return self.height - _BOTTOM - self.y.share(value) * (self.height - _TOP - _BOTTOM)


def _runs(x: Numbers, y: Numbers) -> list[list[tuple[float, float]]]:
    runs: list[list[tuple[float, float]]] = [[]]
    for a, b in zip(x, y, strict=True):
        if math.isnan(b):
            runs.append([])
        else:
            runs[-1].append((a, 1e12 if math.isinf(b) else b))
    return [run for run in runs if run]


def linear(low: float, high: float, *, title: str = "", unit: str = "", most: int = 6) -> Axis:
    """Return a linear axis with round ticks."""
    high = high if high > low else low + 1.0
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    ticks = tuple((number * step, f"{number * step:g}{unit}") for number in range(first, last + 1))
    return Axis(low=low, high=high, ticks=ticks, title=title)


def hours(span_hours: float, start_of_day_seconds: float = 0.0) -> Axis:
    """Return a time axis in hours since the start; its ticks say the time of day."""
    steps = (1 / 12, 1 / 6, 0.25, 0.5, 1, 2, 3, 6, 12, 24, 48)
    step = next((s for s in steps if span_hours / s <= 9), 96.0)
    offset = start_of_day_seconds / 3600.0
    first = math.ceil(offset / step - 1e-9)
    ticks = []
    while first * step - offset <= span_hours + 1e-9:
        at = first * step
        minutes = round(at * 60) % 1440
        day = f"d{int(at // 24) + 1} " if span_hours > 24 else ""
        ticks.append((at - offset, f"{day}{minutes // 60:02d}:{minutes % 60:02d}"))
        first += 1
    return Axis(
        low=0.0,
        high=max(span_hours, 1e-3),
        ticks=tuple(ticks),
        title="time of day (UTC, or from the trace's start)",
    )


def logarithmic(low: float, high: float, *, unit: str = "") -> Axis:
    """Return a logarithmic axis with a tick at 1, 2 and 5 of each decade."""
    ticks = []
    for exponent in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        for factor in (1, 2, 5):
            value = factor * 10.0**exponent
            if low * 0.999 <= value <= high * 1.001:
                ticks.append((value, f"{value:g}{unit}"))
    while len(ticks) > 8:
        ticks = ticks[::2]
    return Axis(low=low, high=high, ticks=tuple(ticks), logarithmic=True)
