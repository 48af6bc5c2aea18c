"""What planning in nodes saves: `python -m tests.benchmarks.bench_nodes`.

A day of demand is planned every quarter of an hour, once per GPU and once in nodes, on the same traffic.
Replicas are placed on whole nodes: the fullest node with room takes a new replica, and an empty node is given
back. The bill is that of the nodes. Misses are those that the curves of the plans expect. Planned per GPU, a
release takes a replica of the newest node; planned in nodes, it takes replicas of the nodes that the plan empties.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from forebay.flow.fleet import PoolKey, Role, VariantKey
from forebay.flow.plan import FleetPlan, NodeGroup, NodeSupply, PlanProblem, PoolNeed, VariantOption
from forebay.flow.sizing import MissCurve, RoleNeed
from forebay.planning import solve
from forebay.planning.curve import lower_hull
from tests.benchmarks.bench_plan import curve

STEPS, STEP_HOURS = 96, 0.25
MISS_PRICE = 20.0
Placed = tuple[PoolKey, VariantKey]


@dataclass(frozen=True, slots=True)
class NodeType:
    """A kind of node."""

    gpus: int
    usd_per_gpu_hour: float


@dataclass(frozen=True, slots=True)
class Served:
    """One role of one model: its replicas per node type (GPUs, speed), and its demand over the day."""

    model: str
    role: Role
    replicas: Mapping[str, tuple[int, float]]
    mean_erlangs: float
    peak_hour: float


@dataclass(frozen=True, slots=True)
class Case:
    """What is planned together."""

    name: str
    types: Mapping[str, NodeType]
    served: tuple[Served, ...]


H100 = {"h100": NodeType(8, 2.5)}
CASES = (
    Case(
        "8-GPU nodes, prefill of 1 GPU and decode of 2",
        H100,
        (
            Served("chat", Role.PREFILL, {"h100": (1, 1.0)}, 5.0, 14.0),
            Served("chat", Role.DECODE, {"h100": (2, 1.0)}, 4.0, 14.0),
        ),
    ),
    Case(
        "three models on shared 8-GPU nodes",
        H100,
        (
            Served("chat", Role.SERVE, {"h100": (1, 1.0)}, 6.0, 14.0),
            Served("code", Role.SERVE, {"h100": (2, 1.0)}, 3.0, 10.0),
            Served("batch", Role.SERVE, {"h100": (4, 1.0)}, 1.5, 2.0),
        ),
    ),
    Case(
        "nodes of 4 small and of 8 large GPUs",
        {"l40s": NodeType(4, 1.0), "h100": NodeType(8, 2.5)},
        (
            Served("chat", Role.SERVE, {"l40s": (2, 0.8), "h100": (1, 1.0)}, 5.0, 14.0),
            Served("code", Role.SERVE, {"l40s": (4, 1.5), "h100": (2, 2.1)}, 6.0, 10.0),
        ),
    ),
)


@dataclass(slots=True)
class Node:
    """One node and the replicas on it, oldest first."""

    name: str
    kind: str
    free: int
    replicas: list[Placed] = field(default_factory=list)


@dataclass(slots=True)
class Cluster:
    """Nodes that come when a replica finds no room, and go when they are empty."""

    case: Case
    sizes: Mapping[Placed, tuple[str, int]]
    nodes: list[Node] = field(default_factory=list)
    launched: int = 0

    def count(self, placed: Placed) -> int:
        return sum(node.replicas.count(placed) for node in self.nodes)

    def add(self, placed: Placed) -> None:
        kind, gpus = self.sizes[placed]
        room = [node for node in self.nodes if node.kind == kind and node.free >= gpus]
        if not room:
            self.launched += 1
            room = [Node(f"{kind}-{self.launched}", kind, self.case.types[kind].gpus)]
            self.nodes += room
        node = min(room, key=lambda node: node.free)
        node.free -= gpus
        node.replicas.append(placed)

    def remove(self, placed: Placed, first: Sequence[str]) -> None:
        """Remove one replica: of a node named in ``first`` if there is one, else the newest."""
        having = [node for node in self.nodes if placed in node.replicas]
        node = next((node for node in having if node.name in first), having[-1])
        node.replicas.remove(placed)
        node.free += self.sizes[placed][1]
        self.nodes = [node for node in self.nodes if node.replicas]

    def follow(self, plan: FleetPlan) -> None:
        """Scale to the plan."""
        empty = [name for planned in plan.nodes.values() for name in planned.emptied]
        for key, counts in plan.replicas.items():
            for variant, count in counts.items():
                for _ in range(self.count((key, variant)) - count):
                    self.remove((key, variant), empty)
        for key, counts in plan.replicas.items():
            for variant, count in counts.items():
                for _ in range(count - self.count((key, variant))):
                    self.add((key, variant))

    def supply(self, kind: str) -> NodeSupply:
        groups = tuple(
            NodeGroup(
                names=(node.name,),
                free_gpus=node.free,
                replicas={placed: node.replicas.count(placed) for placed in node.replicas},
            )
            for node in self.nodes
            if node.kind == kind
        )
        one = self.case.types[kind]
        return NodeSupply(gpus_per_node=one.gpus, usd_per_node_hour=one.gpus * one.usd_per_gpu_hour, groups=groups)

    @property
    def usd_per_hour(self) -> float:
        kinds = [self.case.types[node.kind] for node in self.nodes]
        return sum(kind.gpus * kind.usd_per_gpu_hour for kind in kinds)


def erlangs(served: Served, step: int, noise: float) -> float:
    """Return the demand of one quarter of an hour: a day's wave, and noise."""
    wave = 1.0 + 0.7 * math.cos(2.0 * math.pi * (step * STEP_HOURS - served.peak_hour) / 24.0)
    return served.mean_erlangs * wave * noise


def wanted(misses: MissCurve) -> float:
    """Return the reference replicas that pay at the price of a miss."""
    counts = np.arange(math.ceil(misses.capacity[-1]) + 1, dtype=np.float64)
    missed = np.interp(counts, misses.capacity, misses.misses_per_second)
    return float(counts[int(np.argmin(counts + MISS_PRICE * missed))])


def needs(case: Case, cluster: Cluster, step: int, noise: Sequence[float]) -> tuple[PoolNeed, ...]:
    """Return what every model asks of the plan now."""
    pools: dict[str, tuple[list[RoleNeed], list[VariantOption]]] = {}
    for served, factor in zip(case.served, noise, strict=True):
        roles, options = pools.setdefault(served.model, ([], []))
        load = erlangs(served, step, factor)
        misses = curve(load, load)
        roles.append(
            RoleNeed(
                role=served.role,
                order=misses,
                wanted=wanted(misses),
                must_have=load,
                miss_price_replica_seconds=MISS_PRICE,
                erlangs=load,
                speed=tuple(
                    (VariantKey(served.role, kind), speed) for kind, (_, speed) in served.replicas.items()
                ),
                seconds_per_request=1.0,
            )
        )
        for kind, (gpus, speed) in served.replicas.items():
            key = VariantKey(served.role, kind)
            options.append(
                VariantOption(
                    name=kind,
                    role=served.role,
                    node_pool=kind,
                    gpus_per_replica=gpus,
                    usd_per_replica_hour=gpus * case.types[kind].usd_per_gpu_hour,
                    watts_per_replica=0.0,
                    speed=speed,
                    min_replicas=0,
                    max_replicas=60,
                    current=cluster.count((PoolKey("bench", served.model), key)),
                    lead_time_seconds=240.0,
                )
            )
    return tuple(
        PoolNeed(key=PoolKey("bench", model), roles=tuple(roles), options=tuple(options))
        for model, (roles, options) in pools.items()
    )


@dataclass(frozen=True, slots=True)
class Day:
    """What a day cost."""

    usd: float
    missed_share: float
    node_hours: float


def play(case: Case, *, in_nodes: bool, seed: int) -> Day:
    """Plan one day."""
    sizes = {
        (PoolKey("bench", served.model), VariantKey(served.role, kind)): (kind, gpus)
        for served in case.served
        for kind, (gpus, _) in served.replicas.items()
    }
    cluster, chance = Cluster(case, sizes), np.random.default_rng(seed)
    usd = missed = offered = node_hours = 0.0
    for step in range(STEPS):
        noise = chance.lognormal(0.0, 0.08, len(case.served)).tolist()
        pools = needs(case, cluster, step, noise)
        problem = PlanProblem(pools=pools)
        if in_nodes:
            problem = replace(problem, nodes={kind: cluster.supply(kind) for kind in case.types})
        cluster.follow(solve(problem))
        usd += cluster.usd_per_hour * STEP_HOURS
        node_hours += len(cluster.nodes) * STEP_HOURS
        for need in pools:
            for role in need.roles:
                speed = dict(role.speed)
                capacity = sum(speed[key] * cluster.count((need.key, key)) for key in speed)
                missed += lower_hull(role.order).at(capacity)
                offered += role.erlangs
    return Day(usd, missed / offered, node_hours)


def main() -> None:
    """Print one row per case, means over seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    seeds = range(parser.parse_args().seeds)
    print("| case | planned | $ a day | saved | missed | node-hours |")
    print("|---|---|---|---|---|---|")
    for case in CASES:
        before = 0.0
        for in_nodes in (False, True):
            days = [play(case, in_nodes=in_nodes, seed=seed) for seed in seeds]
            usd, missed, hours = (float(np.mean([getattr(day, name) for day in days])) for name in Day.__slots__)
            saved = f"{1.0 - usd / before:.1%}" if in_nodes else ""
            before = usd
            how = "in nodes" if in_nodes else "per GPU"
            print(f"| {case.name} | {how} | {usd:.0f} | {saved} | {100 * missed:.2f} % | {hours:.0f} |")


if __name__ == "__main__":
    main()
