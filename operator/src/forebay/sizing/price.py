"""The price of a missed request: the one at which the model expects as many misses as the objective allows.

It is the dual variable of the objective. The curves of misses say, for every price, how many replicas pay and
how many requests then miss; over some hours of such rounds this is the share of requests that a price spends.
The model errs, so each role's share is multiplied by how its misses so far compare with those that were
predicted (the bias). What was spent too much or too little of the budget so far moves the share that is still
allowed (the pace).

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
"""Below the first, dropping all requests would pay, since what is dropped costs the drain of a queue at least
(`overload.DRAIN_SHARE`); at the last a fleet loses less than one request in ten thousand."""
_LOG_PRICES = np.log(PRICES)
_TRIED = np.geomspace(PRICES[0] / 8.0, PRICES[-1] * 8.0, 60)
"""Common prices before each role's bias, which moves them by its own factor."""
_LOG_TRIED = np.log(_TRIED)

SLACK = 0.15
"""Aim at so much less than all allowed misses: the last hours cannot take back what they miss."""
_SHARE_HALF_LIFE_SECONDS = 21_600.0
"""Of what each price would spend: long enough for the quiet and the busy part of a day to count together."""
_CLUSTER_SECONDS = 20.0
"""Misses come in clusters, of about as many requests as arrive in so long. So many stand for the model being
right: while fewer were predicted, that none came says little."""
_COLD_BIAS = 2.5
"""What is believed of a model that has no history: it knows neither the day's ramp nor its bursts."""
_BIAS_RANGE = (1.0 / 16.0, 2.5)
_PACE_RANGE = (0.5, 2.5)
_SAVING, _REPAYING = 2.0, 4.0
"""How strongly an underspent budget loosens the pace, and an overspent one tightens it: exponents per budget."""
_MOST_RAISED = 3.0
"""Bias and pace raise the price by no more than this together: misses by surprise are not bought off."""


@dataclass(slots=True)
class RoleSpending:
    """What one role missed, was predicted to miss, and would miss at each price; all fade."""

    missed: float = 0.0
    predicted: float = 0.0
    at_prices: FloatArray = field(default_factory=lambda: np.zeros(len(PRICES)))
    price: float | None = None
    """Of the last round."""


@dataclass(slots=True)
class Spending:
    """What one pool knows of its misses, the ones that no capacity could have helped left out."""

    cold: bool = True
    """Whether the pool began without history."""
    missed: float = 0.0
    finished: float = 0.0
    seconds: float = 0.0
    """Time in which requests were counted, fading like them."""
    requests: float = 0.0
    """Expected requests, fading like what each price would miss of them."""
    roles: dict[Role, RoleSpending] = field(default_factory=dict)
    compared: float = 0.0
    """Finished requests of the newest count, of which misses are still to be predicted."""

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
        """Return which share of the predicted misses is this role's; half where nothing was predicted yet."""
        total = sum(spent.predicted for spent in self.roles.values())
        return self.roles[role].predicted / total if total > 0.0 and role in self.roles else 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleModel:
    """What the price is found from, per role."""

    misses_at_prices: FloatArray
    """Misses per second at the count that pays at each of `PRICES`."""
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
    """What a miss is worth in one role now, and the share of requests that may miss in a round."""

    price: float
    """In the cost of one request in all roles."""
    bias: float
    """Misses over predicted ones, so far."""
    allowed_share: float
    """By the model: the objective's share, paced, over the bias."""


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
    """Return each role's price of a miss, and remember what it was and what each price would have spent.

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
    """Return by what the allowed share is multiplied for what was spent too much or too little so far."""
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
