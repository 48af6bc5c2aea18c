"""What a scene sees: pods on their way out, missing answers and other people's workloads are told apart."""

import json

import pytest

from tests.unit.kindscene.worlds import FakeInstallation, deployment, listed, pod, scene

DEPLOYMENTS = "/apis/apps/v1/namespaces/serving/deployments"
PODS = "/api/v1/namespaces/serving/pods"
OPERATORS = "/api/v1/namespaces/forebay-system/pods"
POOL = "/apis/forebay.io/v1alpha1/namespaces/serving/inferencepools/chat"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/forebay-system/leases/forebay"


def _pool(installation: FakeInstallation, *, generation: int = 2, **status: object) -> None:
    installation.cluster.fake.objects[POOL] = {"metadata": {"generation": generation}, "status": status}


def test_only_engines_count() -> None:
    made, installation = scene()
    installation.cluster.fake.objects[DEPLOYMENTS] = [
        deployment("chat-prefill-h100", 2),
        deployment("chat-decode-h100", 1),
        deployment("chat-decode-l40s", 3),
        deployment("load", 1),
    ]
    assert made.replicas() == {"chat-prefill-h100": 2, "chat-decode-h100": 1, "chat-decode-l40s": 3}
    assert (made.asked("prefill"), made.asked("decode")) == (2, 4)


@pytest.mark.parametrize(
    ("before", "sentence"),
    [
        ({"chat-decode-h100": 1}, ""),
        ({"chat-decode-h100": 0}, ""),
        ({"chat-decode-h100": 2}, "capacity was given up: chat-decode-h100 2 -> 1"),
        ({"chat-gone": 1}, "capacity was given up: chat-gone 1 -> 0"),
    ],
)
def test_less_than_before_is_said(before: dict[str, int], sentence: str) -> None:
    made, installation = scene()
    installation.cluster.fake.objects[DEPLOYMENTS] = [deployment("chat-decode-h100", 1)]
    assert made.shrunk(before) == sentence


def test_pods_on_their_way_out_serve_nobody() -> None:
    made, installation = scene()
    installation.cluster.fake.objects[PODS] = [
        pod("a", node="n1", app="chat", role="decode"),
        pod("b", node="n2", app="chat", role="decode", ready=False),
        pod("c", node="n2", app="chat", role="decode"),
        pod("d", node="n3", app="chat", role="decode", going=True),
        pod("e", node="n3", app="load"),
    ]
    assert made.ready("app=chat,role=decode") == 2
    assert made.busiest_node("app=chat") == "n2"
    assert made.engines_on("n2") == ["b", "c"]
    assert made.engines_on("n3") == []


def test_a_pool_that_never_reported_has_no_figures() -> None:
    made, installation = scene()
    installation.cluster.fake.objects[POOL] = {"metadata": {"generation": 1}}
    assert made.recommended("decode") == 0
    assert made.condition("MetricsFresh") == ""
    assert not made.decided()


def test_a_report_about_an_older_spec_is_no_decision() -> None:
    made, installation = scene()
    roles = [{"role": "decode", "recommended": 4}]
    conditions = [{"type": "MetricsFresh", "status": "False"}]
    _pool(installation, observedGeneration=1, roles=roles, conditions=conditions)
    assert not made.decided()
    _pool(installation, observedGeneration=2, roles=roles, conditions=conditions)
    assert made.decided()
    assert made.recommended("decode") == 4
    assert made.condition("MetricsFresh") == "False"


def test_only_a_ready_pod_that_holds_the_lease_leads() -> None:
    made, installation = scene()
    objects = installation.cluster.fake.objects
    objects[OPERATORS] = [pod("forebay-a", ready=False), pod("forebay-b")]
    assert made.leading_pod() == ""
    objects[LEASE] = {"spec": {"holderIdentity": "forebay-a_17"}}
    assert made.leading_pod() == ""
    objects[LEASE] = {"spec": {"holderIdentity": "forebay-b_17"}}
    assert made.leading_pod() == "forebay-b"


def test_what_is_terminating_is_named() -> None:
    made, installation = scene()
    gone = {"kind": "Pod", "metadata": {"name": "x", "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    stays = {"kind": "Pod", "metadata": {"name": "y"}}
    installation.cluster.said["get pods,"] = listed(gone, stays)
    assert made.going() == ["Pod x", "Pod x"], "once in either namespace"


@pytest.mark.parametrize(("answer", "share"), [(None, 0.0), (0.5, 0.5)])
def test_no_answered_request_is_no_attainment(answer: float | None, share: float) -> None:
    made, installation = scene()
    installation.cluster.said["get --raw"] = json.dumps({"attainment": answer})
    assert made.attainment() == share


def test_what_must_not_be_ends_the_wait_at_once() -> None:
    made, _ = scene()
    with pytest.raises(AssertionError, match="it fell"):
        made.watch_until(lambda: False, seconds=30, what="the end", never=lambda: "it fell")
    made.watch_until(lambda: True, seconds=0, what="the end", never=lambda: "")


def test_a_wait_in_vain_tells_the_state_of_everything() -> None:
    made, installation = scene()
    installation.cluster.said["get nodes"] = "n1 NotReady"
    with pytest.raises(AssertionError, match=r"(?s)three engines.*--- nodes\nn1 NotReady.*--- operator"):
        made.await_true(lambda: 0, seconds=0, what="three engines")
