"""The exact answer for one role on its own, by enumeration: most pools need no solver."""

import itertools
from collections.abc import Mapping

import numpy as np

from forebay.flow.trace import FloatArray
from forebay.planning.normal import Choice, RoleModel

LARGEST_GRID = 60_000
"""Combinations worth enumerating (about 2 ms); beyond this the integer program is faster."""

MOVE_PENALTY = 1e-7
"""Share of a replica's price that a move costs, so that ties keep what is there."""


def best_alone(role: RoleModel) -> dict[str, int] | None:
    """Return the counts that minimise cost plus misses of ``role`` without shared limits.

    Only moves in one direction are considered: all variants of a role grow, or all shrink.

    Returns:
        Replicas per variant, or ``None`` if the role has length buckets or too many combinations to enumerate.
    """
    if role.buckets:
        return None
    up = [range(choice.base, choice.highest + 1) for choice in role.choices]
    down = [range(choice.lowest, choice.base + 1) for choice in role.choices]
    if max(_size(up), _size(down)) > LARGEST_GRID:
        return None
    answers = [_best(role, ranges) for ranges in (up, down)]
    _, counts = min(answers, key=lambda answer: answer[0])
    return dict(zip((choice.name for choice in role.choices), counts, strict=True))


def _size(ranges: list[range]) -> int:
    size = 1
    for numbers in ranges:
        size *= len(numbers)
    return size


def _best(role: RoleModel, ranges: list[range]) -> tuple[float, tuple[int, ...]]:
    axes = [np.asarray(numbers, dtype=np.float64) for numbers in ranges]
    usd: FloatArray = np.zeros((1,) * len(axes))
    capacity: FloatArray = np.full((1,) * len(axes), -role.spare)
    for index, (axis, choice) in enumerate(zip(axes, role.choices, strict=True)):
        shape = [1] * len(axes)
        shape[index] = len(axis)
        price = choice.option.usd_per_replica_hour
        moves = np.abs(axis - choice.base) * MOVE_PENALTY
        usd = usd + (price * (axis + moves)).reshape(shape)
        capacity = capacity + (choice.option.speed * axis).reshape(shape)
    total = usd + lost_usd(role, capacity)
    winner = np.unravel_index(int(np.argmin(total)), total.shape)
    return float(total[winner]), tuple(int(axis[i]) for axis, i in zip(axes, winner, strict=True))


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


def neighbours(choices: tuple[Choice, ...], counts: Mapping[str, int]) -> list[dict[str, int]]:
    """Return the plans that differ from ``counts`` by one replica of one variant, within the bounds."""
    plans = []
    for choice, step in itertools.product(choices, (-1, 1)):
        changed = counts[choice.name] + step
        if choice.lowest <= changed <= choice.highest:
            plans.append({**counts, choice.name: changed})
    return plans
