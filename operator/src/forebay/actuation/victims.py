"""Which pods go in a scale-in, where the kind lets us choose: by a deletion cost that is written just before.

A ReplicaSet removes pods that are not Ready first, then those of the lowest deletion cost. So the chosen pods get
the lowest there is, the count is lowered, and survivors that still carry our mark get back what they had. The mark
is on the pods themselves: an operator that restarts in between finds and removes it.

Where the pod template has the label ``SERVING``, pods are parked first: the label takes them out of traffic, they
finish what they hold, and come back within a second if they are missed.

Other kinds leave no choice: ``forebay.runtime.cluster.removal.first_to_go`` says which of their pods go.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from forebay.actuation.kube import ApiError, JsonObject, KubeApi

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
COST_BEFORE = "forebay.io/deletion-cost-before"
"""Annotation on a chosen pod: the deletion cost that it had, or "" for none."""
CHOSEN_BY = "forebay.io/chosen-by"
"""Annotation on a chosen pod: the release that chose it, which alone takes the mark back."""
SERVING = "forebay.io/serving"
"""Label of the pod template by which Services and gateways select pods: "true" in traffic, "false" parked."""
PARKED_AT = "forebay.io/parked-at"
"""Annotation on a parked pod: since when, in RFC 3339."""
LOWEST_COST = "-2147483648"
"""Of pods that go now."""
PARKED_COST = "-2147483647"
"""Of parked pods: they go before all others, and after those that go now."""
_COSTS = range(-(2**31), 2**31)
"""What Kubernetes takes as a deletion cost."""

PodKey = tuple[str, str]
"""Namespace and name of a pod."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What the choice needs to know of a pod."""

    namespace: str
    name: str
    uid: str
    node: str | None
    ready_seconds: float | None
    """Since when it is Ready; None while it is not, or goes."""
    deletion_cost: int
    cost_before: str | None
    """What ``COST_BEFORE`` says; None: it does not carry our mark."""


@dataclass(frozen=True, slots=True)
class RemovalWish:
    """How pods are to be chosen in one round."""

    emptying: Collection[str] = ()
    """Names of nodes that the plan empties (``FleetDecision.emptying``): their pods go first."""
    requests: Mapping[PodKey, float] | None = None
    """Requests that each pod holds now, running and waiting; a pod that does not report counts as the busiest.
    None: not known of any."""


def choose(pods: Iterable[Candidate], number: int, choice: RemovalWish) -> list[Candidate]:
    """Return the Ready pods among the ``number`` that go.

    Pods that are not Ready go before all others, whatever their cost: they count first, and are not chosen.
    Of the others a cost that somebody else set decides first; then pods on nodes that are to be empty, then those
    that hold the fewest requests, then the youngest.
    """
    every = list(pods)
    ready = [pod for pod in every if pod.ready_seconds is not None]
    chosen = max(0, number - (len(every) - len(ready)))

    def order(pod: Candidate) -> tuple[int, bool, float, float, str]:
        held = 0.0
        if choice.requests is not None:
            held = choice.requests.get((pod.namespace, pod.name), float("inf"))
        on_emptied = pod.node in choice.emptying
        return _own_cost(pod), not on_emptied, held, -(pod.ready_seconds or 0.0), pod.name

    return sorted(ready, key=order)[:chosen]


def _own_cost(pod: Candidate) -> int:
    """Return a pod's cost without our mark; one that Kubernetes would refuse counts as none."""
    if pod.cost_before is None:
        return pod.deletion_cost
    try:
        cost = int(pod.cost_before)
    except ValueError:
        return 0
    return cost if cost in _COSTS else 0


class VictimMarks:
    """Writes and removes the marks of chosen pods.

    Args:
        api: a fenced client.
    """

    def __init__(self, api: KubeApi) -> None:
        self._api = api
        self.release = api.manager
        """The release whose marks these are."""

    async def mark(self, pods: Iterable[Candidate]) -> str:
        """Mark chosen pods; return a sentence about what is not allowed or failed, "" if nothing did."""
        new = (pod for pod in pods if pod.cost_before is None or str(pod.deletion_cost) != LOWEST_COST)
        return await self._patch_all((pod, self._marked(pod, LOWEST_COST)) for pod in new)

    async def clear(self, pods: Iterable[Candidate]) -> str:
        """Give survivors back the cost that they had; return as ``mark`` does."""
        return await self._patch_all((pod, _cleared(pod)) for pod in pods)

    async def park(self, pods: Iterable[Candidate], now_seconds: float) -> str:
        """Take pods out of traffic, and mark them, so that they go first whoever lowers the count."""
        since = datetime.fromtimestamp(now_seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return await self._patch_all(
            (
                pod,
                {
                    "labels": {SERVING: "false"},
                    "annotations": {**self._marked(pod, PARKED_COST)["annotations"], PARKED_AT: since},
                },
            )
            for pod in pods
        )

    async def unpark(self, pods: Iterable[Candidate]) -> str:
        """Put parked pods back into traffic."""
        return await self._patch_all(
            (pod, {"labels": {SERVING: "true"}, "annotations": {**_cleared(pod)["annotations"], PARKED_AT: None}})
            for pod in pods
        )

    def _marked(self, pod: Candidate, cost: str) -> JsonObject:
        before = str(_own_cost(pod) or "")
        return {"annotations": {DELETION_COST: cost, COST_BEFORE: before, CHOSEN_BY: self.release}}

    async def _patch_all(self, patches: Iterable[tuple[Candidate, JsonObject]]) -> str:
        told = await asyncio.gather(*(self._patch(pod, metadata) for pod, metadata in patches))
        return next((sentence for sentence in told if sentence), "")

    async def _patch(self, pod: Candidate, metadata: JsonObject) -> str:
        path = f"/api/v1/namespaces/{quote(pod.namespace)}/pods/{quote(pod.name)}"
        # The uid makes sure that it is not another pod of that name.
        body = {"metadata": {"uid": pod.uid, **metadata}}
        try:
            await self._api.merge_patch(path, body)
        except ApiError as error:
            if error.not_found or error.conflict:
                return ""  # it is gone: nothing to choose
            if error.forbidden:
                return (
                    "Kubernetes chose the pods that go: allow Forebay's service account to patch pods "
                    "(rbac.scaling.pods)."
                )
            return f"pod {pod.namespace}/{pod.name} could not be marked, so Kubernetes chose: {error}"
        return ""


def _cleared(pod: Candidate) -> JsonObject:
    cost = _own_cost(pod)
    return {"annotations": {DELETION_COST: str(cost) if cost else None, COST_BEFORE: None, CHOSEN_BY: None}}
