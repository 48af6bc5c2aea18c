"""A small cluster in memory that errs as real ones do: its controllers, scheduler, kubelets and its people.

Pods are bound where GPUs are free, and become Ready after a start-up unless their revision is broken. Every change
reaches the operator's caches as a watch would bring it.
"""

import itertools
from typing import Any

from forebay.actuation.kube import ApiError, JsonObject
from forebay.runtime.watch.kinds import Kind
from forebay.runtime.watch.store import Store
from tests.faults.bodies import NAMESPACE, node_body, pod_body, workload_body
from tests.faults.workloads import GPUS_PER_NODE, Pod, Workload
from tests.unit.runtime.conftest import MemoryApi

POOL = "chat"
START_UP_SECONDS = 60.0
STATUS = f"/apis/forebay.io/v1alpha1/namespaces/{NAMESPACE}/inferencepools/{POOL}/status"
_CACHES = {"Deployment": Kind.DEPLOYMENTS, "StatefulSet": Kind.STATEFUL_SETS}


class Cluster(MemoryApi):
    """The API in memory, and what reconciles its objects."""

    def __init__(self, store: Store, clock: Any) -> None:
        """Begin empty."""
        super().__init__()
        self.store, self.clock = store, clock
        self.workloads: dict[str, Workload] = {}
        self.nodes: dict[str, str] = {}
        """Node pool by name of the node."""
        self.refuses: list[ApiError] = []
        """Answers to the next writes of `/scale`."""
        self.is_ill = False
        """Every request fails."""
        self.scaled: list[tuple[float, str, int, int]] = []
        """Time, workload, count before and after, of writes that the operator made."""
        self._number = itertools.count(1)
        self._generation = itertools.count(1)

    async def request(self, method: str, path: str, **given: Any) -> JsonObject:
        """Answer; a write of `/scale` changes the workload."""
        if self.is_ill:
            raise ApiError("etcd has no leader", status=503)
        if not path.endswith("/scale") or method != "PATCH":
            return await super().request(method, path, **given)
        if self.refuses:
            raise self.refuses.pop(0)
        workload = self.workloads[path.split("/")[-2]]
        test, add = given["body"]
        if test["value"] != ({"replicas": workload.replicas} if workload.replicas else {}):
            raise ApiError("the test failed", status=422)
        before, workload.replicas = workload.replicas, add["value"]
        workload.manager, workload.by_scale = "forebay", True
        self.scaled.append((self.clock(), workload.name, before, workload.replicas))
        self.tell(workload)
        return {"metadata": {}, "spec": {"replicas": workload.replicas}}

    # --- what people and other programs do ---------------------------------------------------------------------

    def scale(self, workload: Workload, replicas: int, manager: str, *, by_scale: bool) -> None:
        """Set a count as somebody else."""
        workload.replicas, workload.manager, workload.by_scale = replicas, manager, by_scale
        self.tell(workload)

    def add_node(self, node_pool: str) -> None:
        """Let a node come up."""
        name = f"{node_pool}-{next(self._number)}"
        self.nodes[name] = node_pool
        self.store.apply(Kind.NODES, node_body(name, node_pool))

    def remove_node(self, name: str) -> None:
        """Let a node vanish with its pods."""
        pool = self.nodes.pop(name)
        self.store.apply(Kind.NODES, node_body(name, pool), deleted=True)
        for workload in self.workloads.values():
            for pod in [pod for pod in workload.pods if pod.node == name]:
                self.delete(workload, pod)

    def delete(self, workload: Workload, pod: Pod) -> None:
        """Delete a pod."""
        workload.pods.remove(pod)
        self._gone(workload, pod)

    def crash(self, pod: Pod) -> None:
        """Let a pod's container end and start again."""
        pod.ready, pod.failed, pod.scheduled = None, self.clock(), self.clock()
        pod.restarts += 1

    # --- what controllers do -------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Run every controller once."""
        for workload in self.workloads.values():
            if workload.manifest is not None and workload.replicas != workload.manifest:
                self.scale(workload, workload.manifest, "argocd-controller", by_scale=False)
            for pod in workload.reconcile(self.clock(), lambda: f"pod-{next(self._number)}"):
                self._gone(workload, pod)
            for pod in workload.pods:
                self._schedule(workload, pod)
                self._start(workload, pod)
                self.store.apply(Kind.PODS, pod_body(workload, pod))
            self.tell(workload)

    def tell(self, workload: Workload) -> None:
        """Bring a workload to the caches as a watch would."""
        body = workload_body(workload, now=self.clock(), generation=next(self._generation))
        self.store.apply(_CACHES[workload.kind], body)

    def _gone(self, workload: Workload, pod: Pod) -> None:
        self.store.apply(Kind.PODS, pod_body(workload, pod), deleted=True)

    def _schedule(self, workload: Workload, pod: Pod) -> None:
        pod.gated = pod.gated and workload.gates
        if pod.node is not None or pod.gated:
            return
        held = [other.node for each in self.workloads.values() for other in each.pods]
        for name, pool in self.nodes.items():
            if pool == workload.node_pool and held.count(name) < GPUS_PER_NODE:
                pod.node, pod.scheduled = name, self.clock()
                return

    def _start(self, workload: Workload, pod: Pod) -> None:
        if pod.scheduled is None or pod.ready is not None or pod.sick or pod.revision in workload.broken:
            return
        if self.clock() >= pod.scheduled + START_UP_SECONDS:
            pod.ready = self.clock()
