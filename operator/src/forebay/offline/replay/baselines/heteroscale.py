"""HeteroScale: decode tokens per second drive both pools, the prefill:decode ratio stays fixed.

Li et al., "Taming the Chaos: Coordinated Autoscaling for Heterogeneous and Disaggregated LLM Inference",
https://arxiv.org/abs/2508.19559: proportional control on decode TPS against a target per decode instance;
prefill follows at a fixed ratio, set from the workload's profile (here: of the first ten minutes); hysteresis of
10 % either way; latency (time between tokens, then TTFT) only as a guard in two tiers, +10 % on a moderate and
+20 % on a severe breach. The paper gives no cool-downs; 180 s for the guard's steps and 300 s for scale-in are
assumed. The target is a share of the TPS that a decode instance reaches at the edge of its ITL objective.

Heterogeneous placement, the paper's other half, has no counterpart where nodes have no network topology. A pool
whose replicas serve both phases has no ratio: TPS then sizes the one role.
"""

import math
from collections.abc import Mapping

from forebay.flow.fleet import Role, VariantKey
from forebay.flow.observation import PoolObservation
from forebay.offline.replay.baselines.common.signals import RoleSignals, SignalReader
from forebay.offline.replay.baselines.common.window import Window
from forebay.offline.replay.baselines.registry import Baseline, Knob, PoolFacts
from forebay.offline.replay.loop.policy import PoolPolicy

INTERVAL_SECONDS = 30.0
BAND = 0.1
MODERATE, SEVERE = 1.0, 1.5
_TPS_WINDOW_SECONDS = 60.0
_PROFILE_SECONDS = 600.0
_GUARD_COOL_DOWN_SECONDS = 180.0
_SCALE_IN_COOL_DOWN_SECONDS = 300.0
_ROUNDING = 1e-9


class HeteroScale:
    """Both roles of one pool."""

    interval_seconds = INTERVAL_SECONDS

    def __init__(self, facts: PoolFacts, target: float) -> None:
        self._facts = facts
        self._target = target
        self._reader = SignalReader(facts)
        self._tps = Window(_TPS_WINDOW_SECONDS)
        self._ratio = 1.0
        self._replicas: int | None = None
        self._guarded = -math.inf
        self._needed = Window(_SCALE_IN_COOL_DOWN_SECONDS)

    def tick(self, seen: PoolObservation) -> Mapping[VariantKey, int]:
        """Size decode by its tokens per second, and prefill by the ratio."""
        roles = self._reader.read(seen)
        if seen.traffic is None:
            return {}
        driver = roles.get(Role.DECODE) or roles[Role.SERVE]
        if self._replicas is None:
            self._replicas = max(1, round(driver.desired))
        self._tps.add(seen.at_seconds, driver.tokens_per_second)
        if seen.at_seconds <= _PROFILE_SECONDS and Role.PREFILL in roles:
            self._ratio = prefill_to_decode(roles[Role.PREFILL], driver)
        self._replicas = self._decide(seen, driver, self._replicas)
        wanted = driver.workload.fill(self._replicas)
        if Role.PREFILL in roles:
            wanted |= roles[Role.PREFILL].workload.fill(max(1.0, self._replicas * self._ratio))
        return wanted

    def _decide(self, seen: PoolObservation, driver: RoleSignals, replicas: int) -> int:
        step = self._guard_step(seen)
        if step > 1.0 and seen.at_seconds - self._guarded >= _GUARD_COOL_DOWN_SECONDS:
            self._guarded = seen.at_seconds
            return math.ceil(replicas * step - _ROUNDING)
        needed = self._tps.mean() / (self._target * tokens_per_second_at_edge(driver))
        self._needed.add(seen.at_seconds, needed)
        if needed > replicas * (1.0 + BAND):
            return math.ceil(needed - _ROUNDING)
        calm = self._needed.highest()
        if step == 1.0 and calm < replicas * (1.0 - BAND):
            return max(1, math.ceil(calm - _ROUNDING))
        return replicas

    def _guard_step(self, seen: PoolObservation) -> float:
        slo = self._facts.pool.slo
        breach = max((seen.itl_seconds or 0.0) / slo.itl_seconds, (seen.ttft_seconds or 0.0) / slo.ttft_seconds)
        if breach > SEVERE:
            return 1.2
        return 1.1 if breach > MODERATE else 1.0


def tokens_per_second_at_edge(driver: RoleSignals) -> float:
    """Return the output tokens per second of one reference replica at the edge of its ITL objective."""
    work = driver.workload.work[driver.workload.reference.key]
    return driver.output_tokens / max(work.seconds(driver.role), 1e-9)


def prefill_to_decode(prefill: RoleSignals, decode: RoleSignals) -> float:
    """Return prefill replicas per decode replica at which both are equally used by current requests."""
    return prefill.workload.seconds_per_request / max(decode.workload.seconds_per_request, 1e-9)


def make(facts: PoolFacts, target: float) -> PoolPolicy:
    """Return the policy of one pool."""
    return HeteroScale(facts, target)


BASELINES = (
    Baseline(
        name="heteroscale",
        title="HeteroScale on decode TPS",
        source="https://arxiv.org/abs/2508.19559",
        knob=Knob(
            name="target share of a decode replica's TPS",
            default=0.8,
            sweep=(0.9, 0.8, 0.7, 0.65, 0.6, 0.55, 0.5, 0.4, 0.3, 0.2),
        ),
        make=make,
    ),
)
