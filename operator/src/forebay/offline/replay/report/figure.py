"""A chart with its heading and legend: as part of a page, or as a picture of its own."""

from dataclasses import dataclass
from html import escape

from forebay.offline.replay.report.style import CSS
from forebay.offline.replay.report.svg import WIDTH, Chart

_ROW = 18.0
_HEAD = 40.0
_MARGIN = 14.0
_LETTER = 6.3
"""Width of a letter of the legend, generously."""
_SWATCH = 34.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A heading, a chart, and what its colours mean: (style, text)."""

    title: str
    chart: Chart
    entries: tuple[tuple[str, str], ...] = ()

    def html(self) -> str:
        """Return the figure as part of the report."""
        return f"<h4>{escape(self.title)}</h4>{self.chart.svg()}{self._legend()}"

    def _legend(self) -> str:
        items = "".join(f'<span><i class="{style}"></i>{escape(text)}</span>' for style, text in self.entries)
        return f'<p class="legend">{items}</p>' if items else ""

    def picture(self) -> str:
        """Return the figure as an SVG file: it brings the page's style sheet along, for light and dark."""
        rows = self._rows()
        height = _HEAD + self.chart.height + _ROW * len(rows) + _MARGIN
        words = "".join(_word(*placed) for placed in self._placed(rows))
        size = f'width="{WIDTH:g}" height="{height:g}"'
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {height:g}" {size} '
            f'style="width:{WIDTH:g}px;min-width:0" role="img" '
            f'aria-label="{escape(self.chart.label, quote=True)}">'
            f'<style>{CSS}</style><rect {size} fill="var(--bg)"/>'
            f'<text class="heading" x="{_MARGIN:g}" y="18">{escape(self.title)}</text>'
            f'<g transform="translate(0 {_HEAD:g})">{self.chart.drawing()}</g>{words}</svg>\n'
        )

    def _rows(self) -> list[list[tuple[str, str]]]:
        """Return the legend broken into rows that fit."""
        rows: list[list[tuple[str, str]]] = []
        used = WIDTH
        for style, text in self.entries:
            width = _SWATCH + _LETTER * len(text)
            if used + width > WIDTH - 2 * _MARGIN:
                rows.append([])
                used = 0.0
            rows[-1].append((style, text))
            used += width
        return rows

    def _placed(self, rows: list[list[tuple[str, str]]]) -> list[tuple[str, str, float, float]]:
        placed = []
        for number, row in enumerate(rows):
            x, y = _MARGIN, _HEAD + self.chart.height + _ROW * number + 10.0
            for style, text in row:
                placed.append((style, text, x, y))
                x += _SWATCH + _LETTER * len(text)
        return placed


def _word(style: str, text: str, x: float, y: float) -> str:
    opacity = 0.5 if style == "forecast" else 1
    swatch = (
        f'<rect x="{x:.0f}" y="{y - 9:.0f}" width="14" height="9" rx="2" fill="currentColor" opacity="{opacity}"/>'
    )
    return f'<g class="{style}">{swatch}</g><text x="{x + 20:.0f}" y="{y:.0f}">{escape(text)}</text>'
