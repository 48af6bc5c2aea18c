"""A real Prometheus as a child process, which can be killed and brought back with its data."""

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import yaml

from devcluster.components import HOST, prometheus_argv
from devcluster.errors import DevClusterError
from devcluster.http_probe import answers_ok, fetch_json
from devcluster.ports import free_ports
from devcluster.processes import Component, ProcessHost
from devcluster.rest import Json, sequence

_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class PrometheusServer:
    """A running Prometheus.

    Attributes:
        component: its process.
        url: its address.
        config_path: its configuration; change the file and call `reload`.
    """

    component: Component
    url: str
    config_path: Path

    def query(self, expression: str) -> list[Json]:
        """Return the result of an instant query: for a vector, objects with `metric` and `value`.

        Raises:
            OSError: it does not answer, or the expression is wrong.
        """
        answer = fetch_json(f"{self.url}/api/v1/query?{urlencode({'query': expression})}")
        return sequence(answer, "data", "result")

    def kill(self) -> None:
        """End it at once (SIGKILL), as a crash would."""
        self.component.kill()

    def restart(self) -> None:
        """Start it again with the same port, configuration and data, and wait until it is ready."""
        self.component.restart()

    def reload(self, config: str | Mapping[str, object]) -> None:
        """Give it another configuration while it runs (what is wrong with a bad one is in its log only)."""
        self.config_path.write_text(config_text(config))
        self.component.signal(signal.SIGHUP)

    def stop(self) -> None:
        """End it for good."""
        self.component.kill()


def config_text(config: str | Mapping[str, object]) -> str:
    """Return a configuration as YAML text."""
    return config if isinstance(config, str) else yaml.safe_dump(dict(config), sort_keys=False)


def start_prometheus(
    host: ProcessHost, program: Path, name: str, config: str | Mapping[str, object], *, receives: bool = False
) -> PrometheusServer:
    """Start a Prometheus and wait until it is ready.

    Args:
        host: runs it.
        program: the binary.
        name: names its process, log, configuration and data directory.
        config: its configuration.
        receives: whether it takes remote writes.

    Raises:
        DevClusterError: it did not become ready.
    """
    config_path = host.run_directory / f"{name}.yaml"
    config_path.write_text(config_text(config))
    for attempt in range(1, _ATTEMPTS + 1):
        (port,) = free_ports(1)
        url = f"http://{HOST}:{port}"

        def is_ready(url: str = url) -> bool:
            return answers_ok(f"{url}/-/ready")

        argv = prometheus_argv(program, port, config_path, host.run_directory / f"{name}-data", receives=receives)
        component = Component(host=host, name=name, argv=argv, is_ready=is_ready)
        component.start()
        try:
            component.wait_ready()
        except DevClusterError:
            if attempt == _ATTEMPTS or "address already in use" not in host.log_tail(name):
                raise
            continue
        return PrometheusServer(component=component, url=url, config_path=config_path)
    raise AssertionError("unreachable: the last attempt returns or raises")
