"""The release goes and comes back; the workloads stay."""

import pytest

from kindscene.scene import Scene


@pytest.mark.timeout(360)
def test_workloads_outlive_the_release_and_a_new_one_carries_on(scene: Scene) -> None:
    """Protects users from what they install: its removal leaves sizes and resources, its return causes no dip."""
    scene.follow()
    before = scene.replicas()
    scene.troubles.uninstall()
    scene.await_true(lambda: not scene.going(), seconds=60, what="nothing in Terminating")
    assert not scene.operators()
    scene.watch(
        seconds=15, never=lambda: "" if scene.replicas() == before else f"{before} became {scene.replicas()}"
    )
    assert scene.ready("app=chat") == sum(before.values())
    assert scene.pool()["spec"]
    kept = scene.cluster.kubectl("get", "crd", "-o", "name")
    for kind in ("inferencepools", "gpunodepools", "servingprofiles", "scalingpolicies", "fleetpolicies"):
        assert f"{kind}.forebay.io" in kept
    scene.carries_on(scene.troubles.install, led_by=bool)
