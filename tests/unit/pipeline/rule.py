"""The scaling policy for one pool with one variant per role, written once more, plainly and slowly: an oracle.

It follows one pool whose requests all meet the objective, and in which nothing ever waits.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np

from forebay.flow.fleet import Role
from forebay.flow.forecast import DemandForecast, Quantiles
from forebay.sizing.curve import demand_nodes
from forebay.sizing.queueing import miss_share
from forebay.sizing.work import Correction, Lengths, replica_work
from tests.unit.pipeline.fleets import PERFORMANCE, SLO

ROUND = 15.0
HALF_LIFE, SHARE_HALF_LIFE = 43_200.0, 21_600.0
PRICES = [0.15 * (4096 / 0.15) ** (j / 29) for j in range(30)]
ALLOWED = (1.0 - SLO.target) * 0.85
DRAIN = 0.15
Nodes = Sequence[tuple[float, float]]


def _line(x: float, xs: list[float], ys: list[float]) -> float:
    """Interpolate; flat outside."""
    if x <= xs[0]:
        return ys[0]
    if x >= xs[-1]:
        return ys[-1]
    i = bisect_right(xs, x)
    return ys[i - 1] + (ys[i] - ys[i - 1]) * (x - xs[i - 1]) / (xs[i] - xs[i - 1])


def _nodes(q: Quantiles, cap: float) -> Nodes:
    demand = demand_nodes(q, cap)
    return list(zip(demand.rates.tolist(), demand.weights.tolist(), strict=True))


class Work:
    """What one request costs, and the misses of a count of replicas."""

    def __init__(self, lengths: Lengths, burstiness: float) -> None:
        self.burstiness = burstiness
        self.work = replica_work(PERFORMANCE, Correction(), lengths, SLO)
        self.seconds = {role: self.work.seconds(role) for role in (Role.PREFILL, Role.DECODE)}
        self.request = sum(self.seconds.values())

    def miss(self, role: Role, rate: float, n: int) -> float:
        return float(miss_share(role, np.array([rate]), np.array([float(n)]), self.work, SLO, self.burstiness)[0])

    def curve(self, role: Role, nodes: Nodes, beside: Nodes = ()) -> list[float]:
        """Return misses per second of 0, 1, 2 ... replicas, and of the drain that overload leaves.

        There are enough replicas for the demand of ``beside``, too.
        """
        seconds = self.seconds[role]
        peak = max(rate for rate, _ in (*nodes, *beside)) * seconds
        largest = math.ceil(peak * (1.0 + 2.0 * self.burstiness) + 4.0 * math.sqrt(peak) + 3.0)
        missed = [
            sum(weight * rate * self.miss(role, rate, n) for rate, weight in nodes) for n in range(largest + 1)
        ]
        missed = list(accumulate(missed, min))
        beyond = [sum(w * max(0.0, rate * seconds - n) for rate, w in nodes) for n in range(largest + 1)]
        return [m + b / (DRAIN * seconds) for m, b in zip(missed, beyond, strict=True)]


def _pays(curve: list[float], price: float) -> int:
    return min(range(1, len(curve)), key=lambda n: n + price * curve[n])


def _at(curve: list[float], n: int) -> float:
    return curve[min(n, len(curve) - 1)]


@dataclass
class OfRole:
    """What one role remembers."""

    gains: dict[int, float] = field(default_factory=dict)
    count: int = -1
    counted: int = 0
    present: int = 0
    presents: list[int] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)
    evens: list[int] = field(default_factory=list)
    at_prices: list[float] = field(default_factory=lambda: [0.0] * len(PRICES))
    missed_then: list[float] = field(default_factory=list)
    predicted: float = 0.0
    price: float | None = None


class Rule:
    """Say, round by round, what every role should have."""

    def __init__(self, *, cold: bool, lead: float) -> None:
        self.cold, self.lead = cold, lead
        self.finished = self.seconds = self.requests = self.clock = 0.0
        self.roles = {role: OfRole() for role in (Role.PREFILL, Role.DECODE)}

    def step(
        self,
        *,
        work: Work,
        rate: float,
        finished: float,
        forecasts: dict[Role, DemandForecast],
        counts: dict[Role, int],
    ) -> dict[Role, int]:
        curves = {}
        for role in self.roles:
            f = forecasts.get(role)
            up = [(rate, 1.0)] if f is None else _nodes(f.at_horizon, f.rate_cap)
            down = up if f is None else _nodes(f.maximum, f.rate_cap)
            curves[role] = work.curve(role, up, down), work.curve(role, down, up), work.curve(role, [(rate, 1.0)])
            expected = sum(r * w for r, w in up)
        orders = {r: c[0] for r, c in curves.items()}
        prices, shares = self._prices(work, orders, expected, finished, counts)
        self.clock += ROUND
        for role, one in self.roles.items():
            self._follow(one, curves[role], prices[role], counts[role])
        found: dict[float, dict[Role, int]] = {
            fixed: {
                role: self._wanted(
                    role, curves[role], prices[role], shares[role], expected, forecasts, counts[role], fixed
                )
                for role in self.roles
            }
            for fixed in (180.0, 0.0)
        }
        alone, beside = found.values()
        if any(alone[role] > counts[role] for role in self.roles):
            return {
                role: beside[role] if alone[role] <= counts[role] < beside[role] else alone[role] for role in alone
            }
        return alone

    def _prices(
        self,
        work: Work,
        curves: dict[Role, list[float]],
        expected: float,
        finished: float,
        counts: dict[Role, int],
    ) -> tuple[dict[Role, float], dict[Role, float]]:
        keep, slow = 0.5 ** (ROUND / HALF_LIFE), 0.5 ** (ROUND / SHARE_HALF_LIFE)
        self.finished = self.finished * keep + finished
        self.seconds = self.seconds * keep + ROUND
        self.requests = self.requests * slow + ROUND * expected
        usual = self.finished / self.seconds if self.seconds > 60.0 else expected
        prior = 20.0 * usual
        bias = {}
        for role, one in self.roles.items():
            now = [min(expected, curves[role][_pays(curves[role], k * work.request)]) for k in PRICES]
            one.predicted *= keep
            one.predicted += finished * min(1.0, _at(curves[role], counts[role]) / expected)
            bias[role] = ((2.5 if self.cold else 1.0) * prior) / (one.predicted + prior)
            bias[role] = min(max(bias[role], 1 / 16), 2.5)
            one.at_prices = [old * slow + ROUND * new for old, new in zip(one.at_prices, now, strict=True)]
        window = max(self.finished, usual * HALF_LIFE / math.log(2.0), 1.0)
        pace = min(max(math.exp(2.0 * self.finished / window), 0.5), 2.5)
        pace = max(pace, max(bias.values()) / 3.0)
        common = self._common(bias, ALLOWED * pace)
        for role, one in self.roles.items():
            one.price = min(max(common * bias[role], PRICES[0]), PRICES[-1])
        return (
            {role: (one.price or 0.0) * work.request for role, one in self.roles.items()},
            {role: ALLOWED * pace / bias[role] for role in self.roles},
        )

    def _common(self, bias: dict[Role, float], allowed: float) -> float:
        tried = [PRICES[0] / 8 * (PRICES[-1] / PRICES[0] * 64) ** (j / 59) for j in range(60)]
        logs = [math.log(k) for k in PRICES]
        spent = []
        for price in tried:
            total = 0.0
            for role, one in self.roles.items():
                share = [min(one.at_prices[: j + 1]) / self.requests for j in range(len(PRICES))]
                line = [math.log(max(s, 1e-12)) for s in share]
                total += bias[role] * math.exp(_line(math.log(price * bias[role]), logs, line))
            spent.append(math.log(total))
        return math.exp(_line(math.log(allowed), spent[::-1], [math.log(k) for k in tried][::-1]))

    def _follow(
        self, one: OfRole, curves: tuple[list[float], list[float], list[float]], price: float, n: int
    ) -> None:
        order, release, now = curves
        if n != one.count:
            one.count, one.gains = n, {}
        one.present = _pays(now, price)
        one.presents = [*one.presents, one.present][-4:]
        one.peaks.append(one.present)
        one.counted = max(len(order), n + 1, one.present + 1) + 2
        for k in range(one.counted):
            if k > n:
                gain = n - k + price * (_at(order, n) - _at(order, k))
            else:
                gain = n - k + 0.5 * price * (_at(release, n) - _at(release, k))
            one.gains[k] = max(0.0, one.gains.get(k, 0.0) + ROUND * gain)

    def _wanted(
        self,
        role: Role,
        curves: tuple[list[float], list[float], list[float]],
        price: float,
        share: float,
        expected: float,
        forecasts: dict[Role, DemandForecast],
        n: int,
        fixed: float,
    ) -> int:
        one, (order, _, _) = self.roles[role], curves
        score = forecasts[role].score if role in forecasts else None
        young = role not in forecasts or (score is not None and score.scored < 20)
        hold = min(300.0 if role not in forecasts else 480.0, 12.0 * self.lead)
        usual = sorted(one.presents)[(len(one.presents) - 1) // 2]
        lowest = max(one.peaks[-1 - math.floor(hold / ROUND) :]) if young else usual
        action = fixed * max(1.0, n / 10.0)
        best, most = n, 0.0
        for k in range(one.counted):
            cost = 0.1 * (self.lead * (k - n) + action) if k > n else self.lead * (n - k) + action
            if k != n and k >= min(max(lowest, 1), n) and one.gains[k] - cost > most:
                best, most = k, one.gains[k] - cost
        if self.clock - ROUND < max(300.0, 2.0 * self.lead):
            best = max(best, n)
        most_missed = min(2.0 * share * expected, 0.5 * expected)
        even = next((k for k, m in enumerate(order) if m <= most_missed), len(order) - 1)
        if fixed:
            one.evens = [*one.evens, even][-4:]
        floor = max(sorted(one.evens)[(len(one.evens) - 1) // 2], one.present if young else 0, 1)
        return max(best, floor)
