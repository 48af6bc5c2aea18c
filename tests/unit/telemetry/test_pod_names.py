"""Pods to workloads."""

import pytest

from forebay.flow.fleet import PoolKey, Role, Slo
from forebay.telemetry.query.pod_names import asked_separately, reduced_name, workload_of_pod
from forebay.telemetry.source import PoolTarget, WorkloadTarget
from tests.keys import serve

V, A, B = serve("v"), serve("a"), serve("b")


@pytest.mark.parametrize(
    ("pod", "workload"),
    [
        ("chat-7d9f8b6c5d-x2k4z", "chat"),
        ("llama-3-70b-7d9f8b6c5d-x2k4z", "llama-3-70b"),
        ("chat-bcdfg-7d9f8b6c5d-x2k4z", "chat-bcdfg"),
        ("decode-0", "decode"),
        ("decode-12", "decode"),
        ("decode-h100-3", "decode-h100"),
        ("group-0-7", "group"),
        ("plain-x2k4z", "plain"),
        ("web", None),
        ("", None),
    ],
)
def test_a_pods_name_tells_its_workload(pod: str, workload: str | None) -> None:
    assert workload_of_pod(pod) == workload


def workload(name: str, kind: str = "Deployment", variant: str = "v") -> WorkloadTarget:
    return WorkloadTarget(variant=serve(variant), role=Role.SERVE, name=name, kind=kind)


def pool(*workloads: WorkloadTarget, name: str = "p", namespace: str = "ns") -> PoolTarget:
    slo = Slo(ttft_seconds=1.0, itl_seconds=0.05)
    return PoolTarget(key=PoolKey(namespace, name), slo=slo, engine="vllm", workloads=workloads)


def test_a_name_that_kubernetes_cuts_cannot_be_reduced() -> None:
    assert reduced_name(workload("a" * 46)) == "a" * 46
    assert reduced_name(workload("a" * 47)) is None
    assert reduced_name(workload("a" * 50, "StatefulSet")) == "a" * 50


def test_workloads_that_reduce_to_one_name_are_asked_for_separately() -> None:
    key = PoolKey("ns", "p")
    one, other = workload("web-1", "StatefulSet", "a"), workload("web", "Deployment", "b")
    assert asked_separately([pool(one, other, workload("x"))]) == {(key, serve("a")), (key, serve("b"))}


def test_other_namespaces_do_not_matter() -> None:
    assert not asked_separately([pool(workload("web-1", "StatefulSet")), pool(workload("web"), namespace="other")])


def test_two_pools_on_one_workload_share_its_series() -> None:
    assert not asked_separately([pool(workload("web")), pool(workload("web"), name="q")])
