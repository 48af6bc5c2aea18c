"""Local search over schedules: many small changes at once, each judged by the misses around it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forebay.flow.fleet import Role
from forebay.flow.trace import FloatArray, IntArray
from forebay.offline.replay.oracle.schedule import RoleGrid
from forebay.offline.replay.oracle.trial import Need, Trial, TrialRunner

_LENGTHS = (20, 8, 3, 1)
_SPILL = 5
"""Intervals after a change in which its misses may still show (a queue that drains)."""
_RESIMULATE_EVERY = 6
_SHARE_OF_ADDITIONS = 0.2
_SHARE_ON_GRID = 0.3
_SHARE_OF_STEPS = 0.6
_OVERSPEND = 0.3
_WAVE = 30
"""Rounds from one overspending to the next."""
_AIM = 0.98
_STRAYED = 1.02
"""A state that costs this share more than the best is replaced by the best."""

BoolArray = npt.NDArray[np.bool_]


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
        self, laboratory: TrialRunner, roles: Mapping[Role, RoleGrid], *, target: float, seed: int = 0
    ) -> None:
        self._laboratory, self._roles, self._target = laboratory, roles, target
        self._chance = np.random.default_rng(seed)
        self._price = 0.0
        self._since = 0
        self._rounds = 0
        self._overspend = 0.0
        self._need: Need = {}
        self._misses: IntArray = np.zeros(0, dtype=np.int64)
        self._best: Trial | None = None
        self._least: Trial | None = None
        self.usd_after_two_thirds = 0.0

    def allowed(self, trial: Trial) -> float:
        """Return the misses that the target allows."""
        return (1.0 - self._target) * trial.servable

    def start(self, trials: Sequence[Trial], usd_per_miss: float) -> None:
        """Begin at the best of ``trials``, at a price of a miss."""
        for trial in trials:
            self._remember(trial)
        best = self._best or self._least
        if best is None:
            raise ValueError("a search needs a trial to start from")
        self._allowed = self.allowed(best)
        self._take(best)
        self._price = usd_per_miss
        self.usd_after_two_thirds = best.usd

    def round(self, share_done: float) -> None:
        """Change one role in many places and keep what pays."""
        self._rounds += 1
        wave = self._rounds % _WAVE < _WAVE // 2
        self._overspend = _OVERSPEND * (1.0 - share_done) if wave and self._rounds > _WAVE else 0.0
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
        zones = self._zones(need, length, max(grid.lag.values()), step)
        tried = np.clip(need + step * (zones.changed >= 0), min(1, grid.most), grid.most)
        trial = self._laboratory.attempt({**self._need, role: tried})
        self._remember(trial)
        saved = self._saved(grid, need, tried, zones)
        more = _sum(zones.zone, trial.misses - self._misses, zones.count)
        kept = self._worth(saved, more, step)
        inside = (zones.changed >= 0) & kept[np.maximum(zones.changed, 0)]
        self._need = {**self._need, role: grid.paid_for(np.where(inside, tried, need))}
        self._misses = np.where(kept[zones.zone], trial.misses, self._misses)

    def _zones(self, need: IntArray, length: int, lag: int, step: int) -> _Zones:
        """Draw separate segments: on a grid, or where the need steps: there an order changes at once."""
        intervals, gap = len(need), _SPILL + lag
        if self._chance.random() < _SHARE_ON_GRID:
            starts = np.arange(int(self._chance.integers(0, length + gap)), intervals, length + gap)
        else:
            starts = self._at_steps(need, length, gap, step)
        if len(starts) == 0:
            starts = np.array([int(self._chance.integers(0, intervals))])
        changed = np.full(intervals, -1, dtype=np.int64)
        for number, start in enumerate(starts):
            changed[start : start + length] = number
        zone = np.searchsorted(starts, np.arange(intervals), side="right") - 1
        return _Zones(changed, np.maximum(zone, 0), len(starts))

    def _at_steps(self, need: IntArray, length: int, gap: int, step: int) -> IntArray:
        """Return starts of segments beside steps: on their upper side to remove, on their lower side to add."""
        change = np.diff(need)
        at = np.flatnonzero(change) + 1
        upper_is_after = change[at - 1] > 0
        begins = np.where(upper_is_after == (step < 0), at, at - length)
        begins = np.sort(begins[self._chance.random(len(begins)) < _SHARE_OF_STEPS])
        chosen: list[int] = []
        for begin in begins:
            if begin >= 0 and (not chosen or begin >= chosen[-1] + length + gap):
                chosen.append(int(begin))
        return np.array(chosen, dtype=np.int64)

    def _saved(self, grid: RoleGrid, need: IntArray, tried: IntArray, zones: _Zones) -> FloatArray:
        """Return the dollars that each segment saves; an order stands up to a start-up before its interval."""
        lag = max(grid.lag.values())
        change = grid.usd_per_interval(need) - grid.usd_per_interval(tried)
        owner = np.concatenate((zones.zone[lag:], np.full(min(lag, len(need)), zones.zone[-1])))[: len(need)]
        return _sum(owner, change, zones.count)

    def _worth(self, saved: FloatArray, more: FloatArray, step: int) -> BoolArray:
        """Return which segments to keep: what pays at the price, best first, while misses are left to spend.

        In every other stretch of rounds removals may overspend; additions then buy the misses back where that is
        cheapest.
        """
        missed = float(self._misses.sum())
        pays = saved - self._price * more > 0.0
        if step > 0 and missed <= self._allowed:
            return pays
        if step > 0:
            return _first(more < 0.0, -saved / np.maximum(-more, 1e-9), -more, missed - _AIM * self._allowed)
        room = (1.0 + self._overspend) * self._allowed - missed
        return _first(pays, -saved / np.maximum(more, 1e-9), np.maximum(more, 0.0), room) & (
            more <= max(0.0, room)
        )

    def _steer(self) -> None:
        used = float(self._misses.sum()) / max(1.0, self._allowed)
        self._price *= 1.25 if used > 1.0 else (0.85 if used < 0.9 else 0.97)

    def _true_up(self) -> None:
        trial = self._laboratory.attempt(self._need)
        self._remember(trial)
        self._misses, self._since = trial.misses, 0
        if self._best is not None and trial.usd > _STRAYED * self._best.usd:
            self._take(self._best)

    def _take(self, trial: Trial) -> None:
        self._need = {role: self._roles[role].paid_for(path) for role, path in trial.need.items()}
        self._misses = trial.misses

    def _remember(self, trial: Trial) -> None:
        if self._least is None or trial.missed < self._least.missed:
            self._least = trial
        if trial.missed <= self.allowed(trial) and (self._best is None or trial.usd < self._best.usd):
            self._best = trial


def _first(eligible: BoolArray, rank: FloatArray, amounts: FloatArray, total: float) -> BoolArray:
    """Return the eligible segments of lowest rank whose amounts, added up, first reach ``total``."""
    order = np.argsort(np.where(eligible, rank, np.inf), kind="stable")
    before = np.cumsum(np.where(eligible, amounts, 0.0)[order]) - np.where(eligible, amounts, 0.0)[order]
    chosen = np.zeros(len(rank), dtype=np.bool_)
    chosen[order] = before < max(total, 1e-9)
    return chosen & eligible


def _sum(owner: IntArray, values: "np.ndarray[tuple[int], np.dtype[np.number]]", count: int) -> FloatArray:
    return np.bincount(owner, weights=values.astype(np.float64), minlength=count).astype(np.float64)
