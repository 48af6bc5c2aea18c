"""Absolute times in CSV columns: `2023-11-16 18:15:46.6805900` and `2024-05-10 00:00:00.009930+00:00`."""

from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from forebay.flow.trace import FloatArray
from forebay.offline.traces.csv_columns import CsvColumn

WIDTH = 40
"""Bytes of a time stamp that the bulk parser looks at; longer ones go the slow way."""
DATE = len("2023-11-16")
SECOND = len("2023-11-16 18:15:46")
_ZERO, _NINE = ord("0"), ord("9")
_UTC_SUFFIXES = (b"", b"+00:00", b"Z")


def stamp_column(name: str, index: int) -> CsvColumn:
    """Return a column of UTC time stamps, parsed to Unix seconds; a stamp without an offset is UTC."""
    return CsvColumn(name=name, index=index, dtype=f"S{WIDTH}", parse=parse_stamp, parse_bulk=_bulk_stamps)


def parse_stamp(text: str) -> float:
    """Return Unix seconds of an ISO 8601 time."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("is not a time such as 2024-05-10 00:00:00.009930+00:00") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        return moment.timestamp()
    except (OverflowError, OSError):
        raise ValueError("is out of range") from None


def _bulk_stamps(raw: npt.NDArray[np.void]) -> FloatArray:
    """Parse fixed positions of all stamps at once (a week of public Azure traffic has 27 million)."""
    text = np.ascontiguousarray(raw)
    bytes_of = text.view(np.uint8).reshape(len(text), WIDTH)
    days = _days(np.ascontiguousarray(bytes_of[:, :DATE]).view(f"S{DATE}")[:, 0])
    if not np.all(np.isin(bytes_of[:, DATE], (ord(" "), ord("T")))):
        raise ValueError
    if not np.all((bytes_of[:, DATE + 3] == ord(":")) & (bytes_of[:, DATE + 6] == ord(":"))):
        raise ValueError
    hours, minutes, seconds = (_two_digits(bytes_of, DATE + 1 + 3 * part) for part in range(3))
    if np.any((hours > 23) | (minutes > 59) | (seconds > 59)):
        raise ValueError
    fraction, end = _fraction(bytes_of)
    _check_suffix(bytes_of, end)
    return days * 86_400.0 + (hours * 3600 + minutes * 60 + seconds) + fraction


def _days(dates: npt.NDArray[np.bytes_]) -> FloatArray:
    unique, inverse = np.unique(dates, return_inverse=True)
    if not all(len(date) == DATE and date[4:5] == b"-" and date[7:8] == b"-" for date in unique.tolist()):
        raise ValueError
    days = unique.astype(f"U{DATE}").astype("datetime64[D]").astype(np.float64)
    if np.any(np.isnan(days)):
        raise ValueError
    return np.asarray(days[inverse.reshape(-1)], dtype=np.float64)


def _two_digits(bytes_of: npt.NDArray[np.uint8], at: int) -> npt.NDArray[np.int64]:
    digits = bytes_of[:, at : at + 2].astype(np.int64) - _ZERO
    if np.any((digits < 0) | (digits > 9)):
        raise ValueError
    return np.asarray(digits[:, 0] * 10 + digits[:, 1], dtype=np.int64)


def _fraction(bytes_of: npt.NDArray[np.uint8]) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """Return the fraction of a second, and the position after it."""
    rows = len(bytes_of)
    value = np.zeros(rows)
    inside = bytes_of[:, SECOND] == ord(".")
    end = np.where(inside, SECOND + 1, SECOND).astype(np.int64)
    weight = 0.1
    for at in range(SECOND + 1, WIDTH):
        byte = bytes_of[:, at]
        inside = inside & (byte >= _ZERO) & (byte <= _NINE)
        if not inside.any():
            break
        value += np.where(inside, (byte.astype(np.float64) - _ZERO) * weight, 0.0)
        end += inside
        weight /= 10
    return value, end


def _check_suffix(bytes_of: npt.NDArray[np.uint8], end: npt.NDArray[np.int64]) -> None:
    """Accept stamps that end in UTC or in nothing; other offsets go the slow way."""
    for at in np.unique(end).tolist():
        tails = np.ascontiguousarray(bytes_of[end == at, at:])
        if at >= WIDTH - len(b"+00:00"):
            raise ValueError
        if not np.all(np.isin(tails.view(f"S{WIDTH - at}")[:, 0], _UTC_SUFFIXES)):
            raise ValueError
