"""Find a pod's workload by its name, in PromQL and in Python by the same rule.

``forebay.flow.kinds`` says how each kind names its pods. One regular expression reduces them all, so that a query
over every pool returns one series per workload.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

from forebay.flow.fleet import PoolKey, VariantKey
from forebay.flow.kinds import BY_KIND, PodNames
from forebay.telemetry.query.promql import Matcher, escape_regex
from forebay.telemetry.source import PoolTarget, WorkloadTarget

_READ = (PodNames.REPLICA_SET, PodNames.GROUP, PodNames.RANDOM)
"""What a pod's name is read by, the most telling first: a StatefulSet's pods are named like leaders of groups."""
POD_NAME_PATTERN = f"(.+?)(?:{'|'.join(names.value for names in _READ)})"
"""Group 1 is the workload. The shortest workload for which the rest is a suffix wins."""

_POD_NAME = re.compile(POD_NAME_PATTERN + r"\Z")
_LONGEST_REDUCIBLE_NAME = 46
"""A longer Deployment name is cut by Kubernetes inside the hash, so that its pods do not match the pattern."""

_EXAMPLES = {
    PodNames.REPLICA_SET: ("-7d9f8b6c5d-x2k4z",),
    PodNames.ORDINAL: ("-0",),
    PodNames.GROUP: ("-0", "-0-1"),
    PodNames.RANDOM: ("-x2k4z",),
    # Nothing better is known than that most engines run in Deployments.
    PodNames.OTHER: ("-7d9f8b6c5d-x2k4z",),
}
_CUT_BY_KUBERNETES = frozenset({PodNames.REPLICA_SET, PodNames.OTHER})


def workload_of_pod(pod: str) -> str | None:
    """Return the workload that the name of ``pod`` tells of, or ``None``."""
    match = _POD_NAME.match(pod)
    return match.group(1) if match else None


def reduced_name(workload: WorkloadTarget) -> str | None:
    """Return what the pods of ``workload`` reduce to, or ``None`` where that cannot be told from their names."""
    return _reduced_name(workload.kind, workload.name)


@lru_cache(maxsize=65_536)
def _reduced_name(kind: str, name: str) -> str | None:
    names = _pod_names(kind)
    if names in _CUT_BY_KUBERNETES and len(name) > _LONGEST_REDUCIBLE_NAME:
        return None
    reduced = {workload_of_pod(name + suffix) for suffix in _EXAMPLES[names]}
    return reduced.pop() if len(reduced) == 1 else None


def _pod_names(kind: str) -> PodNames:
    """Return how pods of a kind are named; a ReplicaSet is no row, since nobody scales one on purpose."""
    if kind == "ReplicaSet":
        return PodNames.RANDOM
    row = BY_KIND.get(kind)
    return row.pod_names if row is not None else PodNames.OTHER


def pods_matcher(workload: WorkloadTarget, pod_label: str) -> Matcher:
    """Return a matcher for the pods of one workload, for queries about it alone."""
    names = _pod_names(workload.kind)
    if names is PodNames.RANDOM or (names in _CUT_BY_KUBERNETES and len(workload.name) > _LONGEST_REDUCIBLE_NAME):
        names = PodNames.OTHER
    return Matcher(pod_label, "=~", f"{escape_regex(workload.name)}{names.value}")


REPLICA_PATTERN = "(.+?-[0-9]+)(?:-[0-9]+)?"
"""Group 1 is the replica that a pod belongs to, where several pods serve as one."""


def replica_is_a_group(workload: WorkloadTarget) -> bool:
    """Return whether one replica of ``workload`` is a group of pods."""
    return _pod_names(workload.kind) is PodNames.GROUP


def replica_pattern(workload: WorkloadTarget) -> str:
    """Return a pattern whose group 1 is the replica of a pod, for queries about one workload alone."""
    return f"({escape_regex(workload.name)}-[0-9]+)(?:-[0-9]+)?"


def asked_separately(targets: Iterable[PoolTarget]) -> frozenset[tuple[PoolKey, VariantKey]]:
    """Return the variants whose pods a common query cannot find, so that they are asked for separately.

    Two workloads of one namespace whose pods reduce to the same name (a StatefulSet ``web-1`` beside a Deployment
    ``web``) cannot be told apart in a common query.
    """
    owners: dict[tuple[str, str], set[str]] = {}
    wanted: list[tuple[tuple[PoolKey, VariantKey], tuple[str, str] | None]] = []
    for target in targets:
        for workload in target.workloads:
            name = reduced_name(workload)
            place = None if name is None else (target.key.namespace, name)
            wanted.append(((target.key, workload.variant), place))
            if place is not None:
                owners.setdefault(place, set()).add(workload.name)
    return frozenset(variant for variant, place in wanted if place is None or len(owners[place]) > 1)
