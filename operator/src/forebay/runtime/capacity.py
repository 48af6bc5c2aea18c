"""Node pools in a round: what their provisioners show before the plan, and what is asked of them after it."""

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from forebay.actuation.kube import ApiError, KubeApi
from forebay.actuation.providers.port import Binding, CapacityWish
from forebay.actuation.providers.provisioners import Provisioners
from forebay.actuation.providers.registry import providers
from forebay.actuation.providers.sight import ProviderSight
from forebay.api.v1alpha1.inferencepool import Mode
from forebay.flow.decision import PoolDecision, VariantDecision
from forebay.flow.fleet import PoolKey, Variant, VariantKey
from forebay.flow.observation import VariantObservation
from forebay.runtime.cluster.look import Look, NodePoolLook, PoolLook
from forebay.runtime.cluster.roster import Roster
from forebay.runtime.leader import LeaseLostError

logger = logging.getLogger(__name__)


class Capacity:
    """Asks the providers of all node pools; one that fails holds up neither the others nor the round.

    Args:
        api: a fenced client.
        hears: whether provisioners are listened to; one of single namespaces has no right to.
        orders: whether nodes are ordered, too: of several operators that share node pools none may, since each
            would set the number that it alone needs.
    """

    def __init__(self, api: KubeApi, *, hears: bool = True, orders: bool = True) -> None:
        self._provisioners = Provisioners(api)
        self._providers = providers(api, self._provisioners)
        self._hears = hears
        self._orders = orders
        self._last: dict[str, ProviderSight] = {}

    async def sights(self, roster: Roster, now_seconds: float) -> Mapping[str, ProviderSight]:
        """Return what the provisioner of each node pool shows; where that cannot be read, what it showed last.

        Raises:
            LeaseLostError: this process may not write any more.
        """
        if not self._hears:
            return {}
        bindings = {name: entry.binding for name, entry in roster.node_pools.items()}
        await self._provisioners.read(bindings.values(), now_seconds)
        seen = await asyncio.gather(*(self._sight(binding, now_seconds) for binding in bindings.values()))
        self._last = dict(zip(bindings, seen, strict=True))
        return self._last

    async def _sight(self, binding: Binding, now_seconds: float) -> ProviderSight:
        try:
            return await self._providers[binding.provider.type].sight(binding, now_seconds)
        except LeaseLostError:
            raise
        except ApiError as error:
            logger.warning("node pool %s: its provisioner could not be read: %s", binding.name, error)
            problem = _sentence(error)
        except Exception as error:  # a provider that fails must not keep the round from deciding
            logger.exception("node pool %s: its provisioner could not be read", binding.name)
            problem = _sentence(error)
        return replace(self._last.get(binding.name, ProviderSight()), problem=problem)

    async def ensure(self, look: Look, decisions: Mapping[PoolKey, PoolDecision]) -> tuple[Look, bool]:
        """Ask for what the plan wants; return the look with what stands in the way, and whether all were asked.

        Raises:
            LeaseLostError: this process may not write any more.
        """
        if not self._orders:
            return look, True
        wishes = capacity_wishes(look, decisions)
        asked = (self._ensure(pool, wishes[pool.entry.node_pool.name]) for pool in look.node_pools)
        done = await asyncio.gather(*asked)
        return replace(look, node_pools=tuple(pool for pool, _ in done)), all(answered for _, answered in done)

    async def _ensure(self, pool: NodePoolLook, wish: CapacityWish) -> tuple[NodePoolLook, bool]:
        binding, problem = pool.entry.binding, pool.situation.sight.problem
        answered = False
        try:
            told = await self._providers[binding.provider.type].ensure(binding, wish, pool.situation)
            answered = True
        except LeaseLostError:
            raise
        except ApiError as error:
            logger.warning("node pool %s: its provider could not be asked: %s", binding.name, error)
            told = _sentence(error)
        except Exception as error:  # a provider that fails must not keep the round from reporting
            logger.exception("node pool %s: its provider could not be asked", binding.name)
            told = _sentence(error)
        sight = replace(pool.situation.sight, problem=told or problem)
        return replace(pool, situation=replace(pool.situation, sight=sight)), answered


def capacity_wishes(look: Look, decisions: Mapping[PoolKey, PoolDecision]) -> dict[str, CapacityWish]:
    """Return what the replicas of each node pool ask of it, by its name.

    Only pools in mode Auto that were decided on count as decided; the others count with what they have. A replica
    of more GPUs than a node has takes whole nodes. GPUs that pods of others hold are filled as well.
    """
    entries = {pool.entry.node_pool.name: pool for pool in look.node_pools}
    whole: Counter[str] = Counter()
    gpus: Counter[str] = Counter()
    ours: Counter[str] = Counter()
    chunks = dict.fromkeys(entries, 1)
    for pool in look.pools:
        counts = _counts(pool, decisions.get(pool.entry.pool.key))
        for variant in pool.entry.pool.variants:
            name = variant.node_pool
            if name is None or name not in entries:
                continue
            size = entries[name].entry.node_pool.gpus_per_node
            count = counts.get(variant.key, 0)
            ours[name] += _placed(pool, variant) * variant.gpus_per_replica
            if variant.gpus_per_replica >= size:
                whole[name] += count * math.ceil(variant.gpus_per_replica / size)
                chunks[name] = size
            else:
                gpus[name] += count * variant.gpus_per_replica
                chunks[name] = max(chunks[name], variant.gpus_per_replica)
    wishes: dict[str, CapacityWish] = {}
    for name, seen in entries.items():
        node_pool = seen.entry.node_pool
        held = sum(node.gpus_held for node in seen.situation.nodes)
        shared = gpus[name] + max(0, held - ours[name])
        wishes[name] = CapacityWish(
            node_pool=name,
            nodes=whole[name] + math.ceil(shared / node_pool.gpus_per_node),
            warm_nodes=node_pool.warm_nodes,
            chunk_gpus=chunks[name],
        )
    return wishes


def _counts(pool: PoolLook, decision: PoolDecision | None) -> dict[VariantKey, int]:
    if pool.entry.mode is Mode.AUTO and decision is not None:
        wanted = {item.key: item for item in decision.variants}
        return {seen.key: _after(wanted[seen.key], seen, pool) for seen in pool.variants}
    return {item.key: item.desired + len(item.parked) for item in pool.variants}


def _after(wanted: VariantDecision, seen: VariantObservation, pool: PoolLook) -> int:
    """Return the replicas that hold GPUs after a decision: those that are parked do until they go."""
    workload = pool.workloads.get(seen.key)
    if workload is None or not workload.parks or not pool.entry.pool.settings.parks:
        return wanted.desired
    return max(wanted.desired, seen.desired + len(seen.parked) - len(wanted.freed))


def _placed(pool: PoolLook, variant: Variant) -> int:
    """Return the replicas of a variant whose pods hold GPUs of a node."""
    seen = next((item for item in pool.variants if item.key == variant.key), None)
    if seen is None:
        return 0
    return (
        seen.ready + len(seen.parked) + seen.draining + sum(not replica.unschedulable for replica in seen.starting)
    )


def _sentence(error: Exception) -> str:
    return f"The provider could not be asked; the next round does it again: {error}"
