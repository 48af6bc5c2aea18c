"""The report as one page, from the verdict down to how to reproduce it."""

import math
import platform
from collections.abc import Sequence
from html import escape

import numpy as np

from forebay import __version__
from forebay.flow.fleet import PoolKey
from forebay.offline.replay.jobs.job import FOREBAY
from forebay.offline.replay.jobs.outcome import Course, Outcome
from forebay.offline.replay.report.charts import attainment_chart, capacity_chart, frontier_chart, latency_chart
from forebay.offline.replay.report.details import decisions, forecast_scores, settings, worst_windows
from forebay.offline.replay.report.style import CSS, SCRIPT
from forebay.offline.replay.results.output import Replay, ranked
from forebay.offline.replay.results.table import milliseconds_or_unserved, seconds_or_unserved
from forebay.offline.replay.results.verdict import usd
from forebay.offline.simulation import accelerate

_MONTH_SECONDS = 730 * 3600.0


def render(replay: Replay) -> str:
    """Return the whole document."""
    verdict = replay.verdict
    own = _own(replay)
    beside = _beside(replay)
    body = [
        f"<h1>Replay of {escape(replay.scenario.name)}</h1>",
        f'<p class="small">{_subtitle(replay)}</p>',
        f'<div class="verdict {verdict.result.value}">{escape(verdict.sentence)}</div>',
        "".join(f"<p>{escape(remark)}</p>" for remark in replay.remarks),
        "" if replay.complete else "<p><b>Interrupted</b>: these are the policies that were done by then.</p>",
        _tiles(own, replay.scenario.span_seconds) if own is not None else "",
        "<h2>Cost against attainment</h2>",
        frontier_chart(replay) if replay.outcomes else "<p>No policy was done.</p>",
        _table(replay),
        _by_pool(replay) if len(replay.scenario.traces) > 1 else "",
        *_over_time(replay, own, beside),
        worst_windows([o for o in (own, beside) if o is not None]),
        decisions(own) if own is not None else "",
        forecast_scores(own) if own is not None else "",
        settings(replay),
        _reproduce(replay),
    ]
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Forebay replay: {escape(replay.scenario.name)}</title><style>{CSS}</style></head><body>"
        f"{''.join(body)}<script>{SCRIPT}</script></body></html>\n"
    )


def _own(replay: Replay) -> Outcome | None:
    return next((o for o in replay.outcomes if o.score.name == FOREBAY and o.default and o.course), None)


def _beside(replay: Replay) -> Outcome | None:
    """Return the best of the others: the cheapest that meets the target, else the highest attainment."""
    others = [
        o
        for o in replay.outcomes
        if o.default and not o.hindsight and o.score.name != FOREBAY and o.course is not None
    ]
    return ranked(others)[0] if others else None


def _subtitle(replay: Replay) -> str:
    scenario = replay.scenario
    slos = "; ".join(
        f"{key}: TTFT {pool.slo.ttft_seconds:g} s and ITL {1000 * pool.slo.itl_seconds:g} ms for "
        f"{100 * pool.slo.target:g} % of requests"
        for key, pool in ((key, scenario.fleet.pools[key]) for key in scenario.traces)
    )
    span = scenario.span_seconds / 3600.0
    traffic = f" Traffic: {replay.traffic}." if replay.traffic else ""
    return escape(f"{scenario.requests:,} requests in {span:.1f} hours. Objectives of {slos}.{traffic}")


def _tiles(own: Outcome, span_seconds: float) -> str:
    score = own.score
    monthly = score.cost_usd * _MONTH_SECONDS / max(span_seconds, 1.0)
    over = score.cost_over_oracle
    tiles = [
        (usd(score.cost_usd), f"Forebay's cost, {usd(monthly)} a month at this rate"),
        (f"{math.floor(score.slo_attainment * 10_000) / 100:.2f} %", "of servable requests within the SLO"),
        (f"{score.gpu_hours:,.0f}", "GPU-hours"),
        (seconds_or_unserved(score.ttft_p99_seconds), "TTFT, 99th percentile"),
        (milliseconds_or_unserved(score.itl_p99_seconds), "ITL, 99th percentile"),
        ("-" if over is None else f"{over:.2f}x", "of what a clairvoyant fleet costs"),
    ]
    return '<div class="tiles">' + "".join(f"<div><b>{a}</b><span>{b}</span></div>" for a, b in tiles) + "</div>"


_COLUMNS = ("policy", "knob", "SLO met", "target", "worst 10 min", "TTFT p50", "TTFT p99", "ITL p99", "goodput/s")
_MORE = (
    "unserved",
    "cost",
    "/ oracle",
    "GPU-h",
    "node-h",
    "kWh",
    "actions/h",
    "cancelled",
    "nodes",
    "idle nodes",
)


def _table(replay: Replay) -> str:
    shown = ranked([outcome for outcome in replay.outcomes if outcome.default])
    head = "".join(f"<th{' class=l' if n == 0 else ''}>{c}</th>" for n, c in enumerate((*_COLUMNS, *_MORE)))
    rows = []
    for number, outcome in enumerate(shown):
        first_missing = not outcome.score.meets_target and (number == 0 or shown[number - 1].score.meets_target)
        if first_missing:
            rows.append(f'<tr class="part"><td colspan="{len(_COLUMNS) + len(_MORE)}">below the target</td></tr>')
        rows.append(_row(outcome))
    stars = (
        '<p class="small">* knows the traffic beforehand: no policy that could be run. Cancelled: replicas '
        "ordered and taken back before they were ready. Nodes: launched after the start; idle: given back "
        "without a replica.</p>"
    )
    notes = "".join(f'<p class="small">{escape(o.score.name)}: {escape(o.note)}.</p>' for o in shown if o.note)
    return f'<div class="scroll"><table><tr>{head}</tr>{"".join(rows)}</table></div>{stars}{notes}'


def _by_pool(replay: Replay) -> str:
    """Return attainment per pool, pools of high priority first; what misses its target is grey."""
    pools = replay.scenario.fleet.pools
    keys = sorted(replay.scenario.traces, key=lambda key: -pools[key].priority)
    head = "".join(
        f"<th>{escape(str(key))}<br>priority {pools[key].priority}, {100 * pools[key].slo.target:g} %</th>"
        for key in keys
    )
    rows = []
    for outcome in ranked([outcome for outcome in replay.outcomes if outcome.default]):
        shares = [(outcome.score.attainment_by_pool[str(key)], pools[key].slo.target) for key in keys]
        cells = "".join(
            f"<td{'' if share >= target else ' class=bad'}>{math.floor(share * 10_000) / 100:.2f} %</td>"
            for share, target in shares
        )
        own = ' class="own"' if outcome.score.name == FOREBAY else ""
        rows.append(f'<tr{own}><td class="l">{escape(outcome.score.name)}</td>{cells}</tr>')
    return (
        '<h3>By pool</h3><p class="small">Who is served when GPUs run out is what the priorities say; red is '
        f'below the pool\'s target.</p><div class="scroll"><table><tr><th class="l">policy</th>{head}</tr>'
        f"{''.join(rows)}</table></div>"
    )


def _row(outcome: Outcome) -> str:
    score = outcome.score
    name = escape(score.name) + ("*" if outcome.hindsight else "")
    cells = (
        "" if score.knob is None else f"{score.knob:g}",
        f"{math.floor(score.slo_attainment * 10_000) / 100:.2f} %",
        f"{100 * score.target:g} %",
        f"{100 * score.worst_window_attainment:.0f} %",
        seconds_or_unserved(score.ttft_p50_seconds),
        seconds_or_unserved(score.ttft_p99_seconds),
        milliseconds_or_unserved(score.itl_p99_seconds),
        f"{score.goodput_requests_per_second:.2f}",
        f"{score.unserved_requests:,}",
        usd(score.cost_usd),
        "" if score.cost_over_oracle is None else f"{score.cost_over_oracle:.2f}",
        f"{score.gpu_hours:,.1f}",
        f"{score.node_hours:,.1f}" if score.node_hours else "",
        "" if score.energy_kwh is None else f"{score.energy_kwh:,.0f}",
        f"{score.scale_actions_per_hour:.1f}",
        f"{score.cancelled_orders:,}",
        f"{score.nodes_launched:,}",
        f"{score.nodes_unused:,}",
    )
    style = "own" if score.name == FOREBAY else "" if score.meets_target else "miss"
    title = escape(outcome.title + (f", knob: {outcome.knob_name}" if outcome.knob_name else ""), quote=True)
    return (
        f'<tr class="{style}"><td class="l" title="{title}">{name}</td>'
        + "".join(f"<td>{cell}</td>" for cell in cells)
        + "</tr>"
    )


def _over_time(replay: Replay, own: Outcome | None, beside: Outcome | None) -> list[str]:
    first = own or beside
    if first is None or first.course is None:
        return []
    parts = ["<h2>Over time</h2>"]
    for key in replay.scenario.traces:
        pool = replay.scenario.fleet.pools[key]
        parts.append(f"<h3>{escape(str(key))} under {escape(first.score.name)}</h3>")
        parts.append(
            '<p class="small">Capacity is what ready replicas sustain at the SLO\'s edge, at the mean lengths of '
            "the whole trace; queues and bursts need the room above demand.</p>"
        )
        forecasts = first.course.forecasts or {}
        parts += [
            capacity_chart(replay.scenario, key, role, first.course, forecasts.get((key, role))).html()
            for role in pool.roles
        ]
        parts += [latency_chart(replay, key, first.course.bins[key], what=what).html() for what in ("TTFT", "ITL")]
        courses = {o.score.name: o.course for o in (own, beside) if o is not None and o.course is not None}
        parts.append(attainment_chart(replay, key, courses).html())
        if beside is not None and beside.course is not None and beside is not first:
            parts.append(_same_for(replay, beside.score.name, beside.course, key))
    return parts


def _same_for(replay: Replay, name: str, course: Course, key: PoolKey) -> str:
    pool = replay.scenario.fleet.pools[key]
    charts = [capacity_chart(replay.scenario, key, role, course).html() for role in pool.roles]
    charts += [latency_chart(replay, key, course.bins[key], what=what).html() for what in ("TTFT", "ITL")]
    return (
        f'<details class="group"><summary>The same under {escape(name)}, the best of the others</summary>'
        f"{''.join(charts)}</details>"
    )


def _reproduce(replay: Replay) -> str:
    versions: Sequence[str] = (
        f"forebay {__version__}",
        f"Python {platform.python_version()}",
        f"numpy {np.__version__}",
        "simulator compiled by numba" if accelerate.COMPILED else "simulator in plain Python (same results)",
    )
    return (
        f"<h2>How to reproduce</h2><pre><code>{escape(replay.command)}</code></pre>"
        f'<p class="small">Seed {replay.seed}; {escape("; ".join(versions))}. The same command, files and '
        "versions give the same figures.</p>"
    )
