"""How many free nodes to hold: what they save over all roles that share them, against their price."""

from dataclasses import replace

import numpy as np
import pytest

from forebay.flow.fleet import NodePool
from forebay.pipeline.plan.warm_nodes import Surprise, nodes_worth_holding
from forebay.sizing.curve import SizedCurve

POOL = NodePool(name="h100", accelerator="H100", gpus_per_node=8, usd_per_gpu_hour=2.0, warm_max=3)


def surprise(*, capacity: float = 4.0, usd: float = 2.0, gpus: int = 1) -> Surprise:
    """Return a role that misses a fifth of its requests with 4 replicas, and next to nothing with 20."""
    replicas = np.arange(0.0, 41.0)
    misses = 2.0 * np.exp(-replicas / 4.0)
    ahead = SizedCurve(replicas, misses, erlangs=3.0)
    return Surprise(ahead, capacity, usd, miss_price_replica_seconds=20.0, speed=1.0, gpus=gpus)


def test_a_role_alone_is_served_cheaper_by_replicas_than_by_a_free_node() -> None:
    """One node of eight GPUs never saves one role more than the replicas would that it might have bought."""
    assert nodes_worth_holding(POOL, [surprise()], free_gpus=0, held=0) == 0


def test_many_roles_share_the_price_of_a_free_node() -> None:
    counts = [nodes_worth_holding(POOL, [surprise()] * roles, free_gpus=0, held=0) for roles in (1, 2, 4, 40)]
    assert counts == sorted(counts)
    assert counts[0] == 0 < counts[-2] <= counts[-1]


def test_room_that_is_there_already_is_counted() -> None:
    roles = [surprise()] * 3
    assert nodes_worth_holding(POOL, roles, free_gpus=0, held=0) > 0
    assert nodes_worth_holding(POOL, roles, free_gpus=24, held=0) == 0


def test_the_node_pool_s_limits_hold() -> None:
    assert nodes_worth_holding(replace(POOL, warm_min=2), [], free_gpus=0, held=0) == 2
    assert nodes_worth_holding(replace(POOL, warm_max=1), [surprise()] * 40, free_gpus=0, held=0) == 1


@pytest.mark.parametrize(("held", "expected"), [(0, 0), (1, 1)])
def test_a_node_that_almost_pays_is_neither_added_nor_given_back(held: int, expected: int) -> None:
    saved = sum(each.saved_usd(free_gpus=0, nodes=1, gpus_per_node=8) for each in [surprise()] * 3)
    pool = replace(POOL, usd_per_gpu_hour=1.2 * saved / 8, warm_max=1)
    assert nodes_worth_holding(pool, [surprise()] * 3, free_gpus=0, held=held) == expected


def test_a_replica_larger_than_a_node_takes_several() -> None:
    large = surprise(gpus=16)
    assert large.saved_usd(free_gpus=0, nodes=1, gpus_per_node=8) == 0.0
    assert large.saved_usd(free_gpus=0, nodes=20, gpus_per_node=8) == surprise().saved_usd(
        free_gpus=10, nodes=0, gpus_per_node=8
    )
    assert large.saved_usd(free_gpus=0, nodes=20, gpus_per_node=8) > 0.0
