"""A served model with real pods: setting it up, looking at it, and waiting for what should become of it."""

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from kubernetes.client.exceptions import ApiException

from devcluster.rest import Json, condition_status, mapping, sequence, text
from devcluster.waiting import eventually
from kindscene import evidence
from kindscene.installation import Installation
from kindscene.places import LOAD_API, MANIFESTS, NAMESPACE, SERVING
from kindscene.troubles import Troubles

ROLES = ("prefill", "decode")
_API = "/apis/forebay.io/v1alpha1"
_POOL = f"{_API}/namespaces/{SERVING}/inferencepools/{{}}"
_LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/forebay"


class Scene:
    """The pool `chat`: prefill and decode engines on two GPU types, their traffic, and the Forebay beside them.

    Args:
        installation: the cluster, with the chart on it.

    Attributes:
        cluster: its API, for what is not offered here.
        troubles: what a journey breaks.
    """

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.cluster = installation.cluster
        self.troubles = Troubles(installation)
        self._rest = installation.cluster.rest()

    # Setting -----------------------------------------------------------------------------------------------------

    def deploy(self) -> None:
        """Create engines, traffic and pool, as `manifests/kind` has them, and wait for the first engines."""
        for name in ("engines.yaml", "pool.yaml"):
            self.cluster.apply(MANIFESTS / name)
        # A load generator sends nothing more after its hour; the one of a cluster that was kept may be at its end.
        self.cluster.kubectl("rollout", "restart", "deployment", "load", "-n", SERVING)
        self.installation.await_rollout("load", SERVING)
        self.await_served(seconds=90)

    def calm(self) -> None:
        """Return to one engine of each role, one request per second, and mode Recommend."""
        self.set_mode("Recommend")
        self.send("1")
        self.scale({name: int(name.endswith("h100")) for name in self.replicas()})
        self.await_served(seconds=90)

    def follow(self, *, requests_per_second: float = 4.0) -> None:
        """Serve more traffic with as many engines as it needs, in mode Auto, and wait until nothing moves."""
        self.scale(self.replicas() | {"chat-prefill-h100": 2, "chat-decode-h100": 1, "chat-decode-l40s": 3})
        self.await_served(seconds=60)
        self.send(f"{requests_per_second:g}")
        self.set_mode("Auto")
        self.await_true(self._follows, seconds=90, what="recommended replicas, all of them Ready")

    def _follows(self) -> bool:
        """Whether Forebay has seen the traffic and every role has what it recommends."""
        for role in ROLES:
            asked = self.asked(role)
            if not 1 < asked == self.recommended(role) == self.ready(f"app=chat,role={role}"):
                return False
        return self.decided()

    def set_mode(self, mode: str) -> None:
        """Set the pool's mode."""
        self._rest.patch(_POOL.format("chat"), {"spec": {"mode": mode}})

    def send(self, steps: str) -> None:
        """Replace the traffic: requests per second, or SECONDS:RATE steps."""
        self.cluster.kubectl("create", "--raw", f"{LOAD_API.format('load')}/traffic", "-f", "-", input=steps)

    def scale(self, replicas: Mapping[str, int]) -> None:
        """Scale Deployments by hand."""
        for deployment, count in replicas.items():
            path = f"/apis/apps/v1/namespaces/{SERVING}/deployments/{deployment}"
            self._rest.patch(path, {"spec": {"replicas": count}})

    # Looking -----------------------------------------------------------------------------------------------------

    def replicas(self) -> dict[str, int]:
        """Return what the engines' Deployments are asked to have."""
        items = self._rest.items(f"/apis/apps/v1/namespaces/{SERVING}/deployments")
        return {
            name: int(str(mapping(item, "spec").get("replicas", 0)))
            for item in items
            if (name := text(item, "metadata", "name")).startswith("chat-")
        }

    def asked(self, role: str) -> int:
        """Return how many replicas a role's Deployments are asked to have, over both GPU types."""
        return sum(count for name, count in self.replicas().items() if name.startswith(f"chat-{role}-"))

    def shrunk(self, before: Mapping[str, int]) -> str:
        """Return a sentence where a Deployment is asked to have less than before, else nothing."""
        now = self.replicas()
        less = [
            f"{name} {count} -> {now.get(name, 0)}" for name, count in before.items() if now.get(name, 0) < count
        ]
        return f"capacity was given up: {', '.join(less)}" if less else ""

    def engines(self, selector: str = "app=chat") -> list[Json]:
        """Return the engines' pods, those on their way out left aside."""
        pods = self._rest.items(f"/api/v1/namespaces/{SERVING}/pods", labelSelector=selector)
        return [pod for pod in pods if not text(pod, "metadata", "deletionTimestamp")]

    def ready(self, selector: str) -> int:
        """Return how many engines are Ready."""
        return sum(condition_status(pod, "Ready") == "True" for pod in self.engines(selector))

    def engines_on(self, node: str) -> list[str]:
        """Return the engines on a node, those on their way out left aside."""
        return [text(pod, "metadata", "name") for pod in self.engines() if text(pod, "spec", "nodeName") == node]

    def busiest_node(self, selector: str) -> str:
        """Return the node with the most engines that a selector names."""
        nodes = Counter(text(pod, "spec", "nodeName") for pod in self.engines(selector))
        return nodes.most_common(1)[0][0]

    def load(self, generator: str = "load") -> dict[str, Any]:
        """Return what a load generator counted."""
        answer: dict[str, Any] = json.loads(
            self.cluster.kubectl("get", "--raw", f"{LOAD_API.format(generator)}/status")
        )
        return answer

    def attainment(self, generator: str = "load") -> float:
        """Return the share of requests that met their objectives in the last half-minute."""
        attainment = self.load(generator)["attainment"]
        return float(attainment) if attainment is not None else 0.0

    def pool(self, name: str = "chat") -> Json:
        """Return a pool."""
        return self._rest.get(_POOL.format(name))

    def status(self, pool: str = "chat") -> dict[str, Any]:
        """Return a pool's status, empty before the first report."""
        status = self.pool(pool).get("status")
        return status if isinstance(status, dict) else {}

    def decided(self) -> bool:
        """Whether the pool's status is about its present spec."""
        return self.status().get("observedGeneration") == mapping(self.pool(), "metadata")["generation"]

    def recommended(self, role: str) -> int:
        """Return how many replicas of a role Forebay would have; 0 before the first report."""
        roles = self.status().get("roles") or []
        return next((int(item["recommended"]) for item in roles if item["role"] == role), 0)

    def condition(self, kind: str, *, pool: str = "chat") -> str:
        """Return the status of a condition of a pool, empty where it has none."""
        conditions = sequence(self.pool(pool), "status", "conditions")
        return next((str(one["status"]) for one in conditions if one["type"] == kind), "")

    def node_pool(self, name: str) -> dict[str, Any]:
        """Return a node pool's status."""
        status = self._rest.get(f"{_API}/gpunodepools/{name}").get("status")
        return status if isinstance(status, dict) else {}

    def leader(self) -> str:
        """Return who holds the Lease, empty where nobody does."""
        try:
            return text(self._rest.get(_LEASE), "spec", "holderIdentity")
        except ApiException as error:
            if error.status != 404:
                raise
            return ""

    def operators(self) -> dict[str, str]:
        """Return the operator's Ready pods and their nodes."""
        pods = self._rest.items(f"/api/v1/namespaces/{NAMESPACE}/pods")
        return {
            text(pod, "metadata", "name"): text(pod, "spec", "nodeName")
            for pod in pods
            if condition_status(pod, "Ready") == "True" and not text(pod, "metadata", "deletionTimestamp")
        }

    def leading_pod(self) -> str:
        """Return the Ready operator pod that holds the Lease, empty where none does."""
        holder = self.leader()
        return next((pod for pod in self.operators() if pod in holder), "")

    def going(self) -> list[str]:
        """Return what is on its way out in the namespaces of the model and the release."""
        kinds = "pods,deployments,replicasets,services,inferencepools.forebay.io,scalingpolicies.forebay.io"
        found: list[Json] = []
        for namespace in (SERVING, NAMESPACE):
            found += sequence(
                json.loads(self.cluster.kubectl("get", kinds, "-n", namespace, "-o", "json")), "items"
            )
        return [
            f"{text(item, 'kind')} {text(item, 'metadata', 'name')}"
            for item in found
            if text(item, "metadata", "deletionTimestamp")
        ]

    # Waiting -----------------------------------------------------------------------------------------------------

    def await_true(self, check: Callable[[], object], *, seconds: float, what: str) -> None:
        """Wait until a check is true; the failure tells the whole story."""

        def passed() -> bool:
            return bool(check())

        eventually(passed, timeout_seconds=seconds, describe=lambda: f"{what}\n{evidence.story(self.cluster)}")

    def await_served(self, *, seconds: float) -> None:
        """Wait until every engine that is asked for is Ready, and no other is left."""

        def served() -> bool:
            asked = sum(self.replicas().values())
            return self.ready("app=chat") == asked == len(self.engines())

        self.await_true(served, seconds=seconds, what="all engines Ready")

    def carries_on(self, trouble: Callable[[], object], *, led_by: Callable[[str], bool]) -> None:
        """Do something to Forebay; fail if capacity is given up, or the next leader does not follow more traffic.

        Args:
            trouble: what is done.
            led_by: whether a pod, by name, is the leader that is awaited.
        """
        before = self.replicas()
        trouble()
        self.watch_until(
            lambda: (pod := self.leading_pod()) and led_by(pod),
            seconds=90,
            what="another leader",
            never=lambda: self.shrunk(before),
        )
        # Within its first minute a leader releases nothing (`guards.restart` of the pool's policy).
        self.watch(seconds=15, never=lambda: self.shrunk(before))
        now = self.replicas()
        self.send("9")
        self.await_true(lambda: sum(self.replicas().values()) > sum(now.values()), seconds=60, what="a scale-out")

    def watch_until(
        self, check: Callable[[], object], *, seconds: float, what: str, never: Callable[[], str]
    ) -> None:
        """Wait until a check is true, and fail as soon as `never` says what must not be on the way there."""
        trouble = ""

        def ended() -> bool:
            nonlocal trouble
            trouble = never()
            return bool(trouble or check())

        self.await_true(ended, seconds=seconds, what=what)
        if trouble:
            raise AssertionError(f"{trouble}\n{evidence.story(self.cluster)}")

    def watch(self, *, seconds: float, never: Callable[[], str]) -> None:
        """Look twice a second for a while, and fail as soon as `never` says what must not be."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            trouble = never()
            if trouble:
                raise AssertionError(f"{trouble}\n{evidence.story(self.cluster)}")
            time.sleep(0.5)
