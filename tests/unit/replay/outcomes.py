"""Made-up outcomes, and a small scenario that is replayed in a second."""

from forebay.offline.replay.inputs.prepare import Prepared, ReplayRequest, prepare
from forebay.offline.replay.jobs.outcome import Outcome, RunKind
from forebay.offline.replay.loop.score import PolicyScore


def outcome(
    name: str,
    *,
    cost: float,
    attained: float,
    target: float = 0.99,
    knob: float | None = None,
    hindsight: bool = False,
    kind: RunKind = RunKind.DEFAULT,
) -> Outcome:
    made = PolicyScore(
        name=name,
        knob=knob,
        slo_attainment=attained,
        ttft_p50_seconds=0.1,
        ttft_p99_seconds=float("inf"),
        itl_p99_seconds=0.05,
        goodput_requests_per_second=1.0,
        unserved_requests=0,
        gpu_hours=cost / 2,
        cost_usd=cost,
        energy_kwh=None,
        scale_actions_per_hour=1.0,
        worst_window_attainment=attained,
        meets_target=attained >= target,
        attainment_by_pool={},
    )
    return Outcome(score=made, title=name.title(), knob_name="target", hindsight=hindsight, kind=kind)


def ten_minutes(seed: int = 0) -> Prepared:
    return prepare(ReplayRequest(presets=("steady",), end_seconds=600.0, requests_per_second=5.0, seed=seed))
