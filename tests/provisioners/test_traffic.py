"""Journeys on the real Karpenter in which replicas follow the traffic of simulated engines."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster import Cluster
from devcluster.rest import text
from runoperator.scenario import Step, steps
from tests.provisioners.conformance import RESOURCES, simulated_replicas
from tests.provisioners.stage import H100, L40S, Journey

pytestmark = pytest.mark.usefixtures("karpenter")

_COMPARED_AT_SECONDS = 120.0
_EVENTS = "/api/v1/namespaces/default/events"


@pytest.fixture
def journey(cluster: Cluster, namespace: str) -> Iterator[Journey]:
    with Journey(cluster, namespace) as journey:
        yield journey


def test_another_type_takes_over_in_the_round_of_the_word(journey: Journey, tmp_path: Path) -> None:
    """Protects requests in a ramp: nobody waits for a deadline once the provisioner has spoken.

    The same in the simulator comes to the same replicas.
    """
    cloud = journey.node_class()
    for kind in (L40S, H100):
        journey.karpenter_pool(kind)
        journey.deploy(kind, replicas=1 if kind is L40S else 0)
    journey.until(lambda: journey.ready(L40S) == 1, seconds=90)
    cloud.sold_out(L40S.instance_type, seconds=20)
    traffic = steps(Step(20, 1.0), Step(400, 5.0))
    journey.serve(traffic)
    served = time.monotonic()
    journey.want(1, 8)
    operator = journey.operate()
    rounds: dict[str, float] = {}

    def taken_over() -> bool:
        now = operator.metric("forebay_rounds_total")
        if told(journey):
            rounds.setdefault("told", now)
        if journey.replicas(H100) > 0:
            rounds.setdefault("taken over", now)
        return "taken over" in rounds

    journey.until(taken_over, seconds=180)
    assert told(journey)
    # The round that was under way when the word came, and the one that heard it.
    assert rounds["taken over"] - rounds.get("told", rounds["taken over"]) <= 2, rounds
    journey.until(lambda: journey.ready(H100) >= 1, seconds=90)
    assert journey.status(L40S)["lastFailure"]["reason"] == "SoldOut"
    time.sleep(max(0.0, served + _COMPARED_AT_SECONDS - time.monotonic()))
    real = {kind.name: journey.replicas(kind) for kind in (L40S, H100)}
    simulated = simulated_replicas(
        journey.cluster.kubectl("get", RESOURCES, "-n", journey.namespace, "-o", "yaml"),
        traffic,
        tmp_path,
        sold_out=[journey.name_of(L40S)],
        node_seconds=4.0,
        at=_COMPARED_AT_SECONDS,
    )
    assert simulated.keys() == real.keys()
    assert all(abs(simulated[name] - real[name]) <= 1 for name in real), (simulated, real)


def test_a_spot_notice_brings_the_successor_before_the_node_goes(journey: Journey) -> None:
    """Protects requests from spot reclaims: two minutes are enough for a node, if nobody waits for the end."""
    journey.node_class()
    journey.karpenter_pool(L40S)
    journey.deploy(L40S, gpus=4, replicas=1, capacityType="spot")
    journey.until(lambda: journey.ready(L40S) == 1, seconds=90)
    journey.serve(steps(Step(600, 3.0)))
    journey.want(1, 8)
    journey.operate()
    journey.until(lambda: settled(journey), seconds=180)
    before = journey.replicas(L40S)
    name = text(journey.nodes(L40S)[0], "metadata", "name")
    journey.cluster.kubectl("taint", "nodes", name, "aws-node-termination-handler/spot-itn=now:NoSchedule")
    journey.until(lambda: journey.ready(L40S) >= before + 1, seconds=120)
    assert name in {text(node, "metadata", "name") for node in journey.nodes(L40S)}
    journey.cluster.kubectl("drain", name, "--ignore-daemonsets", "--force", "--timeout=30s")
    journey.until(lambda: journey.ready(L40S) >= before, seconds=90)


def told(journey: Journey) -> bool:
    """Return whether Karpenter has said that a type of this journey is sold out."""
    events = journey.rest.items(_EVENTS, fieldSelector="reason=InsufficientCapacityError")
    return any(journey.namespace in text(event, "involvedObject", "name") for event in events)


def settled(journey: Journey) -> bool:
    """Return whether all replicas that are asked for serve, more than one."""
    return journey.ready(L40S) == journey.replicas(L40S) > 1
