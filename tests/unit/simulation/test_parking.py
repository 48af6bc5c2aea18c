"""Parked replicas in the simulator: out of traffic, billed, back at once; and what a short grace cuts off."""

import pytest

from forebay.offline.simulation import SimulatedPool, SimulationOptions
from tests.keys import decode, prefill
from tests.unit.simulation.builders import EIGHT_B, PLAIN, disaggregated, requests

P, D = prefill("p"), decode("d")
STREAM_TOKENS = 10_000
PARKS = SimulationOptions(parks=True)


def two_streams(options: SimulationOptions, *, later: float = 50.0) -> SimulatedPool:
    """Two long streams, one on each of two decode replicas, and a short request later."""
    trace = requests([0.0, 0.0, later], 100, [STREAM_TOKENS, STREAM_TOKENS, 10])
    simulated = SimulatedPool(disaggregated(), trace, initial={P: 1, D: 2}, options=options, functions=PLAIN)
    simulated.run_until(10.0)
    return simulated


def test_a_parked_replica_ends_what_it_holds_and_gets_nothing_new() -> None:
    simulated = two_streams(PARKS)
    simulated.scale({D: 1})
    simulated.run_until(51.0)
    seen = simulated.observe().variant(D)
    assert seen is not None
    assert (seen.desired, seen.ready, [each.requests for each in seen.parked]) == (1, 1, [1.0])
    assert seen.parked[0].since_seconds == 10.0
    alone = STREAM_TOKENS * EIGHT_B.decode_step_seconds(1, 5_000)
    simulated.run_until(3.0 * alone)
    result = simulated.result()
    assert result.unserved == 0
    assert min(result.done_seconds[:2]) < max(result.done_seconds[:2]), "the short request joined the other one"


def test_it_is_billed_until_it_is_freed_and_empty() -> None:
    simulated = two_streams(PARKS)
    simulated.scale({D: 1})
    simulated.run_until(500.0)
    assert simulated.result().replica_seconds[D] == pytest.approx(1000.0)
    seen = simulated.observe().variant(D)
    assert seen is not None
    assert [each.requests for each in seen.parked] == [0.0]
    simulated.free([seen.parked[0].name])
    simulated.run_until(600.0)
    assert simulated.result().replica_seconds[D] == pytest.approx(1100.0)


def test_it_takes_traffic_again_without_a_start_up_before_others_are_ordered() -> None:
    simulated = two_streams(PARKS)
    simulated.scale({D: 1})
    simulated.scale({D: 3})
    assert simulated.ready(D) == 2
    result = simulated.result()
    assert (result.taken_back, result.orders) == (1, 1)


def test_a_short_grace_cuts_streams_off_and_parking_does_not() -> None:
    cut = two_streams(SimulationOptions(grace_seconds=30.0))
    cut.scale({D: 1})
    cut.run_until(2_000.0)
    assert cut.result().cut_off == 1
    parked = two_streams(SimulationOptions(grace_seconds=30.0, parks=True))
    parked.scale({D: 1})
    parked.run_until(500.0)
    parked.free([replica.name for replica in parked.replicas.live[1] if replica.parked_seconds < 500.0])
    parked.run_until(2_000.0)
    assert parked.result().cut_off == 0
    assert parked.result().unserved == cut.result().unserved == 0


def test_a_parked_replica_that_fails_is_not_replaced() -> None:
    simulated = two_streams(PARKS)
    simulated.scale({D: 1})
    (parked,) = [replica for replica in simulated.replicas.live[1] if replica.parked_seconds < 500.0]
    simulated.replicas.fail(parked, simulated.now_seconds)
    simulated.run_until(2_000.0)
    assert simulated.result().orders == 0
    assert simulated.result().unserved == 0
