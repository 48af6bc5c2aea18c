"""The `local` kind: a real control plane as child processes on loopback, with KWOK as kubelet."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from devcluster import components, credentials, pki, stages
from devcluster.binaries import Binaries
from devcluster.cluster import Cluster
from devcluster.components import HOST, Ports
from devcluster.errors import DevClusterError
from devcluster.http_probe import answers_ok
from devcluster.ports import free_ports
from devcluster.processes import Component, wait_all_ready

_ATTEMPTS = 3
_PORT_TAKEN = "address already in use"
_BOOTSTRAP_TIMEOUT_SECONDS = 30.0


_CLIENTS = ("kube-controller-manager", "kube-scheduler", "kwok")


@dataclass(frozen=True, slots=True)
class ApiServer(Component):
    """The API server's process, and the components that live on it.

    After some crashes in a row they would wait for half a minute and more between tries; a test that crashes the
    API server is not about them, so that a restart starts them afresh.

    Attributes:
        clients: what is started again when the API server is back.
    """

    clients: Mapping[str, Component] = field(default_factory=dict)

    def restart(self) -> None:
        """Start it again on the same port with the same etcd, then its clients, until all are ready."""
        Component.restart(self)
        for client in self.clients.values():
            client.kill()
            client.start()
        wait_all_ready(list(self.clients.values()))


class LocalCluster(Cluster):
    """etcd, kube-apiserver, kube-controller-manager, kube-scheduler and KWOK, for one run.

    Use `start`; the constructor only makes the run directory.
    """

    kind = "local"

    def __init__(self, binaries: Binaries) -> None:
        super().__init__(binaries)
        self._kubeconfigs: dict[str, Path] = {}
        self.components: dict[str, Component] = {}
        self.server = ""
        self.start_seconds = 0.0

    @classmethod
    def start(cls, binaries: Binaries, *, log: Callable[[str], object] = print) -> "LocalCluster":
        """Start a control plane and return when nodes and pods can be created.

        Raises:
            DevClusterError: a component did not become ready; the message has the end of its log.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            cluster = cls(binaries)
            try:
                cluster._start()
            except BaseException as error:
                taken = isinstance(error, DevClusterError) and _PORT_TAKEN in str(error)
                if taken and attempt < _ATTEMPTS:
                    log("devcluster: a port was taken in the last moment: drawing others")
                    cluster.close()
                    continue
                if isinstance(error, DevClusterError):
                    cluster.keep()
                cluster.close()
                raise
            return cluster
        raise AssertionError("unreachable: the last attempt returns or raises")

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self._kubeconfigs["admin"]

    @property
    def apiserver(self) -> Component:
        """The API server's process; it comes back on the same port with the same etcd."""
        server = self.components["kube-apiserver"]
        return ApiServer(
            host=server.host,
            name=server.name,
            argv=server.argv,
            is_ready=server.is_ready,
            start_timeout_seconds=server.start_timeout_seconds,
            clients={name: self.components[name] for name in _CLIENTS},
        )

    def kubeconfig_of(self, identity: str) -> Path:
        """Return the kubeconfig of a component, with a token that may do only what it needs.

        Raises:
            KeyError: there is no such identity in `credentials.IDENTITIES`.
        """
        return self._kubeconfigs[identity]

    def describe(self) -> str:
        """Return one line: what runs, where, and how long the start took."""
        return (
            f"a local control plane ({', '.join(self.components)}) at {self.server}, "
            f"ready after {self.start_seconds:.1f} s, in {self.run_directory}"
        )

    def _start(self) -> None:
        started = time.monotonic()
        ports = Ports(*free_ports(6))
        keys = pki.create(self.run_directory / "pki")
        self.server = f"https://{HOST}:{ports.apiserver}"
        token_file, self._kubeconfigs = credentials.write_credentials(
            self.run_directory, server=self.server, ca_certificate=keys.ca_certificate
        )
        self._add_components(ports, keys, token_file)
        # The API server waits for etcd by itself.
        self._start_and_wait("etcd", "kube-apiserver")
        self.apply(credentials.rbac_manifests())
        self._start_and_wait(*_CLIENTS)
        self._wait_for_service_accounts()
        self.start_seconds = time.monotonic() - started

    def _add_components(self, ports: Ports, keys: pki.Pki, token_file: Path) -> None:
        directory, program = self.run_directory, self.binaries.path
        scheduler_config = directory / "kube-scheduler.yaml"
        scheduler_config.write_text(
            components.SCHEDULER_CONFIG.format(kubeconfig=self._kubeconfigs["kube-scheduler"])
        )
        stage_file = directory / "stages.yaml"
        stage_file.write_text(stages.render())
        token = yaml.safe_load(self.kubeconfig.read_text())["users"][0]["user"]["token"]

        def api_ready() -> bool:
            return answers_ok(
                f"{self.server}/readyz",
                ca_certificate=keys.ca_certificate,
                headers={"Authorization": f"Bearer {token}"},
            )

        # etcd is ready when the API server says so; both are waited for together.
        self._add("etcd", components.etcd_argv(program("etcd"), directory, ports, keys), lambda: True)
        self._add(
            "kube-apiserver",
            components.apiserver_argv(program("kube-apiserver"), ports, keys, token_file),
            api_ready,
        )
        self._add(
            "kube-controller-manager",
            components.controller_manager_argv(
                program("kube-controller-manager"),
                ports,
                keys,
                self._kubeconfigs["kube-controller-manager"],
            ),
            # Both serve their health with certificates that they signed themselves.
            lambda: answers_ok(f"https://{HOST}:{ports.controller_manager}/healthz", verify=False),
        )
        self._add(
            "kube-scheduler",
            components.scheduler_argv(program("kube-scheduler"), ports, scheduler_config),
            lambda: answers_ok(f"https://{HOST}:{ports.scheduler}/readyz", verify=False),
        )
        self._add(
            "kwok",
            components.kwok_argv(program("kwok"), ports.kwok, self._kubeconfigs["kwok"], stage_file),
            lambda: answers_ok(f"http://{HOST}:{ports.kwok}/healthz"),
        )

    def _add(self, name: str, argv: tuple[str, ...], is_ready: Callable[[], bool]) -> None:
        self.components[name] = Component(host=self.host, name=name, argv=argv, is_ready=is_ready)

    def _start_and_wait(self, *names: str) -> None:
        for name in names:
            self.components[name].start()
        wait_all_ready([self.components[name] for name in names])

    def _wait_for_service_accounts(self) -> None:
        """Wait for the default service account, without which no pod can be created."""
        rest = self.rest()
        deadline = time.monotonic() + _BOOTSTRAP_TIMEOUT_SECONDS
        while not rest.exists("/api/v1/namespaces/default/serviceaccounts/default"):
            if time.monotonic() > deadline:
                raise DevClusterError(
                    "the controller manager made no default service account; the end of its log:\n"
                    + self.host.log_tail("kube-controller-manager")
                )
            time.sleep(0.05)
