"""The live view: a table that redraws itself on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table

from demo.sample import DEMAND_SECONDS, ROLES, Sample
from demo.scene import (
    ITL_SECONDS,
    TARGET_PERCENT,
    TTFT_SECONDS,
    Scene,
    clock_of_day,
)

PLAIN_EVERY_SECONDS = 10.0


def legend(scene: Scene) -> str:
    """Return what the columns mean."""
    return f"""\
  demand: requests/s of the last {DEMAND_SECONDS:.0f} s
  q90: what it will not exceed in nine of ten cases by when new replicas would be ready
       (forecasts count in steps of {scene.step_seconds} s here, which stand for ten minutes)
  prefill, decode: ready/desired replicas, on so many nodes
  TTFT, ITL: {TARGET_PERCENT}th percentiles of the last minute; objectives {TTFT_SECONDS:g} s and \
{ITL_SECONDS * 1000:.0f} ms
  met: share of all requests so far within both; the objective asks for {TARGET_PERCENT} %"""


_BLIND = {
    "Partial": "new replicas report nothing yet",
    "Missing": "no metrics yet",
    "Unreachable": "Prometheus does not answer",
    "Stale": "metrics are old",
}


class View:
    """Shows samples as they come."""

    def __init__(self, scene: Scene, live: Live | None) -> None:
        self._scene = scene
        self._live = live
        self._printed = -PLAIN_EVERY_SECONDS

    def show(self, sample: Sample) -> None:
        """Draw one sample."""
        if self._live is not None:
            self._live.update(_table(self._scene, sample))
        elif sample.seconds - self._printed >= PLAIN_EVERY_SECONDS:
            self._printed = sample.seconds
            print(plain(self._scene, sample), flush=True)

    def say(self, words: str) -> None:
        """Print a line beside the table."""
        if self._live is not None:
            self._live.console.print(words)
        else:
            print(words, flush=True)


@contextmanager
def view(scene: Scene) -> Iterator[View]:
    """Open the view that fits where the output goes."""
    if not sys.stdout.isatty():
        yield View(scene, None)
        return
    with Live(console=Console(), refresh_per_second=4) as live:
        yield View(scene, live)


def _table(scene: Scene, sample: Sample) -> Table:
    table = Table(title=f"Forebay demo  {clock_of_day(scene, sample.seconds)}  ({sample.seconds:.0f} s)")
    for column in ("", "ready/desired", "nodes", "queue"):
        table.add_column(column)
    table.add_column("what", style="dim")
    table.add_column("value", justify="right")
    facts = _facts(sample)
    rows = [(role, f"{r.ready}/{r.desired}", str(r.nodes), str(r.queue)) for role, r in sample.roles.items()]
    for index in range(max(len(rows), len(facts))):
        left = rows[index] if index < len(rows) else ("", "", "", "")
        right = facts[index] if index < len(facts) else ("", "")
        table.add_row(*left, *right)
    table.caption = sample.why
    return table


def _facts(sample: Sample) -> list[tuple[str, str]]:
    return [
        (f"demand, last {DEMAND_SECONDS:.0f} s", f"{_text(sample.demand, '.1f')} req/s"),
        (f"forecast q90 in {_text(sample.lead_seconds, '.0f')} s", f"{_text(sample.forecast_q90, '.1f')} req/s"),
        (f"TTFT (objective {TTFT_SECONDS:g} s)", f"{_text(sample.ttft_seconds, '.2f')} s"),
        (f"ITL (objective {ITL_SECONDS * 1000:.0f} ms)", f"{_milliseconds(sample.itl_seconds)} ms"),
        (f"met both, so far (objective {TARGET_PERCENT} %)", _percent(sample.attainment)),
        ("cost", f"{_text(sample.usd_per_hour, '.2f')} $/h"),
        ("telemetry", _telemetry(sample)),
    ]


def plain(scene: Scene, sample: Sample) -> str:
    """Return one line that says everything."""
    parts = [
        f"{clock_of_day(scene, sample.seconds)} {sample.seconds:4.0f} s",
        f"demand {_text(sample.demand, '4.1f'):>4}",
        f"q90 {_text(sample.forecast_q90, '4.1f'):>4}",
        *(
            f"{name} {role.ready}/{role.desired} on {role.nodes}"
            for name, role in ((name, sample.roles[name]) for name in ROLES)
        ),
        f"TTFT {_text(sample.ttft_seconds, '.2f')} s",
        f"ITL {_milliseconds(sample.itl_seconds)} ms",
        f"met {_percent(sample.attainment)}",
        f"{_text(sample.usd_per_hour, '.2f')} $/h",
    ]
    if sample.blind:
        parts.append(_telemetry(sample))
    return "  ".join(parts)


def _telemetry(sample: Sample) -> str:
    """Return what the operator says of its telemetry."""
    return f"nothing is released: {_BLIND.get(sample.blind, sample.blind)}" if sample.blind else "fresh"


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value * 1000:.0f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
