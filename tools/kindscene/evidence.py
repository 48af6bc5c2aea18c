"""What a person needs to see when something did not happen: the story in a failure, and files to keep."""

import subprocess
from collections.abc import Mapping, Sequence

from devcluster.cluster import Cluster
from devcluster.errors import KubectlError
from kindscene.places import LOAD_API, NAMESPACE, SERVING

_SECONDS = 20.0
_OPERATOR = ("logs", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=forebay", "--prefix")

STORY: Mapping[str, Sequence[str]] = {
    "nodes": ("get", "nodes"),
    "pods": ("get", "pods", "-A", "-o", "wide", "--field-selector=metadata.namespace!=kube-system"),
    "pools": ("get", "inferencepools.forebay.io", "-n", SERVING, "-o", "yaml"),
    "node pools": ("get", "gpunodepools.forebay.io", "-o", "wide"),
    "traffic": ("get", "--raw", f"{LOAD_API.format('load')}/status"),
    "operator": (*_OPERATOR, "--tail=25"),
}

ARTIFACTS: Mapping[str, Sequence[str]] = {
    "resources.txt": ("get", "all", "-A", "-o", "wide"),
    "nodes.yaml": ("get", "nodes", "-o", "yaml"),
    "pods.yaml": ("get", "pods", "-n", SERVING, "-o", "yaml"),
    "events.txt": ("get", "events", "-A", "--sort-by=.lastTimestamp"),
    "forebay.yaml": ("get", "forebay", "-A", "-o", "yaml"),
    "lease.yaml": ("get", "lease", "-n", NAMESPACE, "-o", "yaml"),
    "operator.log": (*_OPERATOR, "--tail=-1"),
    "operator-before.log": (*_OPERATOR, "--tail=-1", "--previous"),
    "prometheus.log": ("logs", "-n", "monitoring", "-l", "app=prometheus", "--tail=200"),
    "load.json": ("get", "--raw", f"{LOAD_API.format('load')}/status"),
}


def story(cluster: Cluster) -> str:
    """Return the state of the scene as text, one titled part after another."""
    return "\n".join(f"--- {title}\n{_said(cluster, command)}" for title, command in STORY.items())


def artifacts(cluster: Cluster) -> dict[str, str]:
    """Return everything worth keeping of a failure, by file name."""
    return {name: _said(cluster, command) for name, command in ARTIFACTS.items()}


def _said(cluster: Cluster, command: Sequence[str]) -> str:
    """Return what kubectl says, its complaint where it fails: half a story is better than none."""
    try:
        return cluster.kubectl(*command, timeout_seconds=_SECONDS)
    except (KubectlError, OSError, subprocess.TimeoutExpired) as error:
        return str(error)
