"""A GPU type that is sold out in mid-ramp: the other takes over in the round in which that is known."""

from dataclasses import replace

from forebay.flow.fleet import NodePool, Role
from forebay.flow.observation import NodePoolObservation, StartingReplica
from tests.unit.pipeline.fleets import KEY, ROUND, World, counts, fleet_world, split_pool, variant

READY = {"cheap": 3, "dear": 1, "decode": 60}
WAITING = 3


def ramp(rate: float = 100.0) -> World:
    """Three cheap prefill replicas serve, three more wait for a node; nothing is known of any stock-out."""
    pool = split_pool(
        KEY,
        (
            variant(Role.PREFILL, "cheap", node_pool="l40s", min_replicas=1),
            variant(Role.PREFILL, "dear", node_pool="h100", min_replicas=0),
            variant(Role.DECODE, node_pool=None),
        ),
    )
    types = {
        name: NodePool(name=name, accelerator=name, gpus_per_node=4, usd_per_gpu_hour=usd)
        for name, usd in (("l40s", 1.0), ("h100", 3.0))
    }
    seen = {
        "l40s": NodePoolObservation(name="l40s", nodes=1, usable_gpus=3, free_gpus=0),
        "h100": NodePoolObservation(name="h100", nodes=2, usable_gpus=8, free_gpus=7),
    }
    world = fleet_world({KEY: pool}, {KEY: rate}, types, node_pools=seen, noise=False)
    world.replicas[KEY] = dict(READY)
    world.run(8)
    world.replicas[KEY] = {**READY, "cheap": READY["cheap"] + WAITING}
    since = world.clock
    world.starting[KEY, "cheap"] = (StartingReplica(since, since + 300.0, unschedulable=True),) * WAITING
    return world


def sell_out(world: World) -> None:
    """Let the provisioner say that no more l40s can be had."""
    world.node_pools["l40s"] = replace(
        world.node_pools["l40s"],
        blocked_until_seconds=world.clock + 20 * ROUND,
        blocked_reason="no capacity for l40s-4x in any zone",
    )


def test_the_other_type_takes_over_in_the_round_of_the_word() -> None:
    world = ramp()
    sell_out(world)
    (decision,) = world.step().values()
    now = counts(decision)
    assert now["dear"] > READY["dear"], "the other type is ordered at once"
    assert now["cheap"] <= READY["cheap"], "no order stays with a type that cannot be had"


def test_a_node_that_is_bought_already_stays_in_the_plan() -> None:
    world = ramp()
    sell_out(world)
    world.node_pools["l40s"] = replace(world.node_pools["l40s"], provisioning_nodes=1, coming_gpus=4)
    (decision,) = world.step().values()
    assert counts(decision)["cheap"] == READY["cheap"] + WAITING, "its three replicas will be there"
