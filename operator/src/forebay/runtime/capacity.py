"""Node pools in a round: what their provisioners show before the plan, and what is asked of them after it."""

import asyncio
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from forebay.actuation.kube import ApiError, KubeApi
from forebay.actuation.providers.port import Binding, CapacityWish
from forebay.actuation.providers.provisioners import Provisioners
from forebay.actuation.providers.registry import providers
from forebay.actuation.providers.sight import ProviderSight
from forebay.api.v1alpha1.inferencepool import Mode
from forebay.flow.decision import FleetDecision, PoolDecision, VariantDecision
from forebay.flow.fleet import VariantKey
from forebay.flow.observation import VariantObservation
from forebay.planning.packing import nodes_to_add
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

    async def ensure(self, look: Look, decided: FleetDecision) -> tuple[Look, bool]:
        """Ask for what the plan wants; return the look with what stands in the way, and whether all were asked.

        Raises:
            LeaseLostError: this process may not write any more.
        """
        if not self._orders:
            return look, True
        wishes = capacity_wishes(look, decided)
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
        situation = replace(pool.situation, sight=sight)
        return replace(pool, situation=situation, warm_nodes=wish.warm_nodes), answered


def capacity_wishes(look: Look, decided: FleetDecision) -> dict[str, CapacityWish]:
    """Return what the replicas of each node pool ask of it, by its name.

    Nodes with pods stay, whoever's pods they are. Replicas that have no place yet are packed into their free GPUs,
    and into further nodes. Only pools in mode Auto that were decided on count as decided; the others count with
    what they have.
    """
    entries = {pool.entry.node_pool.name: pool for pool in look.node_pools}
    sizes: dict[str, list[int]] = {name: [] for name in entries}
    chunks = dict.fromkeys(entries, 1)
    for pool in look.pools:
        counts = _counts(pool, decided.pools.get(pool.entry.pool.key))
        for variant in pool.entry.pool.variants:
            name = variant.node_pool
            if name is None or name not in entries:
                continue
            gpus, size = variant.gpus_per_replica, entries[name].entry.node_pool.gpus_per_node
            # A replica larger than a node has one pod on each of its nodes.
            parts = math.ceil(gpus / size)
            missing = counts.get(variant.key, 0) * parts - entries[name].pods.get(
                (pool.entry.pool.key, variant.key), 0
            )
            sizes[name] += [min(gpus, size)] * max(0, missing)
            chunks[name] = max(chunks[name], min(gpus, size))
    return {
        name: CapacityWish(
            node_pool=name,
            nodes=_nodes(seen, sizes[name]),
            warm_nodes=_warm_nodes(seen, decided),
            chunk_gpus=chunks[name],
        )
        for name, seen in entries.items()
    }


def _nodes(seen: NodePoolLook, sizes: Sequence[int]) -> int:
    """Return the nodes that hold pods, and those that replicas without a place need beside them."""
    kept = [node for node in seen.situation.nodes if node.gpus_held > 0 and not node.going]
    blocks = [0 if node.leaving else node.free_gpus for node in kept]
    return len(kept) + nodes_to_add(sizes, blocks, seen.entry.node_pool.gpus_per_node)


def _warm_nodes(seen: NodePoolLook, decided: FleetDecision) -> int:
    node_pool = seen.entry.node_pool
    return max(node_pool.warm_min, decided.warm_nodes.get(node_pool.name, 0))


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


def _sentence(error: Exception) -> str:
    return f"The provider could not be asked; the next round does it again: {error}"
