"""The forecaster's state as bytes: small, versioned, and rejected when it does not fit.

Arrays are saved as they are in memory, so a restored forecaster gives the same forecasts as the saved one.
"""

import json
import math
import struct
import zlib
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from forebay.forecast.history import CountHistory
from forebay.forecast.levels import Levels
from forebay.forecast.phase import StreamForecaster
from forebay.forecast.resolution import Resolution
from forebay.forecast.rings import StepRing
from forebay.forecast.tracks import Track

MAGIC = b"FBFC"
VERSION = 7
_HEADER = struct.Struct(">4sH")
_CONTENTS = struct.Struct(">I")
"""Length of the table of contents, which is JSON: name, type and shape of each array."""
_MOST_BYTES = 64 * 2**20
_FAST = 1
"""zlib's level. A fleet is saved every few minutes; the highest level would save only a tenth more space."""
_NONE = -1
"""Marks that there is no step."""

Arrays = dict[str, npt.NDArray[np.generic]]
ArrayMap = Mapping[str, npt.NDArray[np.generic]]


def dump(arrays: ArrayMap) -> bytes:
    """Return ``arrays`` as versioned bytes."""
    contents = json.dumps([(name, array.dtype.str, array.shape) for name, array in arrays.items()]).encode()
    values = b"".join(array.tobytes() for array in arrays.values())
    return _HEADER.pack(MAGIC, VERSION) + zlib.compress(_CONTENTS.pack(len(contents)) + contents + values, _FAST)


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
        return _arrays(data[_HEADER.size :])
    except (zlib.error, struct.error, ValueError, TypeError) as error:
        raise ValueError(
            f"the saved forecaster state is damaged ({error}); remove it and the forecaster warms up again"
        ) from error


def _arrays(packed: bytes) -> Arrays:
    stream = zlib.decompressobj()
    plain = stream.decompress(packed, _MOST_BYTES)
    if not stream.eof:
        raise ValueError("it is cut off or too large")
    (length,) = _CONTENTS.unpack_from(plain)
    place = _CONTENTS.size + length
    found: Arrays = {}
    for name, kind, shape in json.loads(plain[_CONTENTS.size : place]):
        dtype = np.dtype(kind)
        size = math.prod(shape)
        found[name] = np.frombuffer(plain, dtype, size, place).reshape(shape)
        place += size * dtype.itemsize
    return found


def phase_arrays(phase: StreamForecaster) -> Arrays:
    """Return everything that ``phase`` learned."""
    marks = [phase.index, phase.issued_index]
    found: Arrays = {
        "tracks": np.array([(track.horizon, int(track.maximum)) for track in phase.tracks], dtype=np.int64),
        "scale": np.array([phase.scale]),
        "marks": np.array([_NONE if mark is None else mark for mark in marks], dtype=np.int64),
        "updates": np.array([phase.regressions.updates], dtype=np.int64),
        "recent": np.array(phase.values.values()),
        "issued": np.stack([phase.issued, phase.issued_persistence]),
        **{f"pending.{name}": values for name, values in phase.pending.arrays().items()},
        **{f"levels.{name}": values for name, values in _levels_arrays(phase.levels, phase.index).items()},
    }
    for part, component in enumerate(phase.learned()):
        found |= {f"{part}.{name}": values for name, values in component.arrays().items()}
    return found


def phase_from(resolution: Resolution, arrays: ArrayMap) -> StreamForecaster:
    """Return the phase that ``arrays`` describe.

    Raises:
        ValueError: something is missing or does not fit.
    """
    try:
        tracks = tuple(Track(int(horizon), bool(maximum)) for horizon, maximum in arrays["tracks"])
        phase = StreamForecaster(resolution, tracks, float(arrays["scale"][0]))
        for part, component in enumerate(phase.learned()):
            component.load(_under(f"{part}.", arrays))
        phase.regressions.updates = int(arrays["updates"][0])
        index, issued = (None if mark == _NONE else int(mark) for mark in arrays["marks"].tolist())
        phase.index, phase.issued_index = index, issued
        phase.issued, phase.issued_persistence = arrays["issued"].astype(np.float64)
        phase.pending.load(_under("pending.", arrays))
        _load_levels(phase.levels, _under("levels.", arrays), 0 if index is None else index + 1)
        for value in _floats(arrays["recent"]):
            phase.values.observe(value)
    except KeyError as error:
        raise ValueError(f"the saved forecaster state lacks {error}; remove it to start afresh") from error
    return phase


def _under(prefix: str, arrays: ArrayMap) -> Arrays:
    return {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}


def _floats(values: npt.NDArray[np.generic]) -> list[float]:
    return [float(value) for value in values.astype(np.float64)]


def _levels_arrays(levels: Levels, index: int | None) -> Arrays:
    scalars = [levels.z, levels.smooth, levels.maximum, *levels.ewma]
    days = levels.days
    end = 0 if index is None else index + 1
    today, today_end = days.today, end // days.profile_stride
    smooth, smooth_end = days.smooth_history, -(-end // days.smooth_stride)
    return {
        "scalars": np.array(scalars),
        "counts": np.array([int(levels.started), days.steps_today, levels.missing], dtype=np.int64),
        "smooth": smooth.between(smooth_end - smooth.size, smooth_end).astype(np.float16),
        "today": today.between(today_end - today.size, today_end).astype(np.float16),
        "part": np.array(days.part),
        "profile": days.profile,
    }


def _load_levels(levels: Levels, arrays: ArrayMap, end: int) -> None:
    scalars = _floats(arrays["scalars"])
    days = levels.days
    levels.z, levels.smooth, levels.maximum = scalars[:3]
    levels.ewma = scalars[3:]
    started, days.steps_today, levels.missing = (int(value) for value in arrays["counts"].tolist())
    levels.started = bool(started)
    days.part = _floats(arrays["part"])
    if len(arrays["today"]) != days.today.size or len(arrays["smooth"]) != days.smooth_history.size:
        raise ValueError("the saved forecaster state was kept at another sampling step; remove it to start afresh")
    _fill(days.smooth_history, -(-end // days.smooth_stride), arrays["smooth"])
    _fill(days.today, end // days.profile_stride, arrays["today"])
    days.profile = arrays["profile"].astype(np.float16)


def _fill(ring: StepRing, end: int, values: npt.NDArray[np.generic]) -> None:
    found = values.astype(np.float64)
    for at in np.flatnonzero(np.isfinite(found)).tolist():
        ring[end - len(found) + at] = float(found[at])


def history_arrays(history: CountHistory) -> Arrays:
    """Return the kept counts."""
    start, codes = history.codes()
    return {"start": np.array([start], dtype=np.int64), "counts": pack_curve(codes)}


def load_history(history: CountHistory, arrays: ArrayMap) -> None:
    """Fill the empty ``history``."""
    history.load(int(arrays["history.start"].astype(np.int64)[0]), unpack_curve(arrays["history.counts"]))


def pack_curve(codes: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint8]:
    """Return a slowly varying curve as the low bytes of its steps, then the high ones.

    Most high bytes are alike and compress to nothing.
    """
    steps = np.diff(codes, prepend=np.uint16(0))
    return np.ascontiguousarray(steps.view(np.uint8).reshape(-1, 2).T)


def unpack_curve(planes: npt.NDArray[np.generic]) -> npt.NDArray[np.uint16]:
    """Return the curve of ``pack_curve``."""
    steps = np.ascontiguousarray(planes.astype(np.uint8).T).reshape(-1).view(np.uint16)
    return np.cumsum(steps, dtype=np.uint16)
