"""What every kind of development cluster can do; the kinds differ in where the API server comes from."""

import json
import subprocess
import tempfile
import types
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import yaml
from kubernetes import client

from devcluster import gpu
from devcluster.autoscaler import AutoscalerTimes, NodeAutoscaler
from devcluster.binaries import Binaries
from devcluster.credentials import kubeconfig_text, write_private
from devcluster.errors import DevClusterError, KubectlError
from devcluster.processes import Component, ProcessHost
from devcluster.prometheus import PrometheusServer, start_prometheus
from devcluster.rest import Rest, api_client

_KUBECTL_TIMEOUT_SECONDS = 60.0
FIELD_MANAGER = "devcluster"


class Cluster(ABC):
    """A Kubernetes cluster for tests and the demo; a context manager that ends all it started.

    Attributes:
        kind: `local`, `kind` or `kubeconfig`.
        binaries: where the programs come from.
        host: runs the processes of this run; they end with this process.
        run_directory: their logs and data; removed at the end.
    """

    kind: str

    def __init__(self, binaries: Binaries) -> None:
        self.binaries = binaries
        self.run_directory = Path(tempfile.mkdtemp(prefix="forebay-devcluster-"))
        self.host = ProcessHost(self.run_directory)
        self._autoscalers: list[NodeAutoscaler] = []
        self._prometheus_count = 0

    @property
    @abstractmethod
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""

    @property
    @abstractmethod
    def apiserver(self) -> Component:
        """The API server as a process that can be killed and restarted.

        Raises:
            DevClusterError: it is not ours to kill.
        """

    @abstractmethod
    def describe(self) -> str:
        """Return one line: what this cluster is and where."""

    def kubeconfig_of(self, identity: str) -> Path:  # noqa: ARG002  (a kind may have one identity only)
        """Return the kubeconfig of a component (`autoscaler`, `prometheus`, ...)."""
        return self.kubeconfig

    def kubectl(
        self,
        *args: str,
        input: str | None = None,  # noqa: A002  (named as in subprocess.run)
        kubeconfig: Path | None = None,
        timeout_seconds: float = _KUBECTL_TIMEOUT_SECONDS,
    ) -> str:
        """Run kubectl and return what it wrote to standard output.

        Args:
            args: its arguments.
            input: its standard input.
            kubeconfig: somebody else's credentials.
            timeout_seconds: how long it may take.

        Raises:
            KubectlError: it failed; the message has its standard error.
        """
        program = str(self.binaries.path("kubectl"))
        # kubectl caches what an address serves for hours; here an address soon belongs to another cluster.
        cache = f"--cache-dir={self.run_directory / 'kubectl-cache'}"
        command = [program, f"--kubeconfig={kubeconfig or self.kubeconfig}", cache, *args]
        result = subprocess.run(
            command, input=input, capture_output=True, text=True, timeout=timeout_seconds, check=False
        )
        if result.returncode != 0:
            raise KubectlError(result.returncode, ["kubectl", *args], result.stdout, result.stderr)
        return result.stdout

    def apply(self, manifest: str | Path | Mapping[str, object] | Sequence[Mapping[str, object]]) -> str:
        """Apply manifests by server-side apply, refusing unknown fields, and return what kubectl says.

        Args:
            manifest: YAML text, the path of a file or of a kustomize directory, one object or several.

        Raises:
            KubectlError: the API server refused; the message has its sentence.
        """
        flags = ["--server-side", "--force-conflicts", f"--field-manager={FIELD_MANAGER}", "--validate=strict"]
        if isinstance(manifest, Path):
            kustomized = any((manifest / name).exists() for name in ("kustomization.yaml", "Kustomization"))
            option = "-k" if kustomized else "-f"
            return self.kubectl("apply", *flags, option, str(manifest))
        if isinstance(manifest, Mapping):
            manifest = json.dumps(manifest)
        elif not isinstance(manifest, str):
            manifest = yaml.safe_dump_all(manifest)
        return self.kubectl("apply", *flags, "-f", "-", input=manifest)

    def api(self, kubeconfig: Path | None = None) -> client.ApiClient:
        """Return a new client of the official Python library (synchronous)."""
        return api_client(kubeconfig or self.kubeconfig)

    def rest(self, kubeconfig: Path | None = None) -> Rest:
        """Return a new plain JSON client; one per thread."""
        return Rest(self.api(kubeconfig))

    def token_for(self, namespace: str, service_account: str, *, expiration_seconds: int = 3_600) -> str:
        """Return a fresh token of a service account, from the TokenRequest API.

        Raises:
            ApiException: the service account does not exist (404), or the duration is refused.
        """
        answer = self.rest().create(
            f"/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token",
            {
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenRequest",
                "spec": {"expirationSeconds": expiration_seconds},
            },
        )
        status = answer["status"]
        if not isinstance(status, dict):
            raise TypeError(f"the API server answered a token request with {answer!r}")
        return str(status["token"])

    def kubeconfig_for(self, namespace: str, service_account: str, *, expiration_seconds: int = 3_600) -> Path:
        """Write a kubeconfig with a fresh token of a service account, and return its path.

        Raises:
            ApiException: the service account does not exist (404), or the duration is refused.
            DevClusterError: the administrator's kubeconfig names no certificate authority.
        """
        configuration = self.api().configuration
        if not configuration.ssl_ca_cert:
            raise DevClusterError(
                f"{self.kubeconfig} names no certificate authority: add it to the cluster's entry"
            )
        name = f"{namespace}-{service_account}"
        text = kubeconfig_text(
            server=configuration.host,
            ca_certificate=Path(configuration.ssl_ca_cert).read_bytes(),
            token=self.token_for(namespace, service_account, expiration_seconds=expiration_seconds),
            name=name,
        )
        return write_private(self.run_directory / f"{name}.kubeconfig", text)

    def start_prometheus(self, config: str | Mapping[str, object], *, receives: bool = False) -> PrometheusServer:
        """Start a Prometheus of its own data and port on loopback.

        Args:
            config: its configuration, as text or as an object. For Kubernetes service discovery use
                `kubernetes_sd_configs: [{role: pod, kubeconfig_file: cluster.kubeconfig_of("prometheus")}]`.
            receives: whether it takes remote writes, such as a past.

        Raises:
            DevClusterError: it did not become ready (say, for a bad configuration: its words are in the message).
        """
        self._prometheus_count += 1
        name = "prometheus" if self._prometheus_count == 1 else f"prometheus-{self._prometheus_count}"
        return start_prometheus(self.host, self.binaries.path("prometheus"), name, config, receives=receives)

    def add_gpu_nodes(self, pool: gpu.NodePool, count: int = 1) -> list[str]:
        """Register GPU nodes of a pool, which go through its cold start, and return their names."""
        return gpu.add_nodes(self.rest(), pool, count)

    def start_autoscaler(
        self, pools: Sequence[gpu.NodePool], *, times: AutoscalerTimes | None = None
    ) -> NodeAutoscaler:
        """Start a stand-in for a node autoscaler over these pools; it stops with the cluster."""
        rest = self.rest(self.kubeconfig_of("autoscaler"))
        autoscaler = NodeAutoscaler(rest, pools, times=times or AutoscalerTimes())
        self._autoscalers.append(autoscaler)
        autoscaler.start()
        return autoscaler

    def keep(self) -> None:
        """Leave the run directory, with its logs, where it is when the cluster ends."""
        self.host.keep()

    def close(self) -> None:
        """End all that was started for this run; an existing cluster itself is left alone."""
        for autoscaler in self._autoscalers:
            autoscaler.stop()
        self.host.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        self.close()


def no_control(what: str, kind: str) -> DevClusterError:
    """Return the error for a part of a cluster that is not ours to stop."""
    return DevClusterError(
        f"{what} of a cluster of kind {kind} is not ours to stop or start: use FOREBAY_CLUSTER=local for this"
    )
