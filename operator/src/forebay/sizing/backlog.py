"""Work that already waits: how long it will wait, and the replicas that drain it at the least cost."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_STANDING_SHARE = 0.3
_ORDER_WAIT_SHARE = 0.25
_HOLD_WAIT_SHARE = 0.5
_KEEPS_UP = 1.02


@dataclass(frozen=True, slots=True)
class BacklogNeed:
    """What a queue asks for."""

    order: int | None
    """Replicas to order at least; ``None``: the queue asks for nothing."""
    hold: bool
    """True: no release and no cancelled start while the queue stands."""
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
    """Return what ``waiting`` requests of one role ask for.

    ``ready`` is in replicas of the reference variant; ``starting`` has the seconds until each replica on its way
    is ready, and its capacity in the same unit.

    The queue is followed as a fluid until ``lead_time_seconds`` from now, with each starting replica added at its
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
