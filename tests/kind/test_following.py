"""Forebay follows real traffic to real pods, and touches nothing until it is told to."""

import pytest

from kindscene.scene import ROLES, Scene


@pytest.mark.timeout(120)
def test_recommend_shows_numbers_and_changes_nothing(scene: Scene) -> None:
    """Protects the user's trust: mode Recommend says what it would do, and nothing moves."""
    before = scene.replicas()
    scene.send("8")
    scene.await_true(
        lambda: all(scene.recommended(role) >= 3 for role in ROLES), seconds=60, what="recommendations above 3"
    )
    assert scene.replicas() == before
    columns = scene.cluster.kubectl("get", "inferencepools.forebay.io", "chat", "-n", "serving", "--no-headers")
    assert columns.split()[:2] == ["chat", "Recommend"]


@pytest.mark.timeout(540)
def test_prefill_and_decode_follow_the_load_up_and_down(scene: Scene) -> None:
    """Protects the product's first promise, with engines that have to start and requests that have to wait."""
    scene.set_mode("Auto")
    scene.send("6")
    scene.await_true(
        lambda: all(scene.ready(f"app=chat,role={role}") >= 3 for role in ROLES),
        seconds=90,
        what="three Ready engines of each role",
    )
    scene.await_true(lambda: scene.attainment() >= 0.95, seconds=90, what="objectives met again")
    scene.send("0.3")
    # Until a forecaster has proven itself, what was needed is kept for twelve lead times, of 8 to 20 s here.
    scene.await_true(
        lambda: all(scene.asked(role) == 1 for role in ROLES), seconds=300, what="one engine of each role left"
    )
    assert scene.load()["failed"] == 0
