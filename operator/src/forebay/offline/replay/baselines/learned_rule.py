"""A small learned policy: a linear rule, its weights trained on the day before by the cross-entropy method.

Replicas = weights times what traffic did lately (the last minute, its ten-minute mean and maximum, its trend,
the same time yesterday, the root of the last minute), held for five minutes. The weights minimise cost plus a
penalty on misses beyond the target in a fluid model of the fleet (start-up delay, queueing tail of Halfin and
Whitt 1981), run over the minute counts of the last day; sampling and selection follow Rubinstein's
cross-entropy method (https://doi.org/10.1023/A:1010091220143). It trains again every hour on what it has seen
since; before it has an hour of traffic or history it runs at 70 % utilisation.

This is direct policy search, the simplest form of reinforcement learning, with a seed. It is here as an
honest small instance of its kind and not as the best that learning could do: no deep network, no
request-level training, one day of memory.
"""

import math
from collections.abc import Sequence

import numpy as np

from forebay.flow.fleet import Role, Slo
from forebay.flow.trace import FloatArray
from forebay.offline.replay.baselines.common.role_by_role import per_role
from forebay.offline.replay.baselines.common.signals import Arrivals, RoleSignals
from forebay.offline.replay.baselines.common.window import Window
from forebay.offline.replay.baselines.registry import Baseline, Knob, PoolFacts

INTERVAL_SECONDS = 30.0
_MINUTE_SECONDS = 60.0
_HOLD_MINUTES = 5
_LOOK_BACK = 10
_DAY_MINUTES = 1440
_TRAIN_ON_MINUTES = 1440
_LEAST_MINUTES = 60
_TRAIN_AGAIN_SECONDS = 3600.0
_LENGTHS_KNOWN_SECONDS = 120.0
_POPULATION, _ELITE, _GENERATIONS = 64, 10, 25
_MISS_PENALTY = 200.0
_UNTRAINED = np.array([1.0 / 0.7, 0.0, 0.0, 0.0, 0.0, 0.0])
"""Weights of `features`: 70 % utilisation of the last minute."""
_SPREAD = np.array([0.4, 0.3, 0.4, 0.4, 0.3, 0.6])


def features(erlangs: FloatArray, ahead: int) -> FloatArray:
    """Return what the rule looks at, one row per minute, from work per minute alone.

    Args:
        erlangs: busy replicas' worth of work per minute, oldest first.
        ahead: minutes from order to ready; yesterday is looked at this far ahead.
    """
    padded = np.concatenate((np.full(_LOOK_BACK - 1, erlangs[0]), erlangs))
    recent = np.lib.stride_tricks.sliding_window_view(padded, _LOOK_BACK)
    mean, highest = recent.mean(axis=1), recent.max(axis=1)
    yesterday = erlangs.copy()
    if len(erlangs) > _DAY_MINUTES:
        then = np.arange(_DAY_MINUTES, len(erlangs))
        yesterday[then] = erlangs[np.minimum(then - _DAY_MINUTES + ahead, then)]
    trend = np.maximum(0.0, erlangs - mean) * ahead
    return np.column_stack((erlangs, mean, highest, trend, yesterday, np.sqrt(erlangs)))


def miss_share(erlangs: FloatArray, replicas: FloatArray, patience: float) -> FloatArray:
    """Return the share of requests that wait longer than ``patience`` service times (M/M/n, Halfin-Whitt)."""
    spare = replicas - erlangs
    beta = np.clip(spare / np.sqrt(np.maximum(erlangs, 1e-6)), 0.0, 8.0)
    upper = 0.5 * (1.0 + np.tanh(0.79788 * (beta + 0.044715 * beta**3)))
    waits = 1.0 / (1.0 + math.sqrt(2.0 * math.pi) * beta * upper * np.exp(beta**2 / 2.0))
    return np.where(spare <= 0.0, 1.0, waits * np.exp(-np.maximum(spare, 0.0) * patience))


def replicas_of(weights: FloatArray, seen: FloatArray) -> FloatArray:
    """Return the replicas that rules with ``weights`` (one per row) ask for, minute by minute, held."""
    wanted = np.maximum(1.0, np.ceil(weights @ seen.T))
    padded = np.pad(wanted, ((0, 0), (_HOLD_MINUTES - 1, 0)), mode="edge")
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, _HOLD_MINUTES, axis=1).max(axis=-1))


def penalised_cost(weights: FloatArray, erlangs: FloatArray, ahead: int, patience: float, slo: Slo) -> FloatArray:
    """Return what rules cost per busy replica, misses beyond the target included."""
    ordered = replicas_of(weights, features(erlangs, ahead))
    padded = np.pad(ordered, ((0, 0), (ahead, 0)), mode="edge")
    ready = np.lib.stride_tricks.sliding_window_view(padded, ahead + 1, axis=1).min(axis=-1)
    coming = np.concatenate((erlangs[1:], erlangs[-1:]))
    missed = (miss_share(coming, ready, patience) * coming).sum(axis=1) / max(float(coming.sum()), 1e-9)
    cost = ordered.sum(axis=1) / max(float(erlangs.sum()), 1e-9)
    return np.asarray(cost + _MISS_PENALTY * np.maximum(0.0, missed - (1.0 - slo.target)))


def train(erlangs: FloatArray, ahead: int, patience: float, slo: Slo, seed: int) -> FloatArray:
    """Return the weights that the cross-entropy method finds for this traffic."""
    chance = np.random.default_rng(seed)
    centre, spread = _UNTRAINED.copy(), _SPREAD.copy()
    best, lowest = centre, math.inf
    for _ in range(_GENERATIONS):
        tried = centre + spread * chance.standard_normal((_POPULATION, len(centre)))
        tried[0] = best
        cost = penalised_cost(tried, erlangs, ahead, patience, slo)
        order = np.argsort(cost, kind="stable")[:_ELITE]
        if cost[order[0]] < lowest:
            best, lowest = tried[order[0]].copy(), float(cost[order[0]])
        centre, spread = tried[order].mean(axis=0), tried[order].std(axis=0) + 0.01
    return best


class Learned:
    """One workload under the learned rule."""

    def __init__(self, factor: float, role: Role, facts: PoolFacts) -> None:
        self._factor = factor
        self._role = role
        self._facts = facts
        history = facts.history_requests_per_minute
        self._minutes: list[float] = [] if history is None else (history / _MINUTE_SECONDS).tolist()
        self._before = len(self._minutes)
        self._started = False
        self._weights = _UNTRAINED
        self._train_at = _LENGTHS_KNOWN_SECONDS
        self._wanted = Window(_HOLD_MINUTES * _MINUTE_SECONDS)

    def tick(self, seen: RoleSignals, arrivals: Arrivals) -> float:
        """Return the replicas wanted."""
        now = arrivals.per_second(_MINUTE_SECONDS)
        while len(self._minutes) - self._before < int(seen.at_seconds // _MINUTE_SECONDS):
            self._minutes.append(now)
        work = seen.workload.seconds_per_request
        start_up = max(self._facts.start_up_seconds[v.key] for v in seen.workload.variants)
        ahead = math.ceil(start_up / _MINUTE_SECONDS)
        if seen.at_seconds >= self._train_at and len(self._minutes) >= _LEAST_MINUTES:
            self._train_at = seen.at_seconds + _TRAIN_AGAIN_SECONDS
            erlangs = work * np.asarray(self._minutes[-_TRAIN_ON_MINUTES:])
            self._weights = train(erlangs, ahead, self._patience(seen), self._facts.pool.slo, seed=0)
        lately: Sequence[float] = [*self._minutes[-_DAY_MINUTES - _LOOK_BACK :], now]
        row = features(work * np.asarray(lately), ahead)[-1]
        if not self._started:
            self._started = True
            self._wanted.add(seen.at_seconds, seen.desired)
        self._wanted.add(seen.at_seconds, self._factor * float(self._weights @ row))
        return max(1.0, self._wanted.highest())

    def _patience(self, seen: RoleSignals) -> float:
        """Return the wait that the objectives allow, in service times; decode has none and is planned without."""
        if self._role is Role.DECODE:
            return 1.0
        prefill = seen.workload.work[seen.workload.reference.key].prefill_seconds
        return max(0.1, (self._facts.pool.slo.ttft_seconds - prefill) / max(prefill, 1e-9))


BASELINES = (
    Baseline(
        name="learned",
        title="Learned linear rule (cross-entropy method)",
        source="https://doi.org/10.1023/A:1010091220143",
        knob=Knob(
            name="replicas over what was learned",
            default=1.0,
            sweep=(0.8, 0.9, 1.0, 1.1, 1.2, 1.35, 1.5, 1.75, 2.0, 3.0),
        ),
        make=per_role(lambda facts, role, factor: Learned(factor, role, facts), INTERVAL_SECONDS),
    ),
)
