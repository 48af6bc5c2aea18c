"""The report's tables below the charts: worst minutes, decisions, forecast scores, settings."""

import math
from collections.abc import Sequence
from dataclasses import fields
from html import escape

from forebay.flow.performance import Performance
from forebay.flow.settings import PolicySettings
from forebay.offline.replay.jobs.outcome import DecisionLine, Outcome
from forebay.offline.replay.loop.scenario import Scenario
from forebay.offline.replay.results.output import Replay

_MOST_DECISIONS = 600


def worst_windows(outcomes: Sequence[Outcome]) -> str:
    """Return the worst ten minutes of each outcome."""
    parts = ["<h2>The worst ten minutes</h2>"]
    for outcome in outcomes:
        worst = outcome.course.worst if outcome.course is not None else ()
        parts.append(f"<h3>{escape(outcome.score.name)}</h3>")
        if not worst:
            parts.append("<p>No servable request missed the SLO.</p>")
            continue
        rows = [
            (
                clock(window.start_seconds),
                escape(str(window.pool)),
                f"{100 * window.attainment:.1f} %",
                f"{window.missed:,}",
                f"{window.requests_per_second:.1f}",
                f"{window.ttft_p99_seconds:.2f} s" if math.isfinite(window.ttft_p99_seconds) else "unserved",
                escape(", ".join(f"{name} {ready:.1f}" for name, ready in window.ready.items() if ready > 0)),
            )
            for window in worst
        ]
        head = ("begins after", "pool", "SLO met", "missed", "requests/s", "TTFT p99", "mean ready replicas")
        parts.append(_table(head, rows, left=(1, 6)))
    return "".join(parts)


def clock(seconds: float) -> str:
    """Return a time since the start as hours, minutes and seconds."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def decisions(outcome: Outcome) -> str:
    """Return every change of replica counts with its reasons, searchable."""
    lines = outcome.course.decisions if outcome.course is not None else ()
    shown = lines[:_MOST_DECISIONS]
    cut = f" The first {_MOST_DECISIONS} are shown." if len(lines) > len(shown) else ""
    return (
        f"<h2>Decisions</h2><p>{len(lines):,} changes of replica counts.{cut} Open one to see why. "
        f'<span id="hits">{len(shown)}</span> shown.</p>'
        '<input id="search" type="search" placeholder="search pools, variants, reasons" aria-label="search">'
        f'<div id="decisions">{"".join(_decision(line) for line in shown)}</div>'
    )


def _decision(line: DecisionLine) -> str:
    reasons = "".join(
        f"<li><b>{escape(code)}</b>: {escape(reason)}</li>"
        for code, reason in zip(line.codes, line.reasons, strict=True)
    )
    return (
        f"<details><summary>{clock(line.at_seconds)} {escape(line.pool.name)}: {escape(line.change)}</summary>"
        f"<ol>{reasons}</ol></details>"
    )


def forecast_scores(outcome: Outcome) -> str:
    """Return how the forecasters did against persistence, as they scored themselves at the end."""
    forecasts = outcome.course.forecasts if outcome.course is not None else None
    if not forecasts:
        return "<h2>Forecast scores</h2><p>No forecast was made.</p>"
    rows = []
    for (key, role), course in forecasts.items():
        score = course.score
        figures = (
            ("-",) * 5
            if score is None
            else (
                f"{score.scored:,}",
                _ratio(score.pinball90_ratio),
                _ratio(score.pinball99_ratio),
                _share(score.coverage90),
                _share(score.coverage99),
            )
        )
        demoted = f"{100 * course.demoted_share:.0f} %"
        rows.append((escape(str(key)), role.value, f"{course.lead_time_seconds:.0f} s", *figures, demoted))
    head = ("pool", "role", "ahead", "scored", "pinball .90", "pinball .99", "below q90", "below q99", "demoted")
    return (
        "<h2>Forecast scores</h2>"
        '<p class="small">Pinball loss relative to persistence with the spread of its recent errors: below 1 is '
        "better. The shares of demand below a quantile should be 90 % and 99 %. A forecaster that "
        "loses to persistence is demoted: it may raise capacity, not lower it.</p>"
        + _table(head, rows, left=(0, 1))
    )


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def settings(replay: Replay) -> str:
    """Return what was simulated and how Forebay was set."""
    scenario = replay.scenario
    notes = "".join(f'<p class="small">{escape(note)}</p>' for note in replay.notes)
    cache = "as recorded" if scenario.options.prefix_cache else "off"
    common = (
        f"<p>Queue order {scenario.queue_order.value}, seed {scenario.options.seed}, prefix cache "
        f"{cache}. Requests of the last minute are not scored. "
        f"Attainment counts requests that an idle fleet could serve in time. {_billing(scenario)} "
        "All policies begin with the same fleet.</p>"
    )
    return f"<h2>Settings</h2>{common}{_variants(scenario)}{_nodes(scenario)}{_policies(scenario)}{notes}"


def _billing(scenario: Scenario) -> str:
    if scenario.nodes is None:
        return (
            "A replica is billed from the start of its pod until it is drained and gone, and for its start-up at "
            "least."
        )
    return (
        "A node is billed from its launch until it is given back; where a node pool is billed by the GPU, a "
        f"replica from its start until it is gone. Scheduler: {scenario.nodes.scoring.value}."
    )


def _variants(scenario: Scenario) -> str:
    rows = []
    for key in scenario.traces:
        for variant in scenario.fleet.pools[key].variants:
            speed = scenario.performance[key][variant.key]
            rows.append(
                (
                    escape(f"{key} {variant.key}"),
                    str(variant.gpus_per_replica),
                    f"{variant.min_replicas}-{variant.max_replicas}",
                    str(scenario.initial[key][variant.key]),
                    f"{scenario.start_up[key][variant.key].expected_seconds:.0f} s",
                    f"{1e3 * speed.prefill_base_seconds:.3g} + {1e6 * speed.prefill_seconds_per_token:.3g}",
                    _decode_model(speed),
                    escape(speed.source),
                )
            )
    head = (
        "variant",
        "GPUs",
        "replicas",
        "initial",
        "start-up",
        "prefill ms, per 1k tokens",
        "decode ms, per sequence, per 1k KV tokens",
        "source",
    )
    return _table(head, rows, left=(0, 7))


def _decode_model(speed: Performance) -> str:
    figures = (
        1e3 * speed.decode_base_seconds,
        1e3 * speed.decode_seconds_per_sequence,
        1e6 * speed.decode_seconds_per_kv_token,
    )
    return " + ".join(f"{figure:.3g}" for figure in figures)


def _nodes(scenario: Scenario) -> str:
    rows = [
        (
            escape(name),
            escape(pool.accelerator),
            str(pool.gpus_per_node),
            "-" if pool.max_nodes is None else str(pool.max_nodes),
            *_node_times(scenario, name),
            "-" if pool.usd_per_gpu_hour is None else f"${pool.usd_per_gpu_hour:g}",
            "-" if pool.watts_per_gpu is None else f"{pool.watts_per_gpu:g}",
        )
        for name, pool in scenario.fleet.node_pools.items()
    ]
    head = (
        "node pool",
        "accelerator",
        "GPUs per node",
        "most nodes",
        "lead time",
        "empty for",
        "per GPU-hour",
        "watts per GPU",
    )
    return _table(head, rows, left=(0, 1)) if rows else ""


def _node_times(scenario: Scenario, name: str) -> tuple[str, str]:
    if scenario.nodes is None or name not in scenario.nodes.rules:
        return "-", "-"
    rules = scenario.nodes.rules[name]
    return f"{rules.lead_time.expected_seconds:.0f} s", f"{rules.consolidate_after_seconds:.0f} s"


def _policies(scenario: Scenario) -> str:
    default = PolicySettings()
    lines = []
    for key in scenario.traces:
        own = scenario.fleet.pools[key].settings
        changed = [
            f"{field.name} {getattr(own, field.name)!r}"
            for field in fields(own)
            if getattr(own, field.name) != getattr(default, field.name)
        ]
        lines.append(f"{key}: {'the defaults' if not changed else ', '.join(changed)}")
    return f"<p>Forebay's settings of {escape('; '.join(lines))}.</p>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[int]) -> str:
    def cell(tag: str, number: int, text: str) -> str:
        wide = " w" if len(text) > 60 else ""
        style = f' class="l{wide}"' if number in left else ""
        return f"<{tag}{style}>{text}</{tag}>"

    first = "".join(cell("th", number, text) for number, text in enumerate(head))
    body = "".join(
        "<tr>" + "".join(cell("td", number, text) for number, text in enumerate(row)) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table><tr>{first}</tr>{body}</table></div>'
