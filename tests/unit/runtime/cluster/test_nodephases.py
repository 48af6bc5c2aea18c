"""The steps of a node: from the order to the purchase, to the cluster, to usable GPUs."""

from forebay.actuation.providers.sight import MachineClaim, ProviderSight
from forebay.runtime.cluster.nodephases import NodePhases
from tests.unit.actuation.providers.scenes import NOW, node, situation


def test_each_step_of_a_node_is_timed_once() -> None:
    claim = MachineClaim(name="c", created_seconds=NOW - 100, launched_seconds=NOW - 97, node="a")
    came = node("a", created_seconds=NOW - 40, ready_seconds=NOW - 10)
    phases = NodePhases()
    for _ in range(2):
        phases.see("h100", situation(came, sight=ProviderSight(claims=(claim,))))
    told = phases.quantiles("h100")
    assert {phase: (times.p50_seconds, times.observed) for phase, times in told.items()} == {
        "launch": (3.0, 1),
        "register": (57.0, 1),
        "usable": (30.0, 1),
    }


def test_late_gpus_count_and_not_the_node_s_readiness() -> None:
    """Protects the figure where it matters: drivers and device plugins come minutes after the node is Ready."""
    phases = NodePhases()
    came = {"created_seconds": NOW - 200, "ready_seconds": NOW - 180}
    phases.see("h100", situation(node("a", usable=False, gpus=0, **came)))
    phases.see("h100", situation(node("a", **came)))
    assert phases.quantiles("h100")["usable"].p50_seconds == 200.0
    phases.keep_only(())
    assert phases.quantiles("h100") == {}


def test_a_node_without_a_claim_tells_what_it_can_and_one_that_came_back_nothing() -> None:
    phases = NodePhases()
    phases.see("h100", situation(node("old", created_seconds=NOW - 90_000, ready_seconds=NOW - 10)))
    assert phases.quantiles("h100") == {}
    phases.see("h100", situation(node("a", created_seconds=NOW - 60, ready_seconds=NOW - 20)))
    assert list(phases.quantiles("h100")) == ["usable"]
