"""Numbers as people read them: coarse enough not to change every round, precise enough to act on."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_RELATIVE_TOLERANCE = 0.1
#: Sentences: their figures stand in fields of their own, or count down.
_SENTENCES = frozenset({"message", "why"})


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


def differ_notably(old: object, new: object) -> bool:
    """Whether two JSON values differ in more than numbers that drifted by up to a tenth.

    Numbers inside strings count as numbers, so that a sentence whose figures breathe is the same sentence.
    """
    if isinstance(old, str) and isinstance(new, str):
        if _reads_differently(old, new):
            return True
        pairs = zip(_NUMBER.findall(old), _NUMBER.findall(new), strict=True)
        return any(_drifted(float(a), float(b)) for a, b in pairs)
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return old.keys() != new.keys() or any(_fields_differ(key, old[key], new[key]) for key in old)
    if isinstance(old, Sequence) and isinstance(new, Sequence) and not isinstance(old, str | bytes):
        return len(old) != len(new) or any(differ_notably(a, b) for a, b in zip(old, new, strict=True))
    if isinstance(old, float) and isinstance(new, float):
        return _drifted(old, new)
    return old != new


def _fields_differ(name: str, old: object, new: object) -> bool:
    if name in _SENTENCES and isinstance(old, str) and isinstance(new, str):
        return _reads_differently(old, new)
    return differ_notably(old, new)


def _reads_differently(old: str, new: str) -> bool:
    return _NUMBER.sub("#", old) != _NUMBER.sub("#", new)


def _drifted(old: float, new: float) -> bool:
    return abs(old - new) > _RELATIVE_TOLERANCE * max(abs(old), abs(new))
