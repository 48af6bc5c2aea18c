"""The forecaster's state as bytes: small, versioned, and refused when it does not fit.

Residuals are rounded to 1/32 of their spread and curves to .0005 (log space): far below what a quantile of a few
thousand values can tell. Training rows are not kept; they come back with time.
"""

import array
import io
import struct
import zipfile
import zlib
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from forebay.flow.trace import FloatArray
from forebay.forecast.history import CountHistory
from forebay.forecast.levels import Levels
from forebay.forecast.phase import Phase
from forebay.forecast.resolution import Resolution
from forebay.forecast.tracks import Track
from forebay.forecast.windows import QuantileWindow

MAGIC = b"FBFC"
VERSION = 4
_HEADER = struct.Struct(">4sH")
_CURVE_STEPS = 2000.0
_CURVE_MISSING = -32_768
_ROUNDING = 32.0
_OF_DAY_STRIDE = 10

Arrays = dict[str, npt.NDArray[np.generic]]
ArrayMap = Mapping[str, npt.NDArray[np.generic]]


def dump(arrays: ArrayMap) -> bytes:
    """Return ``arrays`` as versioned bytes."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return _HEADER.pack(MAGIC, VERSION) + buffer.getvalue()


def parse(data: bytes) -> Arrays:
    """Return the arrays in ``data``.

    Raises:
        ValueError: ``data`` is not a forecaster's state, is damaged, or has another version.
    """
    if len(data) < _HEADER.size or data[:4] != MAGIC:
        raise ValueError(
            "this is not the saved state of a forecaster; remove it and the forecaster warms up again"
        )
    _magic, version = _HEADER.unpack_from(data)
    if version != VERSION:
        raise ValueError(
            f"the saved forecaster state has version {version} and this program reads version {VERSION}; "
            "remove it and the forecaster warms up from history again"
        )
    try:
        with np.load(io.BytesIO(data[_HEADER.size :]), allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, KeyError, OSError) as error:
        raise ValueError(
            f"the saved forecaster state is damaged ({error}); remove it and the forecaster warms up again"
        ) from error


def phase_arrays(phase: Phase) -> Arrays:
    """Return everything that ``phase`` learned."""
    found: Arrays = {
        "tracks": np.array([(track.horizon, int(track.maximum)) for track in phase.tracks], dtype=np.int64),
        "scale": np.array([phase.scale]),
        "index": np.array([-1 if phase.index is None else phase.index, phase.first_index or 0], dtype=np.int64),
        "updates": np.array([phase.regressions.updates], dtype=np.int64),
        "split": np.array([phase.split]),
        "recent": np.array(phase.recent()),
        "expert_values": np.array(phase.values.values()),
        **phase.issued_arrays(),
        **{f"levels.{name}": values for name, values in _levels_arrays(phase.levels, phase.index).items()},
    }
    for part, component in enumerate(phase.learned()):
        for name, values in component.arrays().items():
            found[f"{part}.{name}"] = values[:, ::_OF_DAY_STRIDE] if name.endswith("_of_day") else values
        for number, window in enumerate(component.windows()):
            step, low, high = _pack_window(window)
            found[f"{part}.window{number}.step"] = np.array([step])
            found[f"{part}.window{number}.low"] = low
            found[f"{part}.window{number}.high"] = high
    return found


def phase_from(resolution: Resolution, arrays: ArrayMap) -> Phase:
    """Return the phase that ``arrays`` describe.

    Raises:
        ValueError: something is missing or does not fit.
    """
    try:
        tracks = tuple(Track(int(horizon), bool(maximum)) for horizon, maximum in arrays["tracks"])
        phase = Phase(resolution, tracks, float(arrays["scale"][0]))
        if bool(arrays["split"][0]):
            phase.divide()
        for part, component in enumerate(phase.learned()):
            component.load(_component_arrays(part, component.arrays(), arrays))
            for number, window in enumerate(component.windows()):
                _unpack_window(window, arrays, f"{part}.window{number}")
        phase.regressions.updates = int(arrays["updates"][0])
        index, first = (int(value) for value in arrays["index"])
        _load_levels(phase.levels, arrays, index)
        if index >= 0:
            phase.first_index = first
            phase.resume(index, _floats(arrays["recent"]), arrays)
        for value in _floats(arrays["expert_values"]):
            phase.values.observe(value)
    except KeyError as error:
        raise ValueError(f"the saved forecaster state lacks {error}; remove it to start afresh") from error
    return phase


def _floats(values: npt.NDArray[np.generic]) -> list[float]:
    return [float(value) for value in values.astype(np.float64)]


def _component_arrays(part: int, wanted: ArrayMap, arrays: ArrayMap) -> Arrays:
    found: Arrays = {}
    for name, like in wanted.items():
        values = arrays[f"{part}.{name}"]
        if name.endswith("_of_day"):
            values = np.repeat(values, _OF_DAY_STRIDE, axis=1)[:, : like.shape[1]]
        found[name] = values
    return found


def _levels_arrays(levels: Levels, index: int | None) -> Arrays:
    scalars = [
        levels.z, levels.smooth, levels.maximum, levels.change_fast, levels.change_slow, levels.settled,
        levels.settled_steps, levels.clock.usual, *levels.ewma,
    ]  # fmt: skip
    days = levels.days
    counts = [int(levels.started), days.steps_today, levels.missing]
    end = 0 if index is None else index + 1
    return {
        "scalars": np.array(scalars),
        "counts": np.array(counts, dtype=np.int64),
        "clock": np.stack([levels.clock.size, levels.clock.visits]).astype(np.float32),
        "smooth_history": pack_curve(days.smooth_history.between(end - days.smooth_history.size, end)),
        "profile": pack_curve(np.asarray(days.profile, dtype=np.float64)),
        "today": pack_curve(np.asarray(days.today, dtype=np.float64)),
    }


def _load_levels(levels: Levels, arrays: ArrayMap, index: int) -> None:
    scalars = _floats(arrays["levels.scalars"])
    days = levels.days
    levels.z, levels.smooth, levels.maximum, levels.change_fast, levels.change_slow = scalars[:5]
    levels.settled, levels.settled_steps, levels.clock.usual = scalars[5:8]
    levels.ewma = scalars[8:]
    levels.clock.load(arrays["levels.clock"].astype(np.float64))
    started, days.steps_today, levels.missing = (int(value) for value in arrays["levels.counts"])
    levels.started = bool(started)
    history, today = unpack_curve(arrays["levels.smooth_history"]), unpack_curve(arrays["levels.today"])
    if len(history) != days.smooth_history.size or len(today) != days.day:
        raise ValueError("the saved forecaster state was kept at another sampling step; remove it to start afresh")
    for at in np.flatnonzero(np.isfinite(history)).tolist():
        days.smooth_history[index + 1 - len(history) + at] = float(history[at])
    days.today[:] = array.array("f", today.tolist())
    days.profile = array.array("f", unpack_curve(arrays["levels.profile"]).tolist())


def history_arrays(history: CountHistory) -> Arrays:
    """Return the counts, rounded to .05 %."""
    start, counts = history.kept()
    return {"start": np.array([start], dtype=np.int64), "counts": pack_curve(np.log1p(counts))}


def load_history(history: CountHistory, arrays: ArrayMap) -> None:
    """Fill the empty ``history``."""
    counts = np.rint(np.expm1(unpack_curve(arrays["history.counts"])))
    for index, count in enumerate(counts.tolist(), start=int(arrays["history.start"].astype(np.int64)[0])):
        history.put(index, count)


def pack_curve(values: FloatArray) -> npt.NDArray[np.uint8]:
    """Return a slowly varying curve as two planes of bytes; NaN is kept."""
    steps = np.clip(np.rint(np.nan_to_num(values) * _CURVE_STEPS), -32_767, 32_767).astype(np.int16)
    steps[np.isnan(values)] = _CURVE_MISSING
    return _planes(np.diff(steps, prepend=np.int16(0)))


def unpack_curve(planes: npt.NDArray[np.generic]) -> FloatArray:
    """Return the curve of ``pack_curve``."""
    steps = np.cumsum(_from_planes(planes), dtype=np.int16)
    values = steps.astype(np.float64) / _CURVE_STEPS
    values[steps == _CURVE_MISSING] = np.nan
    return values


def _planes(values: npt.NDArray[np.int16]) -> npt.NDArray[np.uint8]:
    """Return low bytes, then high bytes: most high bytes are alike and compress to nothing."""
    return np.ascontiguousarray(values.view(np.uint8).reshape(-1, 2).T)


def _from_planes(planes: npt.NDArray[np.generic]) -> npt.NDArray[np.int16]:
    return np.ascontiguousarray(planes.astype(np.uint8).T).reshape(-1).view(np.int16)


def _pack_window(window: QuantileWindow) -> tuple[float, npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    values = window.values()
    step = float(values.std()) / _ROUNDING if len(values) > 1 else 1e-4
    step = max(step, 1e-6)
    planes = _planes(np.clip(np.rint(values / step), -32_767, 32_767).astype(np.int16))
    return step, planes[0], planes[1]


def _unpack_window(window: QuantileWindow, arrays: ArrayMap, name: str) -> None:
    step = float(arrays[f"{name}.step"].astype(np.float64)[0])
    planes = np.stack([arrays[f"{name}.low"].astype(np.uint8), arrays[f"{name}.high"].astype(np.uint8)])
    window.load(_from_planes(planes).astype(np.float64) * step)
