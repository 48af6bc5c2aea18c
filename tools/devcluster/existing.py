"""The `kubeconfig` kind: a cluster that exists already, of which nothing is ever torn down."""

import os
from pathlib import Path

from devcluster import components, stages
from devcluster.binaries import Binaries
from devcluster.cluster import Cluster, no_control
from devcluster.components import HOST
from devcluster.errors import DevClusterError
from devcluster.http_probe import answers_ok
from devcluster.ports import free_ports
from devcluster.processes import Component


def current_kubeconfig() -> Path:
    """Return the kubeconfig in use: the first file of `KUBECONFIG`, else `~/.kube/config`.

    Raises:
        DevClusterError: the file does not exist.
    """
    named = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    path = Path(named) if named else Path.home() / ".kube" / "config"
    if not path.exists():
        raise DevClusterError(f"there is no kubeconfig at {path}: set KUBECONFIG to the cluster's file")
    return path


class ExistingCluster(Cluster):
    """Somebody's cluster, used with the current context of their kubeconfig.

    A KWOK controller of our own plays kubelet for our fake nodes only, and ends with this process; so do the
    Prometheus servers started here. Nodes and namespaces that a test creates are the test's to remove.
    """

    kind = "kubeconfig"

    def __init__(self, binaries: Binaries, kubeconfig: Path) -> None:
        super().__init__(binaries)
        self._kubeconfig = kubeconfig
        self._context = ""

    @classmethod
    def start(cls, binaries: Binaries, kubeconfig: Path | None = None) -> "ExistingCluster":
        """Return the cluster of a kubeconfig (the current one when left out), once it answers.

        Raises:
            DevClusterError: there is no kubeconfig, or KWOK cannot start.
            KubectlError: the cluster does not answer.
        """
        cluster = cls(binaries, kubeconfig or current_kubeconfig())
        try:
            cluster._context = cluster.kubectl("config", "current-context").strip()
            cluster.kubectl("version", "--request-timeout=10s")
            cluster._start_kwok()
        except BaseException:
            cluster.close()
            raise
        return cluster

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig in use."""
        return self._kubeconfig

    @property
    def apiserver(self) -> Component:
        """Not ours.

        Raises:
            DevClusterError: always.
        """
        raise no_control("the API server", self.kind)

    def describe(self) -> str:
        """Return one line: which context of which kubeconfig."""
        return f"the existing cluster of context {self._context} in {self._kubeconfig} (it is never torn down)"

    def _start_kwok(self) -> None:
        (port,) = free_ports(1)
        stage_file = self.run_directory / "stages.yaml"
        stage_file.write_text(stages.render())
        argv = components.kwok_argv(self.binaries.path("kwok"), port, self._kubeconfig, stage_file)
        kwok = Component(
            host=self.host,
            name="kwok",
            argv=argv,
            is_ready=lambda: answers_ok(f"http://{HOST}:{port}/healthz"),
        )
        kwok.start()
        kwok.wait_ready()
