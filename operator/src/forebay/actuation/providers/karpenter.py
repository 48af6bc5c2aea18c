"""Karpenter's own word: NodePools with their limits, NodeClaims on their way, and events about what cannot be had.

All of it is listed once per round, and only while Karpenter's kinds are served. Measured on Karpenter 1.14:

* A launch that is sold out leaves no NodeClaim behind, only an event about it. A NodeClaim's name begins with the
  name of its NodePool.
* While a type stays sold out, Karpenter says so in an event about the NodePool, and tries nothing.
* Any other launch error stands in the condition Launched of a NodeClaim that stays.
* At a limit there is neither: usage and limit have to be compared.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from forebay.actuation.conflicts import parse_time
from forebay.actuation.kube import ApiError, KubeApi
from forebay.actuation.providers.sight import Cause, MachineClaim, ProviderSight, Word

GROUP = "/apis/karpenter.sh/v1"
NODE_POOL_LABEL = "karpenter.sh/nodepool"
_EVENTS = "/api/v1/namespaces/default/events"
"""Events about objects of the cluster lie in this namespace."""
_RIGHT = "rbac.nodeProviders.karpenter"
_ASK_AGAIN_SECONDS = 300.0
_LONGEST_TEXT = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class KarpenterPool:
    """One Karpenter NodePool."""

    name: str
    labels: Mapping[str, str]
    """Of its nodes, as its template says."""
    values: Mapping[str, frozenset[str]]
    """Requirements of its nodes: the values that a label may have."""
    limits: Mapping[str, int]
    used: Mapping[str, int]
    replicas: int | None
    """Of a static NodePool."""

    def may_make(self, selector: Mapping[str, str]) -> bool:
        """Whether its nodes will have all these labels."""
        own = {**self.labels, NODE_POOL_LABEL: self.name}
        return all(own.get(key) == value or value in self.values.get(key, ()) for key, value in selector.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Karpenter:
    """What Karpenter shows in one round."""

    pools: Mapping[str, KarpenterPool] = field(default_factory=dict)
    claims: Mapping[str, tuple[MachineClaim, ...]] = field(default_factory=dict)
    """By NodePool."""
    words: Mapping[str, tuple[Word, ...]] = field(default_factory=dict)
    """By NodePool."""

    def sight(
        self, selector: Mapping[str, str], named: Iterable[str], *, resource: str, gpus_per_node: int
    ) -> ProviderSight:
        """Return what Karpenter shows of one node pool.

        Args:
            selector: of its nodes.
            named: Karpenter NodePools that belong to it whatever their labels say.
            resource: name of its GPUs.
            gpus_per_node: of each node.
        """
        kept = set(named)
        pools = [pool for pool in self.pools.values() if pool.name in kept or pool.may_make(selector)]
        rooms = [_room(pool, resource, gpus_per_node) for pool in pools]
        limited = [room for room in rooms if room is not None]
        full = [text for count, text in limited if count == 0]
        all_limited = bool(pools) and len(limited) == len(pools)
        return ProviderSight(
            claims=tuple(claim for pool in pools for claim in self.claims.get(pool.name, ())),
            words=tuple(word for pool in pools for word in self.words.get(pool.name, ())),
            launchable=sum(count for count, _ in limited) if all_limited else None,
            limit=" ".join(full) if all_limited else "",
        )


def _room(pool: KarpenterPool, resource: str, gpus_per_node: int) -> tuple[int, str] | None:
    """Return how many nodes a NodePool may add, and its limit in words; None without a limit on them."""
    rooms = []
    for name, per_node in ((resource, gpus_per_node), ("nodes", 1)):
        if name in pool.limits:
            used, most = pool.used.get(name, 0), pool.limits[name]
            told = f"Karpenter NodePool {pool.name} has used {used} of its limit of {most} {name}."
            rooms.append((max(0, most - used) // per_node, told))
    return min(rooms, default=None)


class KarpenterReader:
    """Reads what Karpenter shows.

    A cluster without Karpenter, or one whose kinds may not be read, is asked again once in five minutes.

    Args:
        api: a client.
    """

    def __init__(self, api: KubeApi) -> None:
        self._api = api
        self._not_before_seconds = 0.0
        self._is_served = False
        self.problem = ""
        """Why it cannot be read, and what to do."""

    async def read(self, now_seconds: float) -> Karpenter | None:
        """Return what Karpenter shows; None where there is none, or where it cannot be read.

        Raises:
            ApiError: the API server failed.
        """
        if now_seconds < self._not_before_seconds:
            return None
        self.problem = ""
        try:
            if not self._is_served:
                # Without rights a list of a kind that is not served is refused, not missed.
                await self._api.get(GROUP)
                self._is_served = True
            pools, claims, about_claims, about_pools = await asyncio.gather(
                self._api.get(f"{GROUP}/nodepools"),
                self._api.get(f"{GROUP}/nodeclaims"),
                self._events("NodeClaim", "InsufficientCapacityError"),
                self._events("NodePool", "NoCompatibleInstanceTypes"),
            )
        except ApiError as error:
            if not error.not_found and not error.forbidden:
                raise
            self._not_before_seconds, self._is_served = now_seconds + _ASK_AGAIN_SECONDS, False
            if error.forbidden:
                self.problem = f"Karpenter is here and may not be read: allow it by {_RIGHT}."
            return None
        return parse(pools, claims, about_claims, about_pools, now_seconds=now_seconds)

    async def _events(self, kind: str, reason: str) -> Mapping[str, Any]:
        chosen = f"involvedObject.kind={kind},reason={reason},type=Warning"
        return await self._api.get(_EVENTS, params={"fieldSelector": chosen})


def parse(
    pools: Mapping[str, Any],
    claims: Mapping[str, Any],
    about_claims: Mapping[str, Any],
    about_pools: Mapping[str, Any],
    *,
    now_seconds: float,
) -> Karpenter:
    """Return what four lists of the API server say; a launch that fails is tried all the time, so it fails now."""
    found = {pool.name: pool for pool in map(_pool, pools.get("items") or ())}
    by_pool: dict[str, list[MachineClaim]] = {}
    words: dict[str, list[Word]] = {}
    for body in claims.get("items") or ():
        pool = str((body["metadata"].get("labels") or {}).get(NODE_POOL_LABEL) or "")
        claim = _claim(body)
        by_pool.setdefault(pool, []).append(claim)
        if claim.trouble and not claim.leaving:
            words.setdefault(pool, []).append(
                Word(cause=Cause.LAUNCH_FAILED, message=claim.trouble, at_seconds=now_seconds)
            )
    for body in about_claims.get("items") or ():
        name = str(body["involvedObject"].get("name") or "").rpartition("-")[0]
        words.setdefault(name, []).append(_sold_out(body))
    for body in about_pools.get("items") or ():
        words.setdefault(str(body["involvedObject"].get("name") or ""), []).append(_sold_out(body))
    return Karpenter(
        pools=found,
        claims={name: tuple(items) for name, items in by_pool.items()},
        words={name: tuple(items) for name, items in words.items()},
    )


def _pool(body: Mapping[str, Any]) -> KarpenterPool:
    spec, status = body.get("spec") or {}, body.get("status") or {}
    template = spec.get("template") or {}
    requirements = (template.get("spec") or {}).get("requirements") or ()
    used = _whole(status.get("resources") or {})
    return KarpenterPool(
        name=str(body["metadata"]["name"]),
        labels=dict((template.get("metadata") or {}).get("labels") or {}),
        values={
            str(item.get("key")): frozenset(map(str, item.get("values") or ()))
            for item in requirements
            if item.get("operator") == "In"
        },
        limits=_whole(spec.get("limits") or {}),
        used={**used, "nodes": max(used.get("nodes", 0), int(status.get("nodes") or 0))},
        replicas=None if spec.get("replicas") is None else int(spec["replicas"]),
    )


def _claim(body: Mapping[str, Any]) -> MachineClaim:
    metadata, status = body["metadata"], body.get("status") or {}
    launched = _condition(body, "Launched")
    failed = launched.get("reason") == "LaunchFailed"
    return MachineClaim(
        name=str(metadata["name"]),
        created_seconds=parse_time(metadata.get("creationTimestamp")) or 0.0,
        launched_seconds=(
            parse_time(launched.get("lastTransitionTime")) if launched.get("status") == "True" else None
        ),
        node=status.get("nodeName") or None,
        leaving=metadata.get("deletionTimestamp") is not None,
        trouble=str(launched.get("message") or "")[:_LONGEST_TEXT] if failed else "",
    )


def _condition(body: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    conditions = (body.get("status") or {}).get("conditions") or ()
    return next((item for item in conditions if item.get("type") == kind), {})


def _sold_out(event: Mapping[str, Any]) -> Word:
    at = (
        event.get("lastTimestamp") or (event.get("series") or {}).get("lastObservedTime") or event.get("eventTime")
    )
    return Word(
        cause=Cause.SOLD_OUT,
        message=str(event.get("message") or event.get("reason") or "")[:_LONGEST_TEXT],
        at_seconds=parse_time(at) or 0.0,
    )


def _whole(quantities: Mapping[str, Any]) -> dict[str, int]:
    """Return the quantities that are whole numbers: counts of GPUs and nodes are."""
    return {name: int(str(value)) for name, value in quantities.items() if str(value).isdecimal()}
