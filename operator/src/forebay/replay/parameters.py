"""Kinds of command line values that a replay takes."""

import re

import click

from forebay.api.text import Duration
from forebay.flow.fleet import PoolKey

_DAYS = re.compile(r"(\d+(?:\.\d+)?)d")


class DurationType(click.ParamType[float]):
    """A duration such as 240s, 1m30s, 24h or 14d, handed out as seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds; a default is a number already."""
        if isinstance(value, int | float):
            return float(value)
        days = _DAYS.fullmatch(str(value))
        if days is not None:
            return 86_400.0 * float(days.group(1))
        text = Duration(str(value))
        if value != "0" and not text.is_written_well():
            self.fail(f"{value!r} is no duration: write it like 240s, 1m30s, 24h or 14d", param, ctx)
        return text.seconds


DURATION = DurationType()


class PoolKeyType(click.ParamType[PoolKey]):
    """A pool as NAMESPACE/NAME."""

    name = "namespace/name"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> PoolKey:
        """Return the key."""
        if isinstance(value, PoolKey):
            return value
        namespace, slash, name = str(value).partition("/")
        if not slash or not namespace or not name or "/" in name:
            self.fail(f"{value!r} names no pool: write NAMESPACE/NAME, such as serving/chat", param, ctx)
        return PoolKey(namespace, name)


POOL_KEY = PoolKeyType()
