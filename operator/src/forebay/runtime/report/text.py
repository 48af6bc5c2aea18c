"""Numbers as people read them: coarse enough not to change every round, precise enough to act on."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

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


def without_asides(value: object) -> object:
    """Return a JSON value without the fields that cause no write of their own."""
    if isinstance(value, Mapping):
        return {key: without_asides(inner) for key, inner in value.items() if key not in _ASIDES}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [without_asides(inner) for inner in value]
    return value
