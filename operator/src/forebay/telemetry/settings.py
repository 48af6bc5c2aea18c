"""How to reach Prometheus, and how long to wait for it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusAuth:
    """Credentials, all from files, so that they rotate without a restart and stay out of manifests and logs."""

    bearer_token_file: Path | None = None
    basic_username: str | None = None
    basic_password_file: Path | None = None
    client_certificate_file: Path | None = None
    client_key_file: Path | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Sent with every query, such as ``X-Scope-OrgID`` for a tenant."""

    def __post_init__(self) -> None:
        if self.bearer_token_file is not None and self.basic_username is not None:
            raise ValueError("Use either a bearer token file or basic authentication for Prometheus, not both.")
        if (self.basic_username is None) != (self.basic_password_file is None):
            raise ValueError("Basic authentication needs both a user name and a password file.")
        if self.client_key_file is not None and self.client_certificate_file is None:
            raise ValueError("A client key file needs a client certificate file beside it.")
        for name, value in self.headers.items():
            if any(character in name + value for character in "\r\n\0"):
                raise ValueError("A header for Prometheus may not contain a line break; check its name and value.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusSettings:
    """Everything that the Prometheus source can be told. All times in seconds."""

    url: str = "http://127.0.0.1:9090"
    auth: PrometheusAuth = field(default_factory=PrometheusAuth)
    ca_file: Path | None = None
    """Certificate authorities to trust; ``None``: the system's public ones."""
    insecure_skip_verify: bool = False
    """Do not verify TLS. For a laboratory only; never the default."""
    proxy_url: str | None = None
    """The process's proxy variables are ignored on purpose; name the proxy here."""
    connect_timeout_seconds: float = 2.0
    read_timeout_seconds: float = 5.0
    query_timeout_seconds: float = 8.0
    """Limit of one query with its retries, from when it has a thread."""
    retries: int = 2
    retry_backoff_seconds: float = 0.2
    threads: int = 8
    max_answer_bytes: int = 64 * 1024 * 1024
    breaker_failures: int = 6
    """Consecutive failures of the server after which queries are not even tried for a while."""
    breaker_cool_down_seconds: float = 10.0
    breaker_cool_down_max_seconds: float = 60.0
    interval_seconds: float = 15.0
    """Time between two rounds."""
    settle_seconds: float = 2.0
    """Age that a sample needs before every replica of the server shows it; more for remote-write receivers."""
    grid_seconds: int = 5
    """Evaluation times are multiples of this; also the shortest slot of arrivals."""
    discovery_seconds: float = 300.0
    """How often metric names, bucket edges, scrape intervals and KV sizes are looked up."""
    slow_seconds: float = 60.0
    """How often length histograms and latency percentiles are read."""
    catch_up_seconds: float = 300.0
    """How far back arrivals are made up for after queries failed; older ones are lost, and said to be."""
    resume_guard_seconds: float = 600.0
    """A counter that was silent for less than this is not new when it returns."""
    history_chunk_steps: int = 360
    """Longest range of one warm-up query."""
    history_step_seconds: int = 60
    """Length of the steps that history is counted in: that of the forecasters."""
    history_limit_seconds: float = 14 * 86_400.0
    match_labels: Mapping[str, str] = field(default_factory=dict)
    """Labels that every series of this cluster has, such as ``{"cluster": "eu-1"}``, where one server stores those
    of several clusters or tenants. They are on every query but external forecasts."""
    stuck_seconds: int = 120
    """An engine that holds requests while none of its counters moves for this long is stuck."""
    namespace_label: str = "namespace"
    pod_label: str = "pod"
    workload_label: str | None = None
    """A label that holds the workload's name; ``None``: derived from the pod's name."""
    duplicate_labels: tuple[str, ...] = (
        "job",
        "endpoint",
        "service",
        "prometheus",
        "prometheus_replica",
        "replica",
    )
    """Labels in which two scrapes of the same engine differ; such series are counted once."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("The Prometheus URL must look like https://prometheus.monitoring:9090.")
        if parts.username or parts.password:
            raise ValueError("Put no password into the Prometheus URL; use a bearer token or password file.")
        if parts.query or parts.fragment:
            raise ValueError("The Prometheus URL may have a path, but no query and no fragment.")
        for name in (
            "connect_timeout_seconds",
            "read_timeout_seconds",
            "query_timeout_seconds",
            "interval_seconds",
            "catch_up_seconds",
        ):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be a positive number of seconds, and is {value}.")
        reserved = {self.namespace_label, self.pod_label, "le", "__name__"} & self.match_labels.keys()
        if reserved:
            raise ValueError(f"matchLabels cannot name {min(reserved)}: it tells pools apart. Leave it out.")
        if self.threads < 1 or self.grid_seconds < 1 or self.retries < 0:
            raise ValueError("threads and grid_seconds must be at least 1, retries at least 0.")
        if self.interval_seconds < self.grid_seconds:
            raise ValueError("interval_seconds must not be shorter than grid_seconds.")
