"""Did the operator follow the load? The figures, and the sentence that says it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np

from demo.sample import ROLES, Sample
from demo.scene import ROLE_NODES, TARGET_PERCENT, USD_PER_GPU_HOUR, Scene


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What `build/demo/result.json` holds."""

    cluster: str
    rounds: int
    requests: int
    scale_outs: int
    scale_ins: int
    wrong_scale_ins: int
    """Scale-ins while telemetry was lost or a queue stood."""
    slo_objective: float
    slo_attainment: float
    cancelled_orders: int
    """Replicas taken back before they were ready."""
    node_hours: float
    node_cost_usd: float
    """What whole nodes cost; ``cost_usd`` is of replicas."""
    gpu_hours: float
    static_gpu_hours: float
    """What the highest replica counts, held all the time, would have used."""
    cost_usd: float
    decisions: int
    """Changes of a replica count."""
    peak_replicas: dict[str, int]
    forecast_seconds: float
    """For how long there was a forecast."""
    forecast_coverage90: float | None
    """Share of that time in which demand, when its time came, was within the forecast's 90th percentile."""
    held_while_blind: bool
    followed: bool
    seconds: float

    def json(self) -> dict[str, object]:
        """Return plain data."""
        return asdict(self)


def judge(scene: Scene, samples: Sequence[Sample], *, cluster: str, rounds: int) -> Result:
    """Return the figures of a finished demo.

    The load was followed if both roles grew to at least twice their start and shrank again afterwards, and nothing
    was taken away at the wrong time.
    """
    moves = [
        (role, before, after)
        for before, after in pairwise(samples)
        for role in ROLES
        if before.roles[role].desired != after.roles[role].desired
    ]
    outs = sum(after.roles[role].desired > before.roles[role].desired for role, before, after in moves)
    ins = [
        (role, before, after)
        for role, before, after in moves
        if after.roles[role].desired < before.roles[role].desired
    ]
    blind = [s for s in samples if scene.outage[0] < s.seconds <= scene.outage[1]]
    wrong = sum(_is_wrong(scene, role, before) for role, before, _ in ins)
    peak = {role: max(s.roles[role].desired for s in samples) for role in ROLES}
    last = samples[-1]
    followed = wrong == 0 and all(
        peak[role] >= 2 * samples[0].roles[role].desired and last.roles[role].desired < peak[role]
        for role in ROLES
    )
    within = [demand <= q90 for q90, demand in forecasts_that_came_true(samples, scene.step_seconds)]
    hours = [(b.seconds - a.seconds) / 3600.0 for a, b in pairwise(samples)]
    return Result(
        cluster=cluster,
        rounds=rounds,
        requests=last.arrived,
        scale_outs=outs,
        scale_ins=len(ins),
        wrong_scale_ins=wrong,
        slo_objective=TARGET_PERCENT / 100.0,
        slo_attainment=last.attainment or 0.0,
        cancelled_orders=sum(
            min(before.roles[role].desired - after.roles[role].desired, _starting(before, role))
            for role, before, after in ins
        ),
        node_hours=sum(h * s.roles[r].nodes for h, s in zip(hours, samples, strict=False) for r in ROLES),
        node_cost_usd=sum(
            h * s.roles[r].nodes * _usd_per_node_hour(r)
            for h, s in zip(hours, samples, strict=False)
            for r in ROLES
        ),
        gpu_hours=sum(h * sum(s.roles[r].desired for r in ROLES) for h, s in zip(hours, samples, strict=False)),
        static_gpu_hours=sum(hours) * sum(peak.values()),
        cost_usd=sum(h * (s.usd_per_hour or 0.0) for h, s in zip(hours, samples, strict=False)),
        decisions=len(moves),
        peak_replicas=peak,
        forecast_seconds=sum(
            3600.0 * h for h, s in zip(hours, samples, strict=False) if s.forecast_q90 is not None
        ),
        forecast_coverage90=sum(within) / len(within) if within else None,
        held_while_blind=bool(blind)
        and all(a.roles[r].desired >= b.roles[r].desired for b, a in pairwise(blind) for r in ROLES),
        followed=followed,
        seconds=last.seconds,
    )


def _starting(sample: Sample, role: str) -> int:
    return max(0, sample.roles[role].desired - sample.roles[role].ready)


def _usd_per_node_hour(role: str) -> float:
    nodes = ROLE_NODES[role]
    return float(USD_PER_GPU_HOUR[nodes.name]) * nodes.gpus_per_node


def forecasts_that_came_true(samples: Sequence[Sample], step_seconds: float) -> list[tuple[float, float]]:
    """Return each forecast's 90th percentile with the demand of the step that it was for, where that was seen."""
    seconds, arrived = [s.seconds for s in samples], [float(s.arrived) for s in samples]
    found = []
    for sample in samples:
        if sample.forecast_q90 is None or sample.lead_seconds is None:
            continue
        start = sample.seconds + sample.lead_seconds
        end = start + step_seconds
        if end <= seconds[-1]:
            before, after = np.interp([start, end], seconds, arrived).tolist()
            found.append((sample.forecast_q90, (after - before) / step_seconds))
    return found


def _is_wrong(scene: Scene, role: str, before: Sample) -> bool:
    blind = scene.outage[0] + 1.0 < before.seconds < scene.outage[1] and not before.prometheus_up
    ready = max(1, before.roles[role].ready)
    return blind or before.roles[role].queue > 2 * ready


def in_words(result: Result) -> str:
    """Return the verdict for a person."""
    saved = 1.0 - result.gpu_hours / result.static_gpu_hours if result.static_gpu_hours else 0.0
    peaks = " and ".join(f"{count} {role}" for role, count in result.peak_replicas.items())
    lines = [
        "The operator followed the load." if result.followed else "The operator did NOT follow the load.",
        f"{result.requests} requests in {result.seconds:.0f} s; {result.slo_attainment:.1%} met TTFT and ITL,",
        f"where the objective asks for {result.slo_objective:.0%}. A day in minutes has few requests, which come",
        "unevenly, so that the fleet needs more room than the day at its own pace (see the table below).",
        f"It scaled out {result.scale_outs} times and in {result.scale_ins} times, up to {peaks} replicas,",
        f"and used {result.gpu_hours:.2f} GPU-hours: {saved:.0%} less than holding that peak all the time.",
        f"Their nodes cost ${result.node_cost_usd:.2f}.",
        f"Orders cancelled before their replica was ready: {result.cancelled_orders}.",
    ]
    if result.forecast_coverage90 is not None:
        lines.append(
            f"Demand stayed within the forecast's 90th percentile {result.forecast_coverage90:.0%} of the time."
        )
    if result.held_while_blind:
        lines.append("While Prometheus was away it took nothing away.")
    if result.wrong_scale_ins:
        lines.append(f"{result.wrong_scale_ins} scale-ins came while blind or while a queue stood: that is wrong.")
    return "\n".join(lines)
