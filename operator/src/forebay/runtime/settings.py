"""The operator's settings, each declared once: type, default, flag, variable, help, and the chart's value.

`forebay run` makes its flags and `FOREBAY_*` variables from this table; `python -m chartdocs` makes the chart's
environment, its checks of durations and the comments of its values.
"""

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from forebay.actuation.kube import service_account_namespace
from forebay.forecast.resolution import steps_of

Namespace = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
LabelName = Annotated[str, Field(pattern="^[a-zA-Z_][a-zA-Z0-9_]*$")]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


@dataclass(frozen=True, slots=True)
class Option:
    """What a setting has besides its type and its default."""

    help: str
    chart: str = ""
    """Path of the chart's value that sets it; "" where no single value does."""
    flag: str = ""
    """Its flag, where that is not made of the field's name."""
    shown_default: str = ""
    """The default in words, where it depends on where the process runs."""


class OperatorSettings(BaseModel):
    """How one operator process runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    interval_seconds: Annotated[
        Seconds, Option("Time from the start of one round to the start of the next.", "operator.interval")
    ] = 15.0

    prometheus_url: Annotated[str, Option("Address of the Prometheus API: http(s)://host[:port][/path].")] = (
        "http://prometheus-operated.monitoring.svc:9090"
    )
    prometheus_timeout_seconds: Annotated[
        Seconds, Option("Longest wait for one query, with its retries.", "prometheus.timeout")
    ] = 10.0
    prometheus_settle_seconds: Annotated[
        float,
        Field(ge=1, le=300),
        Option(
            "Age at which samples are complete; 30s or so behind a remote-write receiver (Thanos Receive, Mimir).",
            "prometheus.settle",
        ),
    ] = 2.0
    prometheus_token_file: Annotated[
        Path | None, Option("Bearer token for Prometheus; read again when it changes.")
    ] = None
    prometheus_username: Annotated[
        str | None, Option("User name for basic authentication; it needs the password file beside it.")
    ] = None
    prometheus_password_file: Annotated[
        Path | None, Option("Password for basic authentication; read again when it changes.")
    ] = None
    prometheus_certificate_file: Annotated[
        Path | None, Option("Forebay's own certificate (PEM), where Prometheus asks its clients for one.")
    ] = None
    prometheus_key_file: Annotated[
        Path | None, Option("Private key of that certificate, unless it is in the same file.")
    ] = None
    prometheus_ca_file: Annotated[Path | None, Option("Certificate authorities of Prometheus (PEM).")] = None
    prometheus_proxy: Annotated[
        str | None,
        Field(pattern="^https?://[^/ ]+/?$"),
        Option("Proxy through which Prometheus is reached, such as http://proxy:3128.", "prometheus.proxy"),
    ] = None
    prometheus_headers: Annotated[
        tuple[tuple[str, str], ...],
        Option(
            "Extra header of each query, such as a tenant's id; may be repeated. The variable takes one per line,"
            " or several with commas between them.",
            flag="--prometheus-header",
        ),
    ] = ()
    prometheus_match_labels: Annotated[
        tuple[tuple[str, str], ...],
        Option(
            "Label that all series of this cluster have, such as cluster=eu-1, where Prometheus stores those of"
            " several clusters or tenants; may be repeated. It is on every query.",
            flag="--prometheus-match-label",
        ),
    ] = ()
    prometheus_namespace_label: Annotated[
        LabelName, Option("Label of the engines' series that holds their namespace.", "prometheus.namespaceLabel")
    ] = "namespace"
    prometheus_pod_label: Annotated[LabelName, Option("Label that holds their pod.", "prometheus.podLabel")] = (
        "pod"
    )
    prometheus_workload_label: Annotated[
        LabelName | None,
        Option(
            "Label that holds their workload; derived from the pod's name where empty.", "prometheus.workloadLabel"
        ),
    ] = None

    listen_host: Annotated[
        str, Option("Address of /healthz, /readyz and /metrics; /decisions answers this host only.")
    ] = "0.0.0.0"  # noqa: S104 - probes and scrapes come from outside the pod
    listen_port: Annotated[int, Field(ge=0, le=65_535), Option("Port of the same; 0 takes a free one.")] = 8080

    kubeconfig: Annotated[str | None, Option("Credentials outside a cluster.")] = None
    context: Annotated[str | None, Option("Context of the kubeconfig.")] = None

    watch_namespaces: Annotated[
        tuple[Namespace, ...],
        Option(
            "Namespaces that are watched and scaled, one or several; all where empty. Rights are then Roles in"
            " them, which must exist.",
            "watchNamespaces",
            flag="--namespace",
        ),
    ] = ()
    pool_selector: Annotated[
        str,
        Option(
            "Label selector of this operator's InferencePools; fleets shard by it over several releases.",
            "operator.poolSelector",
        ),
    ] = ""
    pod_selector: Annotated[
        str,
        Option(
            "Label selector of the pods that are watched; all that have not finished where empty.",
            "operator.podSelector",
        ),
    ] = ""

    fleet_policy: Annotated[
        str, Option("Name of the FleetPolicy that this operator obeys, if there is one.", "operator.fleetPolicy")
    ] = "fleet"

    leader_election: Annotated[bool, Option("Whether a Lease decides which replica acts.")] = True
    lease_namespace: Annotated[
        str, Option("Namespace of the Lease.", shown_default="the pod's own, else forebay-system")
    ] = Field(default_factory=lambda: service_account_namespace() or "forebay-system")
    lease_name: Annotated[str, Option("Name of the Lease; one per release.")] = "forebay"
    identity: Annotated[
        str,
        Field(min_length=1),
        Option("Name of this replica in the Lease; unique.", shown_default="host name and process id"),
    ] = Field(default_factory=lambda: f"{socket.gethostname()}_{os.getpid()}")
    warm_standby: Annotated[
        bool,
        Option(
            "Whether a standby observes and decides as the leader does, without writing, so that it decides the"
            " same when it takes over. It doubles the queries.",
            "operator.warmStandby",
        ),
    ] = True
    lease_duration_seconds: Annotated[
        Seconds, Option("A standby takes over when the Lease was not renewed for this long.", "lease.duration")
    ] = 15.0
    renew_deadline_seconds: Annotated[
        Seconds,
        Option(
            "The leader stops when its last renewal is this old; less than the duration.", "lease.renewDeadline"
        ),
    ] = 10.0
    retry_period_seconds: Annotated[
        Seconds, Option("Pause between renewals; less than the deadline.", "lease.retryPeriod")
    ] = 2.0

    conflict_window_seconds: Annotated[
        Seconds,
        Option("How long another writer's change of a target's replicas is respected.", "operator.conflictWindow"),
    ] = 600.0
    provision_deadline_seconds: Annotated[
        Seconds,
        Option("How long a starting replica counts as supply, at least.", "operator.provisionDeadline"),
    ] = 900.0
    resync_seconds: Annotated[
        Seconds, Option("How often the caches are compared with the API server.", "operator.resync")
    ] = 300.0
    status_drift_seconds: Annotated[
        Seconds, Option("Least time between status writes that only update numbers.", "operator.statusDrift")
    ] = 60.0
    history_seconds: Annotated[
        float,
        Field(ge=0, le=31 * 86_400.0),
        Option("Prometheus history read for a new pool; 0 starts without history.", "operator.history"),
    ] = 2 * 86_400.0
    forecast_step_seconds: Annotated[
        Seconds,
        Option("Step of the forecasters. A shorter one stands for ten minutes of a day of 144 steps, for tests."),
    ] = 60.0
    state_directory: Annotated[
        Path | None, Option("Where forecasters are saved, so that a restarted container continues with them.")
    ] = None

    log_format: Annotated[
        Literal["json", "console"], Option("json for machines, console for people.", "operator.logFormat")
    ] = "json"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Option("Least severity: debug, info, warning or error.", "operator.logLevel"),
    ] = "info"

    @model_validator(mode="after")
    def _steps_fit(self) -> "OperatorSettings":
        steps_of(self.forecast_step_seconds)
        return self

    @model_validator(mode="after")
    def _lease_times_leave_a_margin(self) -> "OperatorSettings":
        if not self.retry_period_seconds < self.renew_deadline_seconds < self.lease_duration_seconds:
            raise ValueError(
                "lease times must rise: retry period < renew deadline < lease duration "
                f"(got {self.retry_period_seconds:g}, {self.renew_deadline_seconds:g}, "
                f"{self.lease_duration_seconds:g} s)"
            )
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One row of the table: a field of `OperatorSettings` with all that is derived from it."""

    field: str
    annotation: Any
    default: Any
    """None where it depends on where the process runs."""
    option: Option

    @property
    def name(self) -> str:
        """Return its name without the unit: durations are written with one."""
        return self.field.removesuffix("_seconds")

    @property
    def is_duration(self) -> bool:
        """Whether it is written as a duration."""
        return self.field != self.name

    @property
    def flag(self) -> str:
        """Return its flag of `forebay run`."""
        return self.option.flag or f"--{self.name.replace('_', '-')}"

    @property
    def variable(self) -> str:
        """Return its environment variable."""
        return f"FOREBAY_{self.name.upper()}"


def settings_table() -> Iterator[Setting]:
    """Yield all settings, in the order of their declaration."""
    for field, info in OperatorSettings.model_fields.items():
        option = next(item for item in info.metadata if isinstance(item, Option))
        default = None if info.default_factory is not None else info.default
        yield Setting(field=field, annotation=info.annotation, default=default, option=option)
