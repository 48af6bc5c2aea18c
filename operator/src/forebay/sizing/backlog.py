"""Requests that already wait: how long they will wait, and how many replicas drain them at the least cost."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_STANDING_SHARE = 0.3
_ORDER_WAIT_SHARE = 0.25
_HOLD_WAIT_SHARE = 0.5
_KEEPS_UP = 1.02


@dataclass(frozen=True, slots=True)
class BacklogNeed:
    """The replicas that a queue requires."""

    order: int | None
    """Fewest replicas to have; ``None``: the queue requires none."""
    hold: bool
    """True: release no replica and cancel no start while requests wait."""
    left_seconds: float
    """Replica-seconds of work that will still wait when an order placed now becomes ready."""


def backlog_need(
    *,
    waiting: float,
    seconds_per_request: float,
    rate: float,
    ready: float,
    starting: Sequence[tuple[float, float]],
    lead_time_seconds: float,
    ttft_seconds: float,
    miss_price_replica_seconds: float,
    present_need: int,
) -> BacklogNeed:
    """Return the replicas that ``waiting`` requests of one role require.

    ``ready`` is in replicas of the reference variant; ``starting`` has the seconds until each replica on its way
    is ready, and its capacity in the same unit.

    The queue is computed as a fluid until ``lead_time_seconds`` from now; each starting replica is added at its
    ready time. The order minimises extra replicas x lead time + drain time x price of the misses meanwhile:
    ``offered + sqrt(left * rate * price / lead)``.
    """
    queued = waiting * seconds_per_request
    offered = rate * seconds_per_request
    left = _fluid(queued, offered, ready, sorted(starting), lead_time_seconds)
    per_replica = queued / max(ready, 1e-9)
    hold = per_replica > _HOLD_WAIT_SHARE * ttft_seconds
    if left <= _STANDING_SHARE * max(1.0, ready) or per_replica <= _ORDER_WAIT_SHARE * ttft_seconds:
        return BacklogNeed(None, hold, left)
    drain = math.sqrt(left * rate * miss_price_replica_seconds / max(lead_time_seconds, 60.0))
    ceiling = math.ceil(3.0 * max(offered, present_need)) + 2
    return BacklogNeed(min(math.ceil(offered + drain), ceiling), hold, left)


def _fluid(
    queued: float, offered: float, ready: float, arrivals: Sequence[tuple[float, float]], horizon: float
) -> float:
    """Return the work left at ``horizon``; ``arrivals`` of capacity are in the order of their time."""
    left, capacity, clock = queued, ready, 0.0
    for seconds, more in [*arrivals, (horizon, 0.0)]:
        moment = min(max(seconds, 0.0), horizon)
        stays_empty = left <= 0.0 and queued <= 0.0 and offered <= _KEEPS_UP * capacity
        if not stays_empty:
            left = max(0.0, left + (offered - capacity) * (moment - clock))
        clock = moment
        capacity += more
    return left
