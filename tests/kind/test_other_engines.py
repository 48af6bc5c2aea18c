"""Engines that were not written here are found, understood and scaled."""

from collections.abc import Iterator

import pytest

from kindscene.places import MANIFESTS, SERVING
from kindscene.scene import Scene


@pytest.fixture
def sim(scene: Scene) -> Iterator[Scene]:
    """A second model on llm-d-inference-sim, with traffic; gone afterwards."""
    manifest = MANIFESTS / "inference-sim.yaml"
    scene.installation.load_inference_sim()
    scene.cluster.apply(manifest)
    yield scene
    delete = ("delete", "-f", str(manifest), "--ignore-not-found", "--timeout=60s")
    scene.cluster.kubectl(*delete, timeout_seconds=70)


@pytest.mark.timeout(300)
def test_llm_d_inference_sim_is_scaled_by_its_own_metrics(sim: Scene) -> None:
    """Protects the claim that vLLM's metrics are enough, with a program that speaks them and is not ours."""
    sim.installation.await_rollout("sim-load", SERVING)
    sim.await_true(lambda: sim.ready("app=sim") >= 3, seconds=120, what="three Ready engines")
    sim.await_true(lambda: sim.condition("MetricsFresh", pool="sim") == "True", seconds=30, what="recent metrics")
    sim.await_true(lambda: sim.attainment("sim-load") >= 0.95, seconds=100, what="objectives met")
    demand = sim.status("sim")["summary"]["demand"]
    assert 5.0 <= float(demand.removesuffix("/s")) <= 7.0, "six requests per second are sent"
