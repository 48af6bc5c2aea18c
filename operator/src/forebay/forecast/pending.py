"""Forecasts that cannot be scored yet, with their inputs."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forebay.flow.trace import FloatArray
from forebay.forecast.experts import EXPERTS, PERSISTENCE, ExpertState
from forebay.forecast.regression import FEATURES
from forebay.forecast.resolution import QUANTILE_LEVELS
from forebay.forecast.tracks import IndexArray, Track

LAYERS = 3
_LEVELS = len(QUANTILE_LEVELS)
_NOTHING = -1

# Columns of one record.
_X = slice(0, FEATURES)
_TRACKER = slice(_X.stop, _X.stop + _LEVELS)
_LAYERS = slice(_TRACKER.stop, _TRACKER.stop + _LEVELS * LAYERS)
_OPINIONS = slice(_LAYERS.stop, _LAYERS.stop + _LEVELS * (EXPERTS + 1))
_FINAL = slice(_OPINIONS.stop, _OPINIONS.stop + _LEVELS)
_STATE = slice(_FINAL.stop, _FINAL.stop + 5)
_BASE, _POINT, _SCALE, _EXTERNAL = range(_STATE.stop, _STATE.stop + 4)
_COLUMNS = _EXTERNAL + 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Issued:
    """The forecasts of all tracks after one step, in z space, with their inputs; one row per track."""

    final: FloatArray
    features: FloatArray
    base: float
    point: FloatArray
    scale: FloatArray
    tracker: FloatArray
    outside: FloatArray
    """The external forecast, NaN where there is none."""
    layers: FloatArray
    opinions: FloatArray
    """Quantiles of the mixture of layers, then of the simple experts: (tracks, 1 + experts, levels)."""
    state: ExpertState

    @property
    def persistence(self) -> FloatArray:
        """Return the quantiles of the last value's expert."""
        return self.opinions[:, 1 + PERSISTENCE]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Matured:
    """Forecasts whose target step is over; one row each."""

    tracks: IndexArray
    values: FloatArray
    """The measured values, in z space."""
    records: FloatArray

    @property
    def features(self) -> FloatArray:
        """Return the features of the regression."""
        return self.records[:, _X]

    @property
    def base(self) -> FloatArray:
        """Return the base level."""
        return self.records[:, _BASE]

    @property
    def point(self) -> FloatArray:
        """Return the point forecasts."""
        return self.records[:, _POINT]

    @property
    def scale(self) -> FloatArray:
        """Return the local scale of errors."""
        return self.records[:, _SCALE]

    @property
    def tracker(self) -> FloatArray:
        """Return the quantile tracker, (rows, levels)."""
        return self.records[:, _TRACKER]

    @property
    def layers(self) -> FloatArray:
        """Return the quantiles of the layers, (rows, layers, levels)."""
        return self.records[:, _LAYERS].reshape(-1, LAYERS, _LEVELS)

    @property
    def opinions(self) -> FloatArray:
        """Return the quantiles of mixture and simple experts, (rows, 1 + experts, levels)."""
        return self.records[:, _OPINIONS].reshape(-1, EXPERTS + 1, _LEVELS)

    @property
    def final(self) -> FloatArray:
        """Return the quantiles as they were issued."""
        return self.records[:, _FINAL]

    @property
    def states(self) -> FloatArray:
        """Return the inputs of the simple experts, (rows, 5)."""
        return self.records[:, _STATE]

    @property
    def outside(self) -> FloatArray:
        """Return the external forecasts."""
        return self.records[:, _EXTERNAL]


class PendingForecasts:
    """One ring of records per track, as long as its horizon, all in one array."""

    def __init__(self, tracks: tuple[Track, ...]) -> None:
        self._lay_out(tracks)
        self.records = np.full((self._total, _COLUMNS), np.nan, dtype=np.float32)
        self.issued_at = np.full(self._total, _NOTHING, dtype=np.int32)

    def _lay_out(self, tracks: tuple[Track, ...]) -> None:
        self._horizon = np.array([track.horizon for track in tracks], dtype=np.intp)
        self._start = np.concatenate([[0], np.cumsum(self._horizon)[:-1]]) if tracks else self._horizon
        self._total = int(self._horizon.sum())

    def mature(self, index: int, values: FloatArray) -> Matured | None:
        """Return the forecasts that targeted step ``index``, given each track's value; ``None`` if there are none.

        A forecast whose value is missing is dropped.
        """
        places = self._start + index % self._horizon
        records = self.records[places].astype(np.float64)
        usable = (self.issued_at[places] == index - self._horizon) & np.isfinite(values + records[:, _POINT])
        rows = np.flatnonzero(usable)
        if not len(rows):
            return None
        return Matured(tracks=rows, values=values[rows], records=records[rows])

    def keep(self, index: int, issued: Issued) -> None:
        """Keep the forecasts issued after step ``index``, in the places of those that targeted this step."""
        tracks = len(self._horizon)
        record = np.empty((tracks, _COLUMNS))
        record[:, _X] = issued.features
        record[:, _TRACKER] = issued.tracker
        record[:, _LAYERS] = issued.layers.reshape(tracks, -1)
        record[:, _OPINIONS] = issued.opinions.reshape(tracks, -1)
        record[:, _FINAL] = issued.final
        record[:, _STATE] = issued.state
        record[:, _BASE] = issued.base
        record[:, _POINT] = issued.point
        record[:, _SCALE] = issued.scale
        record[:, _EXTERNAL] = issued.outside
        places = self._start + index % self._horizon
        self.records[places] = record
        self.issued_at[places] = index

    def forget(self) -> None:
        """Drop everything."""
        self.issued_at[:] = _NOTHING

    def add(self, tracks: tuple[Track, ...], new: tuple[Track, ...]) -> None:
        """Continue with ``tracks``: those so far, and the ``new`` ones without pending forecasts."""
        empty = PendingForecasts(new)
        self.records = np.concatenate([self.records, empty.records])
        self.issued_at = np.concatenate([self.issued_at, empty.issued_at])
        self._lay_out(tracks)

    def select(self, rows: IndexArray, tracks: tuple[Track, ...]) -> None:
        """Keep only the tracks ``rows``, which are ``tracks``."""
        places = np.concatenate([
            np.arange(start, start + horizon)
            for start, horizon in zip(self._start[rows].tolist(), self._horizon[rows].tolist(), strict=True)
        ])  # fmt: skip
        self.records, self.issued_at = self.records[places], self.issued_at[places]
        self._lay_out(tracks)

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return all arrays, to be kept across a restart."""
        return {"records": self.records, "issued_at": self.issued_at}

    def load(self, arrays: Mapping[str, npt.NDArray[np.generic]]) -> None:
        """Load ``arrays``, as returned by ``arrays``.

        Raises:
            KeyError: an array is missing.
            ValueError: an array belongs to other tracks.
        """
        records, issued_at = arrays["records"], arrays["issued_at"]
        if records.shape != self.records.shape or issued_at.shape != self.issued_at.shape:
            raise ValueError("the saved forecaster state does not fit: pending forecasts of other horizons")
        self.records, self.issued_at = records.astype(np.float32), issued_at.astype(np.int32)
