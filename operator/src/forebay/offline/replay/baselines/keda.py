"""KEDA with Prometheus triggers: request rate, token velocity, and llm-d's token backlog.

KEDA renders an HPA with external metrics of type AverageValue, so `common.hpa_rules` decide above zero; the
trigger is queried at each HPA sync. From and to zero KEDA acts itself, where ``minReplicaCount`` is 0: active as
soon as the metric exceeds the activation value 0, back to zero a cool-down of 300 s after the last activity.
https://keda.sh/docs/latest/reference/scaledobject-spec/

* ``keda-rate``: requests per second of the last minute; what one replica is good for is measured once, on the
  lengths of the first ten minutes, and written into the ScaledObject.
* ``keda-token-velocity``: tokens per second that arrive, over what a replica of the role gets through in a second
  (TokenScale, https://arxiv.org/abs/2512.03416: prefill and decode velocity), at the present lengths. The paper
  has no threshold of utilisation, its margin being decoders that turn into prefillers; .8 is assumed instead.
* ``keda-token-backlog``: llm-d's token-aware guide for prefill/decode, with the limits on steps of its manifests
  (one pod more per 180 s, one less per 300 s). Prefill: tokens in flight over the calibrated prefill speed are
  seconds of backlog; a replica may hold what the TTFT objective leaves after a mean prefill, times .65, the
  guide's advice where the objective is a high percentile. Decode: the sum of the KV-cache uses over .8.
  https://github.com/llm-d/llm-d/tree/main/guides/workload-autoscaling/keda-epp-token-aware
"""

from forebay.flow.fleet import Role
from forebay.offline.replay.baselines.common.hpa_rules import (
    DEFAULT_BEHAVIOR,
    SYNC_SECONDS,
    Behavior,
    HpaRules,
    from_total,
)
from forebay.offline.replay.baselines.common.role_by_role import RoleScaler, by_knob, per_role
from forebay.offline.replay.baselines.common.signals import Arrivals, RoleSignals
from forebay.offline.replay.baselines.registry import Baseline, Knob, PoolFacts

COOL_DOWN_SECONDS = 300.0
_RATE_WINDOW_SECONDS = 60.0
_CALIBRATION_SECONDS = 600.0
_KV_TARGET = 0.8
_LEAST_WAIT_SHARE = 0.1
_LLMD_BEHAVIOR = Behavior(out_pods=1, out_share=0.0, out_period_seconds=180.0, in_pods=1, in_period_seconds=300.0)


class ScaledObject:
    """One trigger on one workload; what the query returns is up to the subclasses."""

    behavior = DEFAULT_BEHAVIOR
    to_zero = True
    """``minReplicaCount`` 0, which is KEDA's default; guides for inference set 1."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._rules: HpaRules | None = None
        self._active_seconds = 0.0

    def tick(self, seen: RoleSignals, arrivals: Arrivals) -> float:
        """Return the replicas wanted."""
        if self._rules is None:
            self._rules = HpaRules(max(1, round(seen.desired)), behavior=self.behavior)
        value = self._query(seen, arrivals)
        if value > 0.0:
            self._active_seconds = seen.at_seconds
        elif self.to_zero and seen.at_seconds - self._active_seconds >= COOL_DOWN_SECONDS:
            self._rules = HpaRules(1, behavior=self.behavior)
            return 0.0
        recommended = from_total(replicas=self._rules.replicas, total=value, per_replica=self._threshold)
        return self._rules.apply(seen.at_seconds, recommended)

    def _query(self, seen: RoleSignals, arrivals: Arrivals) -> float:
        raise NotImplementedError


class Rate(ScaledObject):
    """Requests per second, in replicas' worth at the lengths of the first ten minutes."""

    def __init__(self, threshold: float) -> None:
        super().__init__(threshold)
        self._seconds_per_request: float | None = None

    def _query(self, seen: RoleSignals, arrivals: Arrivals) -> float:
        if self._seconds_per_request is None or seen.at_seconds <= _CALIBRATION_SECONDS:
            self._seconds_per_request = seen.workload.seconds_per_request
        return arrivals.per_second(_RATE_WINDOW_SECONDS) * self._seconds_per_request


class Velocity(ScaledObject):
    """Work of the tokens that arrive, in seconds of one replica per second, at the present lengths."""

    to_zero = False

    def _query(self, seen: RoleSignals, arrivals: Arrivals) -> float:
        return arrivals.per_second(_RATE_WINDOW_SECONDS) * seen.workload.seconds_per_request


class PrefillBacklog(ScaledObject):
    """Prefill work in flight, in multiples of the wait that the TTFT objective allows."""

    behavior = _LLMD_BEHAVIOR
    to_zero = False

    def __init__(self, threshold: float, ttft_seconds: float) -> None:
        super().__init__(threshold)
        self._ttft_seconds = ttft_seconds

    def _query(self, seen: RoleSignals, arrivals: Arrivals) -> float:  # noqa: ARG002
        prefill = seen.workload.work[seen.workload.reference.key].prefill_seconds
        allowed = max(self._ttft_seconds - prefill, _LEAST_WAIT_SHARE * self._ttft_seconds)
        return seen.in_flight * prefill / allowed


class KvUse(ScaledObject):
    """Sum of the KV-cache use of the replicas."""

    behavior = _LLMD_BEHAVIOR
    to_zero = False

    def _query(self, seen: RoleSignals, arrivals: Arrivals) -> float:  # noqa: ARG002
        return seen.kv_usage


def _by_backlog(facts: PoolFacts, role: Role, share: float) -> RoleScaler:
    """Return a ScaledObject on the token backlog (prefill, or both phases) or on KV-cache use (decode)."""
    return KvUse(_KV_TARGET) if role is Role.DECODE else PrefillBacklog(share, facts.pool.slo.ttft_seconds)


_SHARES = (0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5, 0.4, 0.3, 0.2)

BASELINES = (
    Baseline(
        name="keda-rate",
        title="KEDA on the request rate",
        source="https://keda.sh/docs/latest/reference/scaledobject-spec/",
        knob=Knob(name="utilisation per replica", default=0.8, sweep=_SHARES),
        make=by_knob(Rate, SYNC_SECONDS),
    ),
    Baseline(
        name="keda-token-velocity",
        title="KEDA on token velocity",
        source="https://arxiv.org/abs/2512.03416",
        knob=Knob(name="utilisation per replica", default=0.8, sweep=_SHARES),
        make=by_knob(Velocity, SYNC_SECONDS),
    ),
    Baseline(
        name="keda-token-backlog",
        title="KEDA on llm-d's token backlog",
        source="https://github.com/llm-d/llm-d/tree/main/guides/workload-autoscaling/keda-epp-token-aware",
        knob=Knob(
            name="share of the allowed wait per replica",
            default=0.65,
            sweep=(2.0, 1.0, 0.65, 0.4, 0.25, 0.15, 0.1, 0.07, 0.05),
        ),
        make=per_role(_by_backlog, SYNC_SECONDS),
    ),
)
