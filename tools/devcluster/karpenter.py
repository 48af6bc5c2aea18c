"""The real Karpenter beside a local cluster, over a cloud that a test plays (see go/karpenter-cloud/cloud.go)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from devcluster.cluster import Cluster
from devcluster.components import HOST
from devcluster.http_probe import answers_ok
from devcluster.ports import free_ports
from devcluster.processes import Component
from devcluster.rest import Rest
from devcluster.stages import PREFIX
from devcluster.targets import KARPENTER, required_version
from devcluster.upstream import upstream_crds

_MODULE = "sigs.k8s.io/karpenter"
_CRD_DIRECTORIES = ("pkg/apis/crds", "kwok/apis/crds")
INSTANCE_TYPES = Path(__file__).with_name("instance-types.json")
CLASS_PATH = "/apis/karpenter.kwok.sh/v1alpha1/kwoknodeclasses"


@dataclass(frozen=True, slots=True)
class NodeClass:
    """A node class of the KWOK provider: what its machines do, and what its cloud refuses.

    Attributes:
        rest: a client.
        name: of the class.
    """

    rest: Rest
    name: str

    def sold_out(self, *instance_types: str, seconds: int = 30) -> None:
        """Let nobody buy these types; Karpenter is told so for a while after each try."""
        self._say({"sold-out": ",".join(instance_types) or None, "sold-out-seconds": str(seconds)})

    def broken(self, text: str | None) -> None:
        """Let every launch fail with a text that is no stock-out; None mends it."""
        self._say({"broken": text})

    def late_gpus(self) -> None:
        """Let machines come without GPUs; the stage node-gpus brings them."""
        self._say({"late-gpus": "true"})

    def _say(self, settings: dict[str, str | None]) -> None:
        annotations = {f"{PREFIX}{name}": value for name, value in settings.items()}
        self.rest.patch(f"{CLASS_PATH}/{self.name}", {"metadata": {"annotations": annotations}})


def apply_crds(cluster: Cluster) -> None:
    """Apply Karpenter's CRDs, and wait until they are served."""
    version = required_version((KARPENTER.directory / "go.mod").read_text(), _MODULE)
    for directory in _CRD_DIRECTORIES:
        for path in upstream_crds(_MODULE, version, directory):
            cluster.kubectl("apply", "--server-side", "-f", str(path))
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")


@contextmanager
def karpenter(cluster: Cluster) -> Iterator[Component]:
    """Run Karpenter while the context lasts, with static NodePools and capacity buffers turned on."""
    apply_crds(cluster)
    metrics, health = free_ports(2)
    settings = {
        "KUBECONFIG": str(cluster.kubeconfig),
        "DISABLE_LEADER_ELECTION": "true",
        "METRICS_PORT": str(metrics),
        "HEALTH_PROBE_PORT": str(health),
        "INSTANCE_TYPES_FILE_PATH": str(INSTANCE_TYPES),
        "FEATURE_GATES": "StaticCapacity=true,CapacityBuffer=true",
        "BATCH_IDLE_DURATION": "1s",
    }
    component = Component(
        host=cluster.host,
        name="karpenter",
        argv=("/usr/bin/env", *(f"{name}={value}" for name, value in settings.items()), _program(cluster)),
        is_ready=lambda: answers_ok(f"http://{HOST}:{health}/readyz"),
    )
    component.start()
    try:
        component.wait_ready()
        yield component
    finally:
        component.kill()


def _program(cluster: Cluster) -> str:
    return str(cluster.binaries.path(KARPENTER.name))
