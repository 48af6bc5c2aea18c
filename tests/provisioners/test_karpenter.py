"""Journeys on the real Karpenter: nodes come, are missing, and go, while the operator runs."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from devcluster import Cluster
from devcluster.rest import mapping, text
from tests.provisioners.stage import H100, L40S, Journey, Kind

pytestmark = pytest.mark.usefixtures("karpenter")


@pytest.fixture
def journey(cluster: Cluster, namespace: str) -> Iterator[Journey]:
    with Journey(cluster, namespace) as journey:
        yield journey


def static(journey: Journey) -> dict[str, Any]:
    return {"type": "KarpenterStatic", "karpenterStatic": {"nodePool": journey.name_of(H100)}}


def is_ready(journey: Journey, kind: Kind, count: int) -> Callable[[], bool]:
    return lambda: journey.ready(kind) == count


def uids(journey: Journey, kind: Kind) -> set[str]:
    return {text(pod, "metadata", "uid") for pod in journey.pods(kind)}


def test_dynamic_nodes_come_for_replicas_and_go_when_they_are_empty(journey: Journey) -> None:
    """Protects running work: nodes come with replicas, and no node that a replica runs on is taken."""
    journey.node_class()
    journey.karpenter_pool(L40S)
    journey.deploy(L40S)
    journey.want(4)
    journey.operate()
    journey.until(is_ready(journey, L40S, 4), seconds=120)
    assert len(journey.nodes(L40S)) == 2
    journey.until(lambda: journey.states(L40S) == {"usable": 2}, seconds=30)
    assert journey.status(L40S)["costPerHour"] == "16.00"
    before = uids(journey, L40S)
    journey.want(1)
    journey.until(lambda: len(journey.nodes(L40S)) == 1, seconds=180)
    assert journey.ready(L40S) == 1
    assert uids(journey, L40S) <= before, "no replica was moved"


def test_a_limit_is_told_and_counted_on(journey: Journey) -> None:
    """Protects from waiting for nodes that Karpenter may not buy: it says nothing of its limits by itself."""
    journey.node_class()
    journey.karpenter_pool(L40S, limits={"nvidia.com/gpu": "4"})
    journey.deploy(L40S)
    journey.want(4)
    journey.operate()
    journey.until(is_ready(journey, L40S, 2), seconds=120)

    def told() -> None:
        reason = journey.status(L40S).get("blockedReason", "")
        assert reason.endswith("has used 4 of its limit of 4 nvidia.com/gpu.")

    journey.until(told, seconds=60)


def test_a_launch_error_is_told_in_the_cloud_s_words_and_forgotten_when_nodes_come(journey: Journey) -> None:
    """Protects the person on call from searching: the quota that is missing stands in the status."""
    cloud = journey.node_class()
    cloud.broken("QuotaExceeded: GPUS_ALL_REGIONS limit 8")
    journey.karpenter_pool(L40S)
    journey.deploy(L40S)
    journey.want(2)
    journey.operate()

    def told() -> None:
        ready = journey.condition(L40S, "Ready")
        assert ready.get("reason") == "Blocked"
        assert "GPUS_ALL_REGIONS limit 8" in ready["message"]
        assert journey.status(L40S)["lastFailure"]["reason"] == "LaunchFailed"

    journey.until(told, seconds=60)
    cloud.broken(None)
    journey.until(is_ready(journey, L40S, 2), seconds=180)
    journey.until(lambda: "blockedUntil" not in journey.status(L40S), seconds=60)


def test_a_static_pool_follows_replicas_up_and_down_with_late_gpus(journey: Journey) -> None:
    """Protects the count of a static pool: usable is what the scheduler can use, and only empty nodes go."""
    journey.node_class().late_gpus()
    journey.karpenter_pool(H100, static=True, annotations={"devcluster.forebay.io/gpus-ready-seconds": "10"})
    journey.deploy(H100, gpus=8, provider=static(journey))
    journey.want(2)
    journey.operate()
    journey.until(lambda: journey.asked(H100) == 2, seconds=60)
    # Karpenter calls the nodes initialized by now, and they have no GPUs.
    journey.until(lambda: journey.states(H100).get("registered") == 2, seconds=60)
    journey.until(is_ready(journey, H100, 2), seconds=90)
    before = uids(journey, H100)
    journey.want(1)
    journey.until(lambda: journey.asked(H100) == 1, seconds=60)
    journey.until(lambda: len(journey.nodes(H100)) == 1, seconds=90)
    assert journey.ready(H100) == 1
    assert uids(journey, H100) <= before, "no replica was moved"


def test_a_static_pool_that_is_sold_out_keeps_no_raised_number(journey: Journey) -> None:
    """Protects the cloud and the bill: Karpenter would try every second, for ever."""
    journey.node_class().sold_out("h100-8x")
    journey.karpenter_pool(H100, static=True)
    journey.deploy(H100, gpus=8, provider=static(journey))
    journey.want(2)
    journey.operate()
    journey.until(lambda: "blockedUntil" in journey.status(H100), seconds=60)
    journey.until(lambda: journey.asked(H100) == 0, seconds=30)
    assert journey.status(H100)["lastFailure"]["reason"] == "SoldOut"
    assert "no capacity for h100-8x" in journey.status(H100)["blockedReason"]


def test_an_operator_killed_between_asking_and_arriving_takes_nothing_back(journey: Journey) -> None:
    """Protects what was ordered: the number stands in the object, and the next process finds it."""
    journey.node_class(delay="15s")
    journey.karpenter_pool(H100, static=True)
    journey.deploy(H100, gpus=8, provider=static(journey))
    journey.want(2)
    operator = journey.operate()
    journey.until(lambda: journey.asked(H100) == 2, seconds=60)
    operator.kill()
    operator.restart()
    asked: set[int] = set()

    def arrived() -> bool:
        asked.add(journey.asked(H100))
        return journey.ready(H100) == 2

    journey.until(arrived, seconds=120)
    assert asked == {2}


def test_a_buffer_is_kept_used_and_refilled(journey: Journey) -> None:
    """Protects fast starts: a replica takes room that is there, and the room comes back."""
    journey.node_class()
    journey.karpenter_pool(L40S)
    provider = {"type": "CapacityBuffer", "capacityBuffer": {"namespace": journey.namespace}}
    journey.deploy(L40S, provider=provider, warm={"min": 1})
    journey.want(1)
    journey.operate()
    # One replica of two GPUs, and two chunks of two: two nodes of four.
    journey.until(is_ready(journey, L40S, 1), seconds=120)
    journey.until(lambda: len(journey.nodes(L40S)) == 2, seconds=120)
    journey.until(lambda: journey.status(L40S).get("freeGPUs") == 6, seconds=60)
    journey.want(3)
    journey.until(is_ready(journey, L40S, 3), seconds=60)
    assert max(waits(journey, L40S)) <= 10.0, "no replica waited for a new node"
    journey.until(lambda: len(journey.nodes(L40S)) == 3, seconds=120)


def test_placeholders_give_way_at_once_and_come_back(journey: Journey) -> None:
    """Protects fast starts where there is no buffer API; what placeholders hold counts as free."""
    journey.node_class()
    journey.karpenter_pool(L40S)
    provider = {"type": "Placeholder", "placeholder": {"namespace": journey.namespace}}
    journey.deploy(L40S, provider=provider, warm={"min": 1})
    journey.want(1)
    journey.operate()
    journey.until(is_ready(journey, L40S, 1), seconds=120)
    journey.until(lambda: placeholders(journey) == 2, seconds=120)
    journey.until(lambda: journey.status(L40S).get("freeGPUs") == 6, seconds=60)
    journey.want(4)
    journey.until(is_ready(journey, L40S, 4), seconds=60)
    journey.until(lambda: placeholders(journey) == 2, seconds=120)
    assert len(journey.nodes(L40S)) == 3


def test_a_machine_that_vanishes_is_replaced(journey: Journey) -> None:
    """Protects against machines that go without a word: their replicas come back on another node."""
    journey.node_class()
    journey.karpenter_pool(L40S)
    journey.deploy(L40S)
    journey.want(2)
    journey.operate()
    journey.until(is_ready(journey, L40S, 2), seconds=120)
    (node,) = journey.nodes(L40S)
    name, before = text(node, "metadata", "name"), uids(journey, L40S)
    journey.rest.patch(f"/api/v1/nodes/{name}", {"metadata": {"finalizers": None}})
    journey.rest.delete(f"/api/v1/nodes/{name}")
    journey.until(lambda: journey.ready(L40S) == 2 and not uids(journey, L40S) & before, seconds=240)


def placeholders(journey: Journey) -> int:
    """Return the placeholders that run."""
    pods = journey.rest.items(
        f"/api/v1/namespaces/{journey.namespace}/pods", labelSelector="forebay.io/placeholder"
    )
    return sum(text(pod, "status", "phase") == "Running" for pod in pods)


def waits(journey: Journey, kind: Kind) -> list[float]:
    """Return how long the youngest two replicas waited for their node, in seconds."""
    from datetime import datetime

    pods = sorted(journey.pods(kind), key=lambda pod: text(pod, "metadata", "creationTimestamp"))[-2:]
    found: list[float] = []
    for pod in pods:
        conditions: Any = mapping(pod, "status")["conditions"]
        scheduled = next(item for item in conditions if item["type"] == "PodScheduled")["lastTransitionTime"]
        created = text(pod, "metadata", "creationTimestamp")
        found.append((datetime.fromisoformat(scheduled) - datetime.fromisoformat(created)).total_seconds())
    return found
