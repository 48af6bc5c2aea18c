"""Who is served next: queue order, priorities, time-outs, KV limits, variants of different speed."""

from dataclasses import replace

import numpy as np
import pytest

from forebay.flow.fleet import Role, Variant
from forebay.offline.simulation import QueueOrder, SimulatedPool, SimulationOptions
from tests.keys import decode, prefill, serve
from tests.unit.simulation.builders import (
    EIGHT_B,
    PLAIN,
    SLO,
    disaggregated,
    mixed,
    poisson,
    requests,
    simulate,
)

P, D, E, P_SLOW, D_SLOW = prefill("p"), decode("d"), decode("e"), prefill("p-slow"), decode("d-slow")
S = serve("s")

LATE_LAST = SimulationOptions(queue_order=QueueOrder.LATE_LAST)


def test_late_requests_let_those_in_time_pass() -> None:
    # One replica, 0.31 s per request, five at once: the third and later are late under FIFO.
    trace = requests([0.0, 0.0, 0.0, 0.0, 0.4], 7_500, 1)

    fifo = simulate(disaggregated(), trace, {P: 1, D: 1})
    late_last = simulate(disaggregated(), trace, {P: 1, D: 1}, LATE_LAST)

    assert fifo.ttft_seconds == pytest.approx([0.31, 0.62, 0.93, 1.24, 1.15])
    # At 0.31 s nobody who waits can be in time, so the oldest late one goes first; the one that arrives at 0.4 s
    # is late at 0.62 s itself.
    assert late_last.ttft_seconds == pytest.approx([0.31, 0.62, 0.93, 1.24, 1.15])


def test_late_last_saves_most_of_an_overload() -> None:
    trace = poisson(1_500, 37.0, seed=2)  # 36 x 0.053 s = 1.9 erlangs on 2 replicas

    fifo = simulate(disaggregated(), trace, {P: 2, D: 2})
    late_last = simulate(disaggregated(), trace, {P: 2, D: 2}, LATE_LAST)

    assert late_last.attained(SLO) > fifo.attained(SLO) + 0.1
    assert late_last.unserved == 0


def test_a_request_that_could_never_be_in_time_stays_in_order() -> None:
    trace = requests([0.0, 0.01, 0.02], [2_500, 25_000, 2_500], 1)  # 0.11 s, 1.01 s, 0.11 s

    result = simulate(disaggregated(), trace, {P: 1, D: 1}, LATE_LAST)

    assert result.ttft_seconds == pytest.approx([0.11, 0.11 + 1.01 - 0.01, 0.11 + 1.01 + 0.11 - 0.02])


def test_higher_classes_are_served_first() -> None:
    trace = requests([0.0, 0.01, 0.02, 0.03], 2_500, 1)
    simulated = SimulatedPool(
        disaggregated(), trace, initial={P: 1, D: 1}, priority=np.array([0, 0, 1, 2]), functions=PLAIN
    )
    simulated.run_until(10.0)

    starts = simulated.result().ttft_seconds + trace.arrival_seconds - 0.11
    assert starts == pytest.approx([0.0, 0.33, 0.22, 0.11])


def test_clients_give_up_and_try_again() -> None:
    trace = requests([0.0, 0.1, 0.2], [250_000, 2_500, 2_500], 1)  # the first takes 10.01 s
    patient = SimulationOptions(queue_timeout_seconds=3.0, retries=3, retry_backoff_seconds=1.0)
    hasty = SimulationOptions(queue_timeout_seconds=3.0)

    retried = simulate(disaggregated(), trace, {P: 1, D: 1}, patient)
    gone = simulate(disaggregated(), trace, {P: 1, D: 1}, hasty)

    # Attempts start at 0.1, 4.1 and 8.1 s; the last waits from 8.1 s to 10.01 s. TTFT counts from the first.
    assert retried.ttft_seconds[1] == pytest.approx(10.01 + 0.11 - 0.1)
    assert retried.timed_out == 0
    assert gone.timed_out == 2
    assert gone.unserved == 2
    assert gone.attained(SLO) == 0.0


def test_retries_count_as_arrivals_and_given_up_requests_as_misses() -> None:
    trace = requests([0.0, 0.1], [250_000, 2_500], 1)
    simulated = SimulatedPool(
        disaggregated(),
        trace,
        initial={P: 1, D: 1},
        options=SimulationOptions(queue_timeout_seconds=3.0, retries=1),
        functions=PLAIN,
    )
    simulated.run_until(5.0)
    observed = simulated.observe()
    assert observed.traffic is not None
    assert observed.traffic.arrivals == 3
    assert observed.traffic.slot_counts == (3.0,)
    simulated.run_until(9.0)
    observed = simulated.observe()
    assert observed.missed == observed.finished == 1


def test_faster_prefill_replicas_go_first_and_decode_follows_capacity() -> None:
    slow = replace(EIGHT_B, prefill_seconds_per_token=1 / 5_000, decode_base_seconds=0.0175)
    pool = disaggregated()
    pool = replace(
        pool,
        variants=(
            Variant(name="p-slow", role=Role.PREFILL, performance=slow),
            *pool.variants,
            Variant(name="d-slow", role=Role.DECODE, performance=slow),
        ),
    )
    trace = poisson(3_000, 15.0)
    simulated = SimulatedPool(pool, trace, initial={P_SLOW: 1, P: 1, D: 1, D_SLOW: 1}, functions=PLAIN)
    simulated.run_until(trace.span_seconds + 100)

    served = {variant.name: variant.engine for variant in simulated.observe().variants}
    fast, slow_one = served["p"], served["p-slow"]
    assert fast is not None
    assert slow_one is not None
    assert fast.prefills is not None
    assert slow_one.prefills is not None
    assert fast.prefills > 1.5 * slow_one.prefills > 0
    assert served["d"] is not None
    assert served["d-slow"] is not None
    assert served["d"].running is not None
    assert served["d-slow"].running is not None
    assert served["d"].running > 1.8 * served["d-slow"].running


def test_routing_weights_shift_decode_work() -> None:
    pool = disaggregated()
    pool = replace(pool, variants=(*pool.variants, Variant(name="e", role=Role.DECODE, performance=EIGHT_B)))
    trace = poisson(2_000, 20.0)
    simulated = SimulatedPool(
        pool,
        trace,
        initial={P: 2, D: 1, E: 1},
        options=SimulationOptions(routing_weights={E: 3.0}),
        functions=PLAIN,
    )
    simulated.run_until(trace.span_seconds + 100)

    _, d, e = (variant.engine for variant in simulated.observe().variants)
    assert d is not None
    assert e is not None
    assert d.running is not None
    assert e.running is not None
    assert 2.4 * d.running < e.running < 3.6 * d.running


def test_a_prefix_cache_takes_work_off_prefill() -> None:
    trace = replace(requests([0.0], 10_000, 1), cached_tokens=np.array([7_500]))

    cold = simulate(disaggregated(), trace, {P: 1, D: 1})
    warm = simulate(disaggregated(), trace, {P: 1, D: 1}, SimulationOptions(prefix_cache=True))

    assert cold.ttft_seconds[0] == pytest.approx(0.01 + 0.4)
    assert warm.ttft_seconds[0] == pytest.approx(0.01 + 0.1)


SMALL_CACHE = replace(EIGHT_B, kv_capacity_tokens=3_000)


def test_requests_wait_for_room_in_the_kv_cache() -> None:
    trace = requests([0.0, 0.0], 1_000, 900)

    result = simulate(disaggregated(decode=SMALL_CACHE), trace, {P: 2, D: 1})
    reserved = simulate(disaggregated(decode=SMALL_CACHE), trace, {P: 2, D: 1}, SimulationOptions(reserve_kv=True))

    assert result.done_seconds[1] < 1.2 * result.done_seconds[0]  # 1,000 + 1,900 tokens fit at admission
    assert reserved.done_seconds[1] > 1.9 * reserved.done_seconds[0]  # 1,900 + 1,900 never do


def test_a_full_kv_cache_evicts_the_youngest_and_computes_it_again() -> None:
    trace = requests([0.0, 0.5], 1_000, 900)
    pool = disaggregated(decode=SMALL_CACHE)

    over = simulate(pool, trace, {P: 1, D: 1})
    evicting = simulate(pool, trace, {P: 1, D: 1}, SimulationOptions(preemption=True))

    assert evicting.evictions == 1
    assert over.evictions == 0
    assert evicting.done_seconds[0] < over.done_seconds[0]
    assert evicting.done_seconds[1] > over.done_seconds[1] + EIGHT_B.prefill_seconds(1_000)
    assert evicting.ttft_seconds == pytest.approx(over.ttft_seconds)


def test_a_request_longer_than_any_kv_cache_is_rejected() -> None:
    trace = requests([0.0, 0.0], [5_000, 100], 10)

    result = simulate(disaggregated(decode=SMALL_CACHE), trace, {P: 1, D: 1})

    assert result.rejected == 1
    assert result.unserved == 1


def test_a_prefill_stops_decoding_on_a_serve_replica() -> None:
    # The second prompt takes 1.01 s while the first request decodes.
    trace = requests([0.0, 0.5], [1_000, 25_000], [100, 1])

    alone = simulate(mixed(), requests([0.0], 1_000, 100), {S: 1})
    together = simulate(mixed(), trace, {S: 1})

    assert together.done_seconds[0] == pytest.approx(alone.done_seconds[0] + 1.01, rel=1e-3)
    assert together.ttft_seconds[1] == pytest.approx(1.01)


def test_chunked_prefill_slows_decoding_instead_of_stopping_it() -> None:
    trace = requests([0.0, 0.5], [1_000, 25_000], [60, 1])  # a few tokens are left when the prefill begins

    stopped = simulate(mixed(), trace, {S: 1})
    chunked = simulate(mixed(), trace, {S: 1}, SimulationOptions(prefill_chunk_tokens=1_000))

    step = EIGHT_B.decode_step_seconds(1, 1_050)
    assert chunked.ttft_seconds[1] == pytest.approx(1.01 + 25 * step, rel=0.01)
    assert chunked.done_seconds[0] < 0.9 < 1.5 < stopped.done_seconds[0]


def test_serve_replicas_share_the_load() -> None:
    trace = poisson(3_000, 20.0)

    result = simulate(mixed(), trace, {S: 3})

    assert result.unserved == 0
    assert result.attained(SLO) > 0.9


def test_serve_replicas_evict_too() -> None:
    trace = poisson(300, 20.0)
    small = mixed(replace(EIGHT_B, kv_capacity_tokens=20_000))

    result = simulate(small, trace, {S: 2}, SimulationOptions(preemption=True))

    assert result.evictions > 0
    assert result.unserved == 0


def test_options_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="retries need queue_timeout_seconds"):
        SimulationOptions(retries=1)
    with pytest.raises(ValueError, match="must be positive"):
        SimulationOptions(queue_timeout_seconds=0.0)
