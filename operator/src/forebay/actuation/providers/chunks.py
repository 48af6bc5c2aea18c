"""Room that is kept free for replicas: how many chunks, and the pod that has a chunk's shape."""

from forebay.actuation.kube import JsonObject
from forebay.actuation.providers.port import Binding, CapacityWish, Situation
from forebay.api.base import API_VERSION

NODE_POOL_LABEL = "forebay.io/node-pool"
"""Label of what Forebay makes for a node pool; its value is the node pool's name."""
PLACEHOLDER_LABEL = "forebay.io/placeholder"
"""Label of placeholder pods; its value is the node pool's name."""
_PAUSE_IMAGE = "registry.k8s.io/pause:3.10"


def chunks_to_hold(binding: Binding, wish: CapacityWish, situation: Situation) -> int:
    """Return how many chunks of room to hold: the warm nodes that the plan wants, in pieces of a replica's size.

    Where nothing can be had, no more is asked for than the room that is there.
    """
    chunks = wish.warm_nodes * (binding.gpus_per_node // wish.chunk_gpus)
    if not situation.blocked:
        return chunks
    return min(chunks, sum(node.free_gpus // wish.chunk_gpus for node in situation.nodes))


def chunk_pod(binding: Binding, gpus: int, *, image: str = _PAUSE_IMAGE) -> JsonObject:
    """Return the spec of a pod that takes the place of a replica on these nodes.

    It tolerates the taint that keeps other workloads off GPU nodes, which goes by the resource's name.
    """
    return {
        "nodeSelector": dict(binding.selector),
        "tolerations": [{"key": binding.resource, "operator": "Exists", "effect": "NoSchedule"}],
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 0,
        "containers": [
            {
                "name": "placeholder",
                "image": image,
                "resources": {
                    "requests": {"cpu": "10m", "memory": "16Mi", binding.resource: str(gpus)},
                    "limits": {"memory": "16Mi", binding.resource: str(gpus)},
                },
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                    "readOnlyRootFilesystem": True,
                    "runAsNonRoot": True,
                    "runAsUser": 65535,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
            }
        ],
    }


def metadata(binding: Binding, namespace: str) -> JsonObject:
    """Return the metadata of an object that Forebay makes for a node pool, and that goes with it."""
    return {
        "name": object_name(binding),
        "namespace": namespace,
        "labels": {NODE_POOL_LABEL: binding.name, "app.kubernetes.io/managed-by": "forebay"},
        "ownerReferences": [
            {"apiVersion": API_VERSION, "kind": "GPUNodePool", "name": binding.name, "uid": binding.uid}
        ],
    }


def object_name(binding: Binding) -> str:
    """Return the name of what Forebay makes for a node pool."""
    return f"forebay-{binding.name}"
