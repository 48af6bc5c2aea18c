"""What Cluster API does with a MachineDeployment, in small: machines become nodes, the marked ones go first."""

import secrets
import threading
from typing import Any

from devcluster import Cluster, NodePool
from devcluster.gpu import add_nodes

GROUP = "cluster.x-k8s.io/v1beta2"
MODULE = ("sigs.k8s.io/cluster-api", "v1.14.2", "core/config/crd/bases")
KINDS = ("machinedeployments", "machines", "machinepools")
_DELETE = "cluster.x-k8s.io/delete-machine"
_PAUSE_SECONDS = 0.3


class MachineController:
    """Keeps the machines of one MachineDeployment; a context manager that ends it.

    Args:
        cluster: where the MachineDeployment and the nodes are.
        namespace: of the MachineDeployment.
        name: of the MachineDeployment.
        pool: what its nodes are.
    """

    def __init__(self, cluster: Cluster, namespace: str, name: str, pool: NodePool) -> None:
        self._rest = cluster.rest()
        self._namespace, self._name, self._pool = namespace, name, pool
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.troubles: list[str] = []

    def __enter__(self) -> "MachineController":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(20.0)

    def _path(self, plural: str) -> str:
        return f"/apis/{GROUP}/namespaces/{self._namespace}/{plural}"

    def _run(self) -> None:
        while not self._stopping.wait(_PAUSE_SECONDS):
            try:
                self._reconcile()
            except Exception as error:  # noqa: BLE001 - the next look does it again, and the test shows it
                self.troubles.append(repr(error))

    def _reconcile(self) -> None:
        owner: Any = self._rest.get(f"{self._path('machinedeployments')}/{self._name}")
        label = f"cluster.x-k8s.io/deployment-name={self._name}"
        machines: list[Any] = list(self._rest.items(self._path("machines"), labelSelector=label))
        wanted = int(owner["spec"].get("replicas") or 0)
        for _ in range(wanted - len(machines)):
            self._create()
        machines.sort(key=lambda item: _DELETE not in (item["metadata"].get("annotations") or {}))
        for machine in machines[: max(0, len(machines) - wanted)]:
            self._remove(machine)
        for machine in machines[max(0, len(machines) - wanted) :]:
            if not (machine.get("status") or {}).get("nodeRef"):
                self._boot(machine)

    def _create(self) -> None:
        name = f"{self._name}-{secrets.token_hex(3)}"
        self._rest.create(
            self._path("machines"),
            {
                "apiVersion": GROUP,
                "kind": "Machine",
                "metadata": {
                    "name": name,
                    "namespace": self._namespace,
                    "labels": {"cluster.x-k8s.io/deployment-name": self._name},
                },
                "spec": {
                    "clusterName": "one",
                    "bootstrap": {"dataSecretName": "none"},
                    "infrastructureRef": {
                        "apiGroup": "infrastructure.cluster.x-k8s.io",
                        "kind": "FakeMachine",
                        "name": name,
                    },
                },
            },
        )

    def _boot(self, machine: Any) -> None:
        (node,) = add_nodes(self._rest, self._pool)
        self._rest.request(
            "PATCH",
            f"{self._path('machines')}/{machine['metadata']['name']}/status",
            {"status": {"phase": "Running", "nodeRef": {"name": node}}},
            content_type="application/merge-patch+json",
        )

    def _remove(self, machine: Any) -> None:
        node = ((machine.get("status") or {}).get("nodeRef") or {}).get("name")
        if node:
            self._rest.delete(f"/api/v1/nodes/{node}")
        self._rest.delete(f"{self._path('machines')}/{machine['metadata']['name']}")
