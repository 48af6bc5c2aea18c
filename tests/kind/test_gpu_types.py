"""A GPU type that cannot be had is replaced by another."""

import pytest

from kindscene.scene import Scene


@pytest.mark.timeout(240)
def test_a_sold_out_gpu_type_moves_capacity_to_the_other(scene: Scene) -> None:
    """Protects requests from a plan that waits for GPUs which somebody else holds."""
    scene.troubles.hold_gpus("l40s")
    scene.await_true(lambda: scene.node_pool("l40s").get("freeGPUs") == 0, seconds=30, what="no free L40S")
    scene.set_mode("Auto")
    scene.send("6")
    scene.await_true(
        lambda: scene.ready("app=chat,role=decode,gpu=h100") >= 3, seconds=90, what="three decode engines on H100"
    )
    scene.await_true(lambda: scene.attainment() >= 0.95, seconds=90, what="objectives met without the other type")
    assert scene.ready("app=chat,gpu=l40s") == 0
    # What was tried in vain is not left behind: no order that waits for GPUs that do not come.
    scene.await_served(seconds=30)
    scene.troubles.release_gpus()
    scene.await_true(lambda: scene.node_pool("l40s").get("freeGPUs") == 8, seconds=30, what="free L40S again")
