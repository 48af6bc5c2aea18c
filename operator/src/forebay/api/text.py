"""Strings with a meaning: durations, amounts of money, decimals, quantities and ratios.

Each is a `str` that stays as the user wrote it, and carries its value as a property. None is a JSON number with a
fraction: the Kubernetes API conventions discourage floats, because they do not survive every client unchanged.
"""

import re
from decimal import Decimal
from fractions import Fraction
from typing import Any, ClassVar, Self

from pydantic import GetCoreSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

from forebay.api.rules import Rule

_NANOSECONDS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_DURATION = r"([0-9]{1,6}(\.[0-9]{1,6})?(ns|us|ms|s|m|h))+"
_DURATION_TERM = re.compile(r"([0-9]{1,6})(?:\.([0-9]{1,6}))?(ns|us|ms|s|m|h)")
_DECIMAL = r"(0|[1-9][0-9]{0,8})(\.[0-9]{1,6})?"
_QUANTITY = r"(0|[1-9][0-9]{0,8})(\.[0-9]{1,3})?(m|k|M)?"
RATIO = r"[1-9][0-9]{0,2}:[1-9][0-9]{0,2}"


class _Text(str):
    """A strict string of bounded length that pydantic hands out as this class."""

    __slots__ = ()
    max_length: ClassVar[int]

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        text = core_schema.str_schema(strict=True, max_length=cls.max_length)
        return core_schema.no_info_after_validator_function(cls, text)


class Duration(_Text):
    """A Go duration such as ``800ms``, ``1s``, ``1.5h`` or ``15m``; units ns, us, ms, s, m and h."""

    __slots__ = ()
    max_length = 16  # at most two hours-terms of six digits: no sum overflows Go's 64-bit nanoseconds

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        text = super().__get_pydantic_core_schema__(source, handler)
        return core_schema.no_info_before_validator_function(_refuse_bare_number, text)

    @property
    def nanoseconds(self) -> int:
        """Return the duration; as in Go's ``ParseDuration``, each term loses its fraction of a nanosecond."""
        total = 0
        for whole, fraction, unit in _DURATION_TERM.findall(self):
            total += int(whole) * _NANOSECONDS[unit]
            if fraction:
                total += int(float(fraction) * (float(_NANOSECONDS[unit]) / 10.0 ** len(fraction)))
        return total

    @property
    def seconds(self) -> float:
        """Return the duration in seconds."""
        return self.nanoseconds / 1e9

    def is_written_well(self) -> bool:
        """Tell whether the text has the form of a duration."""
        return re.fullmatch(_DURATION, self) is not None


def _refuse_bare_number(value: object) -> object:
    """Refuse a number without a unit, and say how to write it."""
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else None
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", value):
        number = float(value)
    if number is None:
        return value
    raise PydanticCustomError(
        "unit", "must be a duration with its unit: write {number}ms or {number}s", {"number": f"{number:g}"}
    )


def between(lowest: str, highest: str, *, such_as: str) -> Rule:
    """Return the rule that a `Duration` is well written and lies from ``lowest`` to ``highest``."""
    low, high = Duration(lowest).nanoseconds, Duration(highest).nanoseconds
    return Rule(
        f"self.matches('^{_DURATION.replace(chr(92), chr(92) * 2)}$')"
        f" && duration(self) >= duration('{lowest}') && duration(self) <= duration('{highest}')",
        f"must be a duration from {lowest} to {highest}: write it like {such_as}",
        lambda text: text.is_written_well() and low <= text.nanoseconds <= high,
    )


class DecimalText(_Text):
    """A decimal number as a string, such as ``"2.95"``: at most nine digits before the point and six after it."""

    __slots__ = ()
    max_length = 16

    @property
    def value(self) -> float:
        """Return the number."""
        return float(self)


class Money(DecimalText):
    """An amount of money as a decimal string, such as ``"2.95"``.

    A decimal string and not integer micro-units: it is what price lists print, nobody has to count zeros, and it
    is exact. And not a float, as the API conventions ask. Forebay calculates in US dollars; since it only compares
    and adds amounts, any one currency used throughout a cluster works as well.
    """

    __slots__ = ()

    @property
    def exact(self) -> Decimal:
        """Return the amount without any rounding."""
        return Decimal(self)


def decimal_between(lowest: str, highest: str, *, such_as: str) -> Rule:
    """Return the rule that a `DecimalText` is well written and lies from ``lowest`` to ``highest``."""
    low, high = float(lowest), float(highest)
    pattern = re.compile(_DECIMAL)
    return Rule(
        f"self.matches('^{_DECIMAL.replace(chr(92), chr(92) * 2)}$')"
        f" && double(self) >= {low!r} && double(self) <= {high!r}",
        f'must be a decimal from {lowest} to {highest}: write it as a string like "{such_as}"',
        lambda text: pattern.fullmatch(text) is not None and low <= text.value <= high,
    )


class Quantity(str):
    """A Kubernetes quantity: an integer, or a string such as ``"0.5"``, ``500m``, ``2k`` or ``1M``."""

    __slots__ = ()
    max_length: ClassVar[int] = 16
    _SCALE: ClassVar[dict[str, Fraction]] = {"m": Fraction(1, 1000), "k": Fraction(1000), "M": Fraction(10**6)}

    @property
    def exact(self) -> Fraction:
        """Return the number without any rounding."""
        scale = self._SCALE.get(self[-1:])
        return Fraction(self) if scale is None else Fraction(self[:-1]) * scale

    @property
    def value(self) -> float:
        """Return the number."""
        return float(self.exact)

    @classmethod
    def _from_border(cls, value: int | str) -> Self:
        return cls(value)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        text = core_schema.str_schema(strict=True, max_length=cls.max_length)
        either = core_schema.union_schema(
            [core_schema.int_schema(strict=True), text],
            custom_error_type="quantity",
            custom_error_message='must be a whole number, or a string of at most {longest} characters, as "1.5"',
            custom_error_context={"longest": cls.max_length},
        )
        return core_schema.no_info_after_validator_function(cls._from_border, either)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: core_schema.CoreSchema, handler: Any) -> dict[str, Any]:
        return {"x-kubernetes-int-or-string": True, "maxLength": cls.max_length}


def quantity_between(lowest: str, highest: str, *, such_as: str) -> Rule:
    """Return the rule that a `Quantity` is well written and lies from ``lowest`` to ``highest``."""
    low, high = Quantity(lowest).exact, Quantity(highest).exact
    pattern = re.compile(_QUANTITY)
    as_string = (
        f"string(self).matches('^{_QUANTITY.replace(chr(92), chr(92) * 2)}$')"
        f" && quantity(string(self)).compareTo(quantity('{lowest}')) >= 0"
        f" && quantity(string(self)).compareTo(quantity('{highest}')) <= 0"
    )
    return Rule(
        as_string,
        f'must be a quantity from {lowest} to {highest}: write it like {such_as} or "0.5"',
        lambda text: pattern.fullmatch(text) is not None and low <= text.exact <= high,
    )


class Percentile(Quantity):
    """Per cent from 50 to 99.9: an integer, or a string with one decimal such as ``"99.9"``."""

    __slots__ = ()
    max_length = 8


_PERCENTILE = r"[5-9][0-9](\.[0-9])?"
PERCENTILE_RULE = Rule(
    f"string(self).matches('^{_PERCENTILE.replace(chr(92), chr(92) * 2)}$')",
    'must be per cent from 50 to 99.9 with at most one decimal: write it like 95 or "99.9"',
    lambda text: re.fullmatch(_PERCENTILE, text) is not None,
)


class Ratio(_Text):
    """Prefill replicas per decode replica, written ``1:4``."""

    __slots__ = ()
    max_length = 7

    @property
    def terms(self) -> tuple[int, int]:
        """Return both numbers."""
        first, second = self.split(":")
        return int(first), int(second)

    @property
    def value(self) -> float:
        """Return the first number divided by the second."""
        first, second = self.terms
        return first / second

    def is_written_well(self) -> bool:
        """Tell whether the text has the form of a ratio."""
        return re.fullmatch(RATIO, self) is not None


RATIO_RULE = Rule(
    f"self.matches('^{RATIO}$')",
    "must be a ratio of two whole numbers from 1 to 999: write prefill:decode like 1:4",
    lambda text: text.is_written_well(),
)
