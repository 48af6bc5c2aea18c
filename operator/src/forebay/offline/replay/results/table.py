"""The figures of a replay as a table for a terminal."""

import math
import textwrap
from collections.abc import Sequence

from forebay.offline.replay.jobs.outcome import Outcome, RunKind
from forebay.offline.replay.loop.scenario import Scenario
from forebay.offline.replay.results.output import Replay, ranked

_COLUMNS = (
    ("policy", 19),
    ("knob", 4),
    ("met / target", 14),
    ("worst", 5),
    ("TTFT p99", 8),
    ("ITL p99", 8),
    ("cost", 10),
    ("/oracle", 7),
    ("GPU-h", 6),
    ("acts/h", 6),
    ("cancel", 6),
    ("idle", 4),
)
"""Heads and widths; the last is left out where no nodes are simulated."""
_MOST_POOLS = 5
"""Pools for which a terminal has room."""
_NAME_WIDTH = _COLUMNS[0][1]
LEGEND = (
    "worst: SLO met in the worst ten minutes. acts/h: changes of replica counts per hour. cancel: replicas "
    "ordered and taken back before they were ready."
)
NODE_LEGEND = "idle: nodes launched and given back without a replica."


def to_table(replay: Replay) -> str:
    """Return the figures as a table of at most 110 columns, with the verdict below."""
    scenario = replay.scenario
    nodes = scenario.nodes is not None
    title = (
        f"{scenario.name}: {scenario.requests:,} requests in {span(scenario.span_seconds)}; "
        f"{_objectives(scenario)}; queue order {scenario.queue_order.value}"
    )
    lines = [
        *_wrapped(title),
        "",
        _row([head for head, _ in _COLUMNS], nodes=nodes),
        _row(["-" * width for _, width in _COLUMNS], nodes=nodes),
    ]
    shown = ranked([outcome for outcome in replay.outcomes if outcome.default])
    met = [outcome for outcome in shown if outcome.score.meets_target]
    missed = [outcome for outcome in shown if not outcome.score.meets_target]
    lines += [_row(_cells(outcome), nodes=nodes) for outcome in met]
    if missed:
        lines.append("  below the target:")
        lines += [_row(_cells(outcome), nodes=nodes) for outcome in missed]
    if any(outcome.hindsight for outcome in shown):
        lines.append("* knows the traffic beforehand: no policy that could be run")
    lines += _wrapped(LEGEND + (" " + NODE_LEGEND if nodes else ""))
    if len(scenario.traces) > 1:
        lines += ["", *_by_pool(scenario, shown)]
    swept = _cheapest_tuned(replay.outcomes)
    if swept:
        lines += ["", "cheapest setting that meets the target, chosen in hindsight:"]
        lines += [_row(_cells(outcome), nodes=nodes) for outcome in swept]
    lines += ["", *_wrapped(replay.verdict.sentence)]
    for remark in (*replay.remarks, *replay.notes):
        lines += _wrapped(remark)
    if not replay.complete:
        lines += _wrapped("Interrupted: these are the policies that were done by then.")
    return "\n".join(line.rstrip() for line in lines)


def _objectives(scenario: Scenario) -> str:
    said = []
    for key in scenario.traces:
        slo = scenario.fleet.pools[key].slo
        name = f"{key.name} " if len(scenario.traces) > 1 else ""
        said.append(
            f"{name}TTFT {slo.ttft_seconds:g} s and ITL {1000 * slo.itl_seconds:g} ms for {100 * slo.target:g} %"
        )
    return "; ".join(said)


def _by_pool(scenario: Scenario, shown: Sequence[Outcome]) -> list[str]:
    """Return attainment per pool, pools of high priority first; a mark at what misses its target."""
    pools = sorted(scenario.traces, key=lambda key: -scenario.fleet.pools[key].priority)[:_MOST_POOLS]
    lines = [" ".join(("SLO met by pool".ljust(_NAME_WIDTH), *(key.name[:14].rjust(14) for key in pools)))]
    for outcome in shown:
        cells = []
        for key in pools:
            share = outcome.score.attainment_by_pool[str(key)]
            miss = " !" if share < scenario.fleet.pools[key].slo.target else "  "
            cells.append(f"{int(share * 10_000) / 100:.2f} %{miss}".rjust(14))
        lines.append(" ".join((outcome.score.name.ljust(_NAME_WIDTH), *cells)))
    return [*lines, "! below the pool's target"]


def _cheapest_tuned(outcomes: Sequence[Outcome]) -> tuple[Outcome, ...]:
    swept = {outcome.score.name for outcome in outcomes if outcome.kind is RunKind.SWEPT}
    best: dict[str, Outcome] = {}
    for outcome in outcomes:
        name = outcome.score.name
        if name not in swept or outcome.kind is RunKind.EARLY or not outcome.score.meets_target:
            continue
        if name not in best or outcome.score.cost_usd < best[name].score.cost_usd:
            best[name] = outcome
    return ranked(list(best.values()))


def _cells(outcome: Outcome) -> tuple[str, ...]:
    score = outcome.score
    return (
        score.name + ("*" if outcome.hindsight else ""),
        "" if score.knob is None else f"{score.knob:g}",
        f"{int(score.slo_attainment * 10_000) / 100:.2f} / {100 * score.target:g} %",
        f"{100 * score.worst_window_attainment:.0f} %",
        seconds_or_unserved(score.ttft_p99_seconds),
        milliseconds_or_unserved(score.itl_p99_seconds),
        f"{score.cost_usd:,.2f} $" if score.cost_usd < 10_000 else f"{score.cost_usd:,.0f} $",
        _times(score.cost_over_oracle),
        f"{score.gpu_hours:,.0f}" if score.gpu_hours >= 100 else f"{score.gpu_hours:.1f}",
        f"{score.scale_actions_per_hour:.1f}",
        str(score.cancelled_orders),
        str(score.nodes_unused),
    )


def _times(ratio: float | None) -> str:
    if ratio is None:
        return ""
    return f"{ratio:.2f}x" if ratio < 100 else f"{ratio:,.0f}x"


def _row(cells: Sequence[str], *, nodes: bool) -> str:
    shown = list(zip(cells, (width for _, width in _COLUMNS), strict=True))
    (first, width), *others = shown if nodes else shown[:-1]
    return " ".join((first.ljust(width), *(cell.rjust(wide) for cell, wide in others)))


def seconds_or_unserved(value: float) -> str:
    """Return seconds in words, `unserved` where they have no end."""
    if not math.isfinite(value):
        return "unserved"
    return f"{value:.2f} s" if value < 100 else f"{value:,.0f} s"


def milliseconds_or_unserved(value: float) -> str:
    """Return the same in milliseconds."""
    return f"{1000 * value:.0f} ms" if math.isfinite(value) else "unserved"


def span(seconds: float) -> str:
    """Return a time in words."""
    if seconds >= 2 * 86_400:
        return f"{seconds / 86_400:.1f} days"
    if seconds >= 2 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 2 * 60 else f"{seconds:.3g} s"


def _wrapped(sentence: str) -> list[str]:
    return textwrap.wrap(sentence, 108, break_long_words=False, break_on_hyphens=False)
