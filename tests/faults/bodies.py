"""Objects of the small cluster as the API server writes them."""

from datetime import UTC, datetime

from forebay.actuation.kube import JsonObject
from tests.faults.workloads import GPUS_PER_NODE, Pod, Workload

NAMESPACE = "serving"


def stamp(seconds: float) -> str:
    """Return a time as Kubernetes writes it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def workload_body(workload: Workload, *, now: float, generation: int) -> JsonObject:
    """Return a Deployment or a StatefulSet."""
    entry = {"manager": workload.manager, "operation": "Update", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
    if workload.by_scale:
        entry["subresource"] = "scale"
    else:
        entry["time"] = stamp(now)
    status = {
        "observedGeneration": generation,
        "replicas": len(workload.pods),
        "updatedReplicas": sum(pod.revision == workload.revision for pod in workload.pods),
        "readyReplicas": workload.ready(),
    }
    return {
        "apiVersion": "apps/v1",
        "kind": workload.kind,
        "metadata": {
            "name": workload.name,
            "namespace": NAMESPACE,
            "uid": f"uid-{workload.name}",
            "generation": generation,
            "resourceVersion": str(generation),
            "managedFields": [entry],
        },
        "spec": {"replicas": workload.replicas, "selector": {"matchLabels": {"app": workload.name}}},
        "status": status | (_of_deployment(workload) if workload.kind == "Deployment" else _of_set(workload)),
    }


def _of_deployment(workload: Workload) -> JsonObject:
    if workload.failing_since is None:
        return {}
    failure = {
        "type": "ReplicaFailure",
        "status": "True",
        "reason": "FailedCreate",
        "message": "exceeded quota: gpus",
        "lastTransitionTime": stamp(workload.failing_since),
    }
    return {"conditions": [failure]}


def _of_set(workload: Workload) -> JsonObject:
    """Return what a StatefulSet says of revisions; of a quota it says nothing."""
    oldest = min(workload.revisions, default=workload.revision)
    return {"currentRevision": f"r{oldest}", "updateRevision": f"r{workload.revision}"}


def node_body(name: str, node_pool: str) -> JsonObject:
    """Return a Ready node."""
    return {
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "labels": {"pool": node_pool},
            "creationTimestamp": stamp(1_795_000_000.0),
        },
        "spec": {},
        "status": {
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": stamp(1_795_000_000.0)}],
            "allocatable": {"nvidia.com/gpu": str(GPUS_PER_NODE)},
        },
    }


def pod_body(workload: Workload, pod: Pod) -> JsonObject:
    """Return a pod."""
    if pod.scheduled is not None:
        scheduled = {"status": "True", "lastTransitionTime": stamp(pod.scheduled)}
    else:
        reason = "SchedulingGated" if pod.gated else "Unschedulable"
        scheduled = {"status": "False", "reason": reason, "lastTransitionTime": stamp(pod.created)}
    state: JsonObject = {"restartCount": pod.restarts}
    if pod.revision in workload.broken and pod.scheduled is not None:
        state["state"] = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    is_ready = "True" if pod.ready is not None else "False"
    since = next(at for at in (pod.ready, pod.failed, pod.created) if at is not None)
    return {
        "metadata": {
            "name": pod.name,
            "namespace": NAMESPACE,
            "uid": f"uid-{pod.name}-{pod.created:.0f}",
            "labels": {"app": workload.name, **_labels(workload, pod)},
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
                {"type": "Ready", "status": is_ready, "lastTransitionTime": stamp(since)},
            ],
            "containerStatuses": [state],
        },
    }


def _labels(workload: Workload, pod: Pod) -> JsonObject:
    if workload.kind == "Deployment":
        return {"pod-template-hash": f"r{pod.revision}"}
    return {"controller-revision-hash": f"r{pod.revision}", "apps.kubernetes.io/pod-index": str(pod.ordinal)}
