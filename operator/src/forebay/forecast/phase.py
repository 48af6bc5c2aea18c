"""One stream of step counts and the forecasts of all its tracks: filters, layers, mixture, scores."""

import copy
import math

import numpy as np
import numpy.typing as npt

from forebay.flow.trace import FloatArray
from forebay.forecast.experts import EXPERTS, ExpertState, RecentValues, SimpleExperts
from forebay.forecast.levels import GROWTH_ALLOWED, Levels
from forebay.forecast.linear_quantiles import CEILING, LinearLayers, TrackCoefficients, TrainingRows
from forebay.forecast.mixing import CoverageOffset, ExpertMixture, LayerMixture
from forebay.forecast.pending import LAYERS, Issued, PendingForecasts
from forebay.forecast.regression import Regressions
from forebay.forecast.residuals import ResidualLayers
from forebay.forecast.resolution import Resolution, decay
from forebay.forecast.scoring import Scoreboard
from forebay.forecast.tracks import IndexArray, PerTrack, Track
from forebay.forecast.training import TrainingBuffer

MAX_HORIZON = 60
CHECK_PERIOD = 60
"""Steps between looks for a clock."""
Z_LIMIT = 50.0


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
        self.training = TrainingBuffer(count, resolution)
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
        self.values = RecentValues(resolution, MAX_HORIZON)
        self.pending = PendingForecasts(tracks)
        self._horizons()

    def _horizons(self) -> None:
        self._horizon = np.array([track.horizon for track in self.tracks], dtype=np.intp)
        self._rows = np.arange(len(self.tracks), dtype=np.intp)
        self._unique = tuple(dict.fromkeys(track.horizon for track in self.tracks))
        self._never = np.zeros(len(self.tracks), dtype=bool)
        self._nothing = np.full(len(self.tracks), np.nan)
        self._of_unique = np.array([self._unique.index(track.horizon) for track in self.tracks], dtype=np.intp)

    def step(self, index: int, count: float, external: FloatArray | None = None) -> None:
        """Take the count of step ``index`` (NaN: none), which follows the step before it without a hole.

        ``external`` is the external forecast issued now for each track, as a count per step; NaN where none.
        """
        if self.first_index is None:
            self.first_index = index
        self.index = index
        z = math.log1p(count / self.scale)
        self.values.observe(z)
        if math.isnan(z):
            self.levels.skip(index)
            return
        self.levels.advance(index, z)
        self._learn(index)
        if not self.split and index % CHECK_PERIOD == 0 and self.levels.clock.found(self._unique):
            self.divide()
        issued = self.forecasts(index, self.levels, self.values.state(), external)
        self.issued, self.issued_persistence, self.issued_index = issued.final, issued.persistence, index
        self.pending.keep(index, issued)
        if index > self.first_index + self.resolution.steps_per_day:
            self.training.keep(index, issued.direct, issued.calm)

    def _targets(self) -> FloatArray:
        recent = self.values.values()
        z = recent[-1]
        found = []
        for track in self.tracks:
            if not track.maximum:
                found.append(z)
                continue
            window = recent[-track.horizon :]
            complete = len(window) == track.horizon and not math.isnan(sum(window))
            found.append(max(window) if complete else math.nan)
        return np.array(found)

    def _learn(self, index: int) -> None:
        matured = self.pending.mature(index, self._targets())
        if matured is None:
            return
        rows, values = matured.bank, matured.values
        self.regressions.learn(rows, matured.features, values - matured.base, matured.scale * matured.factor)
        residual = values - matured.point
        self.residuals.learn(index, rows, residual, matured.scale, matured.factor, matured.tracker)
        self.mixture.score(rows, matured.layers, values)
        opinions = matured.opinions
        self.opinions.score(rows, opinions, values)
        self.offset.score(rows, matured.final, values)
        self.scores.score(matured.tracks, np.expm1(matured.final), np.expm1(opinions[:, 1]), np.expm1(values))
        self.experts.learn(rows, matured.states, matured.outside, values)
        self.training.learn(matured.index, matured.tracks, residual)

    def forecasts(self, index: int, levels: Levels, state: ExpertState, external: FloatArray | None) -> Issued:
        """Return the forecasts of all tracks after step ``index`` of a stream with ``levels`` and ``state``."""
        calm = self._calm(index)
        bank = self._rows + len(self.tracks) * calm
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
        outside = self._nothing if external is None else np.log1p(np.maximum(external, 0.0) / self.scale)
        simple = self.experts.opinions(bank, state, outside)
        opinions = np.concatenate([learned[:, None, :], simple], axis=1)
        final = self.offset.apply(bank, self.opinions.combine(bank, opinions))
        return Issued(
            final=np.minimum(np.maximum(final, 0.0), Z_LIMIT),
            calm=calm,
            features=features,
            base=base,
            point=point,
            scale=scale,
            factor=factor,
            tracker=self.residuals.tracker[bank],
            outside=outside,
            layers=layers,
            direct=direct,
            opinions=opinions,
            state=state,
        )

    def _calm(self, index: int) -> npt.NDArray[np.bool_]:
        """Return for each track whether its forecast of step ``index`` is one that crosses no tick of a clock."""
        if not self.split:
            return self._never
        clock = self.levels.clock
        return np.array([clock.calm(index, horizon) for horizon in self._unique])[self._of_unique]

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
        self.training.divide()
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
        self.pending.forget()

    def adopt(self, other: "Phase") -> None:
        """Add the tracks of ``other``, which has seen the same history, with all that they learned."""
        other = copy.deepcopy(other)
        for undivided in (self, other):  # before anything is added: rows are divided by the tracks that there are
            if not undivided.split and (self.split or other.split):
                undivided.divide()
        self.tracks += other.tracks
        self.issued = np.concatenate([self.issued, other.issued])
        self.issued_persistence = np.concatenate([self.issued_persistence, other.issued_persistence])
        self.pending.add(self.tracks, other.tracks)
        for mine, theirs in zip(self._per_track(), other._per_track(), strict=True):  # noqa: SLF001
            mine.extend(theirs)
        if self.split:
            self._sort_banks(len(self.tracks) - len(other.tracks), len(other.tracks))
        self._horizons()

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
        self.pending.select(rows, self.tracks)
        self.scores.select(rows)
        self.training.select(rows)
        banks = np.concatenate([rows, rows + len(self._horizon)]) if self.split else rows
        for part in self._banked():
            part.select(banks)
        self._horizons()

    def _per_track(self) -> list[PerTrack]:
        """Return the components with rows per track."""
        return [*self._banked(), self.scores, self.training]

    def _banked(self) -> list[PerTrack]:
        """Return the components that learn apart what crosses a tick of the clock and what does not."""
        return [
            self.regressions, self.residuals, self.linear, self.mixture, self.experts, self.opinions, self.offset,
        ]  # fmt: skip

    def learned(self) -> list[PerTrack]:
        """Return the components whose state is worth keeping across a restart, in a fixed order."""
        return [piece for part in self._per_track() for piece in (part, *part.parts())]

    def use(self, coefficients: tuple[TrackCoefficients, ...]) -> None:
        """Swap in newly fitted linear layers; those of tracks that are gone are ignored."""
        for fitted in coefficients:
            if fitted.track in self.tracks and (self.split or not fitted.calm):
                self.linear.set(self.tracks.index(fitted.track) + fitted.calm * len(self.tracks), fitted)

    def training_rows(self, minimum: int) -> tuple[TrainingRows, ...]:
        """Return what the linear layers can be fitted on, where there are at least ``minimum`` rows."""
        return tuple(
            self.training.training(row, self.tracks[row], calm=calm)
            for row, calm, count in self.training.counts()
            if count >= minimum
        )
