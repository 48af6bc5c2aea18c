"""Nodes and replicas planned together: against brute force over every plan, with a real search for a packing."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.flow.fleet import PoolKey, VariantKey
from forebay.flow.plan import NodeGroup, NodeSupply, PlanProblem
from forebay.planning import solve
from forebay.planning.nodes import in_nodes
from forebay.planning.normal import PoolModel, normalise
from forebay.planning.packing import nodes_to_add
from forebay.planning.search import lost_usd
from tests.keys import serve
from tests.unit.planning.problems import option, pool, problem, queue_curve, role_need

GPUS, NODE_USD = 4, 4.0
SMALL, LARGE = serve("small"), serve("large")
KEYS = (PoolKey("test", "p0"), PoolKey("test", "p1"))


@st.composite
def fleets(draw: st.DrawFn) -> PlanProblem:
    """One or two pools of replicas of 1 and 2 GPUs on nodes of 4, some of which are there."""
    layout = draw(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), st.booleans()), max_size=3))
    held = {SMALL: 0, LARGE: 0}
    groups = []
    for number, (small, large, stays) in enumerate(layout):
        replicas = {(KEYS[0], SMALL): small, (KEYS[0], LARGE): large}
        free = GPUS - small - 2 * large - (1 if stays and small < 2 else 0)
        groups.append(NodeGroup(names=(f"n{number}",), free_gpus=free, replicas=replicas, stays=stays))
        held[SMALL] += small
        held[LARGE] += large
    pools = []
    for key, present in zip(KEYS[: draw(st.integers(1, 2))], (held, {SMALL: 0, LARGE: 0}), strict=False):
        load = draw(st.floats(0.3, 4.0))
        need = role_need(queue_curve(load), price=draw(st.sampled_from([5.0, 20.0])))
        need = replace(need, must_have=draw(st.sampled_from([None, load])))
        options = [
            option("small", node_pool="x", current=present[SMALL], max_replicas=present[SMALL] + 4),
            option(
                "large",
                node_pool="x",
                gpus_per_replica=2,
                speed=draw(st.sampled_from([1.7, 2.2])),
                usd_per_replica_hour=2.0,
                current=present[LARGE],
                max_replicas=present[LARGE] + 2,
            ),
        ]
        pools.append(pool(key.name, [need], options))
    supply = NodeSupply(
        gpus_per_node=GPUS,
        usd_per_node_hour=NODE_USD,
        groups=tuple(groups),
        obtainable=draw(st.sampled_from([None, 1, 2])),
        paid_nodes=draw(st.integers(0, 1)),
    )
    return problem(*pools, nodes={"x": supply})


@lru_cache(maxsize=100_000)
def fits(sizes: tuple[int, ...], blocks: tuple[int, ...]) -> bool:
    """Return whether there is any packing, by trying all."""
    if not sizes:
        return True
    rest = sizes[1:]
    return any(
        fits(rest, tuple(sorted((*blocks[:i], blocks[i] - sizes[0], *blocks[i + 1 :]))))
        for i in range(len(blocks))
        if blocks[i] >= sizes[0]
    )


def node_usd(supply: NodeSupply, counts: Mapping[PoolKey, Mapping[VariantKey, int]]) -> float:
    """Return what the cheapest nodes cost that hold ``counts``; infinite if there are none."""
    best = math.inf
    most = 6 if supply.obtainable is None else supply.obtainable
    for keep in itertools.product(*((1,) if group.stays else (0, 1) for group in supply.groups)):
        kept = [group for group, there in zip(supply.groups, keep, strict=True) if there]
        if moves(supply, kept, counts):
            continue
        sizes: list[int] = []
        for key, replicas in counts.items():
            for variant, count in replicas.items():
                staying = sum(group.replicas.get((key, variant), 0) for group in kept)
                sizes += [1 if variant == SMALL else 2] * max(0, count - staying)
        for opened in range(most + 1):
            blocks = tuple(sorted([group.free_gpus for group in kept] + [GPUS] * opened))
            if fits(tuple(sorted(sizes, reverse=True)), blocks):
                usd = NODE_USD * max(0, len(kept) + opened - supply.paid_nodes)
                best = min(best, usd)
                break
    return best


def moves(
    supply: NodeSupply, kept: Sequence[NodeGroup], counts: Mapping[PoolKey, Mapping[VariantKey, int]]
) -> bool:
    """Return whether a replica leaves an emptied node without being released."""
    for key, replicas in counts.items():
        for variant, count in replicas.items():
            held = sum(group.replicas.get((key, variant), 0) for group in supply.groups)
            staying = sum(group.replicas.get((key, variant), 0) for group in kept)
            if staying < min(count, held):
                return True
    return False


def cost(
    pools: Sequence[PoolModel], supply: NodeSupply, counts: Mapping[PoolKey, Mapping[VariantKey, int]]
) -> float:
    usd = node_usd(supply, counts)
    for one in pools:
        for role in one.roles:
            usd += float(lost_usd(role.worth, np.asarray(role.capacity(counts[one.key]))))
    return usd


def plans(one: PoolModel) -> list[dict[VariantKey, int]]:
    """Return all counts of a pool that move in one direction."""
    (role,) = one.roles
    found = []
    for numbers in itertools.product(*(range(c.lowest, c.highest + 1) for c in role.choices)):
        moves = [number - c.base for number, c in zip(numbers, role.choices, strict=True)]
        if not min(moves) < 0 < max(moves):
            found.append({c.key: number for c, number in zip(role.choices, numbers, strict=True)})
    return found


@settings(max_examples=50, deadline=None)
@given(fleets())
def test_nodes_and_replicas_are_the_best_of_all_plans(fleet: PlanProblem) -> None:
    pools = [in_nodes(one) for one in normalise(fleet)[0]]
    supply = fleet.nodes["x"]
    plan = solve(fleet)
    assert "together" in plan.solver
    chosen = cost(pools, supply, plan.replicas)
    best = min(
        cost(pools, supply, {p.key: c for p, c in zip(pools, some, strict=True)})
        for some in itertools.product(*(plans(one) for one in pools))
    )
    assert chosen <= best + 0.005 * max(1.0, best)
    planned = plan.nodes["x"]
    assert planned.kept + len(planned.emptied) == sum(len(group.names) for group in supply.groups)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([1, 2, 4, 8]), max_size=9), st.lists(st.integers(0, 8), max_size=4))
def test_largest_first_finds_a_packing_where_there_is_one(sizes: list[int], blocks: list[int]) -> None:
    expected = fits(tuple(sorted(sizes, reverse=True)), tuple(sorted(blocks)))
    assert (nodes_to_add(sizes, blocks, 8) == 0) == expected
