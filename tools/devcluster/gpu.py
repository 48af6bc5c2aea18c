"""GPU nodes that do not exist: what they look like to a scheduler, and how long they take to become useful."""

import dataclasses
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from devcluster.rest import Json, Rest
from devcluster.stages import PREFIX

#: The label by which this cluster's "cloud" tells its node pools apart; pods select a pool by it.
POOL_LABEL = f"{PREFIX}pool"
GPU_RESOURCE = "nvidia.com/gpu"
SPOT_LABEL = f"{PREFIX}capacity-type"


@dataclass(frozen=True, slots=True)
class Accelerator:
    """A GPU type as GPU feature discovery labels it.

    Attributes:
        product: the value of `nvidia.com/gpu.product`.
        family: the architecture, lower case.
        memory_mib: memory of one GPU, MiB, as `nvidia-smi` reports it.
        compute: compute capability, major and minor.
        machine: the server's product name.
    """

    product: str
    family: str
    memory_mib: int
    compute: tuple[int, int]
    machine: str


#: GPU types by short name. Label names and values: https://github.com/NVIDIA/k8s-device-plugin (GPU feature
#: discovery); memory as nvidia-smi prints it; compute capability: https://developer.nvidia.com/cuda-gpus.
ACCELERATORS: Mapping[str, Accelerator] = {
    "l4": Accelerator("NVIDIA-L4", "ada-lovelace", 23_034, (8, 9), "Google-Compute-Engine"),
    "l40s": Accelerator("NVIDIA-L40S", "ada-lovelace", 46_068, (8, 9), "SYS-521GE-TNRT"),
    "a100": Accelerator("NVIDIA-A100-SXM4-80GB", "ampere", 81_920, (8, 0), "ProLiant-XL675d-Gen10-Plus"),
    "h100": Accelerator("NVIDIA-H100-80GB-HBM3", "hopper", 81_559, (9, 0), "DGXH100"),
    "h200": Accelerator("NVIDIA-H200", "hopper", 143_771, (9, 0), "PowerEdge-XE9680"),
    "b200": Accelerator("NVIDIA-B200", "blackwell", 183_359, (10, 0), "DGXB200"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdStart:
    """How long each step of a cold start takes, and how much longer it may take (uniformly), in seconds.

    `node_*` and `gpus_*` belong to the pool's nodes; `image_*` and `model_*` to the pods, which say so in
    annotations of their own (`pod_annotations`). Real figures are minutes (docs/concepts.md names sources);
    tests and the demo compress them.
    """

    node_ready_seconds: float = 1.0
    node_ready_jitter_seconds: float = 0.0
    gpus_ready_seconds: float = 1.0
    gpus_ready_jitter_seconds: float = 0.0
    image_pull_seconds: float = 1.0
    image_pull_jitter_seconds: float = 0.0
    model_load_seconds: float = 1.0
    model_load_jitter_seconds: float = 0.0
    termination_seconds: float = 1.0

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if not 0 <= value < float("inf"):
                raise ValueError(f"{name} is {value}; a cold start's step takes 0 seconds or more")

    def node_annotations(self) -> dict[str, str]:
        """Return the annotations that tell the node's stages how long they take."""
        return self._annotations("node-ready", "gpus-ready")

    def pod_annotations(self) -> dict[str, str]:
        """Return the annotations for a pod template, telling the pod's stages how long they take."""
        return self._annotations("image-pull", "model-load") | {
            f"{PREFIX}termination-seconds": f"{self.termination_seconds:g}"
        }

    def _annotations(self, *settings: str) -> dict[str, str]:
        return {
            f"{PREFIX}{setting}-{suffix}": f"{getattr(self, f'{setting}-{suffix}'.replace('-', '_')):g}"
            for setting in settings
            for suffix in ("seconds", "jitter-seconds")
        }


@dataclass(frozen=True, slots=True)
class NodePool:
    """A pool of equal GPU nodes.

    Attributes:
        name: the value of `POOL_LABEL` on its nodes.
        accelerator: a key of `ACCELERATORS`.
        gpus_per_node: GPUs of one node.
        min_nodes: the autoscaler keeps at least so many.
        max_nodes: and at most so many.
        spot: whether the nodes can be taken away.
        cold_start: how long a node takes.
        tainted: whether nodes carry the taint `nvidia.com/gpu=present:NoSchedule`, as GKE and others set it.
    """

    name: str
    accelerator: str = "h100"
    gpus_per_node: int = 8
    min_nodes: int = 0
    max_nodes: int = 4
    spot: bool = False
    cold_start: ColdStart = ColdStart()
    tainted: bool = False

    def __post_init__(self) -> None:
        if self.accelerator not in ACCELERATORS:
            known = ", ".join(ACCELERATORS)
            raise ValueError(f"pool {self.name}: accelerator {self.accelerator!r} is none of {known}")
        if self.gpus_per_node < 1:
            raise ValueError(f"pool {self.name}: gpus_per_node is {self.gpus_per_node}; it must be 1 or more")
        if not 0 <= self.min_nodes <= self.max_nodes:
            raise ValueError(
                f"pool {self.name}: min_nodes {self.min_nodes} and max_nodes {self.max_nodes} "
                "must satisfy 0 <= min_nodes <= max_nodes"
            )

    def labels(self) -> dict[str, str]:
        """Return the labels that a node has from its first moment: what a cloud sets."""
        return {
            POOL_LABEL: self.name,
            SPOT_LABEL: "spot" if self.spot else "on-demand",
            "kubernetes.io/arch": "amd64",
            "kubernetes.io/os": "linux",
            "node.kubernetes.io/instance-type": f"fake.{self.gpus_per_node}x{self.accelerator}",
            "topology.kubernetes.io/region": "nowhere",
            "topology.kubernetes.io/zone": "nowhere-a",
            "type": "kwok",
        }

    def discovered_labels(self) -> dict[str, str]:
        """Return the labels that GPU feature discovery adds once the driver runs."""
        gpu = ACCELERATORS[self.accelerator]
        return {
            "nvidia.com/gpu.present": "true",
            "nvidia.com/gpu.product": gpu.product,
            "nvidia.com/gpu.count": str(self.gpus_per_node),
            "nvidia.com/gpu.memory": str(gpu.memory_mib),
            "nvidia.com/gpu.family": gpu.family,
            "nvidia.com/gpu.machine": gpu.machine,
            "nvidia.com/gpu.replicas": "1",
            "nvidia.com/gpu.sharing-strategy": "none",
            "nvidia.com/gpu.mode": "compute",
            "nvidia.com/gpu.compute.major": str(gpu.compute[0]),
            "nvidia.com/gpu.compute.minor": str(gpu.compute[1]),
            "nvidia.com/cuda.driver-version.full": "580.95.05",
            "nvidia.com/cuda.driver-version.major": "580",
            "nvidia.com/cuda.driver-version.minor": "95",
            "nvidia.com/cuda.driver-version.revision": "05",
            "nvidia.com/cuda.runtime-version.full": "13.0",
            "nvidia.com/cuda.runtime-version.major": "13",
            "nvidia.com/cuda.runtime-version.minor": "0",
            "nvidia.com/mig.capable": str(gpu.family in {"ampere", "hopper", "blackwell"}).lower(),
            "nvidia.com/mig.strategy": "single",
            "nvidia.com/mps.capable": "false",
            "nvidia.com/vgpu.present": "false",
        }

    def node(self, name: str) -> Json:
        """Return a node of this pool as its cloud registers it: not Ready, and without GPUs."""
        resources: Json = {
            "cpu": "192",
            "memory": "2048Gi",
            "ephemeral-storage": "8Ti",
            "pods": "110",
            GPU_RESOURCE: "0",
        }
        taints = [{"key": GPU_RESOURCE, "value": "present", "effect": "NoSchedule"}] if self.tainted else []
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": name,
                "labels": self.labels() | {"kubernetes.io/hostname": name},
                "annotations": {
                    "kwok.x-k8s.io/node": "fake",
                    f"{PREFIX}gpus": str(self.gpus_per_node),
                    f"{PREFIX}discovered-labels": json.dumps(self.discovered_labels()),
                    **self.cold_start.node_annotations(),
                },
            },
            # Without a provider id a cloud's node controller would take the node for one that is gone.
            "spec": {"providerID": f"kwok://{name}", "taints": taints},
            "status": {
                "capacity": resources,
                "allocatable": resources,
                # A node without any Ready condition counts as schedulable.
                "conditions": [
                    {
                        "type": "Ready",
                        "status": "False",
                        "reason": "KubeletNotReady",
                        "message": "the machine is booting",
                    }
                ],
            },
        }

    def new_name(self) -> str:
        """Return a name for a new node of this pool."""
        return f"{self.name}-{secrets.token_hex(4)}"


def add_nodes(rest: Rest, pool: NodePool, count: int = 1) -> list[str]:
    """Register `count` new nodes of a pool, which then go through its cold start, and return their names."""
    names = [pool.new_name() for _ in range(count)]
    for name in names:
        rest.create("/api/v1/nodes", pool.node(name))
    return names


def lose_node(rest: Rest, name: str) -> None:
    """Play the sudden death of a node: Ready becomes Unknown, and its pods are evicted in their own time."""
    rest.patch(f"/api/v1/nodes/{name}", {"metadata": {"annotations": {f"{PREFIX}lost": "true"}}})
