"""The price of a missed request: the one at which the model expects as many misses as the objective allows.

It is the dual variable of the objective. For every price, the curves of misses give the replicas that pay for
themselves and the requests that then miss. Over some hours of rounds this gives the share of requests that miss
at each price. The model has errors, so each role's share is multiplied by its misses so far over the predicted
ones (the bias). If more or less of the budget was used so far than planned, the allowed share shrinks or grows
(the pace).

Prices are counted in the cost of one request in all roles, so that they mean the same for a small and a large
model.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from forebay.flow.fleet import Role
from forebay.flow.trace import FloatArray
from forebay.sizing.curve import SizedCurve

PRICES = np.geomspace(0.15, 4096.0, 30)
"""Below the first price it would pay to drop all requests, since every dropped request costs at least the drain
of a queue (`overload.DRAIN_SHARE`). At the last price a fleet misses fewer than one request in ten thousand."""
_LOG_PRICES = np.log(PRICES)
_TRIED = np.geomspace(PRICES[0] / 8.0, PRICES[-1] * 8.0, 60)
"""Prices for all roles; each role's bias then multiplies its own."""
_LOG_TRIED = np.log(_TRIED)

SLACK = 0.15
"""Plan to use this share of the allowed misses, because misses in the last hours cannot be made up for."""
_SHARE_HALF_LIFE_SECONDS = 21_600.0
"""Half-life of the misses at each price: long enough to include the quiet and the busy part of a day."""
_CLUSTER_SECONDS = 20.0
"""Misses come in clusters, of about as many requests as arrive in so long. The model counts as right with this
many: while fewer were predicted, it means little that none came."""
_COLD_BIAS = 2.5
"""The bias of a pool without history: its model knows neither the day's ramp nor its bursts."""
_BIAS_RANGE = (1.0 / 16.0, 2.5)
_PACE_RANGE = (0.5, 2.5)
_SAVING, _REPAYING = 2.0, 4.0
"""Exponents per budget: how strongly an underused budget relaxes the pace, and an overused one tightens it."""
_MOST_RAISED = 3.0
"""Bias and pace together raise the price by at most this factor: no price prevents misses by surprise."""


@dataclass(slots=True)
class RoleSpending:
    """One role's misses, predicted misses, and expected misses at each price; all fade."""

    missed: float = 0.0
    predicted: float = 0.0
    at_prices: FloatArray = field(default_factory=lambda: np.zeros(len(PRICES)))
    price: float | None = None
    """Of the last round."""


@dataclass(slots=True)
class Spending:
    """The misses of one pool, without those that no capacity could have prevented."""

    cold: bool = True
    """Whether the pool began without history."""
    missed: float = 0.0
    finished: float = 0.0
    seconds: float = 0.0
    """Time in which requests were counted; it fades like them."""
    requests: float = 0.0
    """Expected requests; they fade like the misses at each price."""
    roles: dict[Role, RoleSpending] = field(default_factory=dict)
    compared: float = 0.0
    """Finished requests of the newest count; their misses are not predicted yet."""

    def take(
        self,
        *,
        finished: float,
        missed: Mapping[Role, float],
        hopeless: Mapping[Role, float],
        elapsed: float,
        seen: float,
        half_life: float,
    ) -> None:
        """Take the requests of one round: misses by role, and how many of each no idle system could have helped.

        ``elapsed`` seconds have passed since the round before, and ``seen`` of them are known.
        """
        keep = 0.5 ** (elapsed / half_life)
        self.finished = self.finished * keep + finished
        self.missed = max(0.0, self.missed * keep + sum(missed.values()) - max(hopeless.values(), default=0.0))
        self.seconds = self.seconds * keep + seen
        self.compared += finished
        for role, count in missed.items():
            spent = self.roles.setdefault(role, RoleSpending())
            spent.missed = max(0.0, spent.missed * keep + count - hopeless.get(role, 0.0))
            spent.predicted *= keep

    def predicted_share(self, role: Role) -> float:
        """Return this role's share of the predicted misses; half if none were predicted yet."""
        total = sum(spent.predicted for spent in self.roles.values())
        return self.roles[role].predicted / total if total > 0.0 and role in self.roles else 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleModel:
    """Inputs of the price, per role."""

    misses_at_prices: FloatArray
    """Misses per second at the count that pays for itself at each of `PRICES`."""
    misses_with_what_is: float
    """Misses per second with the replicas that are ready."""
    requests_per_second: float
    """Expected at the lead time."""

    @property
    def miss_share(self) -> float:
        """Return the share of requests that miss with the replicas that are ready."""
        return min(1.0, self.misses_with_what_is / max(self.requests_per_second, 1e-9))


@dataclass(frozen=True, slots=True, kw_only=True)
class RolePrice:
    """The price of a miss in one role now, and the share of requests that may miss in a round."""

    price: float
    """In the cost of one request in all roles."""
    bias: float
    """Misses so far over predicted ones."""
    allowed_share: float
    """In the model's terms: the objective's share, adjusted by the pace and divided by the bias."""


def misses_at_prices(curve: SizedCurve, request_seconds: float, requests_per_second: float) -> FloatArray:
    """Return the misses per second of the counts (1 and more) that pay at each of `PRICES`.

    ``request_seconds`` is the cost of one request in all roles, in replica-seconds of this one.
    """
    replicas, misses = curve.replicas[1:], curve.misses_per_second[1:]
    if not len(replicas):
        return np.zeros(len(PRICES))
    chosen = (replicas + (PRICES * request_seconds)[:, None] * misses).argmin(axis=1)
    capped: FloatArray = np.minimum(misses[chosen], requests_per_second)
    return capped


def role_prices(
    spending: Spending,
    models: Mapping[Role, RoleModel],
    *,
    target: float,
    half_life: float,
    elapsed: float,
    seen: float,
) -> dict[Role, RolePrice]:
    """Return each role's price of a miss, and remember it together with the misses at each price.

    ``elapsed`` seconds have passed since the round before, and ``seen`` of them are known.
    """
    allowed = (1.0 - target) * (1.0 - SLACK)
    requests = max(model.requests_per_second for model in models.values())
    counted = spending.seconds > 60.0
    usual = spending.finished / spending.seconds if counted else requests
    prior = max(usual * _CLUSTER_SECONDS, 1e-9)
    biases = {}
    for role, model in models.items():
        spent = spending.roles.setdefault(role, RoleSpending())
        spent.predicted += spending.compared * model.miss_share
        biases[role] = _bias(spent, prior, cold=spending.cold)
    spending.compared = 0.0
    pace = max(_pace(spending, allowed, usual, half_life), max(biases.values()) / _MOST_RAISED)
    _remember(spending, models, requests, elapsed, seen)
    common = _common_price(spending, biases, allowed * pace)
    prices = {}
    for role, bias in biases.items():
        price = min(max(common * bias, float(PRICES[0])), float(PRICES[-1]))
        spending.roles[role].price = price
        prices[role] = RolePrice(price=price, bias=bias, allowed_share=allowed * pace / bias)
    return prices


def _bias(spent: RoleSpending, prior: float, *, cold: bool) -> float:
    believed = _COLD_BIAS if cold else 1.0
    ratio = (spent.missed + believed * prior) / (spent.predicted + prior)
    return min(max(ratio, _BIAS_RANGE[0]), _BIAS_RANGE[1])


def _pace(spending: Spending, allowed: float, usual: float, half_life: float) -> float:
    """Return the factor on the allowed share, from how much of the budget was used so far."""
    window = max(spending.finished, usual * half_life / math.log(2.0), 1.0)
    over = (spending.missed - allowed * spending.finished) / (allowed * window)
    exponent = -(_REPAYING if over > 0.0 else _SAVING) * over
    return min(max(math.exp(min(exponent, 1.0)), _PACE_RANGE[0]), _PACE_RANGE[1])


def _remember(
    spending: Spending, models: Mapping[Role, RoleModel], requests: float, elapsed: float, seen: float
) -> None:
    keep = 0.5 ** (elapsed / _SHARE_HALF_LIFE_SECONDS)
    spending.requests = spending.requests * keep + seen * requests
    for role, model in models.items():
        spent = spending.roles[role]
        spent.at_prices = spent.at_prices * keep + seen * model.misses_at_prices


def _common_price(spending: Spending, biases: Mapping[Role, float], allowed: float) -> float:
    """Return the price at which the roles' shares, each corrected by its bias, add up to the allowed one."""
    shares = np.array([spending.roles[role].at_prices for role in biases]) / max(spending.requests, 1e-9)
    log_shares = np.log(np.maximum(np.minimum.accumulate(shares, axis=1), 1e-12))
    spent = np.zeros(len(_TRIED))
    for log_share, bias in zip(log_shares, biases.values(), strict=True):
        spent += bias * np.exp(np.interp(_LOG_TRIED + math.log(bias), _LOG_PRICES, log_share))
    return math.exp(float(np.interp(math.log(allowed), np.log(spent[::-1]), _LOG_TRIED[::-1])))
