"""The exact answer for one role on its own, without a solver: a frontier of capacity against cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from forebay.flow.fleet import VariantKey
from forebay.flow.trace import FloatArray, IntArray
from forebay.planning.curve import ConvexCurve
from forebay.planning.normal import Choice, RoleProgram

LARGEST_MERGE = 1_000_000
"""Combinations that one merge may look at (about 50 ms); beyond this the integer program is faster."""

MOVE_PENALTY = 1e-7
"""Share of a replica's price that a move costs, so that ties keep what is there."""


def best_alone(role: RoleProgram) -> dict[VariantKey, int] | None:
    """Return the counts that minimise cost plus misses of ``role`` without shared limits.

    Only moves in one direction are considered: all variants of a role grow, or all shrink. The variants are merged
    one after the other into the frontier of combinations that no other beats in both capacity and cost; since
    misses fall with capacity, the optimum is on it.

    Returns:
        Replicas per variant, or ``None`` if the role has length buckets or too many combinations.
    """
    if role.buckets:
        return None
    answers = priced(role, own_prices(role))
    if answers is None:
        return None
    best = answers.counts[int(np.argmin(answers.total))]
    return {choice.key: int(count) for choice, count in zip(role.choices, best, strict=True)}


def own_prices(role: RoleProgram) -> list[float]:
    """Return what a replica of each variant costs."""
    return [choice.option.usd_per_replica_hour for choice in role.choices]


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Combinations of replicas (a row each, a column per variant), and their cost with the misses they leave."""

    counts: IntArray
    total: FloatArray

    def best_by_total(self) -> "Answers":
        """Return the cheapest of every number of replicas in all."""
        replicas = self.counts.sum(axis=1)
        order = np.lexsort((self.total, replicas))
        first = order[np.concatenate([[True], np.diff(replicas[order]) > 0])]
        return Answers(self.counts[first], self.total[first])


def priced(
    role: RoleProgram,
    usd_per_replica: Sequence[float],
    *,
    wish: float = float("inf"),
    slack: float = 0.0,
    most: int | None = None,
    both_ways: bool = False,
) -> Answers | None:
    """Return the combinations worth considering at given prices; the cheapest of all is among them.

    Args:
        role: the role.
        usd_per_replica: price of each variant, prices of scarce GPUs included.
        wish: most capacity that counts.
        slack: also keep combinations that are dearer than the best of their capacity by this share.
        most: keep the best for every number of replicas in all, up to this many; ``None``: of all numbers.
        both_ways: some variants may grow while others shrink.

    Returns:
        The combinations, or ``None`` if there are too many to look at.
    """
    counts, totals = [], []
    for bounds in [[(c.lowest, c.highest) for c in role.choices]] if both_ways else directions(role):
        frontier = _frontier(role, bounds, usd_per_replica, slack, most=most)
        if frontier is None:
            return None
        counts.append(frontier.counts)
        totals.append(frontier.usd + lost_usd(role.worth, np.minimum(frontier.capacity, wish)))
    return Answers(np.concatenate(counts), np.concatenate(totals))


def directions(role: RoleProgram) -> list[list[tuple[int, int]]]:
    """Return the bounds of every variant when the role grows, and when it shrinks; once where one covers both."""
    up = [(choice.base, choice.highest) for choice in role.choices]
    down = [(choice.lowest, choice.base) for choice in role.choices]
    if all(low == high for low, high in down):
        return [up]
    return [down] if all(low == high for low, high in up) else [up, down]


@dataclass(frozen=True, slots=True, eq=False)
class _Frontier:
    """Combinations: ``counts[i]`` has one column per merged variant."""

    capacity: FloatArray
    usd: FloatArray
    counts: IntArray


def _frontier(
    role: RoleProgram,
    bounds: Sequence[tuple[int, int]],
    usd_per_replica: Sequence[float],
    slack: float,
    *,
    most: int | None,
) -> _Frontier | None:
    frontier = _Frontier(np.array([-role.spare]), np.zeros(1), np.zeros((1, 0), dtype=np.int64))
    enough = float(role.worth.capacity[-1])
    for choice, (low, high), usd in zip(role.choices, bounds, usd_per_replica, strict=True):
        useful = high if most is None else min(high, max(low, most))
        if choice.option.speed > 0 and most is None:
            useful = _useful(choice, low, high, enough + role.spare)
        numbers = np.arange(low, useful + 1)
        if len(numbers) * len(frontier.capacity) > LARGEST_MERGE:
            return None
        frontier = _merge(frontier, choice, numbers, usd, enough, slack, most=most)
    return frontier


def _useful(choice: Choice, low: int, high: int, enough: float) -> int:
    """Return the count beyond which this variant alone is more than the curve can value."""
    return max(low, min(high, int(np.ceil(enough / choice.option.speed)) + 1))


def _merge(
    frontier: _Frontier,
    choice: Choice,
    numbers: IntArray,
    price: float,
    enough: float,
    slack: float,
    *,
    most: int | None,
) -> _Frontier:
    usd_of = price * (numbers + np.abs(numbers - choice.base) * MOVE_PENALTY)
    capacity = (frontier.capacity[:, None] + choice.option.speed * numbers[None, :]).ravel()
    usd = (frontier.usd[:, None] + usd_of[None, :]).ravel()
    group = None
    if most is not None:
        group = (frontier.counts.sum(axis=1)[:, None] + numbers[None, :]).ravel()
        usd = np.where(group <= max(most, int(group.min())), usd, np.inf)
    kept = _undominated(np.minimum(capacity, enough), usd, group, slack)
    rows, columns = np.divmod(kept, len(numbers))
    counts = np.concatenate([frontier.counts[rows], numbers[columns][:, None]], axis=1)
    return _Frontier(capacity[kept], usd[kept], counts)


def _undominated(capacity: FloatArray, usd: FloatArray, group: IntArray | None, slack: float) -> IntArray:
    """Return the points of finite cost that no other of their group beats in both, give or take ``slack``."""
    if group is None:
        group = np.zeros(len(usd), dtype=np.int64)
    order = np.lexsort((usd, -capacity, group))
    order = order[np.isfinite(usd[order])]
    # Every group lies below all earlier ones, so that the running minimum starts again with it.
    shift = group[order] * (1.0 + float(usd[order].max()))
    below = usd[order] - shift
    cheapest = np.minimum.accumulate(below)[:-1]
    near = below[1:] < cheapest + slack * (cheapest + shift[1:])
    return np.asarray(order[np.concatenate([[True], near])])


def most_useful(role: RoleProgram) -> int:
    """Return the most replicas that the role can use, of any variants."""
    enough = float(role.worth.capacity[-1]) + role.spare
    return max(_useful(c, c.lowest, c.highest, enough) for c in role.choices if c.option.speed > 0)


def lost_usd(worth: ConvexCurve, capacity: FloatArray) -> FloatArray:
    """Return the US dollars per hour lost to misses at each ``capacity`` (reference replicas, spare taken off)."""
    value = np.interp(capacity, worth.capacity, worth.value)
    if len(worth.capacity) < 2:
        return np.asarray(value)
    missing = np.minimum(0.0, capacity - worth.capacity[0])
    return np.asarray(value + worth.slopes[0] * missing)


def role_usd(role: RoleProgram, counts: Mapping[VariantKey, int]) -> float:
    """Return cost plus misses of ``role`` in US dollars per hour, where speed does not depend on length."""
    price = sum(choice.option.usd_per_replica_hour * counts[choice.key] for choice in role.choices)
    return price + float(lost_usd(role.worth, np.asarray(role.capacity(counts))))
