"""The scaling rule for one pool with one variant per role, written once more, plainly and slowly: an oracle."""

import math

import numpy as np

from forebay.flow.fleet import Role
from forebay.flow.forecast import DemandForecast, Quantiles
from forebay.sizing.curve import demand_nodes
from forebay.sizing.queueing import miss_share
from forebay.sizing.work import Correction, Lengths, replica_work
from tests.unit.pipeline.fleets import PERFORMANCE, SLO

KAPPA, RELEASE_FACTOR, HEADROOM = 20.0, 0.5, 0.85


class Rule:
    """Counts from lengths, burstiness and a budget error."""

    def __init__(self, *, lengths: Lengths, burstiness: float, budget_factor: float) -> None:
        self.burstiness = burstiness
        self.work = replica_work(PERFORMANCE, Correction(), lengths, SLO)
        self.price = KAPPA * (self.seconds(Role.PREFILL) + self.seconds(Role.DECODE)) * budget_factor

    def seconds(self, role: Role) -> float:
        return self.work.seconds(role)

    def miss(self, role: Role, rate: float, n: int) -> float:
        return float(miss_share(role, np.array([rate]), np.array([float(n)]), self.work, SLO, self.burstiness)[0])

    def size(self, role: Role, nodes: list[tuple[float, float]], price: float) -> int:
        best, cheapest, n = 1, math.inf, 1
        while n < cheapest:
            missed = sum(weight * rate * self.miss(role, rate, n) for rate, weight in nodes if rate > 0.0)
            if n + price * missed < cheapest:
                best, cheapest = n, n + price * missed
            n += 1
        return best

    def nodes(self, q: Quantiles, cap: float) -> list[tuple[float, float]]:
        demand = demand_nodes(q, cap)
        return list(zip(demand.rates.tolist(), demand.weights.tolist(), strict=True))

    def band(self, role: Role, rate: float, forecast: DemandForecast) -> tuple[int, int]:
        """Return the count to order up to and the count to release down to."""
        now = self.size(role, [(rate, 1.0)], self.price)
        up, down = forecast.at_horizon, forecast.maximum
        order = max(
            self.size(role, self.nodes(up, forecast.rate_cap), self.price),
            math.ceil(up.q90 * self.seconds(role) / HEADROOM),
            now,
        )
        release = max(
            self.size(role, self.nodes(down, forecast.rate_cap), RELEASE_FACTOR * self.price),
            math.ceil(down.q90 * self.seconds(role) / HEADROOM),
            order,
        )
        return order, release
