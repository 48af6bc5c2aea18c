"""Run the operator outside a cluster as a child process, under its service account's own token.

So do the demo and the cluster tests: what RBAC does not allow fails there as it would in production.
"""

import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import devcluster
from devcluster.http_probe import answers_ok, fetch_json
from devcluster.ports import LOOPBACK, free_ports
from devcluster.processes import Component
from devcluster.rest import Json

NAMESPACE = "forebay-system"
SERVICE_ACCOUNT = "forebay"
_START_SECONDS = 60.0
_ANSWER_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class RunningOperator:
    """One operator process.

    Attributes:
        component: its process.
        url: where it serves health, metrics and decisions.
        identity: its name in the Lease.
        patience_seconds: how long a request to it may take; thousands of pools are megabytes of metrics.
    """

    component: Component
    url: str
    identity: str
    patience_seconds: float = _ANSWER_SECONDS

    def decision(self, namespace: str, name: str) -> Json:
        """Return the last decision record of a pool.

        Raises:
            OSError: it does not answer, or knows of none.
        """
        return fetch_json(f"{self.url}/decisions/{namespace}/{name}")

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of its own samples called `name` that carry `labels`; 0 if there is none.

        Raises:
            OSError: it does not answer.
        """
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        total = 0.0
        for line in self.metrics().splitlines():
            series, _, value = line.rpartition(" ")
            if series.partition("{")[0] == name and all(label in series for label in wanted):
                total += float(value)
        return total

    def kill(self) -> None:
        """End it at once (SIGKILL), as a crash would."""
        self.component.kill()

    def terminate(self) -> None:
        """Ask it to end (SIGTERM), as the kubelet does."""
        self.component.signal(signal.SIGTERM)

    def restart(self) -> None:
        """Start it again as it was, and wait until it is ready."""
        self.component.restart()

    def is_ready(self) -> bool:
        """Whether it says that it could act in its next round."""
        return answers_ok(f"{self.url}/readyz")

    def exit_status(self) -> int | None:
        """Return its exit status, None while it runs."""
        return self.component.host.exit_status(self.component.name)

    def log(self, lines: int = 60) -> str:
        """Return the end of its log."""
        return self.component.host.log_tail(self.component.name, lines)

    def metrics(self) -> str:
        """Return all of its own metrics as text."""
        with urlopen(f"{self.url}/metrics", timeout=self.patience_seconds) as response:  # noqa: S310  (loopback)
            text: str = response.read().decode()
        return text


def start_operator(
    cluster: devcluster.Cluster,
    prometheus_url: str,
    *,
    name: str = "operator",
    kubeconfig: Path | None = None,
    options: Mapping[str, str] | None = None,
    wait: bool = True,
    start_seconds: float = _START_SECONDS,
    patience_seconds: float = _ANSWER_SECONDS,
) -> RunningOperator:
    """Start an operator and wait until its caches are complete.

    Args:
        cluster: what it runs against; the plain install must have been applied.
        prometheus_url: where it reads metrics.
        name: of its process, log and identity; unique in the cluster's run.
        kubeconfig: its credentials; by default a fresh token of its service account.
        options: flags of `forebay run` without their dashes, over the defaults of a fast test.
        wait: whether to wait until it is ready.
        start_seconds: how long that may take.
        patience_seconds: how long a request to it may take.

    Raises:
        DevClusterError: it did not become ready; the message has the end of its log.
    """
    (port,) = free_ports(1)
    given = {
        "interval": "2s",
        "prometheus-settle": "1s",
        "lease-duration": "6s",
        "renew-deadline": "4s",
        "retry-period": "1s",
        "status-drift": "2s",
        "log-format": "console",
        "lease-namespace": NAMESPACE,
        **(options or {}),
        "identity": name,
        "prometheus-url": prometheus_url,
        "kubeconfig": str(kubeconfig or cluster.kubeconfig_for(NAMESPACE, SERVICE_ACCOUNT)),
        "listen-host": LOOPBACK,
        "listen-port": str(port),
    }
    flags = [f"--{flag}={value}" for flag, value in given.items()]
    url = f"http://{LOOPBACK}:{port}"
    component = Component(
        host=cluster.host,
        name=name,
        argv=(sys.executable, "-m", "forebay", "run", *flags),
        is_ready=lambda: answers_ok(f"{url}/readyz"),
        start_timeout_seconds=start_seconds,
    )
    component.start()
    if wait:
        component.wait_ready()
    return RunningOperator(component, url, name, patience_seconds)
