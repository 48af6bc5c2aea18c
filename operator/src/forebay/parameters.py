"""Kinds of command line values, for every command: durations, headers, namespaces, NAMESPACE/NAME."""

import re

import click

from forebay.api.text import Duration
from forebay.flow.fleet import PoolKey

_DAYS = re.compile(r"([0-9]+(?:\.[0-9]+)?)d")
_LABEL_NAME = re.compile("[a-zA-Z_][a-zA-Z0-9_]*")
_NEXT_HEADER = re.compile(r",(?=\s*[A-Za-z0-9!#$%&'*+.^_`|~-]+\s*=)")
"""A comma before a header's name (a token of RFC 9110, section 5.6.2) and its equals sign."""


class DurationType(click.ParamType[float]):
    """A duration as in the resources, such as 15s, 1m30s or 24h, or days as 14d, handed out as seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds; the default of an option is a number already."""
        if isinstance(value, int | float):
            return float(value)
        days = _DAYS.fullmatch(str(value))
        if days is not None:
            return 86_400.0 * float(days.group(1))
        text = Duration(str(value))
        if value != "0" and not text.is_written_well():
            self.fail(f"{value!r} is no duration: write it like 15s, 1m30s, 24h or 14d", param, ctx)
        return text.seconds


class HeaderType(click.ParamType[tuple[str, str]]):
    """A header such as X-Scope-OrgID=team-a."""

    name = "name=value"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Return name and value."""
        if isinstance(value, tuple):
            return value
        name, equals, content = str(value).partition("=")
        if not equals or not name.strip():
            self.fail(f"{value!r} is no header: write it like X-Scope-OrgID=team-a", param, ctx)
        return name.strip(), content.strip()

    def split_envvar_value(self, rv: str) -> list[str]:
        """Return the headers of an environment variable: one a line, or on one line with commas between them.

        A comma that no ``name=`` follows belongs to the value before it, as in ``Accept=a/b,c/d``.
        """
        lines = [line.strip() for line in rv.splitlines() if line.strip()]
        return lines if len(lines) != 1 or "\n" in rv else [part.strip() for part in _NEXT_HEADER.split(lines[0])]


class LabelType(HeaderType):
    """A label such as cluster=eu-1."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Return name and value."""
        if isinstance(value, tuple):
            return value
        name, equals, content = (part.strip() for part in str(value).partition("="))
        if not equals or not _LABEL_NAME.fullmatch(name) or not content:
            self.fail(f"{value!r} is no label: write it like cluster=eu-1", param, ctx)
        return name, content


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


class NamespacesType(click.ParamType[tuple[str, ...]]):
    """One or several namespaces: serving, or serving,batch."""

    name = "namespace,..."

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Return the names; whether they are names is judged with the settings."""
        if isinstance(value, tuple):
            return value
        names = tuple(name.strip() for name in str(value).split(",") if name.strip())
        if not names:
            self.fail(f"{value!r} names no namespace: write it like serving or serving,batch", param, ctx)
        return names

    def split_envvar_value(self, rv: str) -> tuple[str, ...]:
        """Return the comma list of an environment variable as it is; an empty variable has no names."""
        return (rv,) if rv.strip() else ()


DURATION = DurationType()
LABEL = LabelType()
NAMESPACES = NamespacesType()
HEADER = HeaderType()
POOL_KEY = PoolKeyType()
