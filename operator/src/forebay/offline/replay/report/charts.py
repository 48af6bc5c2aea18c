"""The report's charts."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

import numpy as np

from forebay.flow.fleet import PoolKey, Role, VariantKey
from forebay.flow.trace import FloatArray
from forebay.offline.replay.baselines import facts_of
from forebay.offline.replay.baselines.common.trace_work import lengths_of
from forebay.offline.replay.baselines.common.workload import workload
from forebay.offline.replay.jobs.job import FOREBAY, ORACLE
from forebay.offline.replay.jobs.outcome import Bins, Course, RunKind
from forebay.offline.replay.loop.recorder import ForecastCourse
from forebay.offline.replay.loop.scenario import Scenario
from forebay.offline.replay.report.figure import Figure
from forebay.offline.replay.report.svg import Axis, Chart, hours, linear, logarithmic
from forebay.offline.replay.results.output import Replay
from forebay.offline.replay.results.verdict import usd

_MOST_COST = 3.0
"""Settings that cost more than this multiple of Forebay (or of the cheapest that meets the target) are not
drawn."""
_BEST_MISS = 1e-4
_ATTAINMENTS = (0.5, 0.8, 0.9, 0.95, 0.99, 0.999, 0.9999)


def nines(attainment: float) -> float:
    """Return attainment on a scale on which 90 %, 99 % and 99.9 % are equally far apart."""
    return -math.log10(max(1.0 - attainment, _BEST_MISS))


def frontier_chart(replay: Replay) -> str:
    """Return cost against attainment: every policy at its default, and the settings of its knob where swept."""
    chart, off, low = _frontier(replay)
    return (
        chart.svg()
        + '<p class="small">Upward: share of servable requests within the SLO; up and to the left is better. '
        + "Hollow: knows the traffic beforehand. Small: other "
        + f"settings of a policy's main knob (with --sweep). The vertical scale widens towards 100 %.{low}</p>"
        + off
    )


def frontier_figure(replay: Replay) -> Figure:
    """Return the same as a figure."""
    title = "Cost against attainment: up and to the left is better; hollow knows the traffic beforehand"
    return Figure(title=title, chart=_frontier(replay)[0])


def _frontier(replay: Replay) -> tuple[Chart, str, str]:
    """Return the chart, what is off it, and what lies on its lower edge."""
    shown = [o for o in replay.outcomes if o.kind in (RunKind.DEFAULT, RunKind.SWEPT)]
    own = next((o.score.cost_usd for o in shown if o.score.name == FOREBAY), None)
    able = [o.score.cost_usd for o in shown if o.score.meets_target]
    most = _MOST_COST * (own or min(able, default=max(o.score.cost_usd for o in shown)))
    inside = [o for o in shown if o.score.cost_usd <= most]
    far = sorted({o.score.name for o in shown if o.default and o not in inside})
    lowest = min(0.9, max(0.5, min(o.score.slo_attainment for o in inside)))
    chart = Chart(
        x=linear(*_costs([o.score.cost_usd for o in inside]), title="cost in dollars"),
        y=_attainment_axis(lowest),
        label="cost against SLO attainment of every policy",
        height=360.0,
    )
    chart.level(nines(replay.target), "goal", _target_words(replay))
    names = list(dict.fromkeys(o.score.name for o in inside if o.score.name not in (FOREBAY, ORACLE)))
    words = []
    for outcome in inside:
        name = outcome.score.name
        style = {FOREBAY: "own", ORACLE: "oracle"}.get(
            name, f"c{names.index(name) % 8}" if name in names else "c0"
        )
        knob = "" if outcome.score.knob is None else f", {outcome.knob_name} {outcome.score.knob:g}"
        tip = f"{name}{knob}: {100 * outcome.score.slo_attainment:.2f} % for {usd(outcome.score.cost_usd)}"
        hollow = " hollow" if outcome.hindsight else ""
        at = (outcome.score.cost_usd, nines(outcome.score.slo_attainment))
        chart.point(*at, style + hollow, tip=tip, radius=6.0 if outcome.default else 2.5)
        if outcome.default:
            words.append((*at, name, style))
    for name in names:
        points = sorted((o.score.cost_usd, nines(o.score.slo_attainment)) for o in inside if o.score.name == name)
        if len(points) > 1:
            chart.line([x for x, _ in points], [y for _, y in points], f"thin c{names.index(name) % 8}")
    chart.words(words)
    off = f'<p class="small">Off the chart, dearer than {usd(most)}: {escape(", ".join(far))}.</p>' if far else ""
    low = f" Policies below {100 * lowest:.0f} % lie on the lower edge." if lowest == 0.5 else ""
    return chart, off, low


def _target_words(replay: Replay) -> str:
    strictest = "" if replay.common_target is not None else "strictest "
    return f"{strictest}target {100 * replay.target:g} %"


def _costs(costs: Sequence[float]) -> tuple[float, float]:
    return 0.9 * min(costs), 1.05 * max(costs)


def _attainment_axis(lowest: float) -> Axis:
    ticks = tuple((nines(a), f"{100 * a:g}%") for a in _ATTAINMENTS if a >= lowest - 1e-9)
    return Axis(low=nines(lowest) - 0.12, high=nines(1.0) + 0.1, ticks=ticks)


def rate_per_replica(scenario: Scenario, key: PoolKey) -> dict[VariantKey, float]:
    """Return per variant the requests/s of one replica at the SLO's edge, at the trace's mean lengths."""
    facts, lengths = facts_of(scenario, key), lengths_of(scenario.traces[key])
    rates = {}
    for role in facts.pool.roles:
        load = workload(facts, role, lengths)
        for variant in load.variants:
            rates[variant.key] = load.speed[variant.key] / load.seconds_per_request
    return rates


def capacity_chart(
    scenario: Scenario, key: PoolKey, role: Role, course: Course, forecast: ForecastCourse | None = None
) -> Figure:
    """Return demand, its forecast and the capacity of each GPU type over time, all in requests/s."""
    bins = course.bins[key]
    variants = [v for v in scenario.fleet.pools[key].of_role(role) if _ever(bins.supply[v.key])]
    rates = rate_per_replica(scenario, key)
    ready = [bins.ready[v.key] * rates[v.key] for v in variants]
    bought = np.zeros(len(bins.hours))
    for variant in variants:
        bought += np.nan_to_num(bins.supply[variant.key]) * rates[variant.key]
    top = _top(bins.requests_per_second, bought, [] if forecast is None else forecast.q99)
    x = bins.hours
    chart = Chart(
        x=hours(_span_hours(bins), scenario.traces[key].start_of_day_seconds),
        y=linear(0.0, top),
        label=f"demand and {role.value} capacity of {key}",
    )
    entries = []
    base = np.zeros(len(x))
    for number, (variant, capacity) in enumerate(zip(variants, ready, strict=True)):
        above = base + np.nan_to_num(capacity)
        chart.band(_list(x), _list(base), _list(above), f"c{number}")
        entries.append((f"c{number}", f"ready: {variant.key} ({rates[variant.key]:.2g} requests/s each)"))
        base = above
    chart.line(_list(x), _list(bought), "starting")
    entries.append(("starting", "ready and starting"))
    if forecast is not None and len(forecast.for_seconds):
        then = _list(forecast.for_seconds / 3600.0)
        chart.band(then, _list(forecast.q50), _list(forecast.q99), "forecast")
        entries.append(("forecast", f"forecast, median to 99 %, made {forecast.lead_time_seconds:.0f} s before"))
    chart.line(_list(x), _list(bins.requests_per_second), "demand")
    entries.append(("demand", "demand"))
    return Figure(title=f"{role.value.capitalize()}, requests/s", chart=chart, entries=tuple(entries))


def latency_chart(replay: Replay, key: PoolKey, bins: Bins, *, what: str) -> Figure:
    """Return the percentiles of TTFT or ITL over time against the SLO."""
    slo = replay.scenario.fleet.pools[key].slo
    values, goal = (bins.ttft_seconds, slo.ttft_seconds) if what == "TTFT" else (bins.itl_seconds, slo.itl_seconds)
    scale, unit = (1.0, " s") if what == "TTFT" else (1000.0, " ms")
    finite = np.concatenate([v[np.isfinite(v) & (v > 0)] for v in values.values()])
    low = scale * min(goal, float(finite.min()) if len(finite) else goal) * 0.8
    high = scale * max(goal, float(finite.max()) if len(finite) else goal) * 1.5
    chart = Chart(
        x=hours(_span_hours(bins), replay.scenario.traces[key].start_of_day_seconds),
        y=logarithmic(low, high, unit=unit),
        label=f"{what} percentiles of {key}",
        height=200.0,
    )
    for name, series in values.items():
        chart.line(_list(bins.hours), _list(series * scale), name)
    chart.level(scale * goal, "goal", f"SLO {scale * goal:g}{unit}")
    return Figure(title=what, chart=chart, entries=tuple((name, name) for name in values))


def attainment_chart(replay: Replay, key: PoolKey, courses: Mapping[str, Course]) -> Figure:
    """Return attainment over time of a few policies."""
    bins = next(iter(courses.values())).bins[key]
    chart = Chart(
        x=hours(_span_hours(bins), replay.scenario.traces[key].start_of_day_seconds),
        y=linear(_least_percent(courses.values(), key), 100.2, unit="%"),
        label=f"SLO attainment over time of {key}",
        height=200.0,
    )
    chart.level(100.0 * replay.scenario.fleet.pools[key].slo.target, "goal", "")
    entries = []
    for number, (name, course) in enumerate(courses.items()):
        style = "own" if name == FOREBAY else f"c{number}"
        chart.line(_list(bins.hours), _list(100.0 * course.bins[key].attainment), style)
        entries.append((style, name))
    return Figure(title="Requests within the SLO", chart=chart, entries=tuple(entries))


def _least_percent(courses: Iterable[Course], key: PoolKey) -> float:
    """Return where the axis begins: low enough for the worst bin, at most at 90 %."""
    seen = np.concatenate([course.bins[key].attainment for course in courses])
    lowest = 100.0 * float(np.nanmin(seen)) if not np.isnan(seen).all() else 0.0
    return min(90.0, 10.0 * math.floor(lowest / 10.0))


def _ever(counts: FloatArray) -> bool:
    return bool((np.nan_to_num(counts) > 0.0).any())


def _span_hours(bins: Bins) -> float:
    return len(bins.requests_per_second) * bins.seconds / 3600.0


def _top(*series: "FloatArray | Sequence[float]") -> float:
    highest = [float(np.nanmax(values)) for values in series if len(values) and not np.isnan(values).all()]
    return 1.05 * max([*highest, 1e-3])


def _list(values: FloatArray) -> list[float]:
    return [float(value) for value in values]
