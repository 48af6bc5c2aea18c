"""Nodes go away: by plan, in silence, and with the leader on them."""

import pytest

from kindscene.scene import Scene


@pytest.mark.timeout(300)
def test_a_drained_worker_is_replaced_by_the_other_gpu_type(scene: Scene) -> None:
    """Protects requests from the maintenance of the only node of a GPU type."""
    scene.follow()
    failed = scene.load()["failed"]
    node = scene.busiest_node("app=chat,gpu=l40s")
    before = scene.ready("app=chat,role=decode,gpu=h100")
    scene.troubles.drain(node)
    scene.await_true(
        lambda: scene.ready("app=chat,role=decode,gpu=h100") > before, seconds=60, what="decode engines on H100"
    )
    scene.await_true(lambda: scene.attainment() >= 0.95, seconds=100, what="objectives met without the node")
    scene.await_served(seconds=30)
    assert not scene.engines_on(node)
    assert scene.load()["failed"] == failed


@pytest.mark.timeout(360)
def test_a_silent_kubelet_costs_no_capacity(scene: Scene) -> None:
    """Protects capacity from a node that is not heard of: held, replaced elsewhere, used again once it is back."""
    scene.follow()
    node = scene.busiest_node("app=chat,gpu=h100")
    before = {name: count for name, count in scene.replicas().items() if name.endswith("h100")}
    scene.troubles.stop_kubelet(node)
    scene.watch_until(
        lambda: not scene.engines_on(node),
        seconds=90,
        what="engines elsewhere",
        never=lambda: scene.shrunk(before),
    )
    scene.await_served(seconds=90)
    scene.await_true(lambda: scene.node_pool("h100").get("usableGPUs") == 8, seconds=30, what="8 usable H100")
    scene.troubles.start_kubelet(node)
    scene.await_true(lambda: scene.node_pool("h100").get("usableGPUs") == 16, seconds=30, what="16 usable H100")
    scene.await_true(lambda: scene.attainment() >= 0.95, seconds=100, what="objectives met")


@pytest.mark.timeout(420)
def test_a_standby_takes_over_from_a_node_that_is_gone(scene: Scene) -> None:
    """Protects scaling from the loss of the leader's node: the Lease runs out, and the other replica leads."""
    scene.troubles.upgrade("replicas=2", "nodeSelector.gpu-pool=h100")
    scene.await_true(
        lambda: len(set(scene.operators().values())) == 2, seconds=60, what="an operator on either node"
    )
    scene.follow()
    leader = scene.leading_pod()
    node = scene.operators()[leader]
    scene.carries_on(lambda: scene.troubles.stop_node(node), led_by=lambda pod: pod != leader)
