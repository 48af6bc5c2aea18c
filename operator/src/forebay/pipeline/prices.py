"""What a replica costs."""

from collections.abc import Iterable, Mapping

from forebay.flow.fleet import Fleet, Pool, Variant, VariantKey
from forebay.flow.observation import PoolObservation


def known_usd_per_replica_hour(fleet: Fleet, variant: Variant) -> float | None:
    """Return the price of a replica from the variant, else from its node pool, else ``None``."""
    if variant.usd_per_replica_hour is not None:
        return variant.usd_per_replica_hour
    node_pool = fleet.node_pools.get(variant.node_pool or "")
    if node_pool is None or node_pool.usd_per_gpu_hour is None:
        return None
    return node_pool.usd_per_gpu_hour * variant.gpus_per_replica


def usd_per_replica_hour(fleet: Fleet, variant: Variant) -> float:
    """Return the price of a replica; where none is known every GPU costs one dollar per hour."""
    known = known_usd_per_replica_hour(fleet, variant)
    return float(variant.gpus_per_replica) if known is None else known


_FREE_SHARE = 0.001
"""A free replica is decided on as if it cost this share of the pool's dearest: it goes first, but has an end."""


def deciding_prices(fleet: Fleet, pool: Pool) -> Mapping[VariantKey, float]:
    """Return the positive price per replica-hour by which each variant of ``pool`` is decided on.

    Prices are compared with each other, so they are ignored where one is not known, or where all are zero: every
    GPU costs the same then.
    """
    known = {variant.key: known_usd_per_replica_hour(fleet, variant) for variant in pool.variants}
    prices = [price for price in known.values() if price is not None]
    dearest = max(prices, default=0.0)
    if len(prices) < len(known) or dearest <= 0.0:
        return {variant.key: float(variant.gpus_per_replica) for variant in pool.variants}
    return {key: max(price or 0.0, _FREE_SHARE * dearest) for key, price in known.items()}


def unpriced_beside_priced(fleet: Fleet, pool: Pool) -> tuple[Variant, ...]:
    """Return the variants without a price in a pool where others have one."""
    unpriced = tuple(v for v in pool.variants if known_usd_per_replica_hour(fleet, v) is None)
    return unpriced if len(unpriced) < len(pool.variants) else ()


def pool_usd_per_hour(fleet: Fleet, pool: Pool, replicas: dict[VariantKey, int]) -> float | None:
    """Return what ``replicas`` per variant cost; ``None`` if a price is unknown."""
    total = 0.0
    for variant in pool.variants:
        price = known_usd_per_replica_hour(fleet, variant)
        if price is None:
            return None
        total += price * replicas.get(variant.key, 0)
    return total


def known_watts_per_replica(fleet: Fleet, variant: Variant) -> float | None:
    """Return the power of a replica from the variant, else from its node pool, else ``None``."""
    if variant.watts_per_replica is not None:
        return variant.watts_per_replica
    node_pool = fleet.node_pools.get(variant.node_pool or "")
    if node_pool is None or node_pool.watts_per_gpu is None:
        return None
    return node_pool.watts_per_gpu * variant.gpus_per_replica


def watts_per_replica(fleet: Fleet, variant: Variant) -> float:
    """Return the power of a replica, 0 where it is not known."""
    return known_watts_per_replica(fleet, variant) or 0.0


def usd_of(fleet: Fleet, replicas: Iterable[tuple[Variant, int]]) -> float:
    """Return the dollars per hour of so many replicas of variants, as the fleet's budget counts them."""
    return sum(usd_per_replica_hour(fleet, variant) * count for variant, count in replicas)


def watts_of(fleet: Fleet, replicas: Iterable[tuple[Variant, int]]) -> float:
    """Return the watts of so many replicas of variants, as the fleet's power limit counts them."""
    return sum(watts_per_replica(fleet, variant) * count for variant, count in replicas)


def running_usd_per_hour(pool: Pool, observed: PoolObservation) -> float | None:
    """Return what the replicas that run cost now, parked ones and starting ones with a node included.

    ``None`` where there is no price.
    """
    total = 0.0
    for variant in pool.variants:
        seen = observed.variant(variant.key)
        if variant.usd_per_replica_hour is None:
            return None
        if seen is not None:
            placed = sum(not replica.unschedulable for replica in seen.starting)
            total += variant.usd_per_replica_hour * (seen.ready + len(seen.parked) + placed)
    return total
