"""A stand-in for a node autoscaler over fake pools: pods that wait make nodes, empty nodes go.

It keeps to what Kubernetes' Cluster Autoscaler does and a scaler above it can feel
(https://github.com/kubernetes/autoscaler/blob/master/cluster-autoscaler/FAQ.md): only pods that the scheduler
called unschedulable count, nodes on their way count as room, a decision takes a while, an empty node is tainted
and removed after it was unneeded for some time, and a pool that is sold out is tried again later. It packs by GPUs
only, and places a pod in the one pool that its node selector names.
"""

import datetime as dt
import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from devcluster.gpu import GPU_RESOURCE, POOL_LABEL, NodePool, add_nodes
from devcluster.rest import Json, Rest, condition_status, mapping, sequence, text

TO_BE_DELETED_TAINT = "ToBeDeletedByClusterAutoscaler"
_COMPONENT = "cluster-autoscaler"
_STOP_TIMEOUT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class AutoscalerTimes:
    """How fast the autoscaler is; the defaults are Cluster Autoscaler's, a hundred times faster or so.

    Attributes:
        scan_seconds: pause between looks (Cluster Autoscaler: 10 s).
        decision_seconds: how long a pod must have been seen waiting before a node is bought for it.
        unneeded_seconds: how long a node must have been empty, or lost, before it is removed (10 min).
        retry_seconds: how long a pool that was sold out is left alone (5 min and more).
    """

    scan_seconds: float = 0.5
    decision_seconds: float = 0.5
    unneeded_seconds: float = 10.0
    retry_seconds: float = 5.0


def gpus_wanted(pod: Json) -> int:
    """Return the GPUs that a pod asks for."""
    total = 0
    for container in sequence(pod, "spec", "containers"):
        resources = mapping(container, "resources")
        asked = mapping(resources, "limits") | mapping(resources, "requests")
        total += int(str(asked.get(GPU_RESOURCE, "0")))
    return total


def pool_of(pod: Json) -> str:
    """Return the pool that a pod's node selector names, or an empty text."""
    return text(pod, "spec", "nodeSelector", POOL_LABEL)


def is_unschedulable(pod: Json) -> bool:
    """Whether the scheduler said that a pod fits nowhere."""
    if text(pod, "spec", "nodeName") or mapping(pod, "metadata").get("deletionTimestamp"):
        return False
    return any(
        condition.get("type") == "PodScheduled" and condition.get("reason") == "Unschedulable"
        for condition in sequence(pod, "status", "conditions")
    )


def is_usable(node: Json) -> bool:
    """Whether a node is Ready and its GPUs are allocatable."""
    gpus = str(mapping(node, "status", "allocatable").get(GPU_RESOURCE, "0"))
    return condition_status(node, "Ready") == "True" and int(gpus) > 0


def is_lost(node: Json) -> bool:
    """Whether a node's kubelet fell silent."""
    return condition_status(node, "Ready") == "Unknown"


def nodes_to_add(wanted: Iterable[int], *, gpus_per_node: int, on_their_way: int) -> int:
    """Return how many nodes to buy so that pods wanting so many GPUs each fit.

    First-fit by decreasing size. Nodes on their way are filled first; a pod that no node can hold is skipped.
    """
    room = [gpus_per_node] * on_their_way
    for size in sorted((size for size in wanted if 0 < size <= gpus_per_node), reverse=True):
        for index, left in enumerate(room):
            if left >= size:
                room[index] -= size
                break
        else:
            room.append(gpus_per_node - size)
    return len(room) - on_their_way


class NodeAutoscaler:
    """Adds and removes fake nodes of some pools; runs in a thread of its own.

    Args:
        rest: a client that nobody else uses.
        pools: what it manages.
        times: how fast it is.
        clock: seconds that only go forward.
        log: told what it does.
    """

    def __init__(
        self,
        rest: Rest,
        pools: Sequence[NodePool],
        *,
        times: AutoscalerTimes,
        clock: Callable[[], float] = time.monotonic,
        log: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._rest = rest
        self._pools: Mapping[str, NodePool] = {pool.name: pool for pool in pools}
        self._times = times
        self._clock = clock
        self._log = log
        self._stock: dict[str, int] = {}
        self._sold_out_until: dict[str, float] = {}
        self._waiting_since: dict[str, float] = {}
        self._empty_since: dict[str, float] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="node-autoscaler", daemon=True)
        #: The latest errors of the API server, which are not fatal: the next look tries again.
        self.troubles: deque[str] = deque(maxlen=50)

    def set_stock(self, pool: str, nodes: int | None) -> None:
        """Say how many more nodes of a pool can be had: 0 is sold out, None is no limit.

        Raises:
            KeyError: it manages no such pool.
        """
        name = self._pools[pool].name
        self._sold_out_until.pop(name, None)
        if nodes is None:
            self._stock.pop(name, None)
        else:
            self._stock[name] = nodes

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Stop looking, and wait for a look that is under way."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_TIMEOUT_SECONDS)

    def _run(self) -> None:
        while not self._stopping.wait(self._times.scan_seconds):
            try:
                self.look_once()
            except (ApiException, HTTPError, OSError) as error:
                # The API server is away, or somebody was faster: look again, as a controller does.
                self.troubles.append(f"{type(error).__name__}: {str(error).strip()[:300]}")

    def look_once(self) -> None:
        """Compare the pods that wait with the nodes there are, and buy or remove nodes."""
        now = self._clock()
        pods = self._rest.items("/api/v1/pods")
        nodes = self._rest.items("/api/v1/nodes", labelSelector=POOL_LABEL)
        unschedulable = [pod for pod in pods if is_unschedulable(pod) and pool_of(pod) in self._pools]
        uids = {text(pod, "metadata", "uid") for pod in unschedulable}
        self._waiting_since = {uid: self._waiting_since.get(uid, now) for uid in uids}
        for pool in self._pools.values():
            own = [node for node in nodes if text(node, "metadata", "labels", POOL_LABEL) == pool.name]
            waiting = [
                pod
                for pod in unschedulable
                if pool_of(pod) == pool.name
                and now - self._waiting_since[text(pod, "metadata", "uid")] >= self._times.decision_seconds
            ]
            self._scale_up(pool, own, waiting, now)
            self._scale_down(pool, own, pods, now, someone_waits=bool(waiting))

    def _scale_up(self, pool: NodePool, nodes: Sequence[Json], waiting: Sequence[Json], now: float) -> None:
        on_their_way = sum(1 for node in nodes if not is_usable(node) and not is_lost(node))
        by_pods = nodes_to_add(
            map(gpus_wanted, waiting), gpus_per_node=pool.gpus_per_node, on_their_way=on_their_way
        )
        wanted = max(by_pods, pool.min_nodes - len(nodes))
        count = min(wanted, pool.max_nodes - len(nodes))
        if wanted > 0 and count <= 0:
            self._tell(waiting, "NotTriggerScaleUp", f"pool {pool.name} has its {pool.max_nodes} nodes")
        if count <= 0 or now < self._sold_out_until.get(pool.name, now):
            return
        granted = min(count, self._stock.get(pool.name, count))
        if granted < count:
            self._sold_out_until[pool.name] = now + self._times.retry_seconds
            self._tell(waiting, "FailedScaleUp", f"pool {pool.name} is out of stock", kind="Warning")
        if granted == 0:
            return
        if pool.name in self._stock:
            self._stock[pool.name] -= granted
        names = add_nodes(self._rest, pool, granted)
        self._log(f"node autoscaler: added {', '.join(names)}")
        self._tell(waiting, "TriggeredScaleUp", f"pool {pool.name}: {len(nodes)}->{len(nodes) + granted}")

    def _scale_down(
        self, pool: NodePool, nodes: Sequence[Json], pods: Sequence[Json], now: float, *, someone_waits: bool
    ) -> None:
        busy = {text(pod, "spec", "nodeName") for pod in pods}
        spare = len(nodes) - pool.min_nodes
        for node in nodes:
            name = text(node, "metadata", "name")
            if is_lost(node):
                # Its machine is gone, whatever pods are still bound to it.
                self._remove_in_time(name, now)
                continue
            if name in busy or someone_waits or not is_usable(node):
                self._empty_since.pop(name, None)
                self._untaint(node)
                continue
            if now - self._empty_since.setdefault(name, now) < self._times.unneeded_seconds or spare <= 0:
                continue
            spare -= 1
            if not self._is_tainted(node):
                # A pod may be on its way to it: keep others off, look once more, then remove it.
                self._set_taints(node, [*sequence(node, "spec", "taints"), _taint()])
                continue
            self._remove_in_time(name, now)

    def _remove_in_time(self, name: str, now: float) -> None:
        """Remove a node that has been of no use for long enough."""
        if now - self._empty_since.setdefault(name, now) < self._times.unneeded_seconds:
            return
        self._rest.delete(f"/api/v1/nodes/{name}")
        self._empty_since.pop(name, None)
        self._log(f"node autoscaler: removed {name}")

    def _is_tainted(self, node: Json) -> bool:
        return any(taint.get("key") == TO_BE_DELETED_TAINT for taint in sequence(node, "spec", "taints"))

    def _untaint(self, node: Json) -> None:
        if self._is_tainted(node):
            taints = sequence(node, "spec", "taints")
            self._set_taints(node, [taint for taint in taints if taint.get("key") != TO_BE_DELETED_TAINT])

    def _set_taints(self, node: Json, taints: Sequence[Json]) -> None:
        metadata = mapping(node, "metadata")
        # The resource version makes this fail where somebody else changed the node in between.
        body = {"metadata": {"resourceVersion": metadata["resourceVersion"]}, "spec": {"taints": list(taints)}}
        self._rest.patch(f"/api/v1/nodes/{metadata['name']}", body)

    def _tell(self, pods: Sequence[Json], reason: str, message: str, *, kind: str = "Normal") -> None:
        """Record an event on each pod, as Cluster Autoscaler does; once per reason and message."""
        for pod in pods:
            metadata = mapping(pod, "metadata")
            namespace, uid = str(metadata["namespace"]), str(metadata["uid"])
            event = _event(metadata, reason, message, kind)
            try:
                self._rest.create(f"/api/v1/namespaces/{namespace}/events", event)
            except ApiException as error:
                if error.status not in (403, 404, 409):  # namespace going, gone, or told already
                    raise
                self._log(f"node autoscaler: no event on {uid}: {error.status}")


def _taint() -> Json:
    return {"key": TO_BE_DELETED_TAINT, "effect": "NoSchedule", "value": str(int(time.time()))}


def _event(pod: Json, reason: str, message: str, kind: str) -> Json:
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    fingerprint = hashlib.sha256(f"{reason}\0{message}".encode()).hexdigest()[:10]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{pod['name']}.{fingerprint}.{str(pod['uid'])[:8]}",
            "namespace": pod["namespace"],
        },
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": pod["name"],
            "namespace": pod["namespace"],
            "uid": pod["uid"],
        },
        "reason": reason,
        "message": message,
        "type": kind,
        "source": {"component": _COMPONENT},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
