"""All pools together: one clock, one list of targets, and what each HTTP path answers."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from enginesim.config import Config
from enginesim.errors import EngineSimError
from enginesim.exposition import render
from enginesim.faults import Fault, FaultMode, Faults
from enginesim.pods import Pod
from enginesim.pool import SimulatedEngines
from enginesim.series import Target
from enginesim.traffic import build_trace
from forebay.flow.trace import RequestTrace

PoolName = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True, slots=True)
class Scrape:
    """One target of the scraper: its series, and the labels that service discovery gives it."""

    target: Target
    labels: Mapping[str, str]


class Simulator:
    """The pools of one process. Safe to use from several threads: everything happens under one lock."""

    def __init__(self, config: Config, traces: Mapping[PoolName, RequestTrace] | None = None) -> None:
        """Prepare the pools at time 0; ``traces`` replaces what the configuration would load."""
        self.config = config
        self.faults = Faults()
        self._lock = threading.Lock()
        self._pools: dict[PoolName, SimulatedEngines] = {}
        for pool in config.pools:
            name = (pool.namespace, pool.name)
            if name in self._pools:
                raise EngineSimError(f"two pools are called {pool.namespace}/{pool.name}")
            trace = (traces or {}).get(name) or build_trace(pool.traffic)
            self._pools[name] = SimulatedEngines(pool, trace)

    def advance(self, now_seconds: float) -> None:
        """Let time pass in all pools."""
        with self._lock:
            for pool in self._pools.values():
                pool.advance(now_seconds)

    def follow(self, pool: PoolName, seen: Mapping[str, Sequence[Pod]]) -> None:
        """Take over which pods of a pool exist now, by workload."""
        with self._lock:
            self._pools[pool].follow(seen)

    def status(self) -> dict[str, object]:
        """Return the state of all pools as plain data."""
        with self._lock:
            pools = [pool.status() for pool in self._pools.values()]
        faults = [{"mode": str(fault.mode), "targets": fault.targets} for fault in self.faults.current()]
        return {"pools": pools, "faults": faults}

    def discovery(self, address: str) -> list[dict[str, object]]:
        """Return Prometheus HTTP service discovery: one group per target, all at ``address`` (host:port)."""
        with self._lock:
            scrapes = self._scrapes()
        return [
            {"targets": [address], "labels": {"__metrics_path__": f"/targets/{name}/metrics", **scrape.labels}}
            for name, scrape in scrapes.items()
            if self.faults.on(name) is not FaultMode.VANISH
        ]

    def metrics(self, name: str) -> str | None:
        """Return the text of ``/metrics`` of target ``namespace/name``; ``None`` if it does not answer."""
        mode = self.faults.on(name)
        with self._lock:
            scrape = self._scrapes().get(name)
            if scrape is None or mode in (FaultMode.SILENT, FaultMode.VANISH):
                return None
            text = render(scrape.target, override=float("nan") if mode is FaultMode.NAN else None)
        return self.faults.freeze(name, text) if mode is FaultMode.FROZEN else text

    def inject(self, fault: Fault) -> None:
        """Begin a fault; frozen targets freeze now, a reset happens at once and is over."""
        if fault.mode is FaultMode.RESET:
            with self._lock:
                for name, scrape in self._scrapes().items():
                    if fault.matches(name):
                        scrape.target.reset()
            return
        self.faults.add(fault)
        if fault.mode is FaultMode.FROZEN:
            with self._lock:
                names = [name for name in self._scrapes() if fault.matches(name)]
            for name in names:
                self.metrics(name)

    @property
    def exhausted(self) -> bool:
        """Return whether every trace is played and answered."""
        with self._lock:
            return all(pool.physics.exhausted for pool in self._pools.values())

    def _scrapes(self) -> dict[str, Scrape]:
        scrapes: dict[str, Scrape] = {}
        for (namespace, _), pool in self._pools.items():
            for name, target in pool.recorder.pods.items():
                scrapes[f"{namespace}/{name}"] = Scrape(target, _pod_labels(pool, pool.serving[name]))
            if pool.recorder.gateway is not None and pool.config.gateway is not None:
                gateway = pool.config.gateway
                labels = {
                    "namespace": namespace,
                    "pod": f"{gateway.name}-0",
                    "service": gateway.name,
                    "container": "epp",
                    "instance": f"{gateway.name}.{namespace}:{gateway.port}",
                }
                scrapes[f"{namespace}/{gateway.name}"] = Scrape(pool.recorder.gateway, labels)
        return scrapes


def _pod_labels(pool: SimulatedEngines, pod: Pod) -> dict[str, str]:
    """Return the target labels that pod discovery and the usual relabelling give."""
    labels = {
        "namespace": pod.namespace,
        "pod": pod.name,
        "container": "engine",
        "instance": f"{pod.ip or pod.name}:{pool.workload_of[pod.name].port}",
        "__meta_kubernetes_namespace": pod.namespace,
        "__meta_kubernetes_pod_name": pod.name,
        "__meta_kubernetes_pod_node_name": pod.node,
        "__meta_kubernetes_pod_ip": pod.ip,
    }
    if pod.node:
        labels["node"] = pod.node
    for key, value in pod.labels.items():
        labels["__meta_kubernetes_pod_label_" + _safe(key)] = value
    return labels


def _safe(name: str) -> str:
    return "".join(character if character.isascii() and character.isalnum() else "_" for character in name)
