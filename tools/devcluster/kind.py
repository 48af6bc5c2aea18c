"""kind: a cluster whose nodes are containers, made and removed under a name of its own.

A kubeconfig of its own too: the user's is neither read nor written, and no other kind cluster is touched.
"""

import os
import secrets
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from devcluster.binaries import Binaries
from devcluster.components import HOST
from devcluster.errors import DevClusterError
from devcluster.existing import ExistingCluster

#: Node image instead of kind's default for its version.
IMAGE_VARIABLE = "KIND_NODE_IMAGE"
_QUICK_SECONDS = 60.0
_CREATE_SECONDS = 300.0
_LOAD_SECONDS = 300.0


def docker_answers() -> bool:
    """Whether there is a Docker that answers."""
    try:
        subprocess.run(["docker", "info"], capture_output=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def image_at_hand(environment: Mapping[str, str]) -> bool:
    """Whether Docker holds the node image that would be used: `KIND_NODE_IMAGE`, else any of kind's own."""
    wanted = environment.get(IMAGE_VARIABLE) or "kindest/node"
    try:
        images = subprocess.run(
            ["docker", "image", "ls", "--quiet", wanted], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return bool(images.stdout.strip())


class _TooLateError(DevClusterError):
    """A command did not end in its time and was stopped."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind cluster, there or not.

    Attributes:
        program: the `kind` command.
        name: of the cluster.
        kubeconfig: where its administrator's kubeconfig is, or will be.
    """

    program: Path
    name: str
    kubeconfig: Path

    def exists(self) -> bool:
        """Whether a cluster of this name is there, whoever made it.

        Raises:
            DevClusterError: Docker does not answer.
        """
        return self.name in self._run("get", "clusters").split()

    def create(self, config: str, *, image: str | None = None, wait_seconds: int = 120) -> None:
        """Make the cluster, and wait until its control plane is ready.

        Args:
            config: kind's configuration, as YAML.
            image: node image; kind's default when left out.
            wait_seconds: how long to wait for the control plane.

        Raises:
            DevClusterError: it could not be made; what was begun is removed.
        """
        self.kubeconfig.parent.mkdir(parents=True, exist_ok=True)
        options = ["--config", "-", "--wait", f"{wait_seconds}s"]
        if image:
            options += ["--image", image]
        try:
            self._run("create", "cluster", *self._own(), *options, config=config, seconds=_CREATE_SECONDS)
        except _TooLateError:
            # kind removes what it could not finish, but not when it is stopped. The name was free: it had begun.
            self.delete()
            raise

    def delete(self) -> None:
        """Remove the cluster, if it is there."""
        self._run("delete", "cluster", *self._own(), seconds=120)
        self.kubeconfig.unlink(missing_ok=True)

    def load(self, *images: str) -> None:
        """Give every node these images of the local Docker, where it does not have them.

        Raises:
            DevClusterError: an image is not there.
        """
        self._run("load", "docker-image", "--name", self.name, *images, seconds=_LOAD_SECONDS)

    def workers(self) -> list[str]:
        """Return the names of the nodes that are no control plane, in order."""
        nodes = self._run("get", "nodes", "--name", self.name).split()
        return sorted(node for node in nodes if "control-plane" not in node)

    def on_node(self, node: str, *command: str) -> str:
        """Run a command in a node, and return what it says.

        Raises:
            DevClusterError: it failed, or the node is none of this cluster's.
        """
        return _docker("exec", self._mine(node), *command)

    def stop_node(self, node: str) -> None:
        """Switch a node off: its kubelet and all of its containers end at once."""
        _docker("kill", self._mine(node))

    def start_node(self, node: str) -> None:
        """Switch a node on again."""
        _docker("start", self._mine(node))

    def _mine(self, node: str) -> str:
        if not node.startswith(f"{self.name}-"):
            raise DevClusterError(f"{node} is no node of the kind cluster {self.name}")
        return node

    def _own(self) -> tuple[str, ...]:
        return "--name", self.name, "--kubeconfig", str(self.kubeconfig)

    def _run(self, *arguments: str, config: str | None = None, seconds: float = _QUICK_SECONDS) -> str:
        return _command([str(self.program), *arguments], text=config, seconds=seconds)


def _docker(*arguments: str) -> str:
    return _command(["docker", *arguments], text=None, seconds=_QUICK_SECONDS)


def _command(command: list[str], *, text: str | None, seconds: float) -> str:
    what = " ".join(command[:3])
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=seconds, check=False, env=os.environ
        )
    except FileNotFoundError:
        raise DevClusterError(f"{command[0]} is not there: install it") from None
    except subprocess.TimeoutExpired:
        raise _TooLateError(f"{what} did not end within {seconds:g} s") from None
    if done.returncode != 0:
        raise DevClusterError(f"{what} failed:\n{done.stderr.strip()[-2_000:]}")
    return done.stdout


class KindCluster(ExistingCluster):
    """The `kind` kind: one node, for one run, with KWOK for the fake GPU nodes; removed at the end."""

    kind = "kind"

    def __init__(self, binaries: Binaries, made: Kind) -> None:
        super().__init__(binaries, made.kubeconfig)
        self._made = made

    @classmethod
    def make(cls, binaries: Binaries, *, log: Callable[[str], object] = print) -> "KindCluster":
        """Make a cluster, and return it when nodes and pods can be created.

        Raises:
            DevClusterError: Docker does not answer, or the cluster could not be made.
        """
        name = f"forebay-dev-{secrets.token_hex(3)}"
        directory = binaries.cache / "kind" / name
        cluster = cls(binaries, Kind(binaries.kind(log=log), name, directory / "kubeconfig"))
        try:
            cluster._made.create("kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n", image=node_image())
            cluster._context = f"kind-{name}"
            cluster._start_kwok()
        except BaseException:
            cluster.close()
            raise
        return cluster

    def describe(self) -> str:
        """Return one line: which cluster, of which image."""
        return f"the kind cluster {self._made.name} on {HOST}, made for this run"

    def close(self) -> None:
        """End all that was started, and remove the cluster."""
        super().close()
        self._made.delete()
        self._made.kubeconfig.parent.rmdir()


def node_image(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the node image that the environment names, None for kind's default."""
    return environment.get(IMAGE_VARIABLE) or None
