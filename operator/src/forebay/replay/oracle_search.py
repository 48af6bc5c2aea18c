"""Local search over schedules: many small changes at once, each judged by the misses around it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from forebay.flow.fleet import Role
from forebay.flow.trace import FloatArray, IntArray
from forebay.replay.oracle_schedule import RoleGrid
from forebay.replay.oracle_trial import Laboratory, Need, Trial

_LENGTHS = (20, 8, 3, 1)
_SPILL = 5
"""Intervals after a change in which its misses may still show (a queue that drains)."""
_RESIMULATE_EVERY = 6
_SHARE_OF_ADDITIONS = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class _Zones:
    """Segments that are changed at once, and the stretch of the trace that each is judged by."""

    changed: IntArray
    """Per interval: the segment that changes it, or -1."""
    zone: IntArray
    """Per interval: the segment that it is judged by."""
    count: int


class LocalSearch:
    """The state of the search: the present need, what it costs and misses, and the best that met the target."""

    def __init__(
        self, laboratory: Laboratory, roles: Mapping[Role, RoleGrid], *, target: float, seed: int = 0
    ) -> None:
        self._laboratory, self._roles, self._target = laboratory, roles, target
        self._chance = np.random.default_rng(seed)
        self._price = 0.0
        self._since = 0
        self._need: Need = {}
        self._misses: IntArray = np.zeros(0, dtype=np.int64)
        self._best: Trial | None = None
        self._least: Trial | None = None
        self.usd_after_two_thirds = 0.0

    def allowed(self, trial: Trial) -> float:
        """Return the misses that the target allows."""
        return (1.0 - self._target) * trial.servable

    def start(self, trials: Sequence[Trial]) -> None:
        """Begin at the best of ``trials``."""
        for trial in trials:
            self._remember(trial)
        best = self._best or self._least
        if best is None:
            raise ValueError("a search needs a trial to start from")
        self._allowed = self.allowed(best)
        self._take(best)
        self._price = best.usd / max(1.0, best.servable) * 20.0
        self.usd_after_two_thirds = best.usd

    def round(self, share_done: float) -> None:
        """Change one role in many places and keep what pays."""
        role = self._draw_role()
        length = _LENGTHS[min(len(_LENGTHS) - 1, int(self._chance.integers(0, len(_LENGTHS))))]
        over = self._misses.sum() > self._allowed
        step = 1 if over or self._chance.random() < _SHARE_OF_ADDITIONS * (1.0 - share_done) else -1
        self._change(role, length, step)
        self._steer()
        self._since += 1
        if self._since >= _RESIMULATE_EVERY:
            self._true_up()
        if share_done < 2.0 / 3.0 and self._best is not None:
            self.usd_after_two_thirds = self._best.usd

    def finish(self) -> Trial:
        """Return the cheapest trial that met the target; without any, the one that missed least."""
        self._true_up()
        if self._best is not None:
            return self._best
        if self._least is None:
            raise ValueError("the search was not started")
        return self._least

    def _draw_role(self) -> Role:
        roles = list(self._roles)
        cost = np.array([self._roles[role].usd_per_interval(self._need[role]).sum() for role in roles])
        return roles[int(self._chance.choice(len(roles), p=cost / cost.sum()))]

    def _change(self, role: Role, length: int, step: int) -> None:
        grid, need = self._roles[role], self._need[role]
        zones = self._zones(len(need), length, max(grid.lag.values()))
        tried = np.clip(need + step * (zones.changed >= 0), min(1, grid.most), grid.most)
        trial = self._laboratory.attempt({**self._need, role: tried})
        self._remember(trial)
        saved = self._saved(grid, need, tried, zones)
        more = _sum(zones.zone, trial.misses - self._misses, zones.count)
        kept = self._worth(saved, more, step)
        inside = (zones.changed >= 0) & kept[np.maximum(zones.changed, 0)]
        self._need = {**self._need, role: grid.paid_for(np.where(inside, tried, need))}
        self._misses = np.where(kept[zones.zone], trial.misses, self._misses)

    def _zones(self, intervals: int, length: int, lag: int) -> _Zones:
        spacing = length + _SPILL + lag
        offset = int(self._chance.integers(0, spacing))
        place = np.arange(intervals) + offset
        zone = place // spacing
        return _Zones(np.where(place % spacing < length, zone, -1), zone, int(zone[-1]) + 1)

    def _saved(self, grid: RoleGrid, need: IntArray, tried: IntArray, zones: _Zones) -> FloatArray:
        """Return the dollars that each segment saves; an order stands up to a start-up before its interval."""
        lag = max(grid.lag.values())
        change = grid.usd_per_interval(need) - grid.usd_per_interval(tried)
        owner = np.concatenate((zones.zone[lag:], np.full(min(lag, len(need)), zones.zone[-1])))[: len(need)]
        return _sum(owner, change, zones.count)

    def _worth(
        self, saved: FloatArray, more: FloatArray, step: int
    ) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
        """Return which segments to keep: those that pay at the price; removals only while misses are left."""
        pays = saved - self._price * more > 0.0
        if step > 0:
            return pays
        room = self._allowed - float(self._misses.sum())
        order = np.argsort(np.where(more > 0.0, saved / np.maximum(more, 1e-9), np.inf))[::-1]
        spent = np.cumsum(np.where(pays, np.maximum(more, 0.0), 0.0)[order])
        fits = np.zeros(len(saved), dtype=bool)
        fits[order] = spent <= max(0.0, room)
        return pays & fits

    def _steer(self) -> None:
        used = float(self._misses.sum()) / max(1.0, self._allowed)
        self._price *= 1.25 if used > 1.0 else (0.85 if used < 0.9 else 0.97)

    def _true_up(self) -> None:
        trial = self._laboratory.attempt(self._need)
        self._remember(trial)
        self._misses, self._since = trial.misses, 0

    def _take(self, trial: Trial) -> None:
        self._need = {role: self._roles[role].paid_for(path) for role, path in trial.need.items()}
        self._misses = trial.misses

    def _remember(self, trial: Trial) -> None:
        if self._least is None or trial.missed < self._least.missed:
            self._least = trial
        if trial.missed <= self.allowed(trial) and (self._best is None or trial.usd < self._best.usd):
            self._best = trial


def _sum(owner: IntArray, values: "np.ndarray[tuple[int], np.dtype[np.number]]", count: int) -> FloatArray:
    return np.bincount(owner, weights=values.astype(np.float64), minlength=count).astype(np.float64)
