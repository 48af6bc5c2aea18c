"""Whether the Gateway API Inference Extension's pools that ours name with `spec.inferencePoolRef` exist.

Each is read by name and the answer is kept: a watch would need that project's CRD, which many clusters do not
have, and would never end its retries without it.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from forebay.actuation.kube import ApiError, KubeApi
from forebay.api.v1alpha1.inferencepool import GATEWAY_POOL_API
from forebay.flow.fleet import PoolKey
from forebay.runtime.cluster.roster import PoolEntry, Roster

_MOST_REPEATS_PER_ROUND = 50
"""Answers that are only old can wait for the next round, so that a fleet that began at once is spread out."""
_STAYS = "scaling goes on without it"


@dataclass(frozen=True, slots=True)
class _GatewayAnswer:
    generation: int
    """Of our pool when it was asked for."""
    asked_seconds: float
    problem: str | None


@dataclass(slots=True, kw_only=True)
class GatewayPools:
    """Looks references up: when our pool is new or has changed, and again once per ``resync_seconds``.

    Args:
        api: the client.
        resync_seconds: how old an answer may be.
        clock: monotonic seconds.
    """

    api: KubeApi
    resync_seconds: float
    clock: Callable[[], float]
    _answers: dict[PoolKey, _GatewayAnswer] = field(default_factory=dict)

    async def check(self, roster: Roster) -> Roster:
        """Return the roster with a sentence added to the problems of each pool whose reference leads nowhere."""
        referring = {key: entry for key, entry in roster.pools.items() if entry.gateway_pool is not None}
        self._answers = {key: answer for key, answer in self._answers.items() if key in referring}
        if not referring:
            return roster
        await asyncio.gather(*(self._ask(entry) for entry in self._due(referring)))
        found = {
            key: replace(entry, problems=(*entry.problems, problem))
            for key, entry in referring.items()
            if (problem := self._answers[key].problem) is not None
        }
        return replace(roster, pools={**roster.pools, **found})

    def _due(self, referring: dict[PoolKey, PoolEntry]) -> list[PoolEntry]:
        changed: list[PoolEntry] = []
        old: list[tuple[float, PoolEntry]] = []
        now = self.clock()
        for key, entry in referring.items():
            answer = self._answers.get(key)
            if answer is None or answer.generation != entry.record.generation:
                changed.append(entry)
            elif now - answer.asked_seconds >= self.resync_seconds:
                old.append((answer.asked_seconds, entry))
        old.sort(key=lambda item: item[0])
        return [*changed, *(entry for _, entry in old[:_MOST_REPEATS_PER_ROUND])]

    async def _ask(self, entry: PoolEntry) -> None:
        key, generation = entry.pool.key, entry.record.generation
        path = f"/apis/{GATEWAY_POOL_API}/namespaces/{key.namespace}/inferencepools/{entry.gateway_pool}"
        try:
            await self.api.get(path)
        except ApiError as error:
            known = self._answers.get(key)
            if known is not None and known.generation == generation and not (error.not_found or error.forbidden):
                # Nothing new was learned: the last answer stays until the API server gives another.
                self._answers[key] = replace(known, asked_seconds=self.clock())
                return
            problem: str | None = f"spec.inferencePoolRef: {_reason(entry, error)}; {_STAYS}."
        else:
            problem = None
        self._answers[key] = _GatewayAnswer(generation, self.clock(), problem)


def _reason(entry: PoolEntry, error: ApiError) -> str:
    """Return what to change. A kind that is not served answers 404 too, but without a `reason`."""
    kind = f"inferencepools.{GATEWAY_POOL_API.partition('/')[0]}"
    name, namespace = entry.gateway_pool, entry.pool.key.namespace
    if error.not_found and error.reason:
        return f"there is no {kind} {name} in namespace {namespace}; create it or correct the name"
    if error.not_found:
        return (
            f"this cluster does not serve {kind} in version {GATEWAY_POOL_API.partition('/')[2]}; install the CRDs"
            " of the Gateway API Inference Extension or remove the reference"
        )
    if error.forbidden:
        return f"{kind} {name} may not be read; allow Forebay's service account get on {kind}"
    return f"{kind} {name} could not be looked up ({error})"
