"""Lead times: how long capacity takes from the order to the first request served, learned from what was seen.

Two phases are told apart because they have different causes and different owners:

* *node*: pod created to pod scheduled, for pods that had to wait for a new node (boot, drivers, device plugin);
* *start-up*: pod scheduled to pod Ready (image, weights, compilation, warm-up).

Durations of provisioning are skewed to the right, so each phase is a log-normal distribution. Its prior counts as
a few observations and fades as real ones arrive; old observations fade too, because images, quotas and hardware
change.

A pod tells since when it is Ready, not since when it was Ready first: one whose probe failed once at the age of
ten hours looks as if its start had taken ten hours. What a pod teaches therefore depends on how it was met:

* *starting*, that is without a node yet, or not Ready within the deadline of a start-up: it teaches both phases
  when it is Ready, however long that takes;
* *not Ready after that deadline*: it may have served before, and never teaches;
* *Ready already*: it teaches a phase only if its duration is within that phase's deadline. The node lead time it
  teaches only if it was created after that was recalled from a status: an earlier process has learned from it.

A replica that still waits for a node teaches something, too: the next node is expected to take longer, while the
deadlines stay.

A phase's deadline is that of a replica: the shortest deadline, or the phase's 99th percentile if that is longer.
Each pod teaches each of its variants once per process, and a node pool once. No status tells the start-up of a
variant, so after a restart the living pods teach it anew from the prior, and nothing adds up over restarts.
"""

import math
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from statistics import NormalDist

_NORMAL = NormalDist()
_Z90 = _NORMAL.inv_cdf(0.9)
_Z99 = _NORMAL.inv_cdf(0.99)
_LEAST_SHARE = 1e-9
_SHORTEST_SECONDS = 0.5
_LONGEST_SECONDS = 86_400.0
_FADE = 0.97
"""Weight that each observation keeps when the next one arrives: half-life of about 23 observations."""


@dataclass(frozen=True, slots=True)
class LeadTimeQuantiles:
    """Seconds from order to use."""

    p50_seconds: float
    p90_seconds: float
    p99_seconds: float
    observed: int
    """Real observations behind it; 0: the prior alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhasePrior:
    """What is believed before anything was seen: median and 90th percentile, worth ``weight`` observations."""

    p50_seconds: float
    p90_seconds: float
    weight: float = 3.0

    @property
    def log_mean(self) -> float:
        """Mean of the logarithm of seconds."""
        return math.log(self.p50_seconds)

    @property
    def log_deviation(self) -> float:
        """Standard deviation of the logarithm of seconds."""
        return max(0.05, math.log(self.p90_seconds / self.p50_seconds) / _Z90)


# A new GPU node with a prebaked driver takes 4 to 6 minutes on public clouds to run its first pod
# (github.com/kubernetes/autoscaler issue 3464); the device plugin of a prebaked image adds about 90 s after the
# node is Ready (github.com/NVIDIA/k8s-device-plugin issue 291). Autoscalers give up at 15 min.
NODE_PRIOR = PhasePrior(p50_seconds=240.0, p90_seconds=450.0)
# vLLM with 8 B weights is ready 23 to 66 s after its start (NVIDIA Run:ai Model Streamer benchmark, 2025), 70 B
# weights without streaming take 4 to 5 minutes (Anyscale, "Loading Llama-2 70B 20x faster").
START_UP_PRIOR = PhasePrior(p50_seconds=90.0, p90_seconds=180.0)


@dataclass(slots=True)
class LeadTimeEstimator:
    """Quantiles of one phase from its prior and its fading observations."""

    prior: PhasePrior
    count: int = 0
    _weight: float = 0.0
    _sum: float = 0.0
    _sum_of_squares: float = 0.0
    restored_seconds: float | None = None
    """Unix time at which it was taken back from a status; None if it began with its prior."""
    _told: tuple[PhasePrior, int, LeadTimeQuantiles] | None = None
    """The quantiles last computed, with the prior and the count that they were computed from."""

    def observe(self, seconds: float) -> None:
        """Learn from one duration; negative and endless ones are clock errors and are ignored."""
        if not 0 <= seconds <= _LONGEST_SECONDS:
            return
        value = math.log(max(_SHORTEST_SECONDS, seconds))
        self._weight = self._weight * _FADE + 1.0
        self._sum = self._sum * _FADE + value
        self._sum_of_squares = self._sum_of_squares * _FADE + value * value
        self.count += 1

    def quantiles(self) -> LeadTimeQuantiles:
        """Return the quantiles as believed now."""
        if self._told is None or self._told[0] != self.prior or self._told[1] != self.count:
            self._told = (self.prior, self.count, self._quantiles())
        return self._told[2]

    def expected(self, longest_wait_seconds: float) -> LeadTimeQuantiles:
        """Return what to expect of the next one while one has been awaited for so long, and is not there.

        A wait that goes on says that it takes longer, as soon as it is longer than most. It counts as one
        observation, of the time that one takes at the median which has taken so long already.
        """
        told = self.quantiles()
        if longest_wait_seconds <= told.p90_seconds:
            return told
        wait = math.log(min(longest_wait_seconds, _LONGEST_SECONDS))
        mean, spread = math.log(told.p50_seconds), math.log(told.p90_seconds / told.p50_seconds) / _Z90
        beyond = 1.0 - _NORMAL.cdf((wait - mean) / spread)
        # Far beyond, where the distribution has nothing left, the wait itself.
        taken = mean + spread * _NORMAL.inv_cdf(1.0 - 0.5 * beyond) if beyond > _LEAST_SHARE else wait
        told = replace(
            self,
            count=self.count + 1,
            _weight=self._weight + 1.0,
            _sum=self._sum + max(taken, wait),
            _sum_of_squares=self._sum_of_squares + max(taken, wait) ** 2,
            _told=None,
        ).quantiles()
        return replace(told, observed=self.count)

    def _quantiles(self) -> LeadTimeQuantiles:
        prior, believed = self.prior, self._weight
        # The prior's mean fades faster than its spread: where the middle lies is known after a few observations,
        # how long the tail is takes many.
        total = prior.weight / (1.0 + believed) + believed
        mean = (prior.weight / (1.0 + believed) * prior.log_mean + self._sum) / total
        spread = self._spread(mean)
        return LeadTimeQuantiles(
            p50_seconds=math.exp(mean),
            p90_seconds=math.exp(mean + _Z90 * spread),
            p99_seconds=math.exp(mean + _Z99 * spread),
            observed=self.count,
        )

    def _spread(self, mean: float) -> float:
        """Return the standard deviation of log seconds around ``mean``, prior included."""
        seen = self._sum_of_squares - 2.0 * mean * self._sum + self._weight * mean * mean
        variance = (self.prior.weight * self.prior.log_deviation**2 + max(0.0, seen)) / (
            self.prior.weight + self._weight
        )
        return math.sqrt(variance)

    def restore(self, *, p50_seconds: float, p90_seconds: float, samples: int, at_seconds: float) -> None:
        """Take back what a status says was learned; nonsense is ignored, since it only costs what was learned.

        ``at_seconds`` is the Unix time of now: what pods older than that teach is in the status already.
        """
        plausible = math.isfinite(p50_seconds) and math.isfinite(p90_seconds) and 0 < p50_seconds <= p90_seconds
        if samples <= 0 or not plausible:
            return
        mean, spread = math.log(p50_seconds), math.log(p90_seconds / p50_seconds) / _Z90
        self.count, self._told, self.restored_seconds = samples, None, at_seconds
        self._weight = (1.0 - _FADE**samples) / (1.0 - _FADE)
        self._sum = self._weight * mean
        self._sum_of_squares = self._weight * (mean * mean + spread * spread)

    def recalls(self, created_seconds: float) -> bool:
        """Whether a pod created at this Unix time may be part of what was taken back from a status."""
        return self.restored_seconds is not None and created_seconds < self.restored_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class PodTimes:
    """The times of one pod that lead times are made of, in Unix seconds."""

    uid: str
    created_seconds: float
    scheduled_seconds: float | None
    ready_seconds: float | None
    restarted: bool
    node_created_seconds: float | None
    gated: bool = False
    """A quota system has not admitted it."""
    queued: bool = False
    """It is under a quota system: nothing on the pod tells when it was admitted."""

    def waited_for_node(self, ordered_seconds: float) -> bool:
        """Whether the node came because of this pod, or of one like it: the pod waited for the whole way."""
        return self.node_created_seconds is not None and self.node_created_seconds > ordered_seconds


@dataclass(slots=True)
class LeadTimeBook:
    """Estimators of start-up per variant and of node lead time per node pool, fed by pods.

    The module's docstring says which pods teach what.
    """

    node: dict[str, LeadTimeEstimator] = field(default_factory=dict)
    start_up: dict[str, LeadTimeEstimator] = field(default_factory=dict)
    waits: dict[str, float] = field(default_factory=dict)
    """By node pool, how long the replica has waited that waits longest for a node, in seconds."""
    _met: dict[str, dict[str, bool]] = field(default_factory=dict)
    """The pods of each variant by uid, and whether they have told all; the others were met while they started."""
    _gated_until: dict[str, float] = field(default_factory=dict)
    """When pods by uid were last seen to wait for a quota system."""
    _taught_node: set[str] = field(default_factory=set)
    """Pods that a node pool learned from: variants may share a workload, or come back."""

    def of_node_pool(self, name: str, prior: PhasePrior | None = None) -> LeadTimeEstimator:
        """Return the estimator of a node pool; ``""`` stands for variants without one. A given prior is kept."""
        estimator = self.node.setdefault(name, LeadTimeEstimator(NODE_PRIOR))
        if prior is not None:
            estimator.prior = prior
        return estimator

    def expected_node(self, name: str, prior: PhasePrior | None = None) -> LeadTimeQuantiles:
        """Return what the next node of a pool is expected to take, replicas that wait for one considered.

        Deadlines are not of this: they would move away as the wait goes on.
        """
        return self.of_node_pool(name, prior).expected(self.waits.get(name, 0.0))

    def knows(self, variant: str, uid: str) -> bool:
        """Whether this pod has nothing more to teach about this variant."""
        return self._met.get(variant, {}).get(uid, False)

    def ordered_seconds(self, uid: str, created_seconds: float) -> float:
        """Return since when a pod is on its way: its creation, or its admission by a quota system."""
        return max(created_seconds, self._gated_until.get(uid, 0.0))

    def awaits(self, variant: str, uid: str) -> bool:
        """Whether this pod was met while it started, and has not been Ready since."""
        return not self._met.get(variant, {}).get(uid, True)

    def of_variant(self, key: str, declared_seconds: float | None = None) -> LeadTimeEstimator:
        """Return the start-up estimator of a variant; a declared start-up is its prior instead of the general one.

        The memory of what was seen survives a change of the declaration.
        """
        prior = START_UP_PRIOR
        if declared_seconds is not None:
            prior = PhasePrior(p50_seconds=declared_seconds, p90_seconds=1.3 * declared_seconds)
        estimator = self.start_up.setdefault(key, LeadTimeEstimator(prior))
        estimator.prior = prior
        return estimator

    def see(
        self,
        times: PodTimes,
        *,
        variant: str,
        node_pool: str,
        now_seconds: float,
        shortest_deadline_seconds: float,
    ) -> None:
        """Look at one pod; learns from it once, when it is first seen Ready, as far as it can be believed.

        A pod that restarted tells the age of a crash, not of a start-up.

        Args:
            times: of the pod.
            variant: whose replica it is.
            node_pool: of the variant; ``""`` stands for none.
            now_seconds: Unix time.
            shortest_deadline_seconds: no deadline of a phase is shorter.
        """
        met = self._met.setdefault(variant, {})
        if met.get(times.uid):
            return
        if times.gated:
            # Waiting for a quota is no lead time. What follows is told from the last look at the closed gate on.
            self._gated_until[times.uid] = now_seconds
            return
        ordered_seconds = self.ordered_seconds(times.uid, times.created_seconds)
        start_up = self.start_up.get(variant) or self.of_variant(variant)
        if times.scheduled_seconds is None or times.ready_seconds is None:
            if times.uid not in met:
                # Without a node it was never Ready.
                age_seconds = 0.0 if times.scheduled_seconds is None else now_seconds - times.scheduled_seconds
                met[times.uid] = not _in_time(age_seconds, start_up, shortest_deadline_seconds)
            return
        watched = times.uid in met
        met[times.uid] = True
        if times.restarted:
            return
        took_seconds = times.ready_seconds - times.scheduled_seconds
        if watched or _in_time(took_seconds, start_up, shortest_deadline_seconds):
            start_up.observe(took_seconds)
        if times.queued and times.uid not in self._gated_until:
            return
        if times.waited_for_node(ordered_seconds) and times.uid not in self._taught_node:
            node, waited_seconds = self.of_node_pool(node_pool), times.scheduled_seconds - ordered_seconds
            in_time = _in_time(waited_seconds, node, shortest_deadline_seconds)
            if watched or (in_time and not node.recalls(times.created_seconds)):
                self._taught_node.add(times.uid)
                node.observe(waited_seconds)

    def forget_others(self, uids: Iterable[str]) -> None:
        """Drop the memory of pods that are gone."""
        alive = set(uids)
        self._taught_node &= alive
        self._gated_until = {uid: at for uid, at in self._gated_until.items() if uid in alive}
        for met in self._met.values():
            for gone in [uid for uid in met if uid not in alive]:
                del met[gone]

    def keep_only(self, *, variants: AbstractSet[str], node_pools: AbstractSet[str]) -> None:
        """Forget variants and node pools that are gone; what comes back under a name begins afresh."""
        for variant in self.start_up.keys() - variants:
            del self.start_up[variant]
        for variant in self._met.keys() - variants:
            del self._met[variant]
        for name in self.node.keys() - node_pools:
            del self.node[name]
        self.waits = {name: wait for name, wait in self.waits.items() if name in node_pools}


def _in_time(seconds: float, estimator: LeadTimeEstimator, shortest_deadline_seconds: float) -> bool:
    return seconds <= max(shortest_deadline_seconds, estimator.quantiles().p99_seconds)
