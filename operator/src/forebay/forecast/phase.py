"""One stream of step counts and the forecasts of all its tracks: filters, layers, mixture, scores."""

import copy
import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forebay.flow.trace import FloatArray
from forebay.forecast.experts import EXPERTS, RecentValues, SimpleExperts
from forebay.forecast.levels import GROWTH_ALLOWED, Levels
from forebay.forecast.linear_quantiles import (
    CEILING,
    DIRECT_FEATURES,
    LinearLayers,
    TrackCoefficients,
    TrainingBuffer,
    TrainingRows,
)
from forebay.forecast.mixing import CoverageOffset, ExpertMixture, LayerMixture
from forebay.forecast.regression import FEATURES, Regressions
from forebay.forecast.residuals import ResidualLayers
from forebay.forecast.resolution import Resolution, decay
from forebay.forecast.scoring import Scoreboard
from forebay.forecast.tracks import IndexArray, PerTrack, Track

MAX_HORIZON = 60
CHECK_PERIOD = 60
"""Steps between looks for a clock."""
LAYERS = 5
Z_LIMIT = 50.0

# What is kept of each forecast until its time comes: columns of one array.
_X = slice(0, FEATURES)
_TRACKER = slice(_X.stop, _X.stop + 3)
_LAYERS = slice(_TRACKER.stop, _TRACKER.stop + 3 * LAYERS)
_DIRECT = slice(_LAYERS.stop, _LAYERS.stop + DIRECT_FEATURES)
_OPINIONS = slice(_DIRECT.stop, _DIRECT.stop + 3 * (EXPERTS + 1))
_FINAL = slice(_OPINIONS.stop, _OPINIONS.stop + 3)
_BASE, _POINT, _SCALE, _EXTERNAL, _LAST, _FACTOR, _BANK = range(_FINAL.stop, _FINAL.stop + 7)
_COLUMNS = _BANK + 1

_State = tuple[float, float, float, int, int]
"""What the simple experts saw: see ``RecentValues.state``."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Issued:
    """The forecasts of all tracks after one step, in z space, and what they were made of."""

    final: FloatArray
    persistence: FloatArray
    bank: IndexArray
    features: FloatArray
    base: float
    point: FloatArray
    scale: FloatArray
    factor: FloatArray
    outside: FloatArray | None
    layers: FloatArray
    direct: FloatArray
    opinions: FloatArray
    last: float
    state: _State


class Phase:
    """The forecaster of one stream of counts, one per step, all tracks at once.

    Order within a step: filters, then learn from the forecasts that targeted this step, then issue new ones. A
    forecast whose target is missing is dropped without learning.

    Once a clock shows (``ChangeClock``), the components that learn have two rows per track: first those of all
    tracks for forecasts that cross a tick, then those of all tracks for forecasts that do not.
    """

    def __init__(self, resolution: Resolution, tracks: tuple[Track, ...], scale: float) -> None:
        self.resolution = resolution
        self.tracks = tracks
        self.scale = scale
        self.index: int | None = None
        count = len(tracks)
        self.levels = Levels(resolution)
        self.regressions = Regressions(count, resolution.forgetting)
        self.residuals = ResidualLayers(count, resolution)
        self.linear = LinearLayers(count)
        self.training = TrainingBuffer(count, resolution.training_rows)
        self.mixture = LayerMixture(count, LAYERS, resolution.mixing_period)
        self.experts = SimpleExperts(count, resolution)
        self.opinions = ExpertMixture(count, EXPERTS + 1, decay(resolution.expert_half_life))
        self.offset = CoverageOffset(count, resolution.mixing_period)
        self.scores = Scoreboard(count, resolution.expert_half_life)
        self.split = False
        self.first_index: int | None = None
        self.issued_index: int | None = None
        self.issued = np.full((count, 3), np.nan)
        self.issued_persistence = np.full((count, 3), np.nan)
        self.values = RecentValues(resolution)
        self._recent: deque[float] = deque([math.nan] * MAX_HORIZON, maxlen=MAX_HORIZON)
        self._horizons()
        self._pending = np.full((count, self._slots, _COLUMNS), np.nan)
        self._pending_index = np.full(self._slots, -1, dtype=np.int64)
        self._pending_state: list[_State | None] = [None] * self._slots

    def _horizons(self) -> None:
        self._horizon = np.array([track.horizon for track in self.tracks], dtype=np.intp)
        self._slots = max((track.horizon for track in self.tracks), default=0) + 1
        self._rows = np.arange(len(self.tracks), dtype=np.intp)
        self._unique = tuple(dict.fromkeys(track.horizon for track in self.tracks))
        self._of_unique = np.array([self._unique.index(track.horizon) for track in self.tracks], dtype=np.intp)

    def step(self, index: int, count: float, external: FloatArray | None = None) -> None:
        """Take the count of step ``index`` (NaN: none), which follows the step before it without a hole.

        ``external`` is the external forecast issued now for each track, as a count per step; NaN where none.
        """
        if self.first_index is None:
            self.first_index = index
        self.index = index
        z = math.log1p(count / self.scale)
        self._recent.append(z)
        self.values.observe(z)
        if math.isnan(z):
            self.levels.skip(index)
            return
        self.levels.advance(index, z)
        self._learn(index)
        if not self.split and index % CHECK_PERIOD == 0 and self.levels.clock.found(self._unique):
            self.divide()
        issued = self.forecasts(index, self.levels, self.values.state(), external)
        self._keep(index, issued)

    def _targets(self) -> FloatArray:
        recent = list(self._recent)
        z = recent[-1]
        found = []
        for track in self.tracks:
            if not track.maximum:
                found.append(z)
                continue
            window = recent[-track.horizon :]
            found.append(math.nan if math.isnan(sum(window)) else max(window))
        return np.array(found)

    def _learn(self, index: int) -> None:
        slots = (index - self._horizon) % self._slots
        records = self._pending[self._rows, slots]
        targets = self._targets()
        usable = (self._pending_index[slots] == index - self._horizon) & np.isfinite(targets + records[:, _POINT])
        rows = np.flatnonzero(usable)
        if not len(rows):
            return
        records = records[rows]
        tracks, rows = rows, records[:, _BANK].astype(np.intp)
        values = targets[tracks]
        expected = records[:, _SCALE] * records[:, _FACTOR]
        self.regressions.learn(rows, records[:, _X], values - records[:, _BASE], expected)
        residual = values - records[:, _POINT]
        self.residuals.learn(index, rows, residual, records[:, _SCALE], records[:, _FACTOR], records[:, _TRACKER])
        self.mixture.score(rows, records[:, _LAYERS].reshape(-1, LAYERS, 3), values)
        opinions = records[:, _OPINIONS].reshape(-1, EXPERTS + 1, 3)
        self.opinions.score(rows, opinions, values)
        final = records[:, _FINAL]
        self.offset.score(rows, final, values)
        self.scores.score(tracks, np.expm1(final), np.expm1(opinions[:, 1]), np.expm1(values))
        for row, slot, value, external in zip(
            rows.tolist(), slots[tracks].tolist(), values.tolist(), records[:, _EXTERNAL].tolist(), strict=True
        ):
            state = self._pending_state[slot]
            if state is not None:
                self.experts.learn(row, state, external, value)
        self._train(index - self._horizon[tracks], rows, records, residual, values)

    def _train(
        self, issued: IndexArray, rows: IndexArray, records: FloatArray, residual: FloatArray, values: FloatArray
    ) -> None:
        """Keep every so many-th forecast as a training row, from the second day on."""
        if self.first_index is None:
            return
        due = (issued % self.resolution.training_stride == 0) & (
            issued > self.first_index + self.resolution.steps_per_day
        )
        if not due.any():
            return
        samples = np.concatenate(
            [records[:, _DIRECT], residual[:, None], (values - records[:, _LAST])[:, None]], axis=1
        )
        self.training.add(rows[due], samples[due])

    def forecasts(self, index: int, levels: Levels, state: _State, external: FloatArray | None) -> Issued:
        """Return the forecasts of all tracks after step ``index`` of a stream with ``levels`` and ``state``."""
        bank = self._bank(index)
        per_horizon, direct_per_horizon, base = levels.features(index, self._unique)
        features = per_horizon[self._of_unique]
        ceiling = levels.maximum + GROWTH_ALLOWED
        point = np.minimum(np.maximum(base + self.regressions.predict(bank, features), 0.0), ceiling)
        targets = index + self._horizon
        scale = self.residuals.scale(bank)
        factor = self.residuals.factors(bank, targets)
        volatility = self._volatility(levels, bank, targets, base, factor)
        direct = np.concatenate([direct_per_horizon[self._of_unique], volatility], axis=1)
        direct[:, 6] = point - levels.z
        layers = np.empty((len(self.tracks), LAYERS, 3))
        layers[:, :3] = self.residuals.layers(bank, point, scale, factor)
        linear = self.linear.layers(bank, direct, point, levels.z, levels.maximum + CEILING)
        layers[:, 3:] = linear
        unfitted = ~self.linear.fitted[bank]
        if unfitted.any():
            layers[unfitted, 3:] = layers[unfitted, :3].mean(axis=1, keepdims=True)
        learned = self.mixture.combine(bank, layers)
        outside = None if external is None else np.log1p(np.maximum(external, 0.0) / self.scale)
        simple = self.experts.opinions(bank, state, outside)
        opinions = np.concatenate([learned[:, None, :], simple], axis=1)
        final = self.offset.apply(bank, self.opinions.combine(bank, opinions))
        return Issued(
            final=np.minimum(np.maximum(final, 0.0), Z_LIMIT),
            persistence=simple[:, 0],
            bank=bank,
            features=features,
            base=base,
            point=point,
            scale=scale,
            factor=factor,
            outside=outside,
            layers=layers,
            direct=direct,
            opinions=opinions,
            last=levels.z,
            state=state,
        )

    def _keep(self, index: int, issued: Issued) -> None:
        """Keep the forecasts until they can be learned from."""
        self.issued = issued.final
        self.issued_persistence = issued.persistence
        self.issued_index = index
        slot = index % self._slots
        self._pending_index[slot] = index
        self._pending_state[slot] = issued.state
        record = self._pending[:, slot]
        record[:, _X] = issued.features
        record[:, _BASE] = issued.base
        record[:, _POINT] = issued.point
        record[:, _SCALE] = issued.scale
        record[:, _EXTERNAL] = math.nan if issued.outside is None else issued.outside
        record[:, _TRACKER] = self.residuals.tracker[issued.bank]
        record[:, _LAYERS] = issued.layers.reshape(len(self.tracks), -1)
        record[:, _DIRECT] = issued.direct
        record[:, _OPINIONS] = issued.opinions.reshape(len(self.tracks), -1)
        record[:, _FINAL] = issued.final
        record[:, _LAST] = issued.last
        record[:, _FACTOR] = issued.factor
        record[:, _BANK] = issued.bank

    def _calm(self, index: int) -> npt.NDArray[np.bool_]:
        """Return for each track whether a forecast issued at step ``index`` crosses no tick of the clock."""
        clock = self.levels.clock
        return np.array([clock.calm(index, horizon) for horizon in self._unique])[self._of_unique]

    def _bank(self, index: int) -> IndexArray:
        """Return the row of the learning components for each track's forecast issued at step ``index``."""
        return self._rows + len(self.tracks) * self._calm(index) if self.split else self._rows

    def divide(self) -> None:
        """Let forecasts that cross no tick of the clock learn for themselves from now on.

        They begin with the regression and the local scale of all; what spread they have is theirs to find out.
        """
        fresh = Phase(self.resolution, self.tracks, self.scale)
        fresh.regressions = copy.deepcopy(self.regressions)
        fresh.residuals.variance[:] = self.residuals.variance
        fresh.residuals.slow_variance[:] = self.residuals.slow_variance
        for mine, theirs in zip(self._banked(), fresh._banked(), strict=True):
            mine.extend(theirs)
        self.split = True

    def _volatility(
        self, levels: Levels, bank: IndexArray, targets: IndexArray, base: float, factor: FloatArray
    ) -> FloatArray:
        errors = self.residuals.volatility(bank, targets) * factor[:, None]
        found = np.empty((len(targets), 6))
        found[:, 0] = errors[:, 0]
        found[:, 1] = errors[:, 1]
        found[:, 2] = levels.change_fast
        found[:, 3] = levels.change_slow
        found[:, 4] = abs(levels.z - base)
        found[:, 5] = errors[:, 2]
        return found

    def rewind(self, index: int) -> None:
        """Go on from step ``index``, earlier than the last one; forecasts that are pending are forgotten."""
        self.index = index
        self.issued_index = None
        self._pending_index[:] = -1
        self._recent.extend([math.nan] * MAX_HORIZON)

    def adopt(self, other: "Phase") -> None:
        """Add the tracks of ``other``, which has seen the same history, with all that they learned."""
        self.tracks += other.tracks
        self.issued = np.concatenate([self.issued, other.issued])
        self.issued_persistence = np.concatenate([self.issued_persistence, other.issued_persistence])
        empty = np.full((len(other.tracks), self._slots, _COLUMNS), np.nan)
        self._pending = np.concatenate([self._pending, empty])
        other = copy.deepcopy(other)
        for undivided in (self, other):
            if not undivided.split and (self.split or other.split):
                undivided.divide()
        for mine, theirs in zip(self._per_track(), other._per_track(), strict=True):  # noqa: SLF001
            mine.extend(theirs)
        if self.split:
            self._sort_banks(len(self.tracks) - len(other.tracks), len(other.tracks))
        self._horizons()
        self._lay_out()

    def _sort_banks(self, first: int, second: int) -> None:
        """Bring the rows of both banks of ``first`` tracks, then of ``second``, into the order of the banks."""
        mine, theirs = np.arange(2 * first), 2 * first + np.arange(2 * second)
        order = np.concatenate([mine[:first], theirs[:second], mine[first:], theirs[second:]])
        for part in self._banked():
            part.select(order)

    def drop(self, horizon: int) -> None:
        """Forget the tracks of ``horizon``."""
        rows = np.flatnonzero(self._horizon != horizon)
        self.tracks = tuple(self.tracks[row] for row in rows)
        self.issued = self.issued[rows]
        self.issued_persistence = self.issued_persistence[rows]
        self._pending = self._pending[rows]
        self.scores.select(rows)
        banks = np.concatenate([rows, rows + len(self._horizon)]) if self.split else rows
        for part in self._banked():
            part.select(banks)
        self._horizons()
        self._lay_out()

    def _lay_out(self) -> None:
        """Give the pending forecasts as many slots as the longest horizon needs, and keep the newest of them."""
        held = np.flatnonzero(self._pending_index > max(-1, self._pending_index.max(initial=-1) - self._slots))
        indices = self._pending_index[held]
        places = indices % self._slots
        pending = np.full((len(self.tracks), self._slots, _COLUMNS), np.nan)
        pending[:, places] = self._pending[:, held]
        states: list[_State | None] = [None] * self._slots
        for place, slot in zip(places.tolist(), held.tolist(), strict=True):
            states[place] = self._pending_state[slot]
        self._pending, self._pending_state = pending, states
        self._pending_index = np.full(self._slots, -1, dtype=np.int64)
        self._pending_index[places] = indices

    def _per_track(self) -> list[PerTrack]:
        """Return the components with rows per track."""
        return [*self._banked(), self.scores]

    def _banked(self) -> list[PerTrack]:
        """Return the components that learn apart what crosses a tick of the clock and what does not."""
        return [
            self.regressions, self.residuals, self.linear, self.mixture, self.experts, self.opinions, self.offset,
            self.training,
        ]  # fmt: skip

    def learned(self) -> list[PerTrack]:
        """Return the components whose state is worth keeping across a restart, in a fixed order."""
        return [part for part in (*self._per_track(), self.residuals.clock) if part is not self.training]

    def recent(self) -> list[float]:
        """Return the values of the last steps in z space, oldest first; NaN where missing."""
        return list(self._recent)

    def issued_arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return the newest forecasts and those whose time has not come, in single precision."""
        held = np.flatnonzero((self._pending_index >= 0) & (self._pending_index > (self.index or 0) - self._slots))
        states = [self._pending_state[slot] or (math.nan,) * 5 for slot in held]
        return {
            "issued": np.stack([self.issued, self.issued_persistence]),
            "issued_index": np.array([-1 if self.issued_index is None else self.issued_index], dtype=np.int64),
            "pending": self._pending[:, held].astype(np.float32),
            "pending_index": self._pending_index[held],
            "pending_state": np.array(states, dtype=np.float64).reshape(len(held), 5),
        }

    def resume(self, index: int, recent: Iterable[float], arrays: Mapping[str, npt.NDArray[np.generic]]) -> None:
        """Go on after step ``index`` with ``arrays`` as ``issued_arrays`` returned them.

        Raises:
            KeyError: an array is missing.
            ValueError: an array does not fit.
        """
        self.index = index
        self._recent.extend(recent)
        both = arrays["issued"].astype(np.float64)
        self.issued, self.issued_persistence = both[0], both[1]
        issued_index = int(arrays["issued_index"].astype(np.int64)[0])
        self.issued_index = issued_index if issued_index >= 0 else None
        states = arrays["pending_state"].astype(np.float64).tolist()
        for column, at in enumerate(arrays["pending_index"].astype(np.int64).tolist()):
            slot = at % self._slots
            self._pending[:, slot] = arrays["pending"][:, column]
            self._pending_index[slot] = at
            last, short, long, high_short, high_long = states[column]
            self._pending_state[slot] = (last, short, long, int(high_short), int(high_long))

    def use(self, coefficients: tuple[TrackCoefficients, ...]) -> None:
        """Swap in newly fitted linear layers; those of tracks that are gone are ignored."""
        for fitted in coefficients:
            if fitted.track in self.tracks and (self.split or not fitted.calm):
                self.linear.set(self.tracks.index(fitted.track) + fitted.calm * len(self.tracks), fitted)

    def training_rows(self, minimum: int) -> tuple[TrainingRows, ...]:
        """Return what the linear layers can be fitted on, where there are at least ``minimum`` rows."""
        found = []
        for row, count in enumerate(self.training.count.tolist()):
            calm, track = divmod(row, len(self.tracks))
            if count >= minimum:
                found.append(self.training.training(row, self.tracks[track], calm=bool(calm)))
        return tuple(found)
