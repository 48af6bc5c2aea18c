"""The exact answer for one role on its own, without a solver: a frontier of capacity against cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from forebay.flow.trace import FloatArray, IntArray
from forebay.planning.normal import Choice, RoleModel

LARGEST_MERGE = 1_000_000
"""Combinations that one merge may look at (about 50 ms); beyond this the integer program is faster."""

MOVE_PENALTY = 1e-7
"""Share of a replica's price that a move costs, so that ties keep what is there."""


def best_alone(role: RoleModel) -> dict[str, int] | None:
    """Return the counts that minimise cost plus misses of ``role`` without shared limits.

    Only moves in one direction are considered: all variants of a role grow, or all shrink. The variants are merged
    one after the other into the frontier of combinations that no other beats in both capacity and cost; since
    misses fall with capacity, the optimum is on it.

    Returns:
        Replicas per variant, or ``None`` if the role has length buckets or too many combinations.
    """
    if role.buckets:
        return None
    up = [(choice.base, choice.highest) for choice in role.choices]
    down = [(choice.lowest, choice.base) for choice in role.choices]
    answers = [_best(role, bounds) for bounds in (up, down)]
    found = [answer for answer in answers if answer is not None]
    if len(found) < len(answers):
        return None
    _, counts = min(found, key=lambda answer: answer[0])
    return dict(zip((choice.name for choice in role.choices), counts, strict=True))


@dataclass(frozen=True, slots=True, eq=False)
class _Frontier:
    """Combinations by ascending capacity and cost: ``counts[i]`` has one column per merged variant."""

    capacity: FloatArray
    usd: FloatArray
    counts: IntArray


def _best(role: RoleModel, bounds: Sequence[tuple[int, int]]) -> tuple[float, tuple[int, ...]] | None:
    frontier = _Frontier(np.array([-role.spare]), np.zeros(1), np.zeros((1, 0), dtype=np.int64))
    enough = float(role.worth.capacity[-1])
    for choice, (low, high) in zip(role.choices, bounds, strict=True):
        useful = high if choice.option.speed <= 0 else _useful(choice, low, high, enough + role.spare)
        numbers = np.arange(low, useful + 1)
        if len(numbers) * len(frontier.capacity) > LARGEST_MERGE:
            return None
        frontier = _merge(frontier, choice, numbers, enough)
    total = frontier.usd + lost_usd(role, frontier.capacity)
    winner = int(np.argmin(total))
    return float(total[winner]), tuple(int(count) for count in frontier.counts[winner])


def _useful(choice: Choice, low: int, high: int, enough: float) -> int:
    """Return the count beyond which this variant alone is more than the curve can value."""
    return max(low, min(high, int(np.ceil(enough / choice.option.speed)) + 1))


def _merge(frontier: _Frontier, choice: Choice, numbers: IntArray, enough: float) -> _Frontier:
    price = choice.option.usd_per_replica_hour
    usd_of = price * (numbers + np.abs(numbers - choice.base) * MOVE_PENALTY)
    capacity = (frontier.capacity[:, None] + choice.option.speed * numbers[None, :]).ravel()
    usd = (frontier.usd[:, None] + usd_of[None, :]).ravel()
    counted = np.minimum(capacity, enough)
    order = np.lexsort((usd, -counted))
    cheapest_above = np.minimum.accumulate(usd[order])
    first = np.concatenate([[True], usd[order][1:] < cheapest_above[:-1]])
    kept = order[first][::-1]
    rows, columns = np.divmod(kept, len(numbers))
    counts = np.concatenate([frontier.counts[rows], numbers[columns][:, None]], axis=1)
    return _Frontier(capacity[kept], usd[kept], counts)


def lost_usd(role: RoleModel, capacity: FloatArray) -> FloatArray:
    """Return the US dollars per hour lost to misses at each ``capacity`` (reference replicas, spare taken off)."""
    worth = role.worth
    value = np.interp(capacity, worth.capacity, worth.value)
    if len(worth.capacity) < 2:
        return np.asarray(value)
    missing = np.minimum(0.0, capacity - worth.capacity[0])
    return np.asarray(value + worth.slopes[0] * missing)


def role_usd(role: RoleModel, counts: Mapping[str, int]) -> float:
    """Return cost plus misses of ``role`` in US dollars per hour, where speed does not depend on length."""
    price = sum(choice.option.usd_per_replica_hour * counts[choice.name] for choice in role.choices)
    return price + float(lost_usd(role, np.asarray(role.capacity(counts))))
