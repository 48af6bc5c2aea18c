"""A figure of the report as a picture of its own."""

from xml.etree import ElementTree as ET

from forebay.offline.replay.report.figure import Figure
from forebay.offline.replay.report.svg import WIDTH, Chart, linear

SVG = "{http://www.w3.org/2000/svg}"


def _figure(entries: tuple[tuple[str, str], ...]) -> Figure:
    chart = Chart(x=linear(0.0, 10.0), y=linear(0.0, 5.0), label="a line & more")
    chart.line([0.0, 10.0], [1.0, 4.0], "own")
    return Figure(title="Replicas < 5", chart=chart, entries=entries)


def test_a_picture_is_a_file_of_its_own_with_style_heading_and_legend() -> None:
    entries = (("own", "replicas & more"), ("demand", "demand"))
    root = ET.fromstring(_figure(entries).picture())  # noqa: S314  our own text
    words = [text.text for text in root.iter(f"{SVG}text")]
    assert words[0] == "Replicas < 5"
    assert words[-2:] == ["replicas & more", "demand"]
    style = root.find(f"{SVG}style")
    assert style is not None
    assert "prefers-color-scheme:dark" in (style.text or "")


def test_a_long_legend_is_broken_into_rows_that_fit() -> None:
    root = ET.fromstring(_figure(tuple(("c0", "x" * 50) for _ in range(5))).picture())  # noqa: S314
    height = float(root.attrib["height"])
    placed = [(float(t.attrib["x"]), float(t.attrib["y"])) for t in root.iter(f"{SVG}text") if t.text == "x" * 50]
    assert len({y for _, y in placed}) == 3
    assert all(x + 50 * 6.3 <= WIDTH and y <= height for x, y in placed)


def test_the_page_gets_heading_and_legend_as_html() -> None:
    page = _figure((("own", "replicas"),)).html()
    assert "<h4>Replicas &lt; 5</h4>" in page
    assert '<i class="own"></i>replicas' in page
    assert "legend" not in _figure(()).html()
