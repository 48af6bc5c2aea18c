"""`forebay run`: the operator."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from forebay.actuation.kube import CredentialsError, service_account_namespace
from forebay.parameters import DURATION, HEADER, NAMESPACES
from forebay.runtime.logs import set_up_logging
from forebay.runtime.process import ListenError, OperatorProcess
from forebay.runtime.report.text import duration
from forebay.runtime.settings import OperatorSettings

_DEFAULTS = {name: field.default for name, field in OperatorSettings.model_fields.items()}
_FILE = click.Path(path_type=Path)
_Decorator = Callable[[Callable[..., None]], Callable[..., None]]


def _option(flag: str, field: str, text: str, **kinds: Any) -> _Decorator:
    """Return an option of a settings field, with its environment variable and its default on show."""
    variable = f"FOREBAY_{field.removesuffix('_seconds').upper()}"
    default = _DEFAULTS[field]
    shown = duration(default) if kinds.get("type") is DURATION else bool(default)
    return click.option(
        flag, field, envvar=variable, show_envvar=True, default=default, show_default=shown, help=text, **kinds
    )


def _joined(_: click.Context, __: click.Parameter, value: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    """Return the names of repeated comma lists, each once."""
    return tuple(dict.fromkeys(name for names in value for name in names))


_OPTIONS = (
    _option("--interval", "interval_seconds", "Time from round to round.", type=DURATION),
    _option("--prometheus-url", "prometheus_url", "Where metrics are read."),
    _option("--prometheus-timeout", "prometheus_timeout_seconds", "Longest wait for one query.", type=DURATION),
    _option(
        "--prometheus-settle", "prometheus_settle_seconds", "Age at which samples are complete.", type=DURATION
    ),
    _option(
        "--prometheus-token-file",
        "prometheus_token_file",
        "Bearer token for Prometheus; read again when it changes.",
        type=_FILE,
    ),
    _option("--prometheus-username", "prometheus_username", "User name for basic authentication."),
    _option(
        "--prometheus-password-file",
        "prometheus_password_file",
        "Its password; read again when it changes.",
        type=_FILE,
    ),
    _option(
        "--prometheus-certificate-file",
        "prometheus_certificate_file",
        "Forebay's own certificate, where Prometheus asks for one (PEM).",
        type=_FILE,
    ),
    _option("--prometheus-key-file", "prometheus_key_file", "Its key, unless it is in the same file.", type=_FILE),
    _option("--prometheus-ca-file", "prometheus_ca_file", "Certificate authorities of Prometheus.", type=_FILE),
    _option(
        "--prometheus-header",
        "prometheus_headers",
        "Extra header of each query, such as a tenant's id; may be repeated. The variable takes one a line, or"
        " several with commas between them.",
        type=HEADER,
        multiple=True,
    ),
    _option("--prometheus-namespace-label", "prometheus_namespace_label", "Label with a series' namespace."),
    _option("--prometheus-pod-label", "prometheus_pod_label", "Label with its pod."),
    _option(
        "--prometheus-workload-label",
        "prometheus_workload_label",
        "Label with its workload; derived from the pod's name where there is none.",
    ),
    _option("--listen-host", "listen_host", "Address of /healthz, /readyz, /metrics and /decisions."),
    _option("--listen-port", "listen_port", "Its port; 0 takes a free one.", type=click.INT),
    _option("--kubeconfig", "kubeconfig", "Credentials outside a cluster.", type=click.Path()),
    _option("--context", "context", "Context of the kubeconfig."),
    _option(
        "--leader-election/--no-leader-election",
        "leader_election",
        "Whether a Lease decides which replica acts.",
    ),
    _option("--lease-name", "lease_name", "Name of the Lease; one per shard."),
    _option("--lease-duration", "lease_duration_seconds", "A standby takes over after this.", type=DURATION),
    _option("--renew-deadline", "renew_deadline_seconds", "The leader gives up after this.", type=DURATION),
    _option("--retry-period", "retry_period_seconds", "Pause between lease renewals.", type=DURATION),
    _option(
        "--namespace",
        "watch_namespaces",
        "Watch this namespace only, so that Roles grant all that is needed; may be repeated, or be a comma list.",
        type=NAMESPACES,
        multiple=True,
        callback=_joined,
    ),
    _option("--pool-selector", "pool_selector", "Label selector of this operator's InferencePools."),
    _option("--pod-selector", "pod_selector", "Label selector of the pods that are watched."),
    _option(
        "--conflict-window",
        "conflict_window_seconds",
        "How long somebody else's change of replicas is left alone.",
        type=DURATION,
    ),
    _option(
        "--provision-deadline",
        "provision_deadline_seconds",
        "How long a starting replica counts as supply, at least.",
        type=DURATION,
    ),
    _option("--resync", "resync_seconds", "How often caches are compared with the API server.", type=DURATION),
    _option(
        "--status-drift",
        "status_drift_seconds",
        "Least time between status writes that only move figures.",
        type=DURATION,
    ),
    _option("--history", "history_seconds", "History read for a new pool; 0 starts cold.", type=DURATION),
    _option(
        "--forecast-step",
        "forecast_step_seconds",
        "What forecasters count in; less than a minute only where a day is played in minutes.",
        type=DURATION,
    ),
    _option(
        "--state-directory",
        "state_directory",
        "Where forecasters are saved between restarts.",
        type=_FILE,
    ),
    _option(
        "--log-format",
        "log_format",
        "json for machines, console for people.",
        type=click.Choice(["json", "console"]),
    ),
    _option(
        "--log-level", "log_level", "Least severity.", type=click.Choice(["debug", "info", "warning", "error"])
    ),
)


def _with_options(function: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@click.command("run")
@_with_options
@click.option(
    "--lease-namespace",
    envvar="FOREBAY_LEASE_NAMESPACE",
    show_envvar=True,
    default=lambda: service_account_namespace() or _DEFAULTS["lease_namespace"],
    show_default="the pod's own, else forebay-system",
    help="Where the Lease lives.",
)
@click.option(
    "--identity",
    envvar="FOREBAY_IDENTITY",
    show_envvar=True,
    default=None,
    show_default="host name and process id",
    help="Name of this replica in the Lease; unique.",
)
def command(identity: str | None, **given: Any) -> None:
    """Run the operator: watch pools, read metrics, decide, scale, report.

    It writes nothing but statuses and events for pools in mode Recommend, the default. SIGTERM ends the round in
    progress, releases the lease and leaves with 0; a lost lease ends the process with 3.
    """
    try:
        settings = OperatorSettings(**given, **({"identity": identity} if identity else {}))
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
    flags = {parameter.name: parameter.opts[0] for parameter in click.get_current_context().command.params}
    for entry in error.errors(include_url=False):
        flag = flags.get(str(entry["loc"][0])) if entry["loc"] else None
        yield f"{flag}: {entry['msg']} (got {entry['input']})" if flag else entry["msg"]


async def _run(settings: OperatorSettings) -> int:
    return await OperatorProcess(settings).run()
