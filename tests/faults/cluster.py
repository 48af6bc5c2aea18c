"""A small cluster in memory that errs as real ones do: its controllers, scheduler, kubelets and its people.

Deployments are reconciled as kube-controller-manager does it: rolling updates with surge, proportional scaling of
two revisions, removal in the ReplicaSet's order. Pods are bound where GPUs are free, and become Ready after a
start-up unless their revision is broken. Every change reaches the operator's caches as a watch would bring it.
"""

import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from forebay.actuation.kube import ApiError, JsonObject
from forebay.runtime.watch.kinds import Kind
from forebay.runtime.watch.store import Store
from tests.unit.runtime.conftest import MemoryApi

NAMESPACE, POOL = "serving", "chat"
START_UP_SECONDS = 60.0
GPUS_PER_NODE = 4
STATUS = f"/apis/forebay.io/v1alpha1/namespaces/{NAMESPACE}/inferencepools/{POOL}/status"


@dataclass(eq=False)
class Pod:
    """One pod of a Deployment."""

    name: str
    revision: int
    created: float
    scheduled: float | None = None
    ready: float | None = None
    node: str | None = None
    gated: bool = False


@dataclass(eq=False)
class Deployment:
    """A Deployment, and what is wrong with it."""

    name: str
    node_pool: str
    replicas: int
    manager: str = "kubectl-client-side-apply"
    by_scale: bool = False
    revision: int = 1
    broken: set[int] = field(default_factory=set)
    surge: int = 1
    unavailable: int = 0
    most_pods: int | None = None
    """A quota."""
    gates: bool = False
    pods: list[Pod] = field(default_factory=list)
    failing_since: float | None = None

    def ready(self) -> int:
        """Return how many pods are Ready."""
        return sum(pod.ready is not None for pod in self.pods)


def removal_order(pod: Pod) -> tuple[bool, bool, float]:
    """Sort the pods that a ReplicaSet removes first to the front: unassigned, not Ready, youngest."""
    return pod.node is not None, pod.ready is not None, -pod.created


class Cluster(MemoryApi):
    """The API in memory, and what reconciles its objects."""

    def __init__(self, store: Store, clock: Any) -> None:
        """Begin empty."""
        super().__init__()
        self.store, self.clock = store, clock
        self.deployments: dict[str, Deployment] = {}
        self.nodes: dict[str, str] = {}
        """Node pool by name of the node."""
        self.refuses: list[ApiError] = []
        """Answers to the next writes of `/scale`."""
        self.scaled: list[tuple[float, str, int, int]] = []
        """Time, Deployment, count before and after, of writes that the operator made."""
        self._number = itertools.count(1)
        self._generation = itertools.count(1)

    async def request(self, method: str, path: str, **given: Any) -> JsonObject:
        """Answer; a write of `/scale` changes the Deployment."""
        if not path.endswith("/scale") or method != "PATCH":
            return await super().request(method, path, **given)
        if self.refuses:
            raise self.refuses.pop(0)
        deployment = self.deployments[path.split("/")[-2]]
        test, add = given["body"]
        if test["value"] != ({"replicas": deployment.replicas} if deployment.replicas else {}):
            raise ApiError("the test failed", status=422)
        before, deployment.replicas = deployment.replicas, add["value"]
        deployment.manager, deployment.by_scale = "forebay", True
        self.scaled.append((self.clock(), deployment.name, before, deployment.replicas))
        self.tell(deployment)
        return {"metadata": {}, "spec": {"replicas": deployment.replicas}}

    # --- what people and other programs do ---------------------------------------------------------------------

    def scale(self, deployment: Deployment, replicas: int, manager: str, *, by_scale: bool) -> None:
        """Set a count as somebody else."""
        deployment.replicas, deployment.manager, deployment.by_scale = replicas, manager, by_scale
        self.tell(deployment)

    def add_node(self, node_pool: str) -> None:
        """Let a node come up."""
        name = f"{node_pool}-{next(self._number)}"
        self.nodes[name] = node_pool
        self.store.apply(Kind.NODES, _node(name, node_pool))

    def remove_node(self, name: str) -> None:
        """Let a node vanish with its pods."""
        pool = self.nodes.pop(name)
        self.store.apply(Kind.NODES, _node(name, pool), deleted=True)
        for deployment in self.deployments.values():
            for pod in [pod for pod in deployment.pods if pod.node == name]:
                self._remove(deployment, pod)

    # --- what controllers do -------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Run every controller once."""
        for deployment in self.deployments.values():
            self._reconcile(deployment)
            for pod in deployment.pods:
                self._schedule(deployment, pod)
                self._start(deployment, pod)
            self.tell(deployment)

    def after_removal(self, deployment: Deployment, replicas: int) -> int:
        """Return the Ready pods that are left once the controller has followed a lower count."""
        kept = list(deployment.pods)
        for pod in self._surplus(deployment, kept, replicas):
            kept.remove(pod)
        return sum(pod.ready is not None for pod in kept)

    def tell(self, deployment: Deployment) -> None:
        """Bring a Deployment to the caches as a watch would."""
        self.store.apply(Kind.DEPLOYMENTS, self._body(deployment))

    def _reconcile(self, deployment: Deployment) -> None:
        for pod in self._surplus(deployment, list(deployment.pods), deployment.replicas):
            self._remove(deployment, pod)
        new = [pod for pod in deployment.pods if pod.revision == deployment.revision]
        old = [pod for pod in deployment.pods if pod.revision != deployment.revision]
        most = deployment.replicas + (deployment.surge if old else 0)
        deployment.failing_since = deployment.failing_since if self._refused(deployment, most) else None
        while len(new) < deployment.replicas and len(deployment.pods) < most:
            if deployment.most_pods is not None and len(deployment.pods) >= deployment.most_pods:
                deployment.failing_since = deployment.failing_since or self.clock()
                break
            pod = Pod(f"{deployment.name}-{next(self._number)}", deployment.revision, self.clock())
            pod.gated = deployment.gates
            deployment.pods.append(pod)
            new.append(pod)
        for pod in sorted(old, key=removal_order):
            dead = pod.ready is None
            if dead or deployment.ready() > deployment.replicas - deployment.unavailable:
                self._remove(deployment, pod)

    def _refused(self, deployment: Deployment, most: int) -> bool:
        limit = deployment.most_pods
        return limit is not None and len(deployment.pods) >= limit and len(deployment.pods) < most

    def _surplus(self, deployment: Deployment, pods: list[Pod], replicas: int) -> list[Pod]:
        """Return the pods that go; of two revisions each gives up its share, the larger one first."""
        old = [pod for pod in pods if pod.revision != deployment.revision]
        over = len(pods) - replicas - (deployment.surge if old else 0)
        if over <= 0:
            return []
        groups = sorted((old, [pod for pod in pods if pod.revision == deployment.revision]), key=len, reverse=True)
        going: list[Pod] = []
        for group in groups:
            share = min(len(group), over - len(going), -(-over * len(group) // len(pods)))
            going.extend(sorted(group, key=removal_order)[:share])
        return going

    def _remove(self, deployment: Deployment, pod: Pod) -> None:
        deployment.pods.remove(pod)
        self.store.apply(Kind.PODS, _pod(deployment, pod), deleted=True)

    def _schedule(self, deployment: Deployment, pod: Pod) -> None:
        pod.gated = pod.gated and deployment.gates
        if pod.node is None and not pod.gated:
            held = [other.node for each in self.deployments.values() for other in each.pods]
            for name, pool in self.nodes.items():
                if pool == deployment.node_pool and held.count(name) < GPUS_PER_NODE:
                    pod.node, pod.scheduled = name, self.clock()
                    break
        self.store.apply(Kind.PODS, _pod(deployment, pod))

    def _start(self, deployment: Deployment, pod: Pod) -> None:
        if pod.scheduled is None or pod.ready is not None or pod.revision in deployment.broken:
            return
        if self.clock() >= pod.scheduled + START_UP_SECONDS:
            pod.ready = self.clock()
            self.store.apply(Kind.PODS, _pod(deployment, pod))

    def _body(self, deployment: Deployment) -> JsonObject:
        generation = next(self._generation)
        updated = sum(pod.revision == deployment.revision for pod in deployment.pods)
        conditions = []
        if deployment.failing_since is not None:
            conditions.append(
                {
                    "type": "ReplicaFailure",
                    "status": "True",
                    "reason": "FailedCreate",
                    "message": "exceeded quota: gpus",
                    "lastTransitionTime": stamp(deployment.failing_since),
                }
            )
        entry = {"manager": deployment.manager, "operation": "Update", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
        if deployment.by_scale:
            entry["subresource"] = "scale"
        else:
            entry["time"] = stamp(self.clock())
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {
                "name": deployment.name,
                "namespace": NAMESPACE,
                "uid": f"uid-{deployment.name}",
                "generation": generation,
                "resourceVersion": str(generation),
                "managedFields": [entry],
            },
            "spec": {"replicas": deployment.replicas, "selector": {"matchLabels": {"app": deployment.name}}},
            "status": {
                "observedGeneration": generation,
                "replicas": len(deployment.pods),
                "updatedReplicas": updated,
                "readyReplicas": deployment.ready(),
                "conditions": conditions,
            },
        }


def stamp(seconds: float) -> str:
    """Return a time as Kubernetes writes it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _node(name: str, node_pool: str) -> JsonObject:
    return {
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "labels": {"pool": node_pool},
            "creationTimestamp": stamp(1_795_000_000.0),
        },
        "spec": {},
        "status": {
            "conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": stamp(1_795_000_000.0)},
            ],
            "allocatable": {"nvidia.com/gpu": str(GPUS_PER_NODE)},
        },
    }


def _pod(deployment: Deployment, pod: Pod) -> JsonObject:
    if pod.scheduled is not None:
        scheduled = {"status": "True", "lastTransitionTime": stamp(pod.scheduled)}
    else:
        reason = "SchedulingGated" if pod.gated else "Unschedulable"
        scheduled = {"status": "False", "reason": reason, "lastTransitionTime": stamp(pod.created)}
    since = pod.ready if pod.ready is not None else pod.created
    state: JsonObject = {"restartCount": 0}
    if pod.revision in deployment.broken and pod.scheduled is not None:
        state["state"] = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    return {
        "metadata": {
            "name": pod.name,
            "namespace": NAMESPACE,
            "uid": f"uid-{pod.name}",
            "labels": {"app": deployment.name, "pod-template-hash": f"r{pod.revision}"},
            "creationTimestamp": stamp(pod.created),
        },
        "spec": {
            "nodeName": pod.node,
            "containers": [{"resources": {"limits": {"nvidia.com/gpu": "1"}}}],
        },
        "status": {
            "phase": "Running" if pod.scheduled is not None else "Pending",
            "conditions": [
                {"type": "PodScheduled", **scheduled},
                {
                    "type": "Ready",
                    "status": "True" if pod.ready is not None else "False",
                    "lastTransitionTime": stamp(since),
                },
            ],
            "containerStatuses": [state],
        },
    }
