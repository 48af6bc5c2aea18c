"""Which pods serve: the Ready pods of the workloads, listed from the API server."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from kubernetes.client.exceptions import ApiException

from devcluster.rest import Json, Rest, condition_status, mapping, text
from enginesim.config import PoolConfig, Workload
from enginesim.errors import EngineSimError
from forebay.actuation.victims import SERVING


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod as far as it matters here."""

    name: str
    namespace: str
    node: str
    ip: str
    ready: bool
    """Ready, not being deleted, and not parked: what a Service sends requests to."""
    labels: Mapping[str, str] = field(default_factory=dict)


class PodLister:
    """Lists the pods of workloads; selectors come from each workload's ``/scale`` and are remembered."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest
        self._selectors: dict[tuple[str, str, str], str] = {}

    def pods(self, pool: PoolConfig, workload: Workload) -> list[Pod]:
        """Return the pods of ``workload``, Ready or not; none while the workload does not exist.

        Raises:
            ApiException: the API server refused, or did not answer.
            EngineSimError: the workload tells no selector.
        """
        selector = workload.selector or self._selector(pool, workload)
        if selector is None:
            return []
        path = f"/api/v1/namespaces/{pool.namespace}/pods"
        return [parse_pod(item) for item in self._rest.items(path, labelSelector=selector, resourceVersion="0")]

    def _selector(self, pool: PoolConfig, workload: Workload) -> str | None:
        key = (pool.namespace, workload.kind, workload.name)
        if key not in self._selectors:
            prefix = "/apis" if "/" in workload.api else "/api"
            plural = workload.plural or f"{workload.kind.lower()}s"
            path = f"{prefix}/{workload.api}/namespaces/{pool.namespace}/{plural}/{workload.name}/scale"
            try:
                selector = text(self._rest.get(path), "status", "selector")
            except ApiException as error:
                if error.status == 404:
                    return None
                raise
            if not selector:
                raise EngineSimError(
                    f"{workload.kind} {pool.namespace}/{workload.name} has no selector in its /scale; give one"
                )
            self._selectors[key] = selector
        return self._selectors[key]


def parse_pod(item: Json) -> Pod:
    """Return a pod from the API server's JSON."""
    ready = condition_status(item, "Ready") == "True"
    labels = {key: value for key, value in mapping(item, "metadata", "labels").items() if isinstance(value, str)}
    return Pod(
        name=text(item, "metadata", "name"),
        namespace=text(item, "metadata", "namespace"),
        node=text(item, "spec", "nodeName"),
        ip=text(item, "status", "podIP"),
        ready=ready and not text(item, "metadata", "deletionTimestamp") and labels.get(SERVING) != "false",
        labels=labels,
    )
