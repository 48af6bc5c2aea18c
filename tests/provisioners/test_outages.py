"""Journeys in which the provisioner, or the API server before its objects, fails for a while."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster import Cluster, Component
from runoperator import NAMESPACE, SERVICE_ACCOUNT
from tests.cluster.api_proxy import Storm, api_proxy, kubeconfig_through
from tests.provisioners.stage import H100, L40S, NODE_POOLS, Journey

_DOWN_SECONDS = 40.0


@pytest.fixture
def journey(cluster: Cluster, namespace: str, karpenter: Component) -> Iterator[Journey]:
    with Journey(cluster, namespace) as journey:
        yield journey


def test_a_provisioner_that_is_down_for_a_while_is_waited_for(journey: Journey, karpenter: Component) -> None:
    """Protects from giving up: what was ordered stands, and comes when the provisioner is back."""
    journey.node_class()
    journey.karpenter_pool(L40S)
    journey.deploy(L40S, replicas=2)
    journey.want(2, 4)
    operator = journey.operate()
    journey.until(lambda: journey.ready(L40S) == 2, seconds=90)
    karpenter.kill()
    try:
        journey.want(4)
        journey.until(lambda: journey.replicas(L40S) == 4, seconds=60)
        threading.Event().wait(_DOWN_SECONDS)
        assert journey.replicas(L40S) == 4
        assert operator.metric("forebay_rounds_total", outcome="failed") == 0
    finally:
        karpenter.restart()
    journey.until(lambda: journey.ready(L40S) == 4, seconds=120)


def test_storms_on_the_provisioner_s_objects_delay_an_order_and_lose_none(
    journey: Journey, tmp_path: Path
) -> None:
    """Protects the order from an API server that refuses it, and from others who write to the same object."""
    journey.node_class()
    journey.karpenter_pool(H100, static=True)
    provider = {"type": "KarpenterStatic", "karpenterStatic": {"nodePool": journey.name_of(H100)}}
    journey.deploy(H100, gpus=8, provider=provider)
    journey.want(1)
    storm, path = Storm(retry_after_seconds=1), f"{NODE_POOLS}/{journey.name_of(H100)}"
    kubeconfig = journey.cluster.kubeconfig_for(NAMESPACE, SERVICE_ACCOUNT)
    with api_proxy(journey.cluster, storm) as url:
        operator = journey.operate(kubeconfig=kubeconfig_through(url, kubeconfig, tmp_path / "kubeconfig"))
        journey.until(lambda: journey.ready(H100) == 1, seconds=90)
        with storm.rages(lambda method, refused: method == "PATCH" and refused.startswith(path)):
            journey.want(2)
            journey.until(lambda: len(storm.refused) >= 2, seconds=60)
            assert journey.asked(H100) == 1
            assert operator.is_ready()
        with OtherWriter(journey, path):
            journey.until(lambda: journey.asked(H100) == 2, seconds=60)
        journey.until(lambda: journey.ready(H100) == 2, seconds=90)


class OtherWriter:
    """Changes an object all the time, so that its version never stays."""

    def __init__(self, journey: Journey, path: str) -> None:
        self._journey, self._path = journey, path
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(10.0)

    def _run(self) -> None:
        rest, number = self._journey.cluster.rest(), 0
        while not self._stopping.wait(0.05):
            number += 1
            rest.patch(self._path, {"metadata": {"annotations": {"test": str(number)}}})
