"""Predicted against realised misses, per trace, role, size and lead time.

Every minute the forecaster says what demand will be at the lead time; a lead time later the simulated fleet has
the replicas that the forecast's q90 of work keeps busy to a given share. No policy stands between, so that what is
measured is the model: the misses that the curve expects with so many replicas, and those that the simulator finds
in the same minutes, per role.

``python -m tests.benchmarks.bench_calibration chat60 exp --lead 240 --use 0.9 1`` prints one line per case, lead
time, use and role.
"""

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from demo.scene import ITL_SECONDS, TTFT_SECONDS
from forebay.flow.fleet import Pool, PoolKey, Role, Slo, Variant, VariantKey
from forebay.flow.observation import Traffic
from forebay.flow.settings import PolicySettings
from forebay.flow.trace import FloatArray
from forebay.forecast import Forecaster
from forebay.offline.simulation import SimulatedPool, StartUp
from forebay.offline.traces import PRESETS, generate
from forebay.sizing.curve import CurveAsk, certain, demand_nodes, miss_curves
from forebay.sizing.rates import Burstiness, RateWindow
from forebay.sizing.work import Correction, Lengths, ReplicaWork, replica_work
from tests.benchmarks.policy_days import ENGINE
from tests.benchmarks.policy_traces import CASES, Case

ROLES = (Role.PREFILL, Role.DECODE)
SLOT_SECONDS = 5.0
WARM_UP_MINUTES = 120
"""Minutes of a trace without history that are not scored."""
_KEY = PoolKey("bench", "calibration")


@dataclass(slots=True)
class Tally:
    """Replica-minutes and misses of one role."""

    replicas: float = 0.0
    predicted: float = 0.0
    with_rate_known: float = 0.0
    """Predicted by the same model for the rate that came, so that no forecast plays a part."""
    realised: float = 0.0
    requests: float = 0.0
    minutes: int = 0


def generated(preset: str, rate: float, hours: float, **changes: float) -> Callable[[int], Case]:
    """Return a maker of generated traffic with two days of history."""

    def make(seed: int) -> Case:
        spec = replace(
            PRESETS[preset],
            requests_per_second=rate,
            duration_seconds=hours * 3600.0,
            history_seconds=2 * 86_400.0,
            **changes,  # type: ignore[arg-type]
        )
        return Case(generate(spec, seed), ENGINE, ENGINE_SLO)

    return make


ENGINE_SLO = Slo(ttft_seconds=TTFT_SECONDS, itl_seconds=ITL_SECONDS)


MORE: Mapping[str, Callable[[int], Case]] = {
    "chat4.5": generated("chat", 4.5, 24.0),
    "chat15": generated("chat", 15.0, 24.0),
    "chat60": generated("chat", 60.0, 6.0, start_of_day_seconds=6 * 3600.0),
    "chat300": generated("chat", 300.0, 2.0, start_of_day_seconds=6 * 3600.0),
    "exp": generated(
        "chat", 10.0, 24.0, daily_amplitude=0.75, daily_peak_hour=12.0, half_daily_amplitude=0.0, dispersion=1.0
    ),
}


def minutes_of(case: Case) -> FloatArray:
    """Return the requests of every whole minute of the trace."""
    minutes = int(case.trace.span_seconds // 60.0)
    found = np.bincount((case.trace.arrival_seconds // 60.0).astype(np.int64), minlength=minutes)
    return found[:minutes].astype(np.float64)


def works(case: Case, minutes: int) -> list[ReplicaWork]:
    """Return the work of a request by minute, from the lengths of the ten minutes before."""
    trace, found = case.trace, []
    starts = np.searchsorted(trace.arrival_seconds, 60.0 * np.arange(minutes + 1))
    for minute in range(minutes):
        first = int(starts[max(0, minute - 10)])
        last = max(int(starts[minute]), min(len(trace), first + 200))
        inputs = (trace.input_tokens - (0 if trace.cached_tokens is None else trace.cached_tokens))[first:last]
        outputs = trace.output_tokens[first:last]
        context = float((outputs * (trace.input_tokens[first:last] + outputs / 2.0)).sum() / outputs.sum())
        lengths = Lengths(
            input_tokens=float(inputs.mean()),
            output_tokens=float(outputs.mean()),
            context_tokens=context,
            input_sample=tuple(float(q) for q in np.quantile(inputs, (np.arange(10) + 0.5) / 10.0)),
            squared_ratio=float(np.mean(inputs.astype(float) ** 2) / inputs.mean() ** 2),
        )
        found.append(replica_work(case.performance, Correction(), lengths, case.slo))
    return found


@dataclass(slots=True)
class Plan:
    """Replicas by minute and role, and the misses per second that were predicted for them."""

    replicas: dict[Role, FloatArray]
    predicted: dict[Role, FloatArray]
    with_rate_known: dict[Role, FloatArray]


def plans(case: Case, lead_seconds: float, uses: Sequence[float]) -> list[Plan]:
    """Return one plan per use of the replicas by the forecast's q90 of work."""
    counts = minutes_of(case)
    horizon = int(lead_seconds // 60.0) + 1
    work_by_minute = works(case, len(counts))
    forecaster = Forecaster(PolicySettings(), lead_times_seconds=(lead_seconds,))
    history = case.trace.history_requests_per_minute
    if history is not None:
        forecaster.warm(history, start_index=-len(history))
        while (job := forecaster.job()) is not None:
            forecaster.apply(job.run())
    slots = np.bincount(
        (case.trace.arrival_seconds // SLOT_SECONDS).astype(np.int64), minlength=12 * len(counts)
    ).astype(np.float64)
    window, burstiness = RateWindow(), Burstiness()
    found = [Plan(*({role: np.full(len(counts), np.nan) for role in ROLES} for _ in range(3))) for _ in uses]
    for minute in range(len(counts) - horizon):
        end = 60.0 * (minute + 1)
        for part in range(4):
            first = 12 * minute + 3 * part
            some = slots[first : first + 3]
            traffic = Traffic(
                start_seconds=SLOT_SECONDS * first,
                end_seconds=SLOT_SECONDS * (first + 3),
                arrivals=float(some.sum()),
                slot_counts=tuple(some.tolist()),
            )
            window.push(traffic)
            burstiness.push(window.burst_sample())
        forecaster.update(end, float(counts[minute]))
        forecast = forecaster.forecast(
            at_seconds=end, lead_time_seconds=lead_seconds, last_minute_per_second=counts[minute] / 60.0
        )
        job = forecaster.job()
        if job is not None:
            forecaster.apply(job.run())
        if forecast is None:
            continue
        work = work_by_minute[minute]
        came = certain(float(counts[minute + horizon]) / 60.0)
        nodes = demand_nodes(forecast.at_horizon, forecast.rate_cap)
        asks = [CurveAsk(role, (nodes, came), burstiness.value, work, case.slo) for role in ROLES]
        for role, (expected, known) in zip(ROLES, miss_curves(asks), strict=True):
            for use, plan in zip(uses, found, strict=True):
                chosen = max(1, math.ceil(forecast.at_horizon.q90 * work.seconds(role) / use))
                plan.replicas[role][minute + horizon] = chosen
                plan.predicted[role][minute + horizon] = expected.misses_at(chosen)
                plan.with_rate_known[role][minute + horizon] = known.misses_at(chosen)
    return found


def realised(case: Case, plan: Plan) -> dict[Role, Tally]:
    """Run the plan minute by minute and count the misses of each role."""
    minutes = len(plan.replicas[Role.PREFILL])
    counts = {role: np.nan_to_num(plan.replicas[role], nan=0.0).astype(int) for role in ROLES}
    keys = {role: VariantKey(role, role.value) for role in ROLES}
    first = {keys[role]: int(max(1, counts[role].max())) for role in ROLES}
    variants = tuple(
        Variant(name=role.value, role=role, max_replicas=5000, performance=case.performance) for role in ROLES
    )
    pool = SimulatedPool(
        Pool(key=_KEY, slo=case.slo, variants=variants),
        case.trace,
        initial=first,
        start_up=dict.fromkeys(first, StartUp.fixed(0.0)),
    )
    for minute in range(minutes):
        known = all(counts[role][minute] > 0 for role in ROLES)
        pool.scale({keys[role]: int(counts[role][minute]) if known else first[keys[role]] for role in ROLES})
        pool.run_until(60.0 * (minute + 1))
    pool.run_until(60.0 * minutes + 300.0)
    result, trace = pool.result(), case.trace
    performance = case.performance
    idle = performance.prefill_base_seconds + performance.prefill_seconds_per_token * trace.input_tokens
    servable = idle <= case.slo.ttft_seconds
    late = {
        Role.PREFILL: servable & ~(result.ttft_seconds <= case.slo.ttft_seconds),
        Role.DECODE: ~(result.itl_seconds <= case.slo.itl_seconds),
    }
    arrived = (trace.arrival_seconds // 60.0).astype(np.int64)
    tallies = {}
    warm = 0 if trace.history_requests_per_minute is not None else WARM_UP_MINUTES
    for role in ROLES:
        missed = np.bincount(arrived[late[role]], minlength=minutes)[:minutes]
        total = np.bincount(arrived, minlength=minutes)[:minutes]
        scored = np.isfinite(plan.predicted[role]) & (np.arange(minutes) >= warm)
        tallies[role] = Tally(
            replicas=float(plan.replicas[role][scored].sum()),
            predicted=float(60.0 * plan.predicted[role][scored].sum()),
            with_rate_known=float(60.0 * plan.with_rate_known[role][scored].sum()),
            realised=float(missed[scored].sum()),
            requests=float(total[scored].sum()),
            minutes=int(scored.sum()),
        )
    return tallies


HEADER = (
    "| trace | lead s | use | role | replicas | predicted % | rate known % | realised % | ratio |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


def rows(name: str, lead_seconds: float, uses: Sequence[float], seed: int) -> list[str]:
    """Return the lines of one case and lead time."""
    case = (dict(CASES) | dict(MORE))[name](seed)
    lines = []
    for use, plan in zip(uses, plans(case, lead_seconds, uses), strict=True):
        for role, tally in realised(case, plan).items():
            shares = [
                100.0 * part / tally.requests for part in (tally.predicted, tally.with_rate_known, tally.realised)
            ]
            ratio, replicas = tally.predicted / max(tally.realised, 1.0), tally.replicas / tally.minutes
            lines.append(
                f"| {name} | {lead_seconds:.0f} | {use:g} | {role.value} | {replicas:.1f} | "
                + " | ".join(f"{share:.3f}" for share in shares)
                + f" | {ratio:.2f} |"
            )
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = [*CASES, *MORE]
    parser.add_argument("cases", nargs="*", default=["exp", "chat4.5", "chat60", "sg100", "az100", "onoff"])
    parser.add_argument("--lead", type=float, nargs="*", default=[60.0, 240.0, 600.0], help="seconds")
    parser.add_argument("--use", type=float, nargs="*", default=[1.0, 0.9, 0.75])
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    unknown = set(given.cases) - set(names)
    if unknown:
        parser.error(f"unknown cases {', '.join(sorted(unknown))}; known: {', '.join(names)}")
    print(HEADER)
    for name in given.cases:
        for lead in given.lead:
            print("\n".join(rows(name, lead, given.use, given.seed)), flush=True)


if __name__ == "__main__":
    main()
