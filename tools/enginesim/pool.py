"""One pool in motion: its physics, its pods, its series, and how well it serves."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from enginesim.config import PoolConfig, Workload
from enginesim.physics import PoolPhysics
from enginesim.pods import Pod
from enginesim.recorder import Recorder
from forebay.flow.fleet import Role
from forebay.flow.trace import RequestTrace

RECENT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _Ended:
    at_seconds: float
    ttft_seconds: float
    itl_seconds: float
    met: bool


class SimulatedEngines:
    """A pool whose engines follow the Ready pods of the cluster."""

    def __init__(self, config: PoolConfig, trace: RequestTrace) -> None:
        self.config = config
        self.physics = PoolPhysics(config, trace)
        self.recorder = Recorder(config, self.physics)
        self.serving: dict[str, Pod] = {}
        """Ready pods, and draining ones that still exist."""
        self.workload_of: dict[str, Workload] = {}
        self._recent: deque[_Ended] = deque()
        self._arrivals: deque[tuple[float, int]] = deque([(0.0, 0)])
        self._met = 0
        self._ended = 0

    def advance(self, now_seconds: float) -> None:
        """Let time pass and take over what happened."""
        self.physics.advance(max(now_seconds, self.physics.now_seconds))
        done, refused = self.recorder.record()
        self._judge(done, len(refused))
        self.recorder.refresh()
        now = self.physics.now_seconds
        self._arrivals.append((now, self.physics.arrived))
        while len(self._arrivals) > 2 and self._arrivals[1][0] <= now - RECENT_SECONDS:
            self._arrivals.popleft()
        while self._recent and self._recent[0].at_seconds < now - RECENT_SECONDS:
            self._recent.popleft()

    def follow(self, seen: Mapping[str, Sequence[Pod]]) -> None:
        """Follow the pods seen, by workload: start new ones, drain those not Ready, end those that are gone."""
        present = {pod.name: pod for pods in seen.values() for pod in pods}
        for name in [name for name in self.serving if name not in present]:
            self.physics.lose(name)
            self.recorder.remove_pod(name)
            del self.serving[name], self.workload_of[name]
        for workload in self.config.workloads:
            for pod in seen.get(workload.name, ()):
                if pod.ready and pod.name not in self.serving:
                    self.physics.add(workload.name, pod.name)
                    self.recorder.add_pod(pod.name, workload)
                    self.serving[pod.name] = pod
                    self.workload_of[pod.name] = workload
                elif not pod.ready and pod.name in self.serving and self.serving[pod.name].ready:
                    self.physics.drain(pod.name)
                    self.recorder.drain_pod(pod.name)
                    self.serving[pod.name] = pod
                elif pod.ready and pod.name in self.serving and not self.serving[pod.name].ready:
                    self._return(workload.name, pod)
        self.recorder.refresh()

    def _return(self, workload: str, pod: Pod) -> None:
        """Let a pod serve that was not Ready for a while; its series go on."""
        if self.physics.serves(pod.name):
            self.physics.resume(pod.name)
        else:
            self.physics.add(workload, pod.name)
        self.recorder.resume_pod(pod.name)
        self.serving[pod.name] = pod

    def _judge(self, done: np.ndarray, refused: int) -> None:
        requests, slo = self.physics.requests, self.config.slo
        itl = self.physics.itl_seconds(done)
        ttft = requests.ttft[done]
        met = (ttft <= slo.ttft_seconds) & (itl <= slo.itl_seconds)
        self._ended += len(done) + refused
        self._met += int(met.sum())
        self._recent.extend(
            _Ended(*values)
            for values in zip(requests.done[done].tolist(), ttft.tolist(), itl.tolist(), met.tolist(), strict=True)
        )

    def status(self) -> dict[str, object]:
        """Return what the demo's table shows; rates and percentiles over the last minute."""
        (since, before), (now, arrived) = self._arrivals[0], self._arrivals[-1]
        window = now - since
        recent = list(self._recent)
        return {
            "namespace": self.config.namespace,
            "pool": self.config.name,
            "now_seconds": round(now, 3),
            "trace_seconds": round(self.physics.trace.span_seconds, 3),
            "trace_speed": self.config.traffic.speed,
            "trace_clock_seconds": round(self.config.traffic.start_seconds + now * self.config.traffic.speed, 1),
            "exhausted": self.physics.exhausted,
            "demand_requests_per_second": (arrived - before) / window if window > 0 else None,
            "served_requests_per_second": len(recent) / min(now, RECENT_SECONDS) if now > 0 else None,
            "arrived": arrived,
            "served": self.recorder.served,
            "refused": self.recorder.refused,
            "cut_off": self.physics.cut_off,
            "in_flight": self.physics.in_flight,
            "slo": self.config.slo.model_dump(),
            "slo_attainment": self._met / self._ended if self._ended else None,
            "slo_attainment_last_minute": float(np.mean([one.met for one in recent])) if recent else None,
            "ttft_seconds": self._percentile([one.ttft_seconds for one in recent]),
            "itl_seconds": self._percentile([one.itl_seconds for one in recent]),
            "roles": self._roles(),
        }

    def _percentile(self, values: list[float]) -> float | None:
        return float(np.quantile(values, self.config.slo.target)) if values else None

    def _roles(self) -> dict[str, dict[str, int]]:
        physics = self.physics
        roles: dict[str, dict[str, int]] = {}
        for role in dict.fromkeys(Role(workload.role) for workload in self.config.workloads):
            mine = [pod for pod, of in self.recorder.roles.items() if of is role]
            gauges = [one for pod in mine if (one := physics.gauges(pod)) is not None]
            queue = physics.waiting_prefill
            if role is Role.DECODE:
                queue = physics.waiting_decode + physics.transferring
            roles[str(role)] = {
                "ready": sum(self.serving[pod].ready for pod in mine),
                "draining": sum(not self.serving[pod].ready for pod in mine),
                "queue": queue,
                "running": sum(one.running for one in gauges),
            }
        return roles
