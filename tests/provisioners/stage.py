"""A pool on node pools whose nodes real provisioners bring.

Its replicas are set by its own limits, so that a journey is about nodes and not about traffic; or they follow the
traffic of simulated engines.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from devcluster import POOL_LABEL, Cluster, PrometheusServer
from devcluster.karpenter import CLASS_PATH, NodeClass
from devcluster.rest import Json, condition_status
from devcluster.waiting import eventually
from forebay.flow.trace import RequestTrace
from runoperator import NAMESPACE, RunningOperator, start_operator
from runoperator.scenario import PROFILE, SPEED, engines, prometheus_config

# Nobody restarts an operator here that lost its lease to a busy machine.
_PATIENT_LEASE = {"lease-duration": "20s", "renew-deadline": "15s", "retry-period": "2s"}
PREFIX = "devcluster.forebay.io/"
NODE_POOLS = "/apis/karpenter.sh/v1/nodepools"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of GPU node, as Karpenter's cloud sells it."""

    name: str
    instance_type: str
    gpus: int
    usd_per_gpu_hour: str


L40S = Kind("l40s", "l40s-4x", 4, "2.00")
H100 = Kind("h100", "h100-8x", 8, "5.00")


class Journey:
    """One InferencePool called chat in a namespace, with a Deployment per kind of node; ends all that it started.

    Args:
        cluster: where.
        namespace: of the pool; also part of the names of what belongs to no namespace.
    """

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.rest = cluster.rest()
        self._operators: list[RunningOperator] = []
        self._kinds: list[Kind] = []
        self._stack = ExitStack()
        self._prometheus: PrometheusServer | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for operator in self._operators:
            operator.kill()
        if self._prometheus is not None:
            self._prometheus.stop()
        self._stack.close()
        for kubectl in (
            ("delete", "servingprofiles.forebay.io", "--all", "--wait=false"),
            ("delete", "gpunodepools.forebay.io", "--all", "--wait=false"),
            ("delete", "deployments", "--all", "-n", self.namespace, "--wait=false"),
            ("delete", "nodepools.karpenter.sh", "--all", "--wait=false", "--ignore-not-found"),
            ("delete", "lease", "--all", "-n", NAMESPACE, "--wait=false"),
        ):
            if "karpenter" not in kubectl[1] or self._serves_karpenter():
                self.cluster.kubectl(*kubectl)

    def name_of(self, kind: Kind) -> str:
        """Return the name of a kind's node pool, of ours and of Karpenter's."""
        return f"{kind.name}-{self.namespace}"

    def node_class(self, *, delay: str = "1s") -> NodeClass:
        """Create the node class of this journey's NodePools: machines boot for a while."""
        self.cluster.apply(
            {
                "apiVersion": "karpenter.kwok.sh/v1alpha1",
                "kind": "KWOKNodeClass",
                "metadata": {"name": self.namespace},
                "spec": {"nodeRegistrationDelay": delay},
            }
        )
        return NodeClass(self.rest, self.namespace)

    def karpenter_pool(
        self,
        kind: Kind,
        *,
        static: bool = False,
        limits: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        """Create a Karpenter NodePool of one kind of node."""
        name = self.name_of(kind)
        spec: dict[str, Any] = {
            "template": {
                "metadata": {"labels": {POOL_LABEL: name}, "annotations": dict(annotations or {})},
                "spec": {
                    "requirements": [
                        {
                            "key": "node.kubernetes.io/instance-type",
                            "operator": "In",
                            "values": [kind.instance_type],
                        },
                        {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]},
                    ],
                    "nodeClassRef": {
                        "group": "karpenter.kwok.sh",
                        "kind": "KWOKNodeClass",
                        "name": self.namespace,
                    },
                    "expireAfter": "Never",
                },
            },
            "disruption": {"consolidateAfter": "5s"},
        }
        if static:
            spec |= {"replicas": 0}
        else:
            spec["disruption"] |= {"consolidationPolicy": "WhenEmpty", "budgets": [{"nodes": "100%"}]}
        if limits:
            spec["limits"] = dict(limits)
        self.cluster.apply(
            {"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": name}, "spec": spec}
        )

    def deploy(self, kind: Kind, *, gpus: int = 2, replicas: int = 0, **spec: Any) -> None:
        """Create our node pool of one kind, and the Deployment of the replicas that run on it."""
        name = self.name_of(kind)
        self._kinds.append(kind)
        self.cluster.apply(
            [
                {
                    "apiVersion": "forebay.io/v1alpha1",
                    "kind": "GPUNodePool",
                    "metadata": {"name": name},
                    "spec": {
                        "accelerator": kind.name,
                        "gpusPerNode": kind.gpus,
                        "pricePerGPUHour": kind.usd_per_gpu_hour,
                        "nodeSelector": {POOL_LABEL: name},
                        "leadTimePrior": {"p50": "8s", "p90": "12s"},
                        **spec,
                    },
                },
                {
                    "apiVersion": "apps/v1",
                    "kind": "Deployment",
                    "metadata": {"name": kind.name, "namespace": self.namespace},
                    "spec": {
                        "replicas": replicas,
                        "selector": {"matchLabels": {"app": kind.name}},
                        "template": {
                            "metadata": {
                                "labels": {"app": kind.name},
                                "annotations": {
                                    f"{PREFIX}{step}-seconds": "1" for step in ("image-pull", "model-load")
                                },
                            },
                            "spec": {
                                "nodeSelector": {POOL_LABEL: name},
                                "terminationGracePeriodSeconds": 5,
                                "containers": [
                                    {
                                        "name": "engine",
                                        "image": "vllm",
                                        "resources": {
                                            "requests": {"cpu": "1", "nvidia.com/gpu": str(gpus)},
                                            "limits": {"nvidia.com/gpu": str(gpus)},
                                        },
                                    }
                                ],
                            },
                        },
                    },
                },
            ]
        )
        self._gpus = gpus

    def want(self, least: int, most: int | None = None, *, role: str = "serve") -> None:
        """Let the pool have so many replicas per kind of node: at least, and at most."""
        variants = [
            {
                "name": kind.name,
                "target": {"kind": "Deployment", "name": kind.name},
                "nodePool": self.name_of(kind),
                "gpusPerReplica": self._gpus,
                "startUp": "2s",
                "minReplicas": least if index == 0 else 0,
                "maxReplicas": least if most is None else most,
                **({"profileRef": {"name": self.name_of(kind)}} if self._prometheus else {}),
            }
            for index, kind in enumerate(self._kinds)
        ]
        self.cluster.apply(
            {
                "apiVersion": "forebay.io/v1alpha1",
                "kind": "InferencePool",
                "metadata": {"name": "chat", "namespace": self.namespace},
                "spec": {
                    "mode": "Auto",
                    "slo": {"ttft": "1s", "itl": "60ms"},
                    "telemetry": {"engine": "vllm"},
                    **({"policyRef": {"name": "fast"}} if self._prometheus else {}),
                    "roles": {role: {"variants": variants}},
                },
            }
        )

    def serve(self, trace: RequestTrace) -> None:
        """Let simulated engines serve traffic, and tell the operator how fast they are."""
        forebay = "forebay.io/v1alpha1"
        profiles = [
            {
                "apiVersion": forebay,
                "kind": "ServingProfile",
                "metadata": {"name": self.name_of(kind)},
                "spec": {**PROFILE, "accelerator": kind.name, "gpusPerReplica": self._gpus},
            }
            for kind in self._kinds
        ]
        policy = {
            "apiVersion": forebay,
            "kind": "ScalingPolicy",
            "metadata": {"name": "fast", "namespace": self.namespace},
            "spec": {"guards": {"restart": "5s"}, "forecast": {"rateWindow": "15s"}},
        }
        self.cluster.apply([*profiles, policy])
        workloads = [{"name": kind.name, "role": "serve", "speed": SPEED} for kind in self._kinds]
        pool = {"name": "chat", "namespace": self.namespace, "workloads": workloads}
        _, discovery = self._stack.enter_context(engines(self.cluster, pool, trace))
        self._prometheus = self.cluster.start_prometheus(prometheus_config(discovery))

    def operate(self, *, kubeconfig: Path | None = None, **options: str) -> RunningOperator:
        """Start an operator that waits for no history."""
        given = {name.replace("_", "-"): value for name, value in options.items()}
        operator = start_operator(
            self.cluster,
            self._prometheus.url if self._prometheus is not None else "http://127.0.0.1:9",
            name=f"operator-{self.namespace}",
            kubeconfig=kubeconfig,
            options={"history": "0s", **_PATIENT_LEASE, **given},
        )
        self._operators.append(operator)
        return operator

    def replicas(self, kind: Kind) -> int:
        """Return what a Deployment is asked to have."""
        body: Any = self.rest.get(f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{kind.name}")
        return int(body["spec"]["replicas"])

    def ready(self, kind: Kind) -> int:
        """Return a Deployment's Ready pods."""
        return sum(condition_status(pod, "Ready") == "True" for pod in self.pods(kind))

    def pods(self, kind: Kind) -> Sequence[Json]:
        """Return a Deployment's pods."""
        return self.rest.items(f"/api/v1/namespaces/{self.namespace}/pods", labelSelector=f"app={kind.name}")

    def nodes(self, kind: Kind) -> Sequence[Json]:
        """Return the nodes of a kind."""
        return self.rest.items("/api/v1/nodes", labelSelector=f"{POOL_LABEL}={self.name_of(kind)}")

    def status(self, kind: Kind) -> dict[str, Any]:
        """Return the status of our node pool; empty before the first report."""
        body: Any = self.rest.get(f"/apis/forebay.io/v1alpha1/gpunodepools/{self.name_of(kind)}")
        return dict(body.get("status") or {})

    def states(self, kind: Kind) -> dict[str, int]:
        """Return how many nodes are in each state, as the status says."""
        return {item["state"]: item["nodes"] for item in self.status(kind).get("states") or ()}

    def condition(self, kind: Kind, name: str) -> dict[str, Any]:
        """Return a condition of our node pool; empty before the first report."""
        conditions = self.status(kind).get("conditions") or ()
        return next((item for item in conditions if item["type"] == name), {})

    def asked(self, kind: Kind) -> int:
        """Return the number that a static NodePool asks for."""
        body: Any = self.rest.get(f"{NODE_POOLS}/{self.name_of(kind)}")
        return int(body["spec"].get("replicas") or 0)

    def until(self, check: Any, *, seconds: float) -> Any:
        """Wait until a check passes; what happened instead is told in full."""
        return eventually(check, timeout_seconds=seconds, describe=self.story)

    def story(self) -> str:
        """Return what a person needs to see when something did not happen."""
        shown = [
            self.cluster.kubectl("get", "gpunodepools.forebay.io", "-o", "wide"),
            *(f"{kind.name}: {self.status(kind)}" for kind in self._kinds),
            self.cluster.kubectl("get", "nodes,pods,deployments", "-n", self.namespace, "-o", "wide"),
        ]
        if self._serves_karpenter():
            shown.append(self.cluster.kubectl("get", "nodeclaims.karpenter.sh,nodepools.karpenter.sh"))
            shown.append(self.cluster.host.log_tail("karpenter", 15))
        shown += [operator.log(30) for operator in self._operators]
        return "\n".join(shown)

    def _serves_karpenter(self) -> bool:
        return "karpenter.sh" in self.cluster.kubectl("api-versions")


__all__ = ["CLASS_PATH", "H100", "L40S", "NODE_POOLS", "Journey", "Kind"]
