"""What goes wrong in a journey, and its end: whatever was broken here is made whole again by `undo`."""

from collections.abc import Callable

from devcluster import gpu
from devcluster.rest import Json, condition_status, sequence, text
from devcluster.waiting import eventually
from kindscene.images import own_images
from kindscene.installation import Installation
from kindscene.places import GPUS_PER_NODE, MONITORING, NAMESPACE, POOL_LABEL, SERVING

_STRANGER = "stranger"


class Troubles:
    """Breaks parts of a cluster with Forebay on it, and remembers how each is mended.

    Args:
        installation: the cluster, with the chart on it.
    """

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._cluster = installation.cluster
        self._rest = installation.cluster.rest()
        self._mend: dict[str, Callable[[], object]] = {}

    def undo(self) -> None:
        """Mend what is still broken, the latest first."""
        while self._mend:
            _, mend = self._mend.popitem()
            mend()

    # GPUs --------------------------------------------------------------------------------------------------------

    def hold_gpus(self, gpu_type: str) -> None:
        """Let somebody else's pod hold all GPUs of the only node of a type."""
        self._mend["gpus"] = self.release_gpus
        self._cluster.apply(_stranger(gpu_type, image=own_images()[1]))
        wait = ("wait", "--for=condition=Ready", f"pod/{_STRANGER}", "-n", SERVING, "--timeout=60s")
        self._cluster.kubectl(*wait, timeout_seconds=70)

    def release_gpus(self) -> None:
        """Take that pod away again."""
        self._mend.pop("gpus", None)
        delete = ("delete", "pod", _STRANGER, "-n", SERVING, "--ignore-not-found", "--grace-period=1")
        self._cluster.kubectl(*delete, timeout_seconds=60)

    # Nodes -------------------------------------------------------------------------------------------------------

    def drain(self, node: str) -> None:
        """Take all pods off a node, as before its maintenance, and let no other come."""
        self._mend["drain"] = lambda: self.uncordon(node)
        flags = ("--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=90s")
        self._cluster.kubectl("drain", node, *flags, timeout_seconds=100)

    def uncordon(self, node: str) -> None:
        """Let pods come to a node again."""
        self._mend.pop("drain", None)
        self._cluster.kubectl("uncordon", node)

    def stop_kubelet(self, node: str) -> None:
        """Stop a node's kubelet; its containers run on, and nobody hears of them."""
        self._mend["kubelet"] = lambda: self.start_kubelet(node)
        self._installation.kind.on_node(node, "systemctl", "stop", "kubelet")

    def start_kubelet(self, node: str) -> None:
        """Start the kubelet again, and give the node its GPUs back once it is Ready."""
        self._mend.pop("kubelet", None)
        self._installation.kind.on_node(node, "systemctl", "start", "kubelet")
        self._await_node(node)

    def stop_node(self, node: str) -> None:
        """Switch a node off, with everything on it."""
        self._mend["node"] = lambda: self.start_node(node)
        self._installation.kind.stop_node(node)

    def start_node(self, node: str) -> None:
        """Switch it on again, and give it its GPUs back once it is Ready."""
        self._mend.pop("node", None)
        self._installation.kind.start_node(node)
        self._await_node(node)

    def node_back(self, node: str) -> bool:
        """Whether a node is Ready, and believed to be: right after its start it may count as Ready from before."""
        found = self._node(node)
        keys = [text(taint, "key") for taint in sequence(found, "spec", "taints")]
        absent = any(key.startswith("node.kubernetes.io/") for key in keys)
        return condition_status(found, "Ready") == "True" and not absent

    def _await_node(self, node: str) -> None:
        eventually(lambda: self.node_back(node), timeout_seconds=90, describe=f"node {node} Ready again")
        # The kubelet forgets resources that it does not manage when it starts, within its first updates.
        eventually(lambda: self._advertised(node), timeout_seconds=30, describe=f"GPUs of node {node}")

    def _advertised(self, node: str) -> bool:
        self._installation.advertise_gpus()
        return text(self._node(node), "status", "allocatable", gpu.GPU_RESOURCE) == str(GPUS_PER_NODE)

    def _node(self, node: str) -> Json:
        return self._rest.get(f"/api/v1/nodes/{node}")

    # Forebay and its sources -------------------------------------------------------------------------------------

    def delete_prometheus(self) -> None:
        """Delete Prometheus and all that it knows."""
        self._mend["prometheus"] = self.restore_prometheus
        delete = ("delete", "deployment", "prometheus", "-n", MONITORING, "--cascade=foreground")
        self._cluster.kubectl(*delete, timeout_seconds=60)

    def restore_prometheus(self) -> None:
        """Create a Prometheus that knows nothing yet."""
        self._mend.pop("prometheus", None)
        self._installation.start_prometheus()

    def kill_operator(self, pod: str) -> None:
        """Delete an operator pod at once: no signal, no time for a last word."""
        self._cluster.kubectl("delete", "pod", pod, "-n", NAMESPACE, "--grace-period=0", "--force")

    def upgrade(self, *settings: str) -> None:
        """Upgrade the release with other values, and wait until its pods are ready."""
        self._mend["release"] = self.install
        self._installation.install(*settings)

    def uninstall(self) -> None:
        """Uninstall the release."""
        self._mend["release"] = self.install
        self._installation.uninstall()

    def install(self) -> None:
        """Install the release as it was first, or go back to its first values."""
        self._mend.pop("release", None)
        self._installation.install()


def _stranger(gpu_type: str, *, image: str) -> dict[str, object]:
    """Return a pod that does nothing with all GPUs of a node."""
    security = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": _STRANGER, "namespace": SERVING},
        "spec": {
            "nodeSelector": {POOL_LABEL: gpu_type},
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "stranger",
                    "image": image,
                    "args": ["engine", "--model=stranger"],
                    "resources": {"limits": {"memory": "160Mi", gpu.GPU_RESOURCE: str(GPUS_PER_NODE)}},
                    "securityContext": security,
                }
            ],
        },
    }
