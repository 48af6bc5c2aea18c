"""Build PromQL text. Every value from outside passes through ``quote`` or ``escape_regex``.

The language: https://prometheus.io/docs/prometheus/latest/querying/basics/ . String literals follow Go's escaping
rules; regular expressions are RE2 and always anchored.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*\Z")
_METRIC_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*\Z")
_NOT_PLAIN = re.compile(r'["\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]')
_REGEX_SPECIAL = frozenset("\\.+*?()|[]{}^$")
_PART = "forebay_part"


def quote(value: str) -> str:
    """Return ``value`` as a PromQL string literal that can hold nothing but this value."""
    return '"' + _NOT_PLAIN.sub(_escape, value) + '"'


def _escape(found: re.Match[str]) -> str:
    character = found.group()
    if character in {'"', "\\"}:
        return "\\" + character
    code = ord(character)
    return "\\ufffd" if 0xD800 <= code <= 0xDFFF else f"\\u{code:04x}"


def escape_regex(value: str) -> str:
    """Return an RE2 pattern that matches exactly ``value``."""
    return "".join("\\" + character if character in _REGEX_SPECIAL else character for character in value)


def label_name(name: str) -> str:
    """Return ``name`` if it is a legal label name.

    Raises:
        ValueError: It is not.
    """
    if not _LABEL_NAME.match(name):
        raise ValueError(f"{name!r} is not a label name: use letters, digits and underscores, no digit first.")
    return name


def metric_name(name: str) -> str:
    """Return ``name`` if it is a legal metric name (without quoting).

    Raises:
        ValueError: It is not.
    """
    if not _METRIC_NAME.match(name):
        raise ValueError(f"{name!r} is not a metric name: use letters, digits, underscores and colons.")
    return name


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on a label: ``operator`` is ``=``, ``!=`` or ``=~``."""

    label: str
    operator: str
    value: str

    def __str__(self) -> str:
        return f"{label_name(self.label)}{self.operator}{quote(self.value)}"


def equal(labels: Mapping[str, str]) -> tuple[Matcher, ...]:
    """Return one equality matcher per label, in a stable order."""
    return tuple(Matcher(label, "=", labels[label]) for label in sorted(labels))


def one_of(label: str, values: Iterable[str]) -> Matcher:
    """Return a matcher that accepts exactly ``values``."""
    return Matcher(label, "=~", "|".join(escape_regex(value) for value in sorted(set(values))))


def selector(metric: str, matchers: Sequence[Matcher] = ()) -> str:
    """Return an instant selector."""
    inside = ",".join(str(matcher) for matcher in matchers)
    return f"{metric_name(metric)}{{{inside}}}"


def first_of(expressions: Sequence[str]) -> str:
    """Return an expression that takes each series from the first of ``expressions`` that has it."""
    return " or ".join(expressions)


def part_of_a_sum(expression: str, index: int) -> str:
    """Mark an expression's series, so that those of several metrics can stand side by side and be summed."""
    return f'label_replace({expression},"{_PART}","{index}","","")'


def without(labels: Sequence[str], expression: str) -> str:
    """Count series that differ only in ``labels`` once: duplicates of one engine, of which the highest wins."""
    names = ",".join(label_name(label) for label in labels)
    return f"max without({names})({expression})"


def copied_label(expression: str, source: str, target: str, pattern: str = "(.+)") -> str:
    """Copy what group 1 of ``pattern`` finds in a label to another one; where nothing matches, change nothing."""
    return f'label_replace({expression},"{label_name(target)}","$1","{label_name(source)}",{quote(pattern)})'


def last(metric: str, matchers: Sequence[Matcher], *, window_seconds: int, offset_seconds: int = 0) -> str:
    """Return the newest sample of the last ``window_seconds``, seen from ``offset_seconds`` ago.

    Unlike an instant selector this does not vanish with the first failed scrape, and looks no further back.
    """
    shift = f" offset {offset_seconds}s" if offset_seconds else ""
    return f"last_over_time({selector(metric, matchers)}[{window_seconds}s]{shift})"


def counter_growth(now: str, before: str) -> str:
    """Return per series what a counter grew between two looks; after a reset, what it has counted since.

    The sum over consecutive intervals telescopes: nothing is extrapolated, counted twice or lost between two
    rounds, whatever the phase of the scrapes.
    """
    return f"((({now})-({before}))>=0) or (({now}) and ({before}))"


def plain_growth(now: str, before: str) -> str:
    """Return per series what a counter grew, and nothing for a series that was reset: half the server's work."""
    return f"clamp_min(({now})-({before}),0)"


def gauge_change(now: str, before: str) -> str:
    """Return per series how a gauge changed; a new series counts in full, a vanished one not at all."""
    return f"(({now})-({before})) or ({now})"


def beside(expression: str, others: str, labels: Sequence[str]) -> str:
    """Return the series that have one of ``others`` beside them, with the same ``labels``."""
    return f"({expression}) and on({','.join(label_name(label) for label in labels)}) ({others})"


def newborn(now: str, before: str, long_before: str) -> str:
    """Return the value of series that exist now and did not in the past."""
    return f"({now}) unless ({before}) unless ({long_before})"
