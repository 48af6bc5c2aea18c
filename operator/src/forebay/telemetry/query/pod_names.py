"""Find a pod's workload by its name, in PromQL and in Python by the same rule.

Kubernetes names the pods of a Deployment ``NAME-HASH-RANDOM``, those of a StatefulSet ``NAME-ORDINAL``, and those
of a LeaderWorkerSet ``NAME-GROUP`` and ``NAME-GROUP-WORKER``; hashes and random parts use the alphabet of
``k8s.io/apimachinery/pkg/util/rand`` without vowels. One regular expression reduces them all, so that a query
over every pool returns one series per workload.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

from forebay.flow.fleet import PoolKey
from forebay.telemetry.query.promql import Matcher, escape_regex
from forebay.telemetry.source import PoolTarget, WorkloadTarget

_SAFE = "bcdfghjklmnpqrstvwxz2456789"
POD_NAME_PATTERN = f"(.+?)(?:-[{_SAFE}]{{6,10}}-[{_SAFE}]{{5}}|-[0-9]+(?:-[0-9]+)?|-[{_SAFE}]{{5}})"
"""Group 1 is the workload. The shortest workload for which the rest is a suffix wins."""

_POD_NAME = re.compile(POD_NAME_PATTERN + r"\Z")
_LONGEST_REDUCIBLE_NAME = 46
"""A longer Deployment name is cut by Kubernetes inside the hash, so that its pods do not match the pattern."""

_EXAMPLES = {
    "StatefulSet": ("-0",),
    "LeaderWorkerSet": ("-0", "-0-1"),
    "ReplicaSet": ("-x2k4z",),
}
_DEFAULT_EXAMPLES = ("-7d9f8b6c5d-x2k4z",)


def workload_of_pod(pod: str) -> str | None:
    """Return the workload that the name of ``pod`` tells of, or ``None``."""
    match = _POD_NAME.match(pod)
    return match.group(1) if match else None


def reduced_name(workload: WorkloadTarget) -> str | None:
    """Return what the pods of ``workload`` reduce to, or ``None`` where that cannot be told from their names."""
    return _reduced_name(workload.kind, workload.name)


@lru_cache(maxsize=65_536)
def _reduced_name(kind: str, name: str) -> str | None:
    if kind not in _EXAMPLES and len(name) > _LONGEST_REDUCIBLE_NAME:
        return None
    reduced = {workload_of_pod(name + suffix) for suffix in _EXAMPLES.get(kind, _DEFAULT_EXAMPLES)}
    return reduced.pop() if len(reduced) == 1 else None


def pods_matcher(workload: WorkloadTarget, pod_label: str) -> Matcher:
    """Return a matcher for the pods of one workload, for queries about it alone."""
    name = escape_regex(workload.name)
    if workload.kind == "StatefulSet":
        return Matcher(pod_label, "=~", f"{name}-[0-9]+")
    if workload.kind == "LeaderWorkerSet":
        return Matcher(pod_label, "=~", f"{name}-[0-9]+(-[0-9]+)?")
    if workload.kind == "Deployment" and len(workload.name) <= _LONGEST_REDUCIBLE_NAME:
        return Matcher(pod_label, "=~", f"{name}-[{_SAFE}]+-[{_SAFE}]{{5}}")
    return Matcher(pod_label, "=~", f"{name}-.+")


def asked_separately(targets: Iterable[PoolTarget]) -> frozenset[tuple[PoolKey, str]]:
    """Return the variants whose pods a common query cannot find, so that they are asked for separately.

    Two workloads of one namespace whose pods reduce to the same name (a StatefulSet ``web-1`` beside a Deployment
    ``web``) cannot be told apart in a common query.
    """
    owners: dict[tuple[str, str], set[str]] = {}
    wanted: list[tuple[tuple[PoolKey, str], tuple[str, str] | None]] = []
    for target in targets:
        for workload in target.workloads:
            name = reduced_name(workload)
            place = None if name is None else (target.key.namespace, name)
            wanted.append(((target.key, workload.variant), place))
            if place is not None:
                owners.setdefault(place, set()).add(workload.name)
    return frozenset(variant for variant, place in wanted if place is None or len(owners[place]) > 1)
