"""From nothing to a kind cluster that runs the chart: every step may be repeated, and takes what is there."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from devcluster import gpu
from devcluster.binaries import Binaries
from devcluster.errors import DevClusterError
from devcluster.existing import ExistingCluster
from devcluster.kind import Kind, docker_answers, node_image
from devcluster.waiting import eventually
from kindscene import images
from kindscene.places import CHART, GPUS_PER_NODE, MANIFESTS, MONITORING, NAMESPACE, POOL_LABEL, ROOT, WORKERS

NAME_VARIABLE = "FOREBAY_KIND_NAME"
_HELM_SECONDS = 150


def cluster_name(environment: Mapping[str, str] = os.environ) -> str:
    """Return the name of the kind cluster, `forebay` unless the environment says otherwise."""
    return environment.get(NAME_VARIABLE) or "forebay"


class Installation:
    """One kind cluster with Forebay on it, there or not.

    Attributes:
        kind: the cluster's containers.
        cluster: its API.
    """

    def __init__(self, name: str, *, log: Callable[[str], object] = print) -> None:
        """Look for nothing yet; programs that are missing are built when they are needed first."""
        self._log = log
        self.binaries = Binaries.from_environment()
        self.directory = self.binaries.cache / "kind" / name
        self.kind = Kind(self.binaries.kind(log=log), name, self.directory / "kubeconfig")
        self.binaries.kubectl(log=log)
        self.cluster = ExistingCluster(self.binaries, self.kind.kubeconfig)

    def up(self) -> None:
        """Make whatever is not there yet: cluster, images, GPUs, Prometheus, and the chart's release.

        Raises:
            DevClusterError: Docker does not answer, or a step failed.
        """
        self.create()
        self.load(*images.build_own(log=self._log), images.prometheus(self.binaries, log=self._log))
        self.advertise_gpus()
        self.start_prometheus()
        self.install()

    def create(self) -> None:
        """Make the cluster, if there is none.

        Raises:
            DevClusterError: somebody else has a kind cluster of this name, or Docker does not answer.
        """
        if not docker_answers():
            raise DevClusterError("Docker does not answer: start it, or use 'make demo', which needs none")
        if not self.kind.exists():
            self._log(
                f"kindscene: creating the kind cluster {self.kind.name} ({node_image() or 'the default image'})"
            )
            self.kind.create((MANIFESTS / "cluster.yaml").read_text(), image=node_image())
        elif not self.kind.kubeconfig.exists():
            raise DevClusterError(
                f"there is a kind cluster called {self.kind.name} that was not made here: "
                f"set {NAME_VARIABLE} to another name, or remove that cluster yourself"
            )
        else:
            self._mend()

    def _mend(self) -> None:
        """Undo what an interrupted journey may have left: nodes that are off, silent, or take no pods."""
        for node in self.kind.workers():
            self.kind.start_node(node)
            self.cluster.kubectl("uncordon", node)
        eventually(self._kubelets_run, timeout_seconds=60, describe="running kubelets")
        wait = ("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=90s")
        self.cluster.kubectl(*wait, timeout_seconds=100)

    def _kubelets_run(self) -> bool:
        """Start whatever kubelet does not run; a node that was just switched on may not listen yet."""
        try:
            for node in self.kind.workers():
                self.kind.on_node(node, "systemctl", "start", "kubelet")
        except DevClusterError:
            return False
        return True

    def load(self, *names: str) -> None:
        """Give the nodes images that they do not have."""
        self._log("kindscene: loading images into the nodes")
        self.kind.load(*names)

    def load_inference_sim(self) -> None:
        """Give the nodes the image of llm-d-inference-sim, which is built first where it is not cached."""
        self.load(images.inference_sim(self.binaries, log=self._log))

    def workers(self) -> dict[str, str]:
        """Return the worker nodes and their GPU types."""
        return dict(zip(self.kind.workers(), WORKERS, strict=True))

    def advertise_gpus(self) -> None:
        """Give each worker GPUs that do not exist, with the labels of GPU feature discovery.

        The kubelet keeps an extended resource that it does not know as long as it runs; call this again after a
        node was started again.
        """
        path = f"/status/capacity/{gpu.GPU_RESOURCE.replace('/', '~1')}"
        patch = json.dumps([{"op": "add", "path": path, "value": str(GPUS_PER_NODE)}])
        for node, accelerator in self.workers().items():
            pool = gpu.NodePool(accelerator, accelerator=accelerator, gpus_per_node=GPUS_PER_NODE)
            labels = {POOL_LABEL: accelerator, **pool.discovered_labels()}
            pairs = [f"{key}={value}" for key, value in labels.items()]
            self.cluster.kubectl("label", "--overwrite", "node", node, *pairs)
            self.cluster.kubectl("patch", "node", node, "--subresource=status", "--type=json", "-p", patch)

    def start_prometheus(self) -> None:
        """Start the cluster's Prometheus, and wait until it answers."""
        self.cluster.apply(MANIFESTS / "prometheus.yaml")
        self.await_rollout("prometheus", MONITORING)

    def install(self, *settings: str, wait: bool = True) -> None:
        """Install or upgrade the chart, and wait until its pods are ready.

        Args:
            settings: of Helm's `--set`, over `manifests/kind/values.yaml`.
            wait: whether to wait.

        Raises:
            DevClusterError: Helm failed, or the pods did not become ready.
        """
        self._log("kindscene: helm upgrade --install forebay charts/forebay")
        # A rebuilt image has the tag of the one before: the id makes the pods new.
        built = images.identity(images.own_images()[0]).removeprefix("sha256:")
        self.helm(
            "upgrade",
            "--install",
            "forebay",
            str(CHART),
            "--create-namespace",
            f"--values={MANIFESTS / 'values.yaml'}",
            f"--set-string=podAnnotations.image=i{built[:12]}",
            *(f"--set={setting}" for setting in settings),
        )
        if wait:
            self.await_rollout("forebay", NAMESPACE)

    def await_rollout(self, deployment: str, namespace: str) -> None:
        """Wait until a Deployment is rolled out."""
        rollout = ("rollout", "status", "deployment", deployment, "-n", namespace, "--timeout=90s")
        self.cluster.kubectl(*rollout, timeout_seconds=100)

    def uninstall(self) -> None:
        """Uninstall the release."""
        self.helm("uninstall", "forebay", "--wait", "--timeout=60s")

    def helm(self, *arguments: str) -> str:
        """Run Helm with this cluster's credentials and a home of its own, and return what it says.

        Raises:
            DevClusterError: it failed.
        """
        program = str(self.binaries.helm(log=self._log))
        command = [program, *arguments, "-n", NAMESPACE, f"--kubeconfig={self.kind.kubeconfig}"]
        environment = os.environ | {"HELM_CACHE_HOME": str(self.directory / "helm"), "HOME": str(self.directory)}
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_HELM_SECONDS, check=False, env=environment
        )
        if done.returncode != 0:
            raise DevClusterError(f"helm {arguments[0]} failed:\n{done.stderr.strip()}")
        return done.stdout

    def environment(self) -> dict[str, str]:
        """Return what a shell needs to use the cluster: KUBECONFIG, and kubectl, helm and forebay on PATH."""
        programs: Sequence[Path] = (
            ROOT / ".venv" / "bin",
            self.binaries.path("kubectl").parent,
            self.binaries.helm(log=self._log).parent,
        )
        path = os.pathsep.join([*map(str, dict.fromkeys(programs)), "$PATH"])
        return {"KUBECONFIG": str(self.kind.kubeconfig), "PATH": path}

    def down(self) -> None:
        """Remove the cluster and its state; nothing happens where it is not there."""
        if self.kind.kubeconfig.exists():
            self.kind.delete()
        shutil.rmtree(self.directory, ignore_errors=True)

    def close(self) -> None:
        """Forget the connection; the cluster stays."""
        self.cluster.close()
