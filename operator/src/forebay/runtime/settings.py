"""The operator's settings: one frozen object, read from flags and `FOREBAY_*` environment variables."""

import os
import socket
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from forebay.forecast.resolution import ONE_MINUTE, steps_of

Namespace = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
LabelName = Annotated[str, Field(pattern="^[a-zA-Z_][a-zA-Z0-9_]*$")]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class OperatorSettings(BaseModel):
    """How one operator process runs. Every field is a flag of `forebay run` and an environment variable."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    interval_seconds: Seconds = 15.0
    """From the start of one round to the start of the next."""
    prometheus_url: str = "http://prometheus-operated.monitoring.svc:9090"
    prometheus_timeout_seconds: Seconds = 10.0
    prometheus_settle_seconds: float = Field(default=2.0, ge=1, le=300)
    """Age at which a sample can be relied on to be visible; more for remote-write receivers."""
    prometheus_token_file: Path | None = None
    prometheus_username: str | None = None
    """For basic authentication, with the password file."""
    prometheus_password_file: Path | None = None
    prometheus_certificate_file: Path | None = None
    """Our own certificate, where Prometheus asks its clients for one."""
    prometheus_key_file: Path | None = None
    prometheus_ca_file: Path | None = None
    prometheus_headers: tuple[tuple[str, str], ...] = ()
    """Extra headers of each query, such as a tenant's id."""
    prometheus_namespace_label: LabelName = "namespace"
    prometheus_pod_label: LabelName = "pod"
    prometheus_workload_label: LabelName | None = None
    """A label that has the workload's name; without one it is derived from the pod's name."""
    listen_host: str = "0.0.0.0"  # noqa: S104 - probes and scrapes come from outside the pod
    listen_port: int = Field(default=8080, ge=0, le=65_535)
    """Health, metrics and decision records; 0 picks a free port."""
    kubeconfig: str | None = None
    context: str | None = None
    watch_namespaces: tuple[Namespace, ...] = ()
    """The only namespaces whose pools, pods and workloads are watched, so that Roles grant all that is needed
    there; all namespaces where empty."""
    lease_namespace: str = "forebay-system"
    """Where the Lease lives."""
    lease_name: str = "forebay"
    identity: str = Field(default_factory=lambda: f"{socket.gethostname()}_{os.getpid()}", min_length=1)
    leader_election: bool = True
    lease_duration_seconds: Seconds = 15.0
    """A standby takes over after the Lease was not renewed for this long."""
    renew_deadline_seconds: Seconds = 10.0
    """The leader stops writing when its last successful renewal is this old."""
    retry_period_seconds: Seconds = 2.0
    pool_selector: str = ""
    """Label selector of the InferencePools of this operator: fleets shard by it over several releases."""
    pod_selector: str = ""
    """Label selector of the pods that are watched; empty: all that have not finished."""
    conflict_window_seconds: Seconds = 600.0
    """How long another writer's change of a target's replicas is left alone."""
    provision_deadline_seconds: Seconds = 900.0
    """How long a starting replica counts as supply, at least; then its node pool is given up for a while."""
    resync_seconds: Seconds = 300.0
    """How often the caches are compared with the API server, and references to other projects' pools looked up."""
    status_drift_seconds: Seconds = 60.0
    """Least time between two status writes that report nothing but drifting numbers."""
    state_directory: Path | None = None
    """Where forecasters are saved, so that a restarted container goes on where it was; without it (and on
    another node) they are warmed up from Prometheus history."""
    history_seconds: float = Field(default=2 * 86_400.0, ge=0, le=31 * 86_400.0)
    """History read for a new pool; 0 starts cold."""
    forecast_step_seconds: Seconds = 60.0
    """What forecasters count in. Shorter steps are for tests whose day takes minutes, and know no history."""
    log_format: str = Field(default="json", pattern="^(json|console)$")
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$")

    @model_validator(mode="after")
    def _steps_fit(self) -> "OperatorSettings":
        steps_of(self.forecast_step_seconds)
        if self.forecast_step_seconds != ONE_MINUTE.step_seconds and self.history_seconds > 0:
            raise ValueError(
                "history is read by the minute: where --forecast-step is not 1m, give --history=0s as well"
            )
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
