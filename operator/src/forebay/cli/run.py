"""`forebay run`: the operator."""

import asyncio
import sys
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from forebay.actuation.kube import CredentialsError
from forebay.parameters import DURATION, HEADER, LABEL, NAMESPACES
from forebay.runtime.logs import set_up_logging
from forebay.runtime.process import ListenError, OperatorProcess
from forebay.runtime.report.text import duration
from forebay.runtime.settings import OperatorSettings, Setting, settings_table


def _kind(setting: Setting) -> dict[str, Any]:
    """Return what click has to know of a setting's type."""
    kinds = typing.get_args(setting.annotation) or (setting.annotation,)
    if setting.is_duration:
        return {"type": DURATION}
    if setting.field == "prometheus_headers":
        return {"type": HEADER, "multiple": True}
    if setting.field == "prometheus_match_labels":
        return {"type": LABEL, "multiple": True}
    if setting.field == "watch_namespaces":
        return {"type": NAMESPACES, "multiple": True, "callback": _joined}
    if Path in kinds:
        return {"type": click.Path(path_type=Path)}
    if all(isinstance(kind, str) for kind in kinds):
        return {"type": click.Choice(kinds)}
    return {"type": click.INT} if int in kinds else {}


def _joined(_: click.Context, __: click.Parameter, value: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    """Return the names of repeated comma lists, each once."""
    return tuple(dict.fromkeys(name for names in value for name in names))


def _option(setting: Setting) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return the option of a setting, with its environment variable and its default on show."""
    flag = setting.flag
    if setting.annotation is bool:
        flag = f"{flag}/--no-{flag.removeprefix('--')}"
    shown = duration(setting.default) if setting.is_duration else bool(setting.default)
    return click.option(
        flag,
        setting.field,
        envvar=setting.variable,
        show_envvar=True,
        default=setting.default,
        show_default=setting.option.shown_default or shown,
        help=setting.option.help,
        **_kind(setting),
    )


def _with_options(function: Callable[..., None]) -> Callable[..., None]:
    for setting in reversed(tuple(settings_table())):
        function = _option(setting)(function)
    return function


@click.command("run")
@_with_options
def command(**given: Any) -> None:
    """Run the operator: watch pools, read metrics, decide, scale, report.

    It writes nothing but statuses and events for pools in mode Recommend, the default. SIGTERM ends the round in
    progress, releases the lease and leaves with 0; a lost lease ends the process with 3.
    """
    try:
        # What nobody gave is left to the settings: some defaults depend on where the process runs.
        settings = OperatorSettings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        raise click.UsageError("; ".join(_sentences(error))) from error
    set_up_logging(settings.log_format, settings.log_level)
    try:
        code = asyncio.run(_run(settings))
    except (CredentialsError, ListenError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    sys.exit(code)


def _sentences(error: ValidationError) -> Iterator[str]:
    """Yield what is wrong with each option, by its flag."""
    flags = {setting.field: setting.flag for setting in settings_table()}
    for entry in error.errors(include_url=False):
        flag = flags.get(str(entry["loc"][0])) if entry["loc"] else None
        yield f"{flag}: {entry['msg']} (got {entry['input']})" if flag else entry["msg"]


async def _run(settings: OperatorSettings) -> int:
    return await OperatorProcess(settings).run()
