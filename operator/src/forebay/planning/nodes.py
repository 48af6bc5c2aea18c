"""Nodes and replicas together: a replica on a node that stays costs nothing more, one that opens a node costs it.

Clouds bill whole nodes. Each role offers some of its best answers, as where pools share limits (``columns``); the
program that chooses among them pays for nodes instead of replicas. A node that is there is kept, or emptied: then
every replica on it is released. No replica is moved, because that would take a cold start beside the old one:
replicas that are kept stay on nodes that are kept, and free room and new nodes take what is added.

Room is counted per replica size: all replicas of ``s`` GPUs or more must fit into blocks of ``s``. Where each size
divides the next (1, 2, 4, 8), what fits by this count fits on the nodes; our own packing checks it in any case.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from forebay.flow.fleet import PoolKey, Role, VariantKey
from forebay.flow.plan import NodeGroup, NodePlan, NodeSupply
from forebay.flow.trace import FloatArray
from forebay.planning.columns import Chooser, PlainCounts
from forebay.planning.curve import ConvexCurve
from forebay.planning.highs import INFINITY, SolverOptions, solve_program
from forebay.planning.normal import Choice, Limits, PoolModel, RoleProgram
from forebay.planning.packing import nodes_to_add
from forebay.planning.pricing import SLACK, Offer
from forebay.planning.search import directions, own_prices, priced

MOST_ROLES = 120
"""Roles that are planned in nodes together; a larger fleet is planned per GPU."""
ALL_ANSWERS = 300
"""A role with no more combinations than this offers them all, which makes the plan exact."""
NODE_SHARES = (0.0, 0.35, 0.7, 1.0, 1.5)
"""Prices of a GPU, as shares of its part of the node's price, at which larger roles offer answers: from room that
is paid for anyway up to a node that is opened for one replica."""
MOST_NODES_OF_SEARCH = 20
FEW_ROLES, GAP_OF_MANY = 20, 5e-3
"""Beyond so many roles, a plan may cost this share more than the best."""
RUNNING_SHARE = 1e-4
"""Of its list price, what a replica counts on a node that is paid for anyway: where it saves nothing, it goes."""

Placed = tuple[PoolKey, VariantKey]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeAnswer:
    """Replicas and nodes that fit together."""

    counts: PlainCounts
    nodes: dict[str, NodePlan]
    objective: float
    status: str


def plannable(pools: Sequence[PoolModel], nodes: Mapping[str, NodeSupply]) -> list[PoolModel]:
    """Return the pools that are planned in nodes; the others are planned per GPU.

    A pool with a budget of its own pays for its replicas alone; one with length buckets has no table of answers.
    """
    found = [
        pool
        for pool in pools
        if pool.budget_usd_per_hour is None
        and not any(role.buckets for role in pool.roles)
        and any(choice.option.node_pool in nodes for choice in pool.choices)
    ]
    return found if sum(len(pool.roles) for pool in found) <= MOST_ROLES else []


def solve_in_nodes(
    pools: Sequence[PoolModel],
    limits: Limits,
    nodes: Mapping[str, NodeSupply],
    *,
    weights: Mapping[PoolKey, float],
    wishes: Mapping[tuple[PoolKey, Role], float],
    known: Sequence[PlainCounts],
    options: SolverOptions,
) -> NodeAnswer | None:
    """Return the cheapest replicas and nodes found; ``None`` if the solver has no answer that packs.

    Args:
        pools: what is decided together (see `plannable`).
        limits: what they share beside nodes.
        nodes: supply per node pool that is billed by the node.
        weights: factor on each pool's dollars.
        wishes: most capacity per role that counts.
        known: plans that are offered as well.
        options: limits of the solver.
    """
    listed_pools = [in_nodes(pool) for pool in pools]
    offers = []
    for listed in listed_pools:
        pool = _without_node_prices(listed, nodes)
        for role, at_list in zip(pool.roles, listed.roles, strict=True):
            wish = wishes.get((pool.key, role.role), float("inf"))
            offer = Offer(pool, role, weights.get(pool.key, 1.0), wish)
            offer.add(np.array([[plan[pool.key][c.key] for c in role.choices] for plan in known]))
            _offer_answers(offer, at_list, nodes)
            offers.append(offer)
    chooser = NodeChooser(offers, limits, nodes)
    most = min(options.nodes, MOST_NODES_OF_SEARCH)
    gap = GAP_OF_MANY if len(offers) > FEW_ROLES else options.relative_gap
    choosing = replace(options, plain=True, nodes=most, relative_gap=gap)
    solved = solve_program(chooser.program, choosing, chooser.start(known[0]))
    counts = chooser.counts(solved)
    if counts is None or solved.values is None:
        return None
    plans = chooser.node_plans(solved.values, counts)
    if plans is None:
        return None
    return NodeAnswer(counts=counts, nodes=plans, objective=solved.objective, status=solved.status)


def in_nodes(pool: PoolModel) -> PoolModel:
    """Return the pool with what its capacity is worth where nodes are paid for instead of replicas.

    Growth beyond what the role must have is worth the misses that it saves: a node is not opened for less than it
    costs. What the role has beyond its need is worth the misses that it saves, too: releasing it is no gain while
    its node stays. Nothing is added beyond the need, and nothing released below it.
    """
    return replace(pool, roles=tuple(replace(role, worth=_worth_in_nodes(role)) for role in pool.roles))


def _worth_in_nodes(role: RoleProgram) -> ConvexCurve:
    worth, order, wanted = role.worth, role.order, float(role.worth.capacity[-1])
    present = sum(choice.option.speed * choice.base for choice in role.choices) - role.spare
    firm = min(wanted, max(role.must_have, present, 0.0))
    most = max(wanted, present)
    inside = order.capacity[(order.capacity > firm) & (order.capacity < most)]
    capacity = np.unique(np.concatenate([worth.capacity[worth.capacity < firm], [firm, most], inside]))
    lacking = np.array([max(0.0, worth.at(point) - worth.at(firm)) for point in capacity.tolist()])
    missed = np.array([order.at(max(point, firm)) - order.at(most) for point in capacity.tolist()])
    return ConvexCurve(capacity, lacking + missed)


def _without_node_prices(pool: PoolModel, nodes: Mapping[str, NodeSupply]) -> PoolModel:
    """Return the pool with replicas on planned nodes for next to nothing: their nodes are paid for."""

    def free(choice: Choice) -> Choice:
        if choice.option.node_pool not in nodes:
            return choice
        usd = choice.option.usd_per_replica_hour * RUNNING_SHARE
        return replace(choice, option=replace(choice.option, usd_per_replica_hour=usd))

    roles = tuple(replace(role, choices=tuple(map(free, role.choices))) for role in pool.roles)
    return replace(pool, roles=roles)


def _offer_answers(offer: Offer, at_list: RoleProgram, nodes: Mapping[str, NodeSupply]) -> None:
    """Offer all combinations of a small role, and of a large one the best at several prices of node room."""
    ways = directions(offer.role)
    if sum(int(np.prod([high - low + 1 for low, high in way])) for way in ways) <= ALL_ANSWERS:
        for way in ways:
            offer.add(np.array(list(product(*(range(low, high + 1) for low, high in way)))))
        return
    answers = priced(at_list, own_prices(at_list), wish=offer.wish, slack=SLACK)
    if answers is None:
        return
    node_prices = np.array(
        [c.option.usd_per_replica_hour * (c.option.node_pool in nodes) for c in at_list.choices]
    )
    node_usd = answers.counts @ node_prices
    for share in NODE_SHARES:
        total = answers.total - (1.0 - share) * node_usd
        offer.add(answers.counts[[int(np.argmin(total))]])


def bill(
    pools: Sequence[PoolModel],
    counts: Mapping[PoolKey, Mapping[VariantKey, int]],
    planned: Mapping[str, NodePlan],
) -> float:
    """Return the US dollars per hour of planned nodes, and of replicas on all others at their own price."""
    alone = sum(
        choice.option.usd_per_replica_hour * counts[pool.key][choice.key]
        for pool in pools
        for choice in pool.choices
        if choice.option.node_pool not in planned
    )
    return alone + sum(plan.usd_per_hour for plan in planned.values())


class NodeChooser(Chooser):
    """Chooses one offered answer per role, and the nodes that hold them all."""

    def __init__(
        self,
        offers: Sequence[Offer],
        limits: Limits,
        nodes: Mapping[str, NodeSupply],
    ) -> None:
        self._nodes = nodes
        self._kept: dict[str, list[int]] = {}
        self._opened: dict[str, int] = {}
        self._paid: dict[str, int] = {}
        super().__init__(offers, limits)
        for name in nodes:
            self._add_rows(name)

    def extra_dollars(self) -> list[tuple[int, float]]:
        """Add the nodes' columns, and return what each costs."""
        program = self.program
        for name, supply in self._nodes.items():
            # Nodes beyond those that are paid for in any case cost; the columns of nodes themselves do not.
            self._kept[name] = [
                program.column(lower=len(group.names) * group.stays, upper=len(group.names), integer=True)
                for group in supply.groups
            ]
            most = INFINITY if supply.obtainable is None else float(supply.obtainable)
            self._opened[name] = program.column(upper=most, integer=True)
            self._paid[name] = program.column(cost=supply.usd_per_node_hour)
        return [(column, self._nodes[name].usd_per_node_hour) for name, column in self._paid.items()]

    def _add_rows(self, name: str) -> None:
        supply, program = self._nodes[name], self.program
        groups = list(zip(supply.groups, self._kept[name], strict=True))
        every = [(column, 1.0) for _, column in groups] + [(self._opened[name], 1.0)]
        program.row([*every, (self._paid[name], -1.0)], upper=float(supply.paid_nodes))
        new: dict[int, list[tuple[int, float]]] = {}
        for index, offer in enumerate(self.offers):
            for choice in offer.role.choices:
                if choice.option.node_pool == name:
                    added = self._added(index, (offer.pool.key, choice.key), choice, groups)
                    new.setdefault(choice.option.gpus_per_replica, []).extend(added)
        for size in sorted({min(size, supply.gpus_per_node) for size in new}):
            wanted: dict[int, float] = {}
            for gpus, answers in new.items():
                for answer, count in answers if gpus >= size else ():
                    wanted[answer] = wanted.get(answer, 0.0) + gpus * count
            room = [(column, -float(group.free_gpus // size * size)) for group, column in groups]
            room.append((self._opened[name], -float(supply.gpus_per_node // size * size)))
            program.row([*wanted.items(), *room], upper=0.0)

    def _added(
        self, index: int, placed: Placed, choice: Choice, groups: Sequence[tuple[NodeGroup, int]]
    ) -> list[tuple[int, float]]:
        """Keep enough nodes for the replicas that stay; return what each answer adds to those that are placed."""
        held = sum(len(group.names) * group.replicas.get(placed, 0) for group, _ in groups)
        answers = self.terms(index, lambda other: float(other.key == choice.key))
        if held:
            staying = [(answer, min(count, float(held))) for answer, count in answers]
            stay = [(kept, -float(group.replicas[placed])) for group, kept in groups if placed in group.replicas]
            self.program.row([*staying, *stay], upper=0.0)
        return [(answer, max(0.0, count - held)) for answer, count in answers]

    def node_plans(self, values: FloatArray, counts: PlainCounts) -> dict[str, NodePlan] | None:
        """Return the nodes of a solution, checked by packing; ``None`` if something has no room."""
        plans = {}
        for name, supply in self._nodes.items():
            kept = [round(float(values[column])) for column in self._kept[name]]
            opened = self._open_enough(name, kept, round(float(values[self._opened[name]])), counts)
            if opened is None:
                return None
            emptied = tuple(
                node for group, keep in zip(supply.groups, kept, strict=True) for node in group.names[keep:]
            )
            nodes = sum(kept) + opened
            usd = supply.usd_per_node_hour * max(nodes, supply.paid_nodes)
            plans[name] = NodePlan(kept=sum(kept), opened=opened, emptied=emptied, usd_per_hour=usd)
        return plans

    def _open_enough(self, name: str, kept: Sequence[int], opened: int, counts: PlainCounts) -> int | None:
        """Return how many nodes must be opened so that all packs: as many as planned, or a few more."""
        supply = self._nodes[name]
        blocks = [group.free_gpus for group, keep in zip(supply.groups, kept, strict=True) for _ in range(keep)]
        number = max(opened, nodes_to_add(self._unplaced(name, kept, counts), blocks, supply.gpus_per_node))
        return number if supply.obtainable is None or number <= supply.obtainable else None

    def _unplaced(self, name: str, kept: Sequence[int], counts: PlainCounts) -> list[int]:
        """Return the GPUs of each replica that does not stay where it is."""
        sizes = []
        for offer in self.offers:
            for choice in offer.role.choices:
                if choice.option.node_pool == name:
                    placed = (offer.pool.key, choice.key)
                    staying = sum(
                        keep * group.replicas.get(placed, 0)
                        for group, keep in zip(self._nodes[name].groups, kept, strict=True)
                    )
                    more = counts[offer.pool.key][choice.key] - staying
                    sizes += [choice.option.gpus_per_replica] * max(0, more)
        return sizes
