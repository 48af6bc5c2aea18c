"""Numbers as people read them: coarse enough not to change every round, precise enough to act on."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_RELATIVE_TOLERANCE = 0.1
#: What is estimated goes on settling for hours under constant traffic.
_TOLERANCES = {"demand": 0.2, "p50": 0.25, "p90": 0.25, "p99": 0.25, "skill": 0.5}
_LEAST_DIFFERENCE = 0.05
"""A step of the last digit that is shown of a small rate is no news."""
#: Sentences: their figures stand in fields of their own, or count down.
_SENTENCES = frozenset({"message", "why"})
#: What is told with the next write and causes none.
_ASIDES = frozenset({"capacity"})


def timestamp(unix_seconds: float) -> str:
    """Return an RFC 3339 time in whole seconds, as the API server writes them."""
    return datetime.fromtimestamp(int(unix_seconds), tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rate(value: float | None) -> str | None:
    """Return requests per second with two or three significant digits; None stays None."""
    if value is None:
        return None
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def percent(share: float | None) -> str | None:
    """Return a share as per cent with one decimal; 99.96 % is not rounded up to a promise that was not kept."""
    if share is None:
        return None
    tenths = int(share * 1000) if share < 1 else round(share * 1000)
    return f"{tenths / 10:.1f}%"


def duration(seconds: float) -> str:
    """Return a Go duration, rounded to 1 s, from two minutes on to 5 s, from ten minutes on to 30 s."""
    step = 1 if seconds < 120 else 5 if seconds < 600 else 30
    whole = max(1, step * round(seconds / step))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "m"), (rest, "s"))
    return "".join(f"{count}{unit}" for count, unit in parts if count) or "0s"


def shorten(text: str, longest: int) -> str:
    """Return ``text`` cut at a word to at most ``longest`` characters."""
    if len(text) <= longest:
        return text
    cut = text[: longest - 1]
    if text[longest - 1] != " ":
        cut = cut.rsplit(" ", 1)[0]
    return cut.rstrip(" ,;:") + "…"


def differ_notably(old: object, new: object, tolerance: float = _RELATIVE_TOLERANCE) -> bool:
    """Whether two JSON values differ in more than numbers that drifted by up to ``tolerance`` of themselves.

    Numbers inside strings count as numbers, so that a sentence whose figures breathe is the same sentence. Fields
    that hold estimates have a tolerance of their own.
    """
    if old == new:
        return False
    if isinstance(old, str) and isinstance(new, str):
        if _reads_differently(old, new):
            return True
        pairs = zip(_NUMBER.findall(old), _NUMBER.findall(new), strict=True)
        return any(_drifted(float(a), float(b), tolerance) for a, b in pairs)
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return any(_fields_differ(key, old.get(key), new.get(key)) for key in old.keys() | new.keys())
    if isinstance(old, Sequence) and isinstance(new, Sequence) and not isinstance(old, str | bytes):
        return len(old) != len(new) or any(differ_notably(a, b) for a, b in zip(old, new, strict=True))
    if isinstance(old, float) and isinstance(new, float):
        return _drifted(old, new, tolerance)
    return old != new


def without_asides(value: object) -> object:
    """Return a JSON value without the fields that cause no write of their own."""
    if isinstance(value, Mapping):
        return {key: without_asides(inner) for key, inner in value.items() if key not in _ASIDES}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [without_asides(inner) for inner in value]
    return value


def _fields_differ(name: str, old: object, new: object) -> bool:
    if name in _ASIDES or old == new:
        return False
    if name in _SENTENCES and isinstance(old, str) and isinstance(new, str):
        return _reads_differently(old, new)
    return differ_notably(old, new, _TOLERANCES.get(name, _RELATIVE_TOLERANCE))


def _reads_differently(old: str, new: str) -> bool:
    return _NUMBER.sub("#", old) != _NUMBER.sub("#", new)


def _drifted(old: float, new: float, tolerance: float) -> bool:
    return abs(old - new) > max(_LEAST_DIFFERENCE, tolerance * max(abs(old), abs(new)))
