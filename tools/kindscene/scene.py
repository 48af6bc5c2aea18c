"""A served model with real pods, and what a journey does to it and sees of it."""

import json
import subprocess
import time
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from devcluster.errors import KubectlError
from devcluster.rest import Json, condition_status, mapping, sequence, text
from devcluster.waiting import eventually
from kindscene import images
from kindscene.installation import MANIFESTS, NAMESPACE, Installation

SERVING = "serving"
ROLES = ("prefill", "decode")
GPU_TYPES = ("h100", "l40s")
_LOAD = f"/api/v1/namespaces/{SERVING}/services/load:9090/proxy"
_API = "/apis/forebay.io/v1alpha1"


class Scene:
    """The pool `chat`: prefill and decode engines on two GPU types, their traffic, and the Forebay beside them.

    Args:
        installation: the cluster, with the chart on it.
    """

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.cluster = installation.cluster
        self.rest = installation.cluster.rest()

    # Setting -----------------------------------------------------------------------------------------------------

    def deploy(self) -> None:
        """Create engines, traffic and pool, as `manifests/kind` has them, and wait for the first engines."""
        for name in ("engines.yaml", "pool.yaml"):
            self.cluster.apply(MANIFESTS / name)
        # A load generator sends nothing more after its hour; the one of a cluster that was kept may be at its end.
        self.cluster.kubectl("rollout", "restart", "deployment", "load", "-n", SERVING)
        rollout = ("rollout", "status", "deployment", "load", "-n", SERVING, "--timeout=60s")
        self.cluster.kubectl(*rollout, timeout_seconds=70)
        self.await_served(seconds=90)

    def calm(self) -> None:
        """Return to one engine of each role, one request per second, and mode Recommend."""
        self.set_mode("Recommend")
        self.send("1")
        for deployment in self.replicas():
            self.scale(deployment, 1 if deployment.endswith("h100") else 0)
        self.await_served(seconds=90)

    def set_mode(self, mode: str) -> None:
        """Set the pool's mode."""
        self.rest.patch(self._pool_path(), {"spec": {"mode": mode}})

    def send(self, steps: str) -> None:
        """Replace the traffic: requests per second, or SECONDS:RATE steps."""
        self.cluster.kubectl("create", "--raw", f"{_LOAD}/traffic", "-f", "-", input=steps)

    def scale(self, deployment: str, replicas: int) -> None:
        """Scale a Deployment by hand."""
        path = f"/apis/apps/v1/namespaces/{SERVING}/deployments/{deployment}"
        self.rest.patch(path, {"spec": {"replicas": replicas}})

    def hold_gpus(self, name: str, gpu_type: str, count: int) -> None:
        """Let somebody else's pods hold GPUs of a type, as many as `count`, one each."""
        documents = yaml.safe_load_all((MANIFESTS / "engines.yaml").read_text())
        engine: Any = next(one for one in documents if one["metadata"]["name"] == f"chat-prefill-{gpu_type}")
        labels = {"app": name}
        engine["metadata"]["name"] = name
        engine["spec"]["replicas"] = count
        engine["spec"]["selector"]["matchLabels"] = labels
        engine["spec"]["template"]["metadata"] = {"labels": labels}
        self.cluster.apply(engine)
        rollout = ("rollout", "status", "deployment", name, "-n", SERVING, "--timeout=60s")
        self.cluster.kubectl(*rollout, timeout_seconds=70)

    def release_gpus(self, name: str) -> None:
        """Take those pods away again."""
        self.cluster.kubectl("delete", "deployment", name, "-n", SERVING, "--ignore-not-found", "--wait=false")

    # Looking -----------------------------------------------------------------------------------------------------

    def replicas(self) -> dict[str, int]:
        """Return what the engines' Deployments are asked to have."""
        items = self.rest.items(f"/apis/apps/v1/namespaces/{SERVING}/deployments")
        return {
            name: int(str(mapping(item, "spec").get("replicas", 0)))
            for item in items
            if (name := text(item, "metadata", "name")).startswith("chat-")
        }

    def asked(self, role: str) -> int:
        """Return how many replicas a role's Deployments are asked to have, over both GPU types."""
        return sum(count for name, count in self.replicas().items() if name.startswith(f"chat-{role}-"))

    def engines(self, selector: str = "app=chat") -> list[Json]:
        """Return the engines' pods, those on their way out left aside."""
        pods = self.rest.items(f"/api/v1/namespaces/{SERVING}/pods", labelSelector=selector)
        return [pod for pod in pods if not text(pod, "metadata", "deletionTimestamp")]

    def ready(self, selector: str) -> int:
        """Return how many engines are Ready."""
        return sum(condition_status(pod, "Ready") == "True" for pod in self.engines(selector))

    def load(self) -> dict[str, Any]:
        """Return what the load generator counted."""
        answer: dict[str, Any] = json.loads(self.cluster.kubectl("get", "--raw", f"{_LOAD}/status"))
        return answer

    def pool(self) -> Json:
        """Return the pool."""
        return self.rest.get(self._pool_path())

    def status(self) -> dict[str, Any]:
        """Return the pool's status, empty before the first report."""
        status = self.pool().get("status")
        return status if isinstance(status, dict) else {}

    def recommended(self, role: str) -> int:
        """Return how many replicas of a role Forebay would have; 0 before the first report."""
        roles = self.status().get("roles") or []
        return next((int(item["recommended"]) for item in roles if item["role"] == role), 0)

    def condition(self, kind: str) -> Json:
        """Return a condition of the pool, empty where it has none."""
        return next((one for one in sequence(self.pool(), "status", "conditions") if one["type"] == kind), {})

    def leader(self) -> str:
        """Return the pod that leads, empty where none holds the Lease."""
        path = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/forebay"
        return text(self.rest.get(path), "spec", "holderIdentity")

    def operators(self) -> dict[str, str]:
        """Return the operator's Ready pods and their nodes."""
        pods = self.rest.items(f"/api/v1/namespaces/{NAMESPACE}/pods")
        return {
            text(pod, "metadata", "name"): text(pod, "spec", "nodeName")
            for pod in pods
            if condition_status(pod, "Ready") == "True" and not text(pod, "metadata", "deletionTimestamp")
        }

    # Waiting -----------------------------------------------------------------------------------------------------

    def await_true(self, check: Callable[[], object], *, seconds: float, what: str) -> None:
        """Wait until a check is true; the failure tells the whole story."""

        def passed() -> bool:
            return bool(check())

        eventually(passed, timeout_seconds=seconds, describe=lambda: f"{what}\n{self.story()}")

    def await_served(self, *, seconds: float) -> None:
        """Wait until every engine that is asked for is Ready, and no other is left."""

        def served() -> bool:
            asked = sum(self.replicas().values())
            return self.ready("app=chat") == asked == len(self.engines())

        self.await_true(served, seconds=seconds, what="all engines Ready")

    def watch(self, *, seconds: float, never: Callable[[], str]) -> None:
        """Look twice a second for a while, and fail as soon as `never` says what must not be."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            trouble = never()
            if trouble:
                raise AssertionError(f"{trouble}\n{self.story()}")
            time.sleep(0.5)

    def story(self) -> str:
        """Return what a person needs to see when something did not happen."""
        parts = {
            "pods": ("get", "pods", "-A", "-o", "wide", "--field-selector=metadata.namespace!=kube-system"),
            "pool": ("get", "inferencepools.forebay.io", "chat", "-n", SERVING, "-o", "yaml"),
            "node pools": ("get", "gpunodepools.forebay.io", "-o", "wide"),
            "operator": ("logs", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=forebay", "--tail=25", "--prefix"),
        }
        return "\n".join(f"--- {title}\n{self._said(command)}" for title, command in parts.items())

    def artifacts(self) -> Mapping[str, str]:
        """Return everything worth keeping of a failure, by file name."""
        everywhere = ("get", "all", "-A", "-o", "wide")
        commands = {
            "resources.txt": everywhere,
            "nodes.yaml": ("get", "nodes", "-o", "yaml"),
            "events.txt": ("get", "events", "-A", "--sort-by=.lastTimestamp"),
            "forebay.yaml": ("get", "forebay", "-A", "-o", "yaml"),
            "lease.yaml": ("get", "lease", "-n", NAMESPACE, "-o", "yaml"),
            "operator.log": (
                "logs",
                "-n",
                NAMESPACE,
                "-l",
                "app.kubernetes.io/name=forebay",
                "--tail=-1",
                "--prefix",
            ),
            "prometheus.log": ("logs", "-n", "monitoring", "-l", "app=prometheus", "--tail=200"),
            "load.json": ("get", "--raw", f"{_LOAD}/status"),
        }
        return {name: self._said(command) for name, command in commands.items()}

    def inference_sim_image(self) -> str:
        """Return the image of llm-d-inference-sim, known to every node."""
        image = images.inference_sim(self.installation.binaries)
        self.installation.load(image)
        return image

    def _said(self, command: tuple[str, ...]) -> str:
        """Return what kubectl says, its complaint where it fails: half a story is better than none."""
        try:
            return self.cluster.kubectl(*command, timeout_seconds=20)
        except (KubectlError, OSError, subprocess.TimeoutExpired) as error:
            return str(error)

    def _pool_path(self) -> str:
        return f"{_API}/namespaces/{SERVING}/inferencepools/chat"
