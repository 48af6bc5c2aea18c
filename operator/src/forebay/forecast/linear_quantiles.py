"""Linear quantile regression by linear programming, and the two layers that are made of it."""

from dataclasses import dataclass
from typing import ClassVar

import highspy
import numpy as np

from forebay.flow.trace import FloatArray
from forebay.forecast.resolution import QUANTILE_LEVELS
from forebay.forecast.tracks import IndexArray, PerTrack, Track

PENALTY = 1e-4
RESIDUAL_FEATURES = 6
DIRECT_FEATURES = 17
CEILING = 1.0
"""A quantile may exceed the running maximum by this much in z space."""


def fit_quantile(features: FloatArray, values: FloatArray, level: float, penalty: float = PENALTY) -> FloatArray:
    """Return (intercept, coefficients) that minimise mean pinball loss + penalty x sum of |coefficients|.

    Koenker and Bassett 1978, solved in its dual: maximise v a subject to sum a = 0, |x_j a| <= penalty and
    (level - 1)/n <= a <= level/n; the coefficients are the row duals. It has one row per coefficient instead of
    one per sample, so that a thousand samples take milliseconds.

    Raises:
        ValueError: a value is not finite, or the solver found no optimum.
    """
    if not (np.isfinite(features).all() and np.isfinite(values).all()):
        raise ValueError("a quantile regression needs finite features and values; drop the rows with gaps")
    samples, width = features.shape
    model = highspy.HighsLp()
    model.num_col_ = samples
    model.num_row_ = width + 1
    model.sense_ = highspy.ObjSense.kMaximize
    model.col_cost_ = values
    model.col_lower_ = np.full(samples, (level - 1.0) / samples)
    model.col_upper_ = np.full(samples, level / samples)
    model.row_lower_ = np.concatenate([[0.0], np.full(width, -penalty)])
    model.row_upper_ = np.concatenate([[0.0], np.full(width, penalty)])
    rows = np.concatenate([np.ones((1, samples)), features.T])
    model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    model.a_matrix_.start_ = np.arange(width + 2, dtype=np.int32) * samples
    model.a_matrix_.index_ = np.tile(np.arange(samples, dtype=np.int32), width + 1)
    model.a_matrix_.value_ = rows.ravel()
    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("threads", 1)
    solver.passModel(model)
    solver.run()
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        raise ValueError(
            f"the quantile regression has no optimum: {solver.getModelStatus()}; are all values finite?"
        )
    return np.asarray(solver.getSolution().row_dual, dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackCoefficients:
    """Fitted coefficients of one track: (levels, 1 + features) each, the intercept first."""

    track: Track
    calm: bool
    residual: FloatArray
    direct: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRows:
    """What one track's two regressions are fitted on; all arrays have one row per sample."""

    track: Track
    calm: bool
    """Of the forecasts that cross no tick of the clock."""
    volatility: FloatArray
    direct: FloatArray
    residual_target: FloatArray
    """Value less point forecast."""
    direct_target: FloatArray
    """Value less the last value."""

    def fit(self) -> TrackCoefficients:
        """Fit both regressions at every quantile level; 5 to 100 ms."""
        return TrackCoefficients(
            track=self.track,
            calm=self.calm,
            residual=np.stack([fit_quantile(self.volatility, self.residual_target, q) for q in QUANTILE_LEVELS]),
            direct=np.stack([fit_quantile(self.direct, self.direct_target, q) for q in QUANTILE_LEVELS]),
        )


class LinearLayers(PerTrack):
    """Layers D (quantiles of the residual from volatility) and E (quantiles of the change from all features)."""

    PER_TRACK: ClassVar[tuple[str, ...]] = ("residual", "direct", "fitted")

    def __init__(self, tracks: int) -> None:
        levels = len(QUANTILE_LEVELS)
        self.residual = np.zeros((tracks, levels, RESIDUAL_FEATURES + 1))
        self.direct = np.zeros((tracks, levels, DIRECT_FEATURES + 1))
        self.fitted = np.zeros(tracks, dtype=bool)

    def set(self, row: int, coefficients: TrackCoefficients) -> None:
        """Use ``coefficients`` for track ``row`` from now on."""
        self.residual[row] = coefficients.residual
        self.direct[row] = coefficients.direct
        self.fitted[row] = True

    def layers(
        self, rows: IndexArray, direct: FloatArray, point: FloatArray, last: float, ceiling: float
    ) -> FloatArray:
        """Return the quantiles (rows, 2 layers, levels) in z space, cut to [0, ceiling].

        The last of the ``direct`` features are those of the residual.
        """
        residual, change = self.residual[rows], self.direct[rows]
        volatility = direct[:, -RESIDUAL_FEATURES:]
        of_residual = residual[:, :, 0] + np.einsum("tlf,tf->tl", residual[:, :, 1:], volatility)
        of_change = change[:, :, 0] + np.einsum("tlf,tf->tl", change[:, :, 1:], direct)
        both = np.stack([point[:, None] + of_residual, last + of_change], axis=1)
        both = np.minimum(np.maximum(both, 0.0), ceiling)
        return np.asarray(np.maximum.accumulate(both, axis=2))
