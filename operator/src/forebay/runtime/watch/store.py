"""The world as the informer last saw it: one record per object, indexed the way the rounds ask for them."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from forebay.actuation.conflicts import Autoscaler
from forebay.actuation.targets import TargetRef
from forebay.runtime.watch.kinds import ALL_KINDS, OWN_KINDS, WORKLOAD_KINDS, Kind
from forebay.runtime.watch.records import (
    NodeRecord,
    PodRecord,
    ResourceRecord,
    parse_autoscaler,
    parse_node,
    parse_pod,
    parse_resource,
)
from forebay.runtime.watch.workloads import WorkloadRecord, parse_workload

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
    """Kinds that are not watched, each with a sentence that says why; nothing of them is here."""
    resources: dict[Kind, dict[ObjectKey, ResourceRecord]] = field(
        default_factory=lambda: {kind: {} for kind in OWN_KINDS}
    )
    workloads: dict[TargetRef, WorkloadRecord] = field(default_factory=dict)
    nodes: dict[str, NodeRecord] = field(default_factory=dict)
    autoscalers: dict[ObjectKey, Autoscaler] = field(default_factory=dict)
    listed_autoscalers: tuple[Autoscaler, ...] = ()
    """Those of other projects, listed now and then because their CRDs may be absent."""
    _pods: dict[str, dict[str, PodRecord]] = field(default_factory=lambda: defaultdict(dict))
    _keys: dict[Kind, dict[ObjectKey, Seen]] = field(default_factory=lambda: {kind: {} for kind in ALL_KINDS})
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
            self._keep_newer(kind, key, seen, body)
        elif kind in WORKLOAD_KINDS:
            workload = parse_workload(WORKLOAD_KINDS[kind], body)
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

    def drop_all(self, kind: Kind) -> None:
        """Forget every object of a kind that is not watched any more."""
        for key in list(self._keys[kind]):
            self.drop(kind, key)

    @property
    def kinds(self) -> frozenset[Kind]:
        """The kinds that are watched."""
        return frozenset(ALL_KINDS) - self.without.keys()

    def keys(self, kind: Kind) -> frozenset[ObjectKey]:
        """Return every object of a kind that was seen and not deleted."""
        return frozenset(self._keys[kind])

    def seen(self, kind: Kind, namespace: str | None) -> dict[ObjectKey, Seen]:
        """Return the versions of a kind's objects in a namespace, or (``None``) in all."""
        every = self._keys[kind]
        if namespace is None:
            return dict(every)
        return {key: seen for key, seen in every.items() if key[0] == namespace}

    def newest(self, kind: Kind, namespace: str | None) -> str:
        """Return the newest resource version that a watch of a place told of; "0" before the first."""
        seen = self.seen(kind, namespace).values()
        return str(max((int(item.version) for item in seen if item.version.isdecimal()), default=0))

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
        return (*self.autoscalers.values(), *self.listed_autoscalers)

    def replace_status(self, kind: Kind, body: Mapping[str, Any]) -> None:
        """Take in the answer to a status write at once, so that the next round does not repeat it.

        An object that was deleted, or replaced, in the meantime is left alone.
        """
        metadata = body["metadata"]
        key = key_of(metadata)
        seen = self._keys[kind].get(key)
        if seen is not None and seen.uid == metadata.get("uid"):
            self._keep_newer(kind, key, Seen.of(metadata), body)

    def _keep_newer(self, kind: Kind, key: ObjectKey, seen: Seen, body: Mapping[str, Any]) -> None:
        """Keep one of our objects, unless a newer version is here: answers and watches overtake each other."""
        known = self.resources[kind].get(key)
        if known is None or known.uid != seen.uid or not _is_older(seen.version, known.resource_version):
            self.resources[kind][key] = parse_resource(body)

    def _apply_pod(self, key: ObjectKey, pod: PodRecord | None) -> None:
        if pod is None:
            self._pods.get(key[0], {}).pop(key[1], None)
        else:
            self._pods[key[0]][key[1]] = pod


def _is_older(version: str, than: str) -> bool:
    """Whether a resource version is older than another of the same object; unknown ones are not."""
    return version.isdecimal() and than.isdecimal() and int(version) < int(than)


def _target(kind: Kind, key: ObjectKey) -> TargetRef:
    row = WORKLOAD_KINDS[kind]
    return TargetRef(key[0], row.api_version, row.kind, key[1])
