"""Lost telemetry is not zero load."""

import pytest

from kindscene.scene import ROLES, Scene


@pytest.mark.timeout(360)
def test_capacity_is_held_while_prometheus_is_gone(scene: Scene) -> None:
    """Protects a served model from its monitoring's end: held without telemetry, followed again with it."""
    scene.follow()
    before = scene.replicas()
    scene.troubles.delete_prometheus()
    scene.send("0.3")
    scene.await_true(
        lambda: scene.condition("MetricsFresh") == "False", seconds=60, what="the loss in the pool's conditions"
    )
    scene.watch(seconds=20, never=lambda: scene.shrunk(before))
    scene.troubles.restore_prometheus()
    scene.await_true(
        lambda: scene.condition("MetricsFresh") == "True",
        seconds=90,
        what="recent metrics in the pool's conditions",
    )
    scene.send("8")
    asked = {role: scene.asked(role) for role in ROLES}
    scene.await_true(
        lambda: any(scene.asked(role) > asked[role] for role in ROLES), seconds=60, what="more load followed"
    )
