"""A served model on a test cluster: engines that behave, their traffic, and the Prometheus that scrapes them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

import devcluster
from devcluster.ports import LOOPBACK
from devcluster.rest import Json, condition_status, mapping, text
from devcluster.waiting import eventually
from enginesim.config import parse_config
from enginesim.pods import PodLister
from enginesim.runner import playing
from enginesim.server import MetricsServer
from enginesim.simulator import Simulator
from forebay.flow.trace import RequestTrace
from runoperator import NAMESPACE, RunningOperator, start_operator


@dataclass(frozen=True, slots=True)
class Step:
    """A stretch of constant traffic."""

    seconds: float
    requests_per_second: float


def stepped_trace(steps: Sequence[Step], *, input_tokens: int, output_tokens: int, seed: int = 1) -> RequestTrace:
    """Return Poisson arrivals whose rate goes through `steps`, all requests of one size."""
    rng = np.random.default_rng(seed)
    start, arrivals = 0.0, []
    for step in steps:
        count = rng.poisson(step.seconds * step.requests_per_second)
        arrivals.append(np.sort(rng.uniform(start, start + step.seconds, count)))
        start += step.seconds
    times = np.concatenate(arrivals)
    return RequestTrace(
        name="steps",
        arrival_seconds=times,
        input_tokens=np.full(len(times), input_tokens),
        output_tokens=np.full(len(times), output_tokens),
    )


@contextmanager
def engines(
    cluster: devcluster.Cluster, pool: Mapping[str, object], trace: RequestTrace
) -> Iterator[tuple[Simulator, str]]:
    """Simulate one pool's engines while the context lasts; yields the simulator and its discovery address."""
    config = parse_config({"pools": [dict(pool)], "poll_seconds": 0.5})
    key = (config.pools[0].namespace, config.pools[0].name)
    simulator = Simulator(config, {key: trace})
    with MetricsServer(simulator, LOOPBACK, 0) as server, playing(simulator, PodLister(cluster.rest())):
        yield simulator, f"http://{server.address}/sd"


def prometheus_config(*discovery: str, scrape_seconds: int = 1) -> Json:
    """Return the configuration of a Prometheus that scrapes what these addresses discover."""
    return {
        "global": {"scrape_interval": f"{scrape_seconds}s", "scrape_timeout": f"{scrape_seconds}s"},
        "scrape_configs": [
            {
                "job_name": "engines",
                "http_sd_configs": [{"url": url, "refresh_interval": "1s"} for url in discovery],
            }
        ],
    }


def engine_deployment(
    name: str,
    pool: devcluster.NodePool,
    *,
    namespace: str,
    replicas: int = 1,
    gpus: int = 1,
) -> Json:
    """Return the Deployment of one role's engines on a node pool."""
    container = {"name": "engine", "image": "vllm", "resources": {"limits": {"nvidia.com/gpu": str(gpus)}}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}, "annotations": pool.cold_start.pod_annotations()},
                "spec": {
                    "nodeSelector": {devcluster.POOL_LABEL: pool.name},
                    "containers": [container],
                },
            },
        },
    }


SPEED: Mapping[str, float] = {
    "prefill_base_seconds": 0.05,
    "prefill_seconds_per_token": 4e-4,
    "decode_base_seconds": 0.02,
    "decode_seconds_per_sequence": 1e-3,
    "max_batch": 16,
    "kv_capacity_tokens": 40_000,
}
"""Of one simulated replica."""
_COLD_START = devcluster.ColdStart(image_pull_seconds=1, model_load_seconds=2)
PROFILE: Mapping[str, object] = {
    "model": "test",
    "accelerator": "NVIDIA-H100-80GB-HBM3",
    "gpusPerReplica": 1,
    "source": "the simulated engines",
    "maxBatch": 16,
    "kvCacheTokens": 40_000,
    "linear": {
        "prefillBase": "50ms",
        "prefillPerThousandTokens": "400ms",
        "decodeBase": "20ms",
        "decodePerSequence": "1ms",
        "decodePerThousandKVTokens": "50us",
    },
}


def steps(*given: Step) -> RequestTrace:
    """Return stepped traffic of 500 prompt and 150 output tokens per request."""
    return stepped_trace(given, input_tokens=500, output_tokens=150)


class Stage:
    """One prefill/decode pool called chat in a namespace, and all around it; a context manager that ends it.

    Args:
        cluster: where.
        namespace: of the pool and its Deployments.
        nodes: GPU nodes with eight GPUs each, which are there from the beginning.
    """

    def __init__(self, cluster: devcluster.Cluster, namespace: str, *, nodes: int) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.nodes = devcluster.NodePool(namespace, gpus_per_node=8, cold_start=_COLD_START)
        self._node_count = nodes
        self._rest = cluster.rest()
        self._stack = ExitStack()
        self._operators: list[RunningOperator] = []
        self._prometheus: devcluster.PrometheusServer | None = None
        self._engines: Simulator | None = None

    def __enter__(self) -> Self:
        self.cluster.add_gpu_nodes(self.nodes, self._node_count)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for operator in self._operators:
            operator.kill()
        if self._prometheus is not None:
            self._prometheus.stop()
        self._stack.close()
        self.cluster.kubectl(
            "delete",
            "gpunodepools.forebay.io,servingprofiles.forebay.io,fleetpolicies.forebay.io",
            "--all",
            "--wait=false",
        )
        self.cluster.kubectl("delete", "nodes", "-l", f"{devcluster.POOL_LABEL}={self.nodes.name}", "--wait=false")
        # A killed leader leaves its lease behind; the next test need not wait for it.
        self.cluster.kubectl("delete", "lease", "--all", "-n", NAMESPACE, "--wait=false")

    @property
    def prometheus(self) -> devcluster.PrometheusServer:
        """The Prometheus that `serve` started."""
        if self._prometheus is None:
            raise RuntimeError("serve() has not been called")
        return self._prometheus

    def deploy(self, *, mode: str = "Auto", replicas: int = 1, restart_guard: str = "30s") -> None:
        """Create the pool, its policy, profile, node pool and Deployments."""
        forebay = "forebay.io/v1alpha1"
        self.add_deployment("chat-prefill", replicas)
        self.add_deployment("chat-decode", replicas)
        self.cluster.apply(
            [
                {
                    "apiVersion": forebay,
                    "kind": "GPUNodePool",
                    "metadata": {"name": self.nodes.name},
                    "spec": {
                        "accelerator": "NVIDIA-H100-80GB-HBM3",
                        "gpusPerNode": 8,
                        "pricePerGPUHour": "2.50",
                        "nodeSelector": {devcluster.POOL_LABEL: self.nodes.name},
                        "leadTimePrior": {"p50": "4s", "p90": "6s"},
                    },
                },
                {
                    "apiVersion": forebay,
                    "kind": "ServingProfile",
                    "metadata": {"name": self.namespace},
                    "spec": PROFILE,
                },
                {
                    "apiVersion": forebay,
                    "kind": "ScalingPolicy",
                    "metadata": {"name": "fast", "namespace": self.namespace},
                    "spec": {"guards": {"restart": restart_guard}, "forecast": {"rateWindow": "15s"}},
                },
            ]
        )
        roles = {role: {"variants": [self._variant(f"chat-{role}")]} for role in ("prefill", "decode")}
        self._apply_pool("chat", mode, roles, {})

    def add_pool(self, name: str, *, target: str, **spec: object) -> None:
        """Create another pool, which serves by one Deployment."""
        self._apply_pool(name, "Auto", {"serve": {"variants": [self._variant(target)]}}, spec)

    def add_deployment(self, name: str, replicas: int = 1) -> None:
        """Create a Deployment of engines."""
        self.cluster.apply(engine_deployment(name, self.nodes, namespace=self.namespace, replicas=replicas))

    def add_hpa(self, target: str) -> None:
        """Create an HPA on a Deployment, called like it."""
        self.cluster.apply(
            {
                "apiVersion": "autoscaling/v2",
                "kind": "HorizontalPodAutoscaler",
                "metadata": {"name": target, "namespace": self.namespace},
                "spec": {
                    "minReplicas": 1,
                    "maxReplicas": 5,
                    "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
                },
            }
        )

    def serve(self, trace: RequestTrace) -> None:
        """Wait for the first engines, then start traffic and a Prometheus that has seen them."""
        eventually(self._engines_are_ready, timeout_seconds=180, describe="the first engines")
        workloads = [{"name": f"chat-{role}", "role": role, "speed": SPEED} for role in ("prefill", "decode")]
        pool = {"name": "chat", "namespace": self.namespace, "workloads": workloads}
        self._engines, discovery = self._stack.enter_context(engines(self.cluster, pool, trace))
        prometheus = self._prometheus = self.cluster.start_prometheus(prometheus_config(discovery))
        eventually(lambda: len(prometheus.query("vllm:num_requests_running")) >= 2, describe="the first scrapes")

    def operate(
        self,
        options: Mapping[str, str] | None = None,
        *,
        name: str = "operator",
        kubeconfig: Path | None = None,
        prometheus: bool = True,
        wait: bool = True,
    ) -> RunningOperator:
        """Start an operator that waits for no history, and wait for its caches unless told otherwise."""
        url = self.prometheus.url if prometheus else "http://127.0.0.1:9"
        given = {"history": "0s", **(options or {})}
        unique = f"{name}-{self.namespace}"
        operator = start_operator(self.cluster, url, name=unique, kubeconfig=kubeconfig, options=given, wait=wait)
        self._operators.append(operator)
        return operator

    def recommend_only(self) -> Path:
        """Return the credentials of a service account that has all of Forebay's rights but the one to scale."""
        name = f"recommender-{self.namespace}"
        subject = {"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}
        account = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": name, "namespace": NAMESPACE},
        }
        roles = [("ClusterRole", "forebay-read"), ("ClusterRole", "forebay-report"), ("Role", "forebay-lead")]
        bindings = [
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": f"{kind}Binding",
                "metadata": {"name": f"{name}-{role}", "namespace": NAMESPACE if kind == "Role" else None},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
                "subjects": [subject],
            }
            for kind, role in roles
        ]
        self.cluster.apply([account, *bindings])
        return self.cluster.kubeconfig_for(NAMESPACE, name)

    def requests_cut_off(self) -> int:
        """Return the requests that pods held when they went."""
        if self._engines is None:
            raise RuntimeError("serve() has not been called")
        pools: Any = self._engines.status()["pools"]
        return sum(int(pool["cut_off"]) for pool in pools)

    def replicas(self) -> dict[str, int]:
        """Return what the Deployments are asked to have."""
        items = self._rest.items(f"/apis/apps/v1/namespaces/{self.namespace}/deployments")
        return {text(item, "metadata", "name"): int(str(mapping(item, "spec")["replicas"])) for item in items}

    def pool(self, name: str = "chat") -> Json:
        """Return a pool as it is."""
        return self._rest.get(f"/apis/forebay.io/v1alpha1/namespaces/{self.namespace}/inferencepools/{name}")

    def pool_status(self, name: str = "chat") -> dict[str, Any]:
        """Return a pool's status; empty before the first report."""
        status = self.pool(name).get("status")
        return status if isinstance(status, dict) else {}

    def node_pool_status(self) -> dict[str, Any]:
        """Return the node pool's status; empty before the first report."""
        status = self._rest.get(f"/apis/forebay.io/v1alpha1/gpunodepools/{self.nodes.name}").get("status")
        return status if isinstance(status, dict) else {}

    def condition(self, kind: str, pool: str = "chat") -> Json:
        """Return a condition of a pool.

        Raises:
            AssertionError: the pool has no such condition (yet).
        """
        conditions: list[Json] = self.pool_status(pool).get("conditions") or []
        found = next((item for item in conditions if item["type"] == kind), None)
        if found is None:
            raise AssertionError(f"{pool} has no condition {kind}: {conditions}")
        return found

    def await_condition(self, kind: str, status: str, *, seconds: float, pool: str = "chat") -> None:
        """Wait until a condition of a pool has a status."""

        def has_it() -> bool:
            return bool(self.condition(kind, pool)["status"] == status)

        eventually(has_it, timeout_seconds=seconds, describe=self.story)

    def recommended(self, role: str) -> int:
        """Return how many replicas Forebay would have; 0 before the first report."""
        roles = self.pool_status().get("roles") or []
        return next((int(item["recommended"]) for item in roles if item["role"] == role), 0)

    def story(self) -> str:
        """Return what a person needs to see when something did not happen."""
        pools = self.cluster.kubectl("get", "inferencepools.forebay.io", "-n", self.namespace, "-o", "yaml")
        logs = "\n".join(operator.log(30) for operator in self._operators)
        return f"{pools}\nreplicas: {self.replicas()}\n{logs}"

    def _engines_are_ready(self) -> bool:
        pods = self._rest.items(f"/api/v1/namespaces/{self.namespace}/pods")
        return len(pods) >= 2 and all(condition_status(pod, "Ready") == "True" for pod in pods)

    def _variant(self, target: str) -> dict[str, object]:
        return {
            "name": target,
            "target": {"kind": "Deployment", "name": target},
            "nodePool": self.nodes.name,
            "profileRef": {"name": self.namespace},
            "startUp": "4s",
            "maxReplicas": 16,
        }

    def _apply_pool(self, name: str, mode: str, roles: object, more: Mapping[str, object]) -> None:
        self.cluster.apply(
            {
                "apiVersion": "forebay.io/v1alpha1",
                "kind": "InferencePool",
                "metadata": {"name": name, "namespace": self.namespace},
                "spec": {
                    "mode": mode,
                    "slo": {"ttft": "1s", "itl": "60ms"},
                    "telemetry": {"engine": "vllm"},
                    "policyRef": {"name": "fast"},
                    "roles": roles,
                    **more,
                },
            }
        )
