"""What an operator sees adds up to what happened, and never looks ahead."""

import numpy as np
import pytest

from forebay.flow.observation import PoolObservation
from forebay.offline.simulation import QueueOrder, SimulatedPool, SimulationOptions
from tests.keys import decode, prefill, serve
from tests.unit.simulation.builders import EIGHT_B, PLAIN, SLO, disaggregated, mixed, poisson, requests

P, D, S = prefill("p"), decode("d"), serve("s")


@pytest.fixture(scope="module")
def watched() -> tuple[SimulatedPool, list[PoolObservation]]:
    trace = poisson(3_000, 30.0)
    simulated = SimulatedPool(disaggregated(), trace, initial={P: 3, D: 2}, functions=PLAIN)
    seen = []
    for step in range(1, 13):
        simulated.run_until(15.0 * step)
        seen.append(simulated.observe())
        simulated.scale({P: 2 + step % 3, D: 1 + step % 3})
    return simulated, seen


def test_sums_over_intervals_are_the_whole(watched: tuple[SimulatedPool, list[PoolObservation]]) -> None:
    simulated, seen = watched
    trace, result = simulated.trace, simulated.result()
    traffic = [observed.traffic for observed in seen if observed.traffic is not None]
    engines = [{v.name: v.engine for v in observed.variants if v.engine is not None} for observed in seen]
    served = ~np.isnan(result.done_seconds)

    assert sum(t.arrivals for t in traffic) == len(trace)
    assert sum(sum(t.slot_counts) for t in traffic) == len(trace)
    assert sum(t.input_tokens or 0.0 for t in traffic) == trace.input_tokens.sum()
    assert sum(sum(t.input_lengths.counts) for t in traffic if t.input_lengths) == len(trace)
    assert sum(e["d"].finished or 0 for e in engines) == sum(o.finished or 0 for o in seen) == served.sum()
    assert sum(e["d"].output_tokens or 0 for e in engines) == trace.output_tokens[served].sum()
    assert sum(e["p"].prefills or 0 for e in engines) == (~np.isnan(result.ttft_seconds)).sum()
    late = (result.ttft_seconds > SLO.ttft_seconds) | (result.itl_seconds > SLO.itl_seconds)
    assert sum(o.missed or 0 for o in seen) == late[served].sum()


def test_prefill_seconds_hold_no_queueing(watched: tuple[SimulatedPool, list[PoolObservation]]) -> None:
    _, seen = watched
    for observed in seen:
        engine = observed.variants[0].engine
        assert engine is not None
        if engine.prefills:
            expected = EIGHT_B.prefill_base_seconds * engine.prefills
            expected += EIGHT_B.prefill_seconds_per_token * (engine.prefill_tokens or 0.0)
            assert engine.prefill_seconds == pytest.approx(expected)


def test_running_sequences_follow_littles_law() -> None:
    trace = poisson(4_000, 30.0)
    simulated = SimulatedPool(disaggregated(), trace, initial={P: 4, D: 2}, functions=PLAIN)
    simulated.run_until(trace.span_seconds + 100)

    engine = simulated.observe().variants[1].engine
    result = simulated.result()
    assert engine is not None
    time_in_decode = float((result.itl_seconds * trace.output_tokens).sum())
    assert engine.running == pytest.approx(time_in_decode / engine.interval_seconds, rel=1e-6)
    assert engine.itl_seconds == pytest.approx(time_in_decode / trace.output_tokens.sum())


def test_slots_split_the_interval() -> None:
    trace = requests([0.0, 1.0, 6.0, 7.0, 8.0, 14.9], 10, 1)
    simulated = SimulatedPool(disaggregated(), trace, initial={P: 1, D: 1}, functions=PLAIN)
    simulated.run_until(15.0)

    traffic = simulated.observe().traffic
    assert traffic is not None
    assert traffic.slot_counts == (2.0, 3.0, 1.0)
    assert traffic.slot_seconds == 5.0


def test_waiting_requests_and_late_ones_are_told_apart() -> None:
    trace = requests([0.0] * 10, 2_500, 1)  # 0.11 s each: four are in time
    simulated = SimulatedPool(
        disaggregated(),
        trace,
        initial={P: 1, D: 1},
        options=SimulationOptions(queue_order=QueueOrder.LATE_LAST),
        functions=PLAIN,
    )
    simulated.run_until(0.3)
    observed = simulated.observe()
    assert (observed.waiting_prefill, observed.waiting_late) == (7.0, 0.0)
    simulated.run_until(0.5)
    observed = simulated.observe()
    assert (observed.waiting_prefill, observed.waiting_late) == (5.0, 5.0)


def test_requests_without_a_decode_slot_are_seen_waiting() -> None:
    simulated = SimulatedPool(disaggregated(), requests([0.0] * 5, 100, 10), initial={P: 2, D: 0}, functions=PLAIN)
    simulated.run_until(5.0)

    observed = simulated.observe()
    assert observed.waiting_decode == 5.0
    assert observed.waiting_prefill == 0.0
    assert observed.variants[1].engine is None


def test_a_serve_variant_reports_both_phases() -> None:
    trace = poisson(200, 10.0)
    simulated = SimulatedPool(mixed(), trace, initial={S: 2}, functions=PLAIN)
    simulated.run_until(trace.span_seconds + 100)

    engine = simulated.observe().variants[0].engine
    assert engine is not None
    assert engine.prefills == engine.finished == 200


def test_looking_twice_or_often_changes_nothing() -> None:
    trace = poisson(1_000, 20.0)
    results = []
    for step in (5.0, 100.0):
        simulated = SimulatedPool(disaggregated(), trace, initial={P: 2, D: 1}, functions=PLAIN)
        while simulated.now_seconds < 100.0:
            simulated.run_until(simulated.now_seconds + step)
            simulated.observe()
        assert simulated.observe().traffic is None  # no time has passed
        results.append(simulated.result())

    assert results[0].done_seconds == pytest.approx(results[1].done_seconds, rel=1e-9, nan_ok=True)


def test_latency_percentiles_are_those_of_the_last_minutes() -> None:
    trace = poisson(1_500, 30.0)
    simulated = SimulatedPool(disaggregated(), trace, initial={P: 2, D: 2}, functions=PLAIN)
    simulated.run_until(trace.span_seconds + 20)
    observed, result = simulated.observe(), simulated.result()
    last = np.argsort(result.done_seconds)[-1_000:]

    assert observed.ttft_seconds == np.sort(result.ttft_seconds[last])[989]
    assert observed.itl_seconds == pytest.approx(np.sort(result.itl_seconds[last])[989])
    simulated.run_until(trace.span_seconds + 1_000)
    assert simulated.observe().ttft_seconds is None
