"""The HTML report is self-contained and well formed."""

import re
from html.parser import HTMLParser

from forebay.offline.replay.jobs.job import Job, run_job
from forebay.offline.replay.report import render
from forebay.offline.replay.results.output import Replay
from tests.unit.replay.outcomes import outcome, ten_minutes

VOID = {"meta", "input", "br", "line", "circle", "polyline", "polygon"}


class _Nesting(HTMLParser):
    """Fails if tags are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def _report() -> str:
    prepared = ten_minutes()
    outcomes = tuple(run_job(prepared.scenario, Job(policy=name)) for name in ("forebay", "hpa"))
    return render(
        Replay(
            scenario=prepared.scenario,
            outcomes=outcomes,
            command="forebay replay --trace '<b>.csv'",
            seed=0,
            traffic=prepared.traffic,
        )
    )


def test_the_report_needs_nothing_else() -> None:
    page = _report()
    assert len(page) < 5_000_000
    assert not re.search(r"""(src|href)\s*=|@import|url\(|https?://(?!www\.w3)""", page.split("<h2>Settings")[0])
    assert "nan" not in re.sub(r"<[^>]*>", "", page).lower().split()
    assert not re.search(r'points="[^"]*(nan|inf)', page)


def test_the_report_is_well_nested_and_escaped() -> None:
    page = _report()
    nesting = _Nesting()
    nesting.feed(page)
    assert nesting.open == []
    assert "&lt;b&gt;.csv" in page
    for heading in (
        "Cost against attainment",
        "The worst ten minutes",
        "Decisions",
        "Forecast scores",
        "Settings",
    ):
        assert f"<h2>{heading}</h2>" in page


def test_an_interrupted_replay_has_a_report() -> None:
    page = render(
        Replay(
            scenario=ten_minutes().scenario,
            outcomes=(outcome("hpa", cost=10.0, attained=0.5),),
            command="forebay replay",
            seed=0,
            complete=False,
        )
    )
    assert "<b>Interrupted</b>" in page
