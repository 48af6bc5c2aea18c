"""What a run costs: whole nodes where a node pool is billed by the node, else replicas."""

from collections.abc import Mapping
from dataclasses import dataclass

from forebay.flow.fleet import PoolKey, Variant, VariantKey
from forebay.offline.replay.loop.scenario import Scenario
from forebay.offline.simulation import NodeBill
from forebay.pipeline.prices import known_watts_per_replica, usd_per_replica_hour

SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """Money, GPU-hours and energy of one run."""

    usd: float
    gpu_hours: float
    """Of replicas, from their start until they are gone."""
    node_hours: float
    """Of nodes that are billed by the node."""
    energy_kwh: float | None
    """Of busy and idle replicas alike; ``None`` where a GPU type's power is not known."""


def bill(
    scenario: Scenario,
    replica_seconds: Mapping[PoolKey, Mapping[VariantKey, float]],
    node_bills: Mapping[str, NodeBill],
) -> Bill:
    """Return the bill of replicas and nodes that stood for so long.

    Args:
        scenario: with the prices.
        replica_seconds: per pool and variant.
        node_bills: by node pool; empty where the scenario has no nodes.
    """
    gpu_hours = usd = kwh = 0.0
    known = True
    for key, seconds in replica_seconds.items():
        for variant in scenario.fleet.pools[key].variants:
            hours = seconds[variant.key] / SECONDS_PER_HOUR
            gpu_hours += hours * variant.gpus_per_replica
            if not _by_node(scenario, variant):
                usd += hours * usd_per_replica_hour(scenario.fleet, variant)
            watts = known_watts_per_replica(scenario.fleet, variant)
            known = known and watts is not None
            kwh += hours * (watts or 0.0) / 1000.0
    node_hours = 0.0
    for name, nodes in node_bills.items():
        price = scenario.usd_per_node_hour(name)
        if price is not None:
            node_hours += nodes.node_seconds / SECONDS_PER_HOUR
            usd += price * nodes.billed_node_seconds / SECONDS_PER_HOUR
    return Bill(usd=usd, gpu_hours=gpu_hours, node_hours=node_hours, energy_kwh=kwh if known else None)


def _by_node(scenario: Scenario, variant: Variant) -> bool:
    return variant.node_pool is not None and scenario.usd_per_node_hour(variant.node_pool) is not None
