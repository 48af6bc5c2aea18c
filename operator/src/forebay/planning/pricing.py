"""Exact answers for single roles and pools at given prices of shared resources."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from forebay.flow.fleet import Role, VariantKey
from forebay.flow.trace import FloatArray, IntArray
from forebay.planning.check import outside_ratio
from forebay.planning.curve import ConvexCurve
from forebay.planning.normal import BUDGET, POWER, Choice, Limits, PoolModel, RoleProgram
from forebay.planning.search import Answers, best_alone, lost_usd, most_useful, own_prices, priced

FEWEST_ANSWERS, MOST_ANSWERS, ANSWERS_OF_ALL = 5, 40, 500
"""Answers that a role offers at one set of prices: as many as make about `ANSWERS_OF_ALL` for all roles."""

SLACK = 0.01
"""Answers that cost up to this share more than the best of equal capacity are offered too: other GPU types."""

_TIED = (Role.PREFILL, Role.DECODE)
"""The roles that a pool's ratio ties to each other."""

Prices = Mapping[str, float]
"""Weighted US dollars per hour of a GPU of a node pool (by its name), a dollar of `BUDGET`, a watt of `POWER`."""

Counts = tuple[int, ...]


@dataclass(slots=True)
class Offer:
    """One role, and the answers that it has offered so far."""

    pool: PoolModel
    role: RoleProgram
    weight: float
    wish: float
    answers: dict[Counts, float] = field(default_factory=dict)
    """Replicas per variant, and what they cost with the misses they leave, weighted."""

    def add(self, counts: IntArray) -> None:
        """Offer each row of ``counts``."""
        usd = self.weight * self._usd(self.role.worth, counts)
        self.answers.update(zip(map(tuple, counts.tolist()), usd.tolist(), strict=True))

    def plain_usd(self) -> FloatArray:
        """Return what each answer offered costs with the misses it leaves: no weight, no floors."""
        return self._usd(self.role.order, np.array(list(self.answers)))

    def _usd(self, worth: ConvexCurve, counts: IntArray) -> FloatArray:
        prices = np.array([c.option.usd_per_replica_hour for c in self.role.choices])
        speeds = np.array([c.option.speed for c in self.role.choices])
        capacity = np.minimum(counts @ speeds - self.role.spare, self.wish)
        return np.asarray(counts @ prices + lost_usd(worth, capacity))

    def priced(self, prices: Prices, *, most: int | None = None) -> Answers | None:
        """Return what is worth considering at ``prices``; totals are not weighted."""
        usd = [c.option.usd_per_replica_hour + used(c, prices) / self.weight for c in self.role.choices]
        return priced(self.role, usd, wish=self.wish, slack=SLACK if most is None else 0.0, most=most)


def used(choice: Choice, prices: Prices) -> float:
    """Return what one replica pays for shared things at ``prices``; with a price of 1, how much it uses of it."""
    option = choice.option
    paid = prices.get(BUDGET, 0.0) * option.usd_per_replica_hour
    paid += prices.get(POWER, 0.0) * option.watts_per_replica
    if option.node_pool is not None:
        paid += prices.get(option.node_pool, 0.0) * option.gpus_per_replica
    return paid


def paid_for_all(limits: Limits, prices: Prices) -> float:
    """Return what everything that is shared costs at ``prices``."""
    paid = sum(prices.get(name, 0.0) * stock for name, stock in limits.gpu_stock.items())
    paid += prices.get(BUDGET, 0.0) * (limits.budget_usd_per_hour or 0.0)
    return paid + prices.get(POWER, 0.0) * (limits.power_limit_watts or 0.0)


def answers_each(roles: int) -> int:
    """Return how many answers each of so many roles offers."""
    return max(FEWEST_ANSWERS, min(MOST_ANSWERS, ANSWERS_OF_ALL // max(1, roles)))


def answer(offers: Sequence[Offer], prices: Prices, each: int) -> float | None:
    """Let the roles of one pool offer their ``each`` best answers at ``prices``.

    Returns:
        The weighted cost of the pool's best answer, prices paid, which bounds it from below; ``None`` if there are
        too many combinations.
    """
    found = [offer.priced(prices) for offer in offers]
    total = 0.0
    best: dict[VariantKey, int] = {}
    for offer, answers in zip(offers, found, strict=True):
        if answers is None:
            return None
        chosen = np.argsort(answers.total, kind="stable")[:each]
        offer.add(answers.counts[chosen])
        total += offer.weight * float(answers.total[chosen[0]])
        best |= _named(offer, answers.counts[chosen[0]])
    if outside_ratio(offers[0].pool, best) == 0.0:
        return total
    return _answer_in_band(offers, prices, each)


def _named(offer: Offer, counts: IntArray) -> dict[VariantKey, int]:
    return {c.key: int(n) for c, n in zip(offer.role.choices, counts, strict=True)}


def _answer_in_band(offers: Sequence[Offer], prices: Prices, each: int) -> float | None:
    most = _most_in_band(offers[0].pool)
    tables = {offer.role.role: offer.priced(prices, most=most.get(offer.role.role)) for offer in offers}
    pairs = best_pairs(offers[0].pool, tables, 4 * each)
    if pairs is None:
        return None
    total = 0.0
    for offer in offers:
        if offer.role.role in pairs.counts:
            offer.add(pairs.counts[offer.role.role])
            continue
        answers = tables[offer.role.role]
        total += 0.0 if answers is None else float(answers.total.min())
    return offers[0].weight * (total + float(pairs.total[0]))


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Answers of prefill and decode that go together, best first."""

    counts: Mapping[Role, IntArray]
    total: FloatArray
    """What both cost with their misses, and with what leaving the prefill:decode band costs."""


def best_pairs(pool: PoolModel, tables: Mapping[Role, Answers | None], most: int = 1) -> Pairs | None:
    """Return the ``most`` best pairs of answers of two roles that are tied by a ratio.

    Args:
        pool: the pool.
        tables: answers of prefill and decode with the best for every number of replicas.
        most: how many pairs.
    """
    prefill, decode = tables.get(Role.PREFILL), tables.get(Role.DECODE)
    if prefill is None or decode is None:
        return None
    few, many = prefill.best_by_total(), decode.best_by_total()
    outside = _ratio_usd(pool, few.counts.sum(axis=1)[:, None], many.counts.sum(axis=1)[None, :])
    together = few.total[:, None] + many.total[None, :] + outside
    best = np.argsort(together, axis=None, kind="stable")[:most]
    rows, columns = np.unravel_index(best, together.shape)
    counts = {Role.PREFILL: few.counts[rows], Role.DECODE: many.counts[columns]}
    return Pairs(counts, together[rows, columns])


def _most_in_band(pool: PoolModel) -> dict[Role, int]:
    """Return the most replicas that each of the tied roles can use: for its own work, or for the band."""
    most = {role.role: most_useful(role) for role in pool.roles if role.role in _TIED}
    if pool.ratio is None or len(most) < 2:
        return {}
    prefill, decode = most[Role.PREFILL], most[Role.DECODE]
    return {
        Role.PREFILL: max(prefill, math.ceil(pool.ratio.lowest * decode)),
        Role.DECODE: max(decode, math.ceil(prefill / max(pool.ratio.highest, 1e-9))),
    }


def best_in_band(pool: PoolModel) -> dict[VariantKey, int] | None:
    """Return the best replicas of a pool that shares nothing and has no budget, its ratio kept.

    Returns:
        Replicas per variant, or ``None`` if a role has length buckets or too many combinations.
    """
    counts: dict[VariantKey, int] = {}
    for role in pool.roles:
        best = best_alone(role)
        if best is None:
            return None
        counts |= best
    if outside_ratio(pool, counts) == 0.0:
        return counts
    tied: dict[Role, RoleProgram] = {role.role: role for role in pool.roles if role.role in _TIED}
    most = _most_in_band(pool)
    tables: dict[Role, Answers | None] = {
        kind: priced(role, own_prices(role), most=most[kind]) for kind, role in tied.items()
    }
    pairs = best_pairs(pool, tables)
    if pairs is None:
        return None
    for kind, role in tied.items():
        counts |= {c.key: int(n) for c, n in zip(role.choices, pairs.counts[kind][0], strict=True)}
    return counts


def _ratio_usd(pool: PoolModel, prefill: IntArray, decode: IntArray) -> FloatArray:
    """Return what it costs, not weighted, to be outside the band with so many replicas of each role."""
    if pool.ratio is None:
        return np.zeros(np.broadcast_shapes(prefill.shape, decode.shape))
    few = np.maximum(0.0, pool.ratio.lowest * decode - prefill)
    many = np.maximum(0.0, prefill - pool.ratio.highest * decode)
    return np.asarray(pool.ratio_usd * (few + many))
