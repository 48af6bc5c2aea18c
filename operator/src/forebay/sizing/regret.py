"""When a role's replicas change: once no change has cost as much as the change would.

For each possible count of replicas, every round adds what that count would have saved over the present one (a
cumulative sum that does not fall below zero, Page 1954). A change costs the time that it takes and a fixed part
per action. So a burst justifies an order within a round, noise cancels out, and no replica is ordered that the
next rounds would cancel.
"""

import math
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from forebay.flow.trace import FloatArray
from forebay.sizing.curve import SizedCurve

_ORDER_SHARE, _RELEASE_SHARE = 0.1, 1.0
"""Share of a move's cost that regret must reach. A wrong order costs little: a release corrects it once the
replica is ready. A wrong release costs more: a new replica takes a lead time."""
_ACTION_REPLICAS = 10.0
"""An action of a role of more replicas costs as much more."""
_RELEASE_PRICE = 0.5
"""A miss counts half for the highest demand until new replicas come: that demand lasts for a part of the time at
most."""
EVENNESS = 2.0
"""A round plans to miss at most this times the allowed share, so that a bad hour uses only a part of the
budget."""
_MOST_UNEVEN = 0.5
_MEDIAN_ROUNDS = 4


@dataclass(slots=True)
class Regret:
    """What one role remembers of the rounds since its last change."""

    count: float = -1.0
    """Replicas that it had."""
    sums: FloatArray = field(default_factory=lambda: np.zeros(0))
    """Replica-seconds that each count would have saved."""
    most: float = math.inf
    """Upper limit of the sums while a requested change is not carried out."""
    presents: list[int] = field(default_factory=list)
    evens: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleSituation:
    """Inputs of the decision; replicas are those of the reference variant, without spare ones."""

    count: float
    """Replicas that the role's targets are set to."""
    order: SizedCurve
    """Misses at the lead time, including those of overload, as in ``release``."""
    release: SizedCurve
    """Misses at the highest demand until the lead time."""
    price: float
    """Price of a miss, in replica-seconds."""
    allowed_misses_per_second: float
    """In the model's terms (see `price`)."""
    requests_per_second: float
    lead_seconds: float
    action_seconds: float
    """Fixed cost of one action, in replica-seconds."""
    present: int
    """Replicas that pay for themselves at the present rate."""
    keep: int
    """Highest ``present`` of the last minutes, while no forecast can be trusted; else 0."""
    order_floor: int
    """Replicas that a queue requires, or that pay for themselves now while no forecast can be trusted."""
    held: bool
    """Whether no replica may be released."""
    at_least: int
    seen: float
    """Seconds that the round covers."""


@dataclass(frozen=True, slots=True)
class RoleWish:
    """The replicas that a role should have: the present count, unless a change is worth its cost."""

    replicas: float
    holds_back: bool
    """Whether it would release some if that were allowed."""


def wanted(regret: Regret, now: RoleSituation) -> RoleWish:
    """Return what a role should have now."""
    size = max(int(now.order.replicas[-1]), math.ceil(now.count), now.present, now.keep) + 2
    sums = _followed(regret, now, size)
    _add_saved(sums, now, regret.most)
    _remember(regret.presents, now.present)
    _remember(regret.evens, _even(now))
    return _wish(regret, now, now.action_seconds)


def wanted_beside(regret: Regret, now: RoleSituation) -> RoleWish:
    """Return what a role should have where another role of the pool orders in the same round.

    The other role already pays for the action. Call this after `wanted`.
    """
    return _wish(regret, now, 0.0)


def _wish(regret: Regret, now: RoleSituation, action_seconds: float) -> RoleWish:
    lowest = min(max(now.keep or _lower_median(regret.presents), now.at_least), now.count)
    best = _best(now, regret.sums, lowest, action_seconds)
    regret.most = math.inf if now.held or best == now.count else min(regret.most, float(regret.sums.max()))
    stays = max(best, now.count) if now.held else best
    floor = max(_lower_median(regret.evens), now.order_floor, now.at_least)
    return RoleWish(replicas=max(stays, floor), holds_back=now.held and max(best, floor) < now.count)


def _followed(regret: Regret, now: RoleSituation, size: int) -> FloatArray:
    """Return the sums of the first ``size`` counts; they start again when anybody has changed the count."""
    if abs(regret.count - now.count) > 1e-6:
        regret.count, regret.most = now.count, math.inf
        regret.sums = np.zeros(size)
    elif len(regret.sums) < size:
        regret.sums = np.concatenate([regret.sums, np.zeros(size - len(regret.sums))])
    regret.sums[size:] = 0.0
    return regret.sums[:size]


def _add_saved(sums: FloatArray, now: RoleSituation, most: float) -> None:
    """Add what each count would have saved over the present one, in replica-seconds, within 0 and ``most``."""
    first_above = math.floor(now.count) + 1
    fewer = now.release.misses_at_counts(0, first_above)
    more = now.order.misses_at_counts(first_above, len(sums))
    saved = np.concatenate(
        [
            (_RELEASE_PRICE * now.price) * (now.release.misses_at(now.count) - fewer),
            now.price * (now.order.misses_at(now.count) - more),
        ]
    )
    saved += now.count - _counts(len(sums))
    saved *= now.seen
    sums += saved
    np.maximum(sums, 0.0, out=sums)
    if most < math.inf:
        np.minimum(sums, most, out=sums)


def _best(now: RoleSituation, sums: FloatArray, lowest: float, action_seconds: float) -> float:
    """Return the count whose regret exceeds the cost of changing to it by most; the present count if none does."""
    first_above = math.floor(now.count) + 1
    action = action_seconds * max(1.0, now.count / _ACTION_REPLICAS)
    cost = now.lead_seconds * np.abs(_counts(len(sums)) - now.count) + action
    cost[:first_above] *= _RELEASE_SHARE
    cost[first_above:] *= _ORDER_SHARE
    left = sums - cost
    left[: math.ceil(lowest - 1e-9)] = 0.0
    best = int(left.argmax())
    return float(best) if left[best] > 0.0 and best != now.count else now.count


@lru_cache(maxsize=256)
def _counts(size: int) -> FloatArray:
    counts = np.arange(size, dtype=np.float64)
    counts.flags.writeable = False
    return counts


def _even(now: RoleSituation) -> int:
    """Return the fewest replicas whose misses a round allows."""
    share = min(EVENNESS * now.allowed_misses_per_second, _MOST_UNEVEN * now.requests_per_second)
    too_few = int(np.count_nonzero(now.order.misses_per_second > share))
    return int(now.order.replicas[min(too_few, len(now.order.replicas) - 1)])


def _remember(last: list[int], newest: int) -> None:
    """Append the newest of the last rounds' values."""
    last.append(newest)
    if len(last) > _MEDIAN_ROUNDS:
        del last[0]


def _lower_median(last: list[int]) -> int:
    return sorted(last)[(len(last) - 1) // 2]
