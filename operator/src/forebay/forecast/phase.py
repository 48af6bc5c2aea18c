"""One stream of step counts and the forecasts of all its tracks: filters, layers, mixture, scores."""

import copy
import math

import numpy as np

from forebay.flow.trace import FloatArray
from forebay.forecast.experts import EXPERTS, ExpertState, RecentValues, SimpleExperts
from forebay.forecast.levels import GROWTH_ALLOWED, Levels
from forebay.forecast.mixing import CoverageOffset, ExpertMixture, LayerMixture
from forebay.forecast.pending import LAYERS, Issued, PendingForecasts
from forebay.forecast.regression import Regressions
from forebay.forecast.residuals import ResidualLayers
from forebay.forecast.resolution import Resolution, decay
from forebay.forecast.scoring import Scoreboard
from forebay.forecast.tracks import PerTrack, Track

MAX_HORIZON = 240
"""In steps: four hours at one minute, longer than the lead time of any node pool."""
Z_LIMIT = 50.0


class StreamForecaster:
    """The forecaster of one stream of counts, one per step, all tracks at once.

    In each step it first updates the filters, then learns from the forecasts that targeted this step, then issues
    new ones. A forecast whose target is missing is dropped without learning.
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
        self.mixture = LayerMixture(count, LAYERS, resolution.mixing_period)
        self.experts = SimpleExperts(count, resolution)
        self.opinions = ExpertMixture(count, EXPERTS + 1, decay(resolution.expert_half_life))
        self.offset = CoverageOffset(count, resolution.mixing_period)
        self.scores = Scoreboard(count, resolution.expert_half_life)
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
        self._nothing = np.full(len(self.tracks), np.nan)
        self._of_unique = np.array([self._unique.index(track.horizon) for track in self.tracks], dtype=np.intp)

    def step(self, index: int, count: float, external: FloatArray | None = None) -> None:
        """Take the count of step ``index`` (NaN: none). No step may be left out.

        ``external`` is the external forecast issued now for each track, as a count per step; NaN where none.
        """
        self.index = index
        z = math.log1p(count / self.scale)
        self.values.observe(z)
        if math.isnan(z):
            self.levels.skip(index)
            return
        self.levels.advance(index, z)
        self._learn(index)
        issued = self.forecasts(index, self.levels, self.values.state(), external)
        self.issued, self.issued_persistence, self.issued_index = issued.final, issued.persistence, index
        self.pending.keep(index, issued)

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
        rows, values = matured.tracks, matured.values
        self.regressions.learn(rows, matured.features, values - matured.base, matured.scale)
        self.residuals.learn(rows, values - matured.point, matured.scale, matured.tracker)
        self.mixture.score(rows, matured.layers, values)
        opinions = matured.opinions
        self.opinions.score(rows, opinions, values)
        self.offset.score(rows, matured.final, values)
        self.scores.score(rows, np.expm1(matured.final), np.expm1(opinions[:, 1]), np.expm1(values))
        self.experts.learn(rows, matured.states, matured.outside, values)

    def forecasts(self, index: int, levels: Levels, state: ExpertState, external: FloatArray | None) -> Issued:
        """Return the forecasts of all tracks after step ``index`` of a stream with ``levels`` and ``state``."""
        rows = self._rows
        per_horizon, base = levels.features(index, self._unique)
        features = per_horizon[self._of_unique]
        ceiling = levels.maximum + GROWTH_ALLOWED
        point = np.minimum(np.maximum(base + self.regressions.predict(rows, features), 0.0), ceiling)
        scale = self.residuals.scale(rows)
        layers = self.residuals.layers(rows, point, scale)
        learned = self.mixture.combine(rows, layers)
        outside = self._nothing if external is None else np.log1p(np.maximum(external, 0.0) / self.scale)
        simple = self.experts.opinions(rows, state, outside)
        opinions = np.concatenate([learned[:, None, :], simple], axis=1)
        final = self.offset.apply(rows, self.opinions.combine(rows, opinions))
        return Issued(
            final=np.minimum(np.maximum(final, 0.0), Z_LIMIT),
            features=features,
            base=base,
            point=point,
            scale=scale,
            tracker=self.residuals.tracker[rows],
            outside=outside,
            layers=layers,
            opinions=opinions,
            state=state,
        )

    def rewind(self, index: int) -> None:
        """Continue from step ``index``, earlier than the last one; pending forecasts are dropped."""
        self.index = index
        self.issued_index = None
        self.pending.forget()

    def adopt(self, other: "StreamForecaster") -> None:
        """Add the tracks of ``other``, which has seen the same history, with their learned state."""
        other = copy.deepcopy(other)
        self.tracks += other.tracks
        self.issued = np.concatenate([self.issued, other.issued])
        self.issued_persistence = np.concatenate([self.issued_persistence, other.issued_persistence])
        self.pending.add(self.tracks, other.tracks)
        for mine, theirs in zip(self._per_track(), other._per_track(), strict=True):  # noqa: SLF001
            mine.extend(theirs)
        self._horizons()

    def drop(self, horizon: int) -> None:
        """Forget the tracks of ``horizon``."""
        rows = np.flatnonzero(self._horizon != horizon)
        self.tracks = tuple(self.tracks[row] for row in rows)
        self.issued = self.issued[rows]
        self.issued_persistence = self.issued_persistence[rows]
        self.pending.select(rows, self.tracks)
        for part in self._per_track():
            part.select(rows)
        self._horizons()

    def _per_track(self) -> list[PerTrack]:
        """Return the components with rows per track."""
        return [
            self.regressions, self.residuals, self.mixture, self.experts, self.opinions, self.offset, self.scores,
        ]  # fmt: skip

    def learned(self) -> list[PerTrack]:
        """Return the components whose state is worth keeping across a restart, in a fixed order."""
        return [piece for part in self._per_track() for piece in (part, *part.parts())]
