"""Forebay itself ends and begins again, and nobody who is served notices."""

import pytest

from kindscene.scene import Scene


@pytest.mark.timeout(300)
def test_a_killed_operator_carries_on(scene: Scene) -> None:
    """Protects capacity from the end of the process that decides about it."""
    scene.follow()
    killed = scene.leading_pod()
    scene.carries_on(lambda: scene.troubles.kill_operator(killed), led_by=lambda pod: pod != killed)


@pytest.mark.timeout(300)
def test_an_upgrade_of_the_release_carries_on(scene: Scene) -> None:
    """Protects capacity from `helm upgrade`: a new pod takes over what the old one held."""
    scene.follow()
    old = scene.leading_pod()
    scene.carries_on(lambda: scene.troubles.upgrade("operator.logLevel=debug"), led_by=lambda pod: pod != old)
