"""Draw the pictures of docs/concepts.md from one replay: `python tools/conceptpictures.py` (`make pictures`).

One run of the default replay's pool over its generated day, with the report's own charts. The same code and
versions give the same pictures.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from forebay.flow.decision import PoolDecision, ReasonCode
from forebay.flow.fleet import PoolKey, Role
from forebay.flow.observation import FleetObservation
from forebay.offline.replay.inputs.prepare import ReplayRequest, prepare
from forebay.offline.replay.jobs.job import FOREBAY, jobs_for, policies_named
from forebay.offline.replay.jobs.outcome import course_of
from forebay.offline.replay.jobs.workers import run_jobs
from forebay.offline.replay.loop.closed_loop import run
from forebay.offline.replay.loop.policy import Targets
from forebay.offline.replay.loop.recorder import RecordedForebay
from forebay.offline.replay.loop.scenario import Scenario
from forebay.offline.replay.report.charts import capacity_chart, frontier_figure
from forebay.offline.replay.report.figure import Figure
from forebay.offline.replay.report.svg import Chart, hours, linear
from forebay.offline.replay.results.output import Replay, against_oracle
from forebay.offline.replay.results.table import to_table
from forebay.pipeline import FleetState
from forebay.sizing.curve import SizedCurve

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
HOUR_SECONDS = 3600.0
FROM_SECONDS, UNTIL_SECONDS = 6 * HOUR_SECONDS, 12 * HOUR_SECONDS
MOMENT_SECONDS = 2 * HOUR_SECONDS
"""Of the sizing picture, after the start of the run: the steepest part of the morning."""
ROLE = Role.PREFILL
DEAREST = 2.5
"""Costs above so many times the least are left off the sizing picture."""
BESIDE = 4.0
"""Replicas shown on both sides of the cheapest number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What sizing weighed at one moment."""

    order: SizedCurve
    price: float
    """Of a missed request, in replica-seconds."""


@dataclass(slots=True)
class Watched:
    """What was decided in every round."""

    at_seconds: list[float] = field(default_factory=list)
    pays: list[float] = field(default_factory=list)
    """Replicas that would cost least with the misses that they leave."""
    wanted: list[float] = field(default_factory=list)


class WatchedForebay(RecordedForebay):
    """The same decisions; what sizing said is kept."""

    def __init__(self, scenario: Scenario, key: PoolKey) -> None:
        super().__init__(scenario)
        self._key = key
        self.watched = Watched()
        self.moment: Moment | None = None

    def tick(self, seen: FleetObservation) -> Mapping[PoolKey, Targets]:
        """Decide, and keep what sizing said."""
        wanted = super().tick(seen)
        decision = self.last.pools[self._key] if self.last is not None else None
        numbers = None if decision is None else _sized(decision)
        if decision is not None and numbers is not None:
            self.watched.at_seconds.append(seen.at_seconds)
            weighed = self._weighed(self._state, numbers)
            self.watched.pays.append(float(weighed.order.cheapest(weighed.price)))
            self.watched.wanted.append(float(sum(v.desired for v in decision.variants if v.role is ROLE)))
            if self.moment is None and seen.at_seconds >= MOMENT_SECONDS:
                self.moment = weighed
        return wanted

    def _weighed(self, state: FleetState, numbers: Mapping[str, float]) -> Moment:
        curves = state.memory(self._fleet.pools[self._key]).curves[ROLE]
        return Moment(order=curves.order, price=numbers["miss_price_replica_seconds"])


def _sized(decision: PoolDecision) -> Mapping[str, float] | None:
    """Return what sizing said of the role, in numbers."""
    return next((r.numbers for r in decision.reasons if r.code == ReasonCode.SIZED and r.role is ROLE), None)


def sizing_figure(moment: Moment) -> Figure:
    """Return cost against replicas: what they cost, what the misses cost that are left, and both together."""
    curve = moment.order
    best = float(curve.cheapest(moment.price))
    least = best + moment.price * curve.misses_at(best)
    x = np.linspace(max(1.0, best - BESIDE), best + BESIDE, 161)
    misses = moment.price * np.interp(x, curve.replicas, curve.misses_per_second)
    chart = Chart(
        x=linear(float(x[0]), float(x[-1]), title=f"{ROLE.value} replicas", most=10),
        y=linear(0.0, DEAREST * least),
        label="what replicas and the misses that are left cost, by number of replicas",
    )
    for values, style in ((x, "c1"), (misses, "goal"), (x + misses, "own")):
        chart.line(x.tolist(), np.where(values <= DEAREST * least, values, np.nan).tolist(), style)
    chart.point(best, least, "own", tip="least cost", radius=6.0)
    chart.words([(best, least + 0.12 * least, f"{best:.0f} pay", "own")])
    entries = (
        ("c1", "replicas"),
        ("goal", f"expected misses/s x {moment.price:.0f} replica-seconds each"),
        ("own", "both"),
    )
    return Figure(
        title="One more replica is bought while it saves more than it costs", chart=chart, entries=entries
    )


def regret_figure(watched: Watched, scenario: Scenario, key: PoolKey) -> Figure:
    """Return what would cost least in every round, and the replicas, which move when that has lasted."""
    x = [seconds / HOUR_SECONDS for seconds in watched.at_seconds]
    chart = Chart(
        x=hours(scenario.span_seconds / HOUR_SECONDS, scenario.traces[key].start_of_day_seconds),
        y=linear(0.0, 1.05 * max(*watched.pays, *watched.wanted)),
        label="replicas that would cost least in every round, and the replicas wanted",
    )
    chart.line(x, watched.pays, "c2")
    chart.line(x, watched.wanted, "own")
    entries = (("c2", "would cost least in this round"), ("own", "replicas wanted"))
    return Figure(title=f"{ROLE.value.capitalize()} replicas", chart=chart, entries=entries)


def draw(folder: Path) -> Iterator[str]:
    """Run the replays, write the pictures as they are done, and yield what was written, then the table."""
    prepared = prepare(ReplayRequest(start_seconds=FROM_SECONDS, end_seconds=UNTIL_SECONDS))
    scenario = prepared.scenario
    key = next(iter(scenario.traces))
    policy = WatchedForebay(scenario, key)
    made = run(scenario, policy, name=FOREBAY)
    forecasts = policy.forecasts()
    course = course_of(scenario, made, forecasts)
    if policy.moment is None:
        raise RuntimeError("nothing was sized at the moment of the picture")
    yield _written(folder, "forecast", capacity_chart(scenario, key, ROLE, course, forecasts.get((key, ROLE))))
    yield _written(folder, "size", sizing_figure(policy.moment))
    yield _written(folder, "regret", regret_figure(policy.watched, scenario, key))
    replay = _all_policies(scenario)
    yield _written(folder, "frontier", frontier_figure(replay))
    yield to_table(replay)


def _written(folder: Path, name: str, figure: Figure) -> str:
    path = folder / f"concept-{name}.svg"
    path.write_text(figure.picture(), encoding="utf-8")
    return str(path)


def _all_policies(scenario: Scenario) -> Replay:
    jobs = jobs_for(policies_named(["all"]), sweep=False)
    outcomes = [outcome for _, outcome in run_jobs(scenario, jobs)]
    return Replay(scenario=scenario, outcomes=against_oracle(outcomes), command="forebay replay", seed=0)


def main(arguments: Sequence[str]) -> None:
    """Draw into the folder given, else into docs/images; print the table of docs/replay.md."""
    for said in draw(Path(arguments[0]) if arguments else IMAGES):
        print(said, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
