"""The world as the informer last saw it: one record per object, indexed the way the rounds ask for them."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, Self

from forebay.actuation.conflicts import Autoscaler
from forebay.actuation.targets import TargetRef
from forebay.runtime.watch.records import (
    NodeRecord,
    PodRecord,
    ResourceRecord,
    WorkloadRecord,
    parse_autoscaler,
    parse_node,
    parse_pod,
    parse_resource,
    parse_workload,
)


class Kind(StrEnum):
    """Kinds that are watched, by their plural name."""

    POOLS = "inferencepools"
    NODE_POOLS = "gpunodepools"
    PROFILES = "servingprofiles"
    POLICIES = "scalingpolicies"
    NODES = "nodes"
    PODS = "pods"
    DEPLOYMENTS = "deployments"
    STATEFUL_SETS = "statefulsets"
    AUTOSCALERS = "horizontalpodautoscalers"


OWN_KINDS = frozenset({Kind.POOLS, Kind.NODE_POOLS, Kind.PROFILES, Kind.POLICIES})
WORKLOAD_KINDS = frozenset({Kind.DEPLOYMENTS, Kind.STATEFUL_SETS})

ObjectKey = tuple[str, str]
"""Namespace ("" for cluster-scoped objects) and name."""


class Seen(NamedTuple):
    """Which object was seen, and which version of it."""

    uid: str
    version: str

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> Self:
        """Return what an object's metadata says."""
        return cls(str(metadata["uid"]), str(metadata.get("resourceVersion") or ""))


def key_of(metadata: Mapping[str, Any]) -> ObjectKey:
    """Return an object's key."""
    return str(metadata.get("namespace") or ""), str(metadata["name"])


@dataclass(slots=True)
class Store:
    """Records by kind and key. Used from the event loop only."""

    without: Mapping[Kind, str] = field(default_factory=dict)
    """Kinds that may not be read, each with a sentence that says what is missed; nothing of them is ever here."""
    resources: dict[Kind, dict[ObjectKey, ResourceRecord]] = field(
        default_factory=lambda: {kind: {} for kind in OWN_KINDS}
    )
    workloads: dict[TargetRef, WorkloadRecord] = field(default_factory=dict)
    nodes: dict[str, NodeRecord] = field(default_factory=dict)
    autoscalers: dict[ObjectKey, Autoscaler] = field(default_factory=dict)
    keda: tuple[Autoscaler, ...] = ()
    """ScaledObjects, listed now and then because their CRD may be absent."""
    _pods: dict[str, dict[str, PodRecord]] = field(default_factory=lambda: defaultdict(dict))
    _keys: dict[Kind, dict[ObjectKey, Seen]] = field(default_factory=lambda: {kind: {} for kind in Kind})
    """Every object as a watch told of it last: also those that have no record (finished pods)."""
    _told: Counter[tuple[Kind, str]] = field(default_factory=Counter)
    """Watch events by kind and namespace."""

    def apply(self, kind: Kind, body: Mapping[str, Any], *, deleted: bool = False) -> None:
        """Take in one watch event; an object that is deleted, or finished, leaves."""
        metadata = body["metadata"]
        key, seen = key_of(metadata), Seen.of(metadata)
        self._told[kind, key[0]] += 1
        if deleted:
            # A late deletion of a predecessor must not remove the successor of the same name.
            if self._keys[kind].get(key, seen).uid == seen.uid:
                self.drop(kind, key)
            return
        self._keys[kind][key] = seen
        if kind in OWN_KINDS:
            self.resources[kind][key] = parse_resource(body)
        elif kind in WORKLOAD_KINDS:
            workload = parse_workload(_with_kind(kind, body))
            self.workloads[workload.target] = workload
        elif kind is Kind.PODS:
            self._apply_pod(key, parse_pod(body))
        elif kind is Kind.NODES:
            self.nodes[key[1]] = parse_node(body)
        else:
            autoscaler = parse_autoscaler(body)
            if autoscaler is None:
                self.autoscalers.pop(key, None)
            else:
                self.autoscalers[key] = autoscaler

    def drop(self, kind: Kind, key: ObjectKey) -> None:
        """Forget one object; unknown ones are ignored."""
        self._keys[kind].pop(key, None)
        if kind in OWN_KINDS:
            self.resources[kind].pop(key, None)
        elif kind in WORKLOAD_KINDS:
            self.workloads.pop(_target(kind, key), None)
        elif kind is Kind.PODS:
            self._pods.get(key[0], {}).pop(key[1], None)
        elif kind is Kind.NODES:
            self.nodes.pop(key[1], None)
        else:
            self.autoscalers.pop(key, None)

    @property
    def kinds(self) -> frozenset[Kind]:
        """The kinds that are watched."""
        return frozenset(Kind) - self.without.keys()

    def keys(self, kind: Kind) -> frozenset[ObjectKey]:
        """Return every object of a kind that was seen and not deleted."""
        return frozenset(self._keys[kind])

    def seen(self, kind: Kind, namespace: str | None) -> dict[ObjectKey, Seen]:
        """Return the versions of a kind's objects in a namespace, or (``None``) in all."""
        every = self._keys[kind]
        if namespace is None:
            return dict(every)
        return {key: seen for key, seen in every.items() if key[0] == namespace}

    def told(self, kind: Kind, namespace: str | None) -> int:
        """Return how many events of a kind watches told so far in a namespace, or (``None``) in all."""
        if namespace is not None:
            return self._told[kind, namespace]
        return sum(count for (each, _), count in self._told.items() if each is kind)

    def counts(self) -> dict[Kind, int]:
        """Return the number of objects per kind."""
        return {kind: len(keys) for kind, keys in self._keys.items()}

    def pods_in(self, namespace: str) -> Iterable[PodRecord]:
        """Return the unfinished pods of a namespace."""
        return self._pods.get(namespace, {}).values()

    def all_pods(self) -> Iterable[PodRecord]:
        """Return all unfinished pods."""
        for pods in self._pods.values():
            yield from pods.values()

    def all_autoscalers(self) -> tuple[Autoscaler, ...]:
        """Return HPAs and ScaledObjects."""
        return (*self.autoscalers.values(), *self.keda)

    def replace_status(self, kind: Kind, body: Mapping[str, Any]) -> None:
        """Take in the answer to a status write at once, so that the next round does not repeat it.

        An object that was deleted, or replaced, in the meantime is left alone.
        """
        metadata = body["metadata"]
        key = key_of(metadata)
        seen = self._keys[kind].get(key)
        if seen is not None and seen.uid == metadata.get("uid"):
            self.resources[kind][key] = parse_resource(body)

    def _apply_pod(self, key: ObjectKey, pod: PodRecord | None) -> None:
        if pod is None:
            self._pods.get(key[0], {}).pop(key[1], None)
        else:
            self._pods[key[0]][key[1]] = pod


_WORKLOAD_TYPES = {
    Kind.DEPLOYMENTS: ("apps/v1", "Deployment"),
    Kind.STATEFUL_SETS: ("apps/v1", "StatefulSet"),
}


def _target(kind: Kind, key: ObjectKey) -> TargetRef:
    api_version, kind_name = _WORKLOAD_TYPES[kind]
    return TargetRef(key[0], api_version, kind_name, key[1])


def _with_kind(kind: Kind, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Items of a LIST carry no apiVersion and kind."""
    api_version, kind_name = _WORKLOAD_TYPES[kind]
    return {**body, "apiVersion": api_version, "kind": kind_name}
