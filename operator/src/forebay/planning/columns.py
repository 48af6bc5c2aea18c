"""Plan many pools that share limits: each role chooses one of its own best answers under common prices.

Dantzig and Wolfe's decomposition (Operations Research 8, 1960), stopped early. Scarce things get a price; at given
prices every pool is answered exactly and alone. The best answers become columns of a small program that chooses
one per role within the shared limits. The answers at given prices also bound the cost of every plan from below
(Lagrange), and more closely than the program without whole numbers does, since each of them is whole.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from forebay.flow.fleet import PoolKey, Role, VariantKey
from forebay.flow.trace import FloatArray
from forebay.planning.highs import LinearProgram, ProgramAnswer, SolverOptions, solve_program
from forebay.planning.normal import BUDGET, POWER, Choice, Limits, PoolModel
from forebay.planning.pricing import Counts, Offer, Prices, answer, answers_each, paid_for_all, used

PlainCounts = dict[PoolKey, dict[VariantKey, int]]

TINY = 1e-6

MANY_ANSWERS = 400
"""The best choice among more answers is found only up to the solver's gap; where only the worth of more is asked,
fractions of them are mixed."""

TINY_GAP = 1e-6
"""Of a choice among fewer answers: what is missing has a price that makes a usual gap larger than a replica."""

MOST_NODES = 50
"""Of the search among offered answers: the bound comes from the prices, not from this search."""

MOST_PRICINGS = 8
"""Times that prices are set and answered, at most."""

CLOSE = 5e-4
"""Prices are good enough when the bound they give is this close to the best mix of offered answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnAnswer:
    """The best plan made of offered answers, and a cost that no plan is below."""

    counts: PlainCounts
    bound: float
    status: str
    offered: "Offered"


def solve_by_columns(
    pools: Sequence[PoolModel],
    limits: Limits,
    *,
    weights: Mapping[PoolKey, float],
    wishes: Mapping[tuple[PoolKey, Role], float],
    known: Sequence[PlainCounts],
    options: SolverOptions,
) -> ColumnAnswer | None:
    """Return the best plan made of the roles' own best answers.

    Args:
        pools: what is decided together; no role may have length buckets.
        limits: what they share.
        weights: factor on each pool's dollars.
        wishes: most capacity per role that counts.
        known: plans that are offered as well; with a feasible one among them there always is an answer.
        options: limits of the solver.

    Returns:
        The answer, or ``None`` if a role has too many combinations or the solver finds no answer.
    """
    by_pool = [_offers(pool, weights, wishes, known) for pool in pools]
    offers = [offer for some in by_pool for offer in some]
    prices: Prices = {}
    bound = -float("inf")
    for _ in range(MOST_PRICINGS):
        answered = [answer(some, prices, answers_each(len(offers))) for some in by_pool]
        if any(best is None for best in answered):
            return None
        bound = max(bound, sum(best for best in answered if best is not None) - paid_for_all(limits, prices))
        chooser = Chooser(offers, limits)
        relaxed = solve_program(chooser.program, replace(options, relaxed=True))
        if relaxed.objective - bound <= CLOSE * abs(relaxed.objective):
            break
        prices = chooser.prices(relaxed)
    gap = options.relative_gap if len(chooser.program.cost) > MANY_ANSWERS else TINY_GAP
    choosing = replace(options, plain=True, nodes=min(options.nodes, MOST_NODES), relative_gap=gap)
    solved = solve_program(chooser.program, choosing)
    counts = chooser.counts(solved)
    if counts is None:
        return None
    return ColumnAnswer(counts=counts, bound=bound, status=solved.status, offered=Offered(tuple(offers), limits))


def _offers(
    pool: PoolModel,
    weights: Mapping[PoolKey, float],
    wishes: Mapping[tuple[PoolKey, Role], float],
    known: Sequence[Mapping[PoolKey, Mapping[VariantKey, int]]],
) -> list[Offer]:
    weight = weights.get(pool.key, 1.0)
    offers = [Offer(pool, role, weight, wishes.get((pool.key, role.role), float("inf"))) for role in pool.roles]
    for offer in offers:
        offer.add(np.array([[plan[pool.key][c.key] for c in offer.role.choices] for plan in known]))
    return offers


@dataclass(frozen=True, slots=True)
class Saving:
    """What a little more of something shared is worth."""

    usd_per_hour: float
    """Replicas and misses together."""
    short: bool = False
    """A pool would come nearer to what its queue or its present load needs at any cost."""


@dataclass(frozen=True, slots=True)
class Offered:
    """The answers that all roles offered, within limits: what would more of something change?"""

    offers: tuple[Offer, ...]
    limits: Limits

    def saved(self, amounts: Mapping[str, float]) -> dict[str, Saving]:
        """Return what more of something shared would save, each by itself.

        All plans serve pools by their priority; in the sum every dollar counts the same. With many answers to
        choose from, fractions of them may be mixed, which is the smoothed worth of a little more.

        Args:
            amounts: how much more, by what: a node pool's name, `BUDGET` or `POWER`.
        """
        chooser = Chooser(self.offers, self.limits)
        usd, aim = chooser.costs_with("", 0.0)
        found = {}
        for name, amount in amounts.items():
            less_usd, less_aim = chooser.costs_with(name, amount)
            found[name] = Saving(usd - less_usd, short=aim - less_aim > max(0.0, usd - less_usd) + TINY * abs(aim))
        return found


class Chooser:
    """The program that chooses one offered answer per role."""

    def __init__(self, offers: Sequence[Offer], limits: Limits) -> None:
        self.program = LinearProgram()
        self.offers = offers
        self._columns: list[list[tuple[int, Counts]]] = []
        for offer in offers:
            columns = [
                (self.program.column(cost=usd, upper=1.0, integer=True), counts)
                for counts, usd in offer.answers.items()
            ]
            self.program.row([(column, 1.0) for column, _ in columns], lower=1.0, upper=1.0)
            self._columns.append(columns)
        self._limit_rows = self._shared(limits, self.extra_dollars())
        self._own()

    def extra_dollars(self) -> list[tuple[int, float]]:
        """Return further columns that cost money, each with its dollars per hour."""
        return []

    def _shared(self, limits: Limits, extra_dollars: list[tuple[int, float]]) -> dict[str, int]:
        upper: dict[str, float] = {name: float(stock) for name, stock in limits.gpu_stock.items()}
        if limits.budget_usd_per_hour is not None:
            upper[BUDGET] = limits.budget_usd_per_hour
        if limits.power_limit_watts is not None:
            upper[POWER] = limits.power_limit_watts
        rows = {}
        for name, limit in upper.items():
            each = partial(used, prices={name: 1.0})
            terms = [term for index in range(len(self.offers)) for term in self.terms(index, each)]
            terms += extra_dollars if name == BUDGET else []
            if terms:
                rows[name] = self.program.row(terms, upper=limit)
        return rows

    def _own(self) -> None:
        """Add each pool's budget, and the price of leaving its prefill:decode band."""
        by_pool: dict[PoolKey, dict[Role, int]] = {}
        for index, offer in enumerate(self.offers):
            by_pool.setdefault(offer.pool.key, {})[offer.role.role] = index
        for indices in by_pool.values():
            pool = self.offers[next(iter(indices.values()))].pool
            if pool.budget_usd_per_hour is not None:
                terms = [t for i in indices.values() for t in self.terms(i, _price)]
                self.program.row(terms, upper=pool.budget_usd_per_hour)
            if pool.ratio is not None and Role.PREFILL in indices and Role.DECODE in indices:
                self._band(pool, indices[Role.PREFILL], indices[Role.DECODE])

    def _band(self, pool: PoolModel, prefill: int, decode: int) -> None:
        if pool.ratio is None:
            return
        usd = pool.ratio_usd * self.offers[prefill].weight
        for factor, sign in ((pool.ratio.lowest, 1.0), (pool.ratio.highest, -1.0)):
            terms = [(column, sign * count) for column, count in self.terms(prefill, _one)]
            terms += [(column, -sign * factor * count) for column, count in self.terms(decode, _one)]
            self.program.row([*terms, (self.program.column(cost=usd), 1.0)], lower=0.0)

    def terms(self, index: int, each: Callable[[Choice], float]) -> list[tuple[int, float]]:
        """Return what every answer of one offer uses of something, by what one replica of each variant uses."""
        amounts = np.array([each(choice) for choice in self.offers[index].role.choices])
        columns = self._columns[index]
        totals = np.array([counts for _, counts in columns]) @ amounts
        return [(column, amount) for (column, _), amount in zip(columns, totals.tolist(), strict=True) if amount]

    def prices(self, relaxed: ProgramAnswer) -> dict[str, float]:
        """Return the dual prices of what is shared; empty if there are none."""
        if relaxed.row_duals is None:
            return {}
        return {name: max(0.0, -float(relaxed.row_duals[row])) for name, row in self._limit_rows.items()}

    def costs_with(self, name: str, amount: float) -> tuple[float, float]:
        """Return plain dollars and objective of the best choice with ``amount`` more of ``name``."""
        row = self._limit_rows.get(name)
        if row is not None:
            self.program.row_upper[row] += amount
        many = len(self.program.cost) > MANY_ANSWERS
        solved = solve_program(self.program, SolverOptions(relative_gap=1e-6, plain=True, relaxed=many))
        if row is not None:
            self.program.row_upper[row] -= amount
        if solved.values is None:
            return 0.0, 0.0
        return self._plain_usd(solved.values), solved.objective

    def _plain_usd(self, values: FloatArray) -> float:
        """Return what the chosen answers cost with the misses they leave; every pool's dollars count the same."""
        return sum(
            float(offer.plain_usd() @ values[[column for column, _ in columns]])
            for offer, columns in zip(self.offers, self._columns, strict=True)
        )

    def start(self, plan: PlainCounts) -> dict[int, float]:
        """Return the columns that stand for a plan which was offered."""
        found: dict[int, float] = {}
        for offer, columns in zip(self.offers, self._columns, strict=True):
            wanted = tuple(plan[offer.pool.key][choice.key] for choice in offer.role.choices)
            found |= {column: float(counts == wanted) for column, counts in columns}
        return found

    def counts(self, solved: ProgramAnswer) -> PlainCounts | None:
        """Return the replicas of the chosen answers."""
        if solved.values is None:
            return None
        found: PlainCounts = {}
        for offer, columns in zip(self.offers, self._columns, strict=True):
            chosen = columns[int(np.argmax(solved.values[[column for column, _ in columns]]))][1]
            replicas = {c.key: n for c, n in zip(offer.role.choices, chosen, strict=True)}
            found.setdefault(offer.pool.key, {}).update(replicas)
        return found


def _price(choice: Choice) -> float:
    return choice.option.usd_per_replica_hour


def _one(_: Choice) -> float:
    return 1.0
