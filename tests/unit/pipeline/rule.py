"""The scaling rule for one pool with one variant per role, written once more, plainly and slowly: an oracle."""

import math
from itertools import pairwise

from forebay.flow.fleet import Role
from forebay.flow.forecast import DemandForecast, Quantiles
from tests.unit.pipeline.fleets import INPUT, OUTPUT, PERFORMANCE, SLO

KAPPA, RELEASE_FACTOR, HEADROOM = 20.0, 0.5, 0.85
Z = (-2, -1.2, -0.6, -0.2, 0.2, 0.6, 1, 1.4, 1.8, 2.2, 2.6, 3, 3.4, 3.9)
BURSTS = ((-1.7321, 1 / 6), (0.0, 2 / 3), (1.7321, 1 / 6))


def _phi(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


class Rule:
    """Seconds per request, prices and counts from lengths, burstiness and a budget error."""

    def __init__(
        self, *, context: float, sample: tuple[float, ...], burstiness: float, budget_factor: float
    ) -> None:
        p = PERFORMANCE
        self.burstiness = burstiness
        self.prefill = p.prefill_base_seconds + p.prefill_seconds_per_token * INPUT
        slope = p.decode_seconds_per_sequence + p.decode_seconds_per_kv_token * context
        limits = (0.97 * p.max_batch, 0.9 * p.kv_capacity_tokens / context)
        self.batch = max(1.0, min(*limits, (SLO.itl_seconds - p.decode_base_seconds) / slope))
        self.decode = OUTPUT * (p.decode_base_seconds + slope * self.batch) / self.batch
        self.s = [p.prefill_base_seconds + p.prefill_seconds_per_token * tokens for tokens in sample]
        self.price = KAPPA * (self.prefill + self.decode) * budget_factor

    def seconds(self, role: Role) -> float:
        return self.prefill if role is Role.PREFILL else self.decode

    def miss(self, role: Role, a: float, n: int) -> float:
        if role is Role.DECODE:
            return _phi((a - 0.985 * n) / (math.sqrt(a / self.batch) + 0.01 * n))
        unservable = sum(s >= SLO.ttft_seconds for s in self.s) / len(self.s)
        if a >= 0.999 * n:
            return 1.0 - unservable
        beta = (n - a) / math.sqrt(a) if a > 0 else 99.0
        if beta > 12.0:
            return 0.0
        waits = 1.0 / (1.0 + 2.5066 * beta * _phi(beta) * math.exp(beta * beta / 2.0))
        mean = sum(self.s) / len(self.s)
        kv = 0.5 * (sum(s * s for s in self.s) / len(self.s)) / mean**2
        late = sum(
            math.exp(-(n - a) * (SLO.ttft_seconds - s) / (self.prefill * kv))
            for s in self.s
            if s < SLO.ttft_seconds
        )
        return waits * late / len(self.s)

    def size(self, role: Role, nodes: list[tuple[float, float]], price: float) -> int:
        best, cheapest, n = 1, math.inf, 1
        while n < cheapest:
            missed = sum(
                weight * rate * g * self.miss(role, rate * (1.0 + self.burstiness * h) * self.seconds(role), n)
                for rate, weight in nodes
                for h, g in BURSTS
                if rate > 0.0
            )
            if n + price * missed < cheapest:
                best, cheapest = n, n + price * missed
            n += 1
        return best

    def nodes(self, q: Quantiles, cap: float) -> list[tuple[float, float]]:
        cumulative = [0.0, *(_phi((a + b) / 2) for a, b in pairwise(Z)), 1.0]
        weights = [b - a for a, b in pairwise(cumulative)]
        s1, s2 = (q.q90 - q.q50) / 1.2816, max(0.0, (q.q99 - q.q90) / 1.0447)
        rates = [q.q50 + s1 * z if z < 1.2816 else q.q90 + s2 * (z - 1.2816) for z in Z]
        return [(min(max(rate, 0.0), cap), weight) for rate, weight in zip(rates, weights, strict=True)]

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
