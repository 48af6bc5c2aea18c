"""Replicas that start, drain, fail and wait for GPUs, and what is billed."""

from dataclasses import replace

import numpy as np
import pytest

from forebay.flow.fleet import Pool
from forebay.offline.simulation import (
    GpuSupply,
    NodeFleet,
    NodeRules,
    SimulatedPool,
    SimulationOptions,
    StartUp,
    StartUpPhase,
    StockOut,
)
from forebay.offline.simulation.kernel_state import BATCH
from tests.keys import decode, prefill
from tests.unit.simulation.builders import EIGHT_B, PLAIN, disaggregated, poisson, requests

P, D = prefill("p"), decode("d")


def _pool(**changes: object) -> Pool:
    pool = disaggregated()
    return replace(pool, variants=tuple(replace(variant, **changes) for variant in pool.variants))  # type: ignore[arg-type]


def test_a_prefill_replica_serves_from_the_moment_it_is_ready() -> None:
    trace = requests([1.0, 1.0], 2_500, 10)  # 0.11 s each
    simulated = SimulatedPool(disaggregated(), trace, initial={P: 0, D: 1}, functions=PLAIN)
    simulated.run_until(7.3)
    simulated.scale({P: 1})
    simulated.run_until(100.0)

    ready = 7.3 + 60.0
    assert simulated.result().ttft_seconds == pytest.approx([ready + 0.11 - 1.0, ready + 0.22 - 1.0])


def test_a_decode_replica_admits_from_the_moment_it_is_ready() -> None:
    trace = requests([0.0], 1_000, 1)
    simulated = SimulatedPool(disaggregated(), trace, initial={P: 1, D: 0}, functions=PLAIN)
    simulated.run_until(5.0)
    simulated.scale({D: 1})
    simulated.run_until(100.0)

    step = EIGHT_B.decode_step_seconds(1, 1_000)
    assert simulated.result().done_seconds[0] == pytest.approx(65.0 + step)


def test_scale_in_cancels_the_youngest_start_first_and_bills_its_whole_start_up() -> None:
    simulated = SimulatedPool(disaggregated(), requests([0.0], 100, 2), initial={P: 2, D: 1}, functions=PLAIN)
    simulated.run_until(10.0)
    simulated.scale({P: 3})
    simulated.run_until(20.0)
    simulated.scale({P: 4})
    simulated.run_until(30.0)
    simulated.scale({P: 3})

    starting = simulated.observe().variants[0].starting
    assert [replica.ordered_seconds for replica in starting] == [10.0]
    simulated.run_until(40.0)
    result = simulated.result()
    assert result.replica_seconds[P] == pytest.approx(2 * 40 + 30 + 60)
    assert (result.orders, result.cancelled_orders) == (2, 1)


def test_scale_in_takes_idle_replicas_at_once_and_busy_ones_after_their_request() -> None:
    trace = requests([1.0, 1.0], [250_000, 25_000], 1)  # 10.01 s and 1.01 s of prefill
    simulated = SimulatedPool(disaggregated(), trace, initial={P: 3, D: 1}, functions=PLAIN)
    simulated.run_until(1.5)
    simulated.scale({P: 1})
    simulated.run_until(50.0)

    result = simulated.result()
    assert result.ttft_seconds == pytest.approx([10.01, 1.01])
    # The idle one goes at 1.5 s, the one that is busy until 2.01 s then; the third stays.
    assert result.replica_seconds[P] == pytest.approx(1.5 + 2.01 + 50.0)


def test_a_draining_decode_replica_takes_nothing_new_and_is_billed_until_it_is_empty() -> None:
    trace = requests([0.0, 10.0], 1_000, [1_000, 1_000])
    simulated = SimulatedPool(disaggregated(), trace, initial={P: 1, D: 1}, functions=PLAIN)
    simulated.run_until(1.0)
    simulated.scale({D: 0})
    simulated.run_until(5.0)
    assert simulated.observe().variants[1].draining == 1
    simulated.run_until(9.0)
    simulated.scale({D: 1})
    simulated.run_until(200.0)

    result = simulated.result()
    first, second = result.done_seconds
    assert first < 10.0
    assert second > 69.0  # it waited for the replica ordered at 9 s
    assert result.replica_seconds[D] == pytest.approx(first + (200.0 - 9.0))


def test_start_up_phases_vary_with_the_seed_only() -> None:
    start_up = StartUp((StartUpPhase("node", 60.0, 0.4), StartUpPhase("load", 30.0)))

    def ready_times(seed: int) -> list[float]:
        simulated = SimulatedPool(
            disaggregated(),
            requests([0.0], 100, 2),
            initial={P: 1, D: 1},
            start_up={P: start_up},
            options=SimulationOptions(seed=seed),
            functions=PLAIN,
        )
        simulated.scale({P: 6})
        simulated.run_until(1_000.0)
        return sorted(simulated.replicas.start_ups[0])

    assert ready_times(1) == ready_times(1)
    assert ready_times(1) != ready_times(2)
    assert min(ready_times(1)) > 30.0
    assert start_up.expected_seconds == pytest.approx(30.0 + 60.0 * np.exp(0.08))
    assert start_up.quantile_seconds(0.9) > start_up.expected_seconds


def test_a_stock_out_delays_a_start_and_is_not_billed() -> None:
    supply = GpuSupply(stock_outs=[StockOut(node_pool="h100", start_seconds=5.0, end_seconds=100.0)])
    simulated = SimulatedPool(
        _pool(node_pool="h100"),
        requests([0.0], 100, 2),
        initial={P: 1, D: 1},
        capacity=supply,
        functions=PLAIN,
    )
    simulated.run_until(10.0)
    simulated.scale({P: 2})
    assert simulated.observe().variants[0].starting[0].unschedulable
    simulated.run_until(150.0)
    assert simulated.ready(P) == 1
    simulated.run_until(170.0)

    assert simulated.ready(P) == 2
    assert simulated.result().replica_seconds[P] == pytest.approx(170.0 + 70.0, abs=1.0)


def test_replicas_share_a_limited_stock_of_gpus() -> None:
    supply = GpuSupply({"h100": 8})
    simulated = SimulatedPool(
        _pool(node_pool="h100", gpus_per_replica=2),
        requests([0.0], 100, 2),
        initial={P: 1, D: 2},
        capacity=supply,
        functions=PLAIN,
    )
    simulated.scale({P: 5})
    simulated.run_until(100.0)
    assert simulated.ready(P) == 2
    assert supply.held("h100") == 8

    simulated.scale({D: 1})
    simulated.run_until(200.0)
    assert simulated.ready(P) == 3
    assert supply.held("h100") == 8


def test_requests_of_a_failed_replica_start_again_and_a_new_one_is_ordered() -> None:
    trace = poisson(2_000, 20.0)
    simulated = SimulatedPool(
        disaggregated(),
        trace,
        initial={P: 3, D: 2},
        options=SimulationOptions(seed=4, mean_seconds_between_failures=90.0),
        functions=PLAIN,
    )
    simulated.run_until(trace.span_seconds + 1_000)

    result = simulated.result()
    assert result.failures > 3
    assert result.unserved == 0
    assert not result.actions


def test_a_failure_loses_what_was_generated() -> None:
    trace = requests([0.0], 1_000, 1_000)
    simulated = SimulatedPool(disaggregated(), trace, initial={P: 1, D: 2}, functions=PLAIN)
    simulated.run_until(5.0)
    busy = next(r for r in simulated.replicas.live[1] if simulated.replicas.world.counts[BATCH, r.slot] == 1)
    simulated.remove_replica(busy.name, drain=False)
    simulated.run_until(100.0)

    result = simulated.result()
    assert result.ttft_seconds[0] == pytest.approx(5.0 + 0.05)
    assert result.done_seconds[0] > 5.0 + 8.0


def test_spot_replicas_leave_with_notice_and_are_replaced() -> None:
    trace = poisson(2_000, 10.0)
    spot = NodeRules(
        gpus_per_node=1,
        lead_time=StartUp.fixed(0.0),
        consolidate_after_seconds=1.0,
        mean_seconds_between_reclaims=120.0,
        notice_seconds=5.0,
    )
    simulated = SimulatedPool(
        _pool(node_pool="spot"),
        trace,
        initial={P: 2, D: 2},
        options=SimulationOptions(seed=1),
        capacity=NodeFleet({"spot": spot}, seed=1),
        functions=PLAIN,
    )
    simulated.run_until(trace.span_seconds + 500)

    result = simulated.result()
    assert result.unserved == 0
    assert len(simulated.replicas.start_ups[0]) > 3  # replacements became ready
    assert simulated.observe().variants[0].supply == 2


def test_named_replicas_come_and_go() -> None:
    trace = poisson(200, 10.0)
    simulated = SimulatedPool(disaggregated(), trace, initial={}, functions=PLAIN)
    simulated.add_replica(P, "p-a", ready_at_seconds=1.0)
    simulated.add_replica(D, "d-a", ready_at_seconds=2.0)
    simulated.run_until(5.0)
    simulated.add_replica(D, "d-b", ready_at_seconds=5.0)
    simulated.remove_replica("d-a")
    simulated.run_until(200.0)

    assert simulated.result().unserved == 0
    assert simulated.result().replica_seconds[D] < 5.0 + 195.0 + 60.0
    with pytest.raises(ValueError, match="no replica named 'd-a'"):
        simulated.remove_replica("d-a")
    with pytest.raises(ValueError, match="names must be unique"):
        simulated.add_replica(D, "d-b", ready_at_seconds=5.0)


def test_a_draining_replica_can_be_taken_back() -> None:
    trace = requests([0.0, 10.0], 1_000, [2_000, 10])
    simulated = SimulatedPool(disaggregated(), trace, initial={}, functions=PLAIN)
    simulated.add_replica(P, "p-a", ready_at_seconds=0.0)
    simulated.add_replica(D, "d-a", ready_at_seconds=0.0)
    simulated.run_until(1.0)
    simulated.remove_replica("d-a")
    simulated.run_until(5.0)
    simulated.resume_replica("d-a")
    simulated.run_until(50.0)

    assert simulated.ready(D) == 1
    assert simulated.observe().variants[1].desired == 1
    assert simulated.result().unserved == 0
    assert simulated.result().replica_seconds[D] == pytest.approx(50.0)


def test_requests_in_flight_may_end_after_the_end_free_of_charge() -> None:
    trace = requests([0.0, 9.9, 9.95], 2000, 100)
    pool = SimulatedPool(disaggregated(), trace, initial={P: 1, D: 1}, functions=PLAIN)
    pool.run_until(10.0)
    assert pool.result().unserved == 2
    finished = pool.finish(60.0)
    assert finished.unserved == 0
    assert finished.until_seconds == 10.0
    assert finished.replica_seconds == {P: 10.0, D: 10.0}
    assert finished.ttft_seconds[2] > 0.1  # waited for the one before


def test_more_replicas_than_slots_at_the_start_are_fine() -> None:
    trace = poisson(2_000, 200.0)
    simulated = SimulatedPool(disaggregated(), trace, initial={P: 20, D: 15}, functions=PLAIN)
    simulated.run_until(trace.span_seconds + 100)

    assert simulated.result().unserved == 0
    assert simulated.result().attained(simulated.pool.slo) > 0.95


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda s: s.scale({decode("x"): 1}), "there is no variant decode/x; there are prefill/p, decode/d"),
        (lambda s: s.scale({P: -1}), "cannot have -1 replicas"),
        (lambda s: s.run_until(1.0), "cannot run back"),
    ],
)
def test_nonsense_is_refused_in_a_sentence(call: object, sentence: str) -> None:
    simulated = SimulatedPool(disaggregated(), requests([0.0], 10, 1), initial={P: 1, D: 1}, functions=PLAIN)
    simulated.run_until(2.0)

    with pytest.raises(ValueError, match=sentence):
        call(simulated)  # type: ignore[operator]
