"""The simulated nodes of a scenario: the node pools' own figures, and the replay's further options."""

from collections.abc import Mapping
from dataclasses import dataclass

from forebay.flow.fleet import Fleet, NodePool
from forebay.offline.replay.loop.scenario import ScenarioNodes
from forebay.offline.simulation import (
    CONSOLIDATE_AFTER_SECONDS,
    MINIMUM_BILLED_SECONDS,
    NodeRules,
    NodeScoring,
    StartUp,
)

NODE_LEAD_SECONDS = 300.0
"""From the launch of a node to usable GPUs, where neither the resources nor an option say it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOptions:
    """What the resources do not say of nodes."""

    scoring: NodeScoring = NodeScoring.LEAST_ALLOCATED
    lead_seconds: float | None = None
    """From the launch of a node to usable GPUs; ``None``: what the resources say."""
    consolidate_after_seconds: float = CONSOLIDATE_AFTER_SECONDS
    spot_life_seconds: float | None = None
    """Mean life of a spot node; ``None``: none is reclaimed."""


def scenario_nodes(fleet: Fleet, options: NodeOptions, lead_time: Mapping[str, StartUp]) -> ScenarioNodes:
    """Return the nodes of ``fleet``.

    Args:
        fleet: with its node pools.
        options: what is told beyond them.
        lead_time: of nodes by node pool, where the resources say it.
    """
    rules = {name: _rules(pool, options, lead_time.get(name)) for name, pool in fleet.node_pools.items()}
    return ScenarioNodes(rules=rules, scoring=options.scoring)


def _rules(pool: NodePool, options: NodeOptions, lead_time: StartUp | None) -> NodeRules:
    if options.lead_seconds is not None or lead_time is None:
        seconds = NODE_LEAD_SECONDS if options.lead_seconds is None else options.lead_seconds
        lead_time = StartUp.fixed(seconds)
    return NodeRules(
        gpus_per_node=pool.gpus_per_node,
        lead_time=lead_time,
        min_nodes=pool.min_nodes,
        max_nodes=pool.max_nodes,
        consolidate_after_seconds=options.consolidate_after_seconds,
        minimum_billed_seconds=max(MINIMUM_BILLED_SECONDS, pool.minimum_billing_seconds),
        reserved_nodes=pool.reserved_nodes,
        mean_seconds_between_reclaims=options.spot_life_seconds if pool.spot else None,
    )
