"""Whatever happens to a simulated fleet, requests and replica-seconds are conserved."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.flow.fleet import Pool, PoolKey, Role, Variant
from forebay.flow.trace import FloatArray, RequestTrace
from forebay.offline.simulation import (
    GpuSupply,
    QueueOrder,
    SimulatedPool,
    SimulationOptions,
    StockOut,
)
from forebay.offline.simulation.kernel_state import BATCH, DONE, REJECTED, TIMED_OUT
from forebay.offline.simulation.simulated_replica import Life
from tests.keys import decode, prefill, serve
from tests.unit.simulation.builders import EIGHT_B, PLAIN, SLO, disaggregated, mixed, poisson

P, D, S = prefill("p"), decode("d"), serve("s")

ORDERS = st.sampled_from(QueueOrder)
FLEETS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=8)


@st.composite
def options(draw: st.DrawFn) -> SimulationOptions:
    timeout = draw(st.sampled_from([None, 0.5, 3.0]))
    return SimulationOptions(
        seed=draw(st.integers(0, 5)),
        queue_order=draw(ORDERS),
        reserve_kv=draw(st.booleans()),
        preemption=draw(st.booleans()),
        prefill_chunk_tokens=draw(st.sampled_from([None, 512])),
        queue_timeout_seconds=timeout,
        retries=draw(st.integers(0, 2)) if timeout else 0,
        mean_seconds_between_failures=draw(st.sampled_from([None, 20.0])),
    )


@st.composite
def traces(draw: st.DrawFn) -> RequestTrace:
    return poisson(
        draw(st.integers(1, 150)), draw(st.sampled_from([2.0, 10.0, 80.0])), seed=draw(st.integers(0, 9))
    )


SMALL = replace(EIGHT_B, kv_capacity_tokens=20_000, max_batch=8)


@settings(max_examples=40)
@given(trace=traces(), chosen=options(), fleets=FLEETS, serve=st.booleans(), classes=st.integers(1, 3))
def test_every_request_ends_once_and_every_replica_second_is_billed(
    trace: RequestTrace,
    chosen: SimulationOptions,
    fleets: list[tuple[int, int]],
    serve: bool,
    classes: int,
) -> None:
    pool = mixed(SMALL) if serve else disaggregated(SMALL, SMALL, start_up_seconds=3.0)
    simulated = SimulatedPool(
        pool,
        trace,
        initial={variant.key: 1 for variant in pool.variants},
        options=chosen,
        priority=np.arange(len(trace)) % classes,
        functions=PLAIN,
    )
    billed: list[float] = []
    finished = missed = 0.0
    for number, (first, second) in enumerate(fleets, start=1):
        simulated.run_until(number * 2.5)
        seen = simulated.observe()
        finished += seen.finished or 0.0
        missed += seen.missed or 0.0
        assert (seen.waiting_prefill or 0.0) >= 0.0
        simulated.scale({S: first} if serve else {P: first, D: second})
        billed.append(sum(simulated.result().replica_seconds.values()))
    simulated.scale({variant.key: 2 for variant in pool.variants})
    simulated.run_until(3_000.0)
    seen = simulated.observe()
    result = simulated.result()
    world = simulated.replicas.world

    assert set(np.unique(world.state)) <= {DONE, TIMED_OUT, REJECTED}
    log = world.log[: int(finished + (seen.finished or 0.0))]
    assert sorted(log.tolist()) == list(range(len(trace)))
    served = world.state == DONE
    assert np.isfinite(result.done_seconds[served]).all()
    assert (result.ttft_seconds[served] > 0).all()
    assert (result.itl_seconds[served] >= 0).all()
    assert (result.done_seconds[served] >= (trace.arrival_seconds + result.ttft_seconds)[served]).all()
    assert missed + (seen.missed or 0.0) >= (~served).sum()
    assert billed == sorted(billed)
    assert (world.counts[BATCH] == 0).all()


@settings(max_examples=30)
@given(trace=traces(), fleets=FLEETS)
def test_the_bill_is_the_integral_of_the_replicas(trace: RequestTrace, fleets: list[tuple[int, int]]) -> None:
    # Steps far longer than any request, so that whatever drains is gone at the next.
    simulated = SimulatedPool(disaggregated(start_up_seconds=3.0), trace, initial={P: 1, D: 1}, functions=PLAIN)
    simulated.run_until(trace.span_seconds + 200.0)
    begin, counts = simulated.now_seconds, (1, 1)
    before = simulated.result().replica_seconds
    integral = [0.0, 0.0]
    for number, fleet in enumerate(fleets, start=1):
        simulated.scale({P: fleet[0], D: fleet[1]})
        counts = fleet
        simulated.run_until(begin + 7.0 * number)
        integral = [total + 7.0 * count for total, count in zip(integral, counts, strict=True)]

    after = simulated.result().replica_seconds
    np.testing.assert_allclose([after[P] - before[P], after[D] - before[D]], integral, atol=1e-6)


@settings(max_examples=20)
@given(trace=traces(), chosen=options())
def test_a_run_repeats_itself(trace: RequestTrace, chosen: SimulationOptions) -> None:
    def run() -> FloatArray:
        simulated = SimulatedPool(
            disaggregated(SMALL, SMALL), trace, initial={P: 2, D: 1}, options=chosen, functions=PLAIN
        )
        simulated.run_until(500.0)
        return simulated.result().done_seconds

    np.testing.assert_array_equal(run(), run())


GPUS = 12


def _two_kinds() -> Pool:
    slow = replace(SMALL, prefill_seconds_per_token=1 / 8_000, decode_base_seconds=0.016)
    variants = [
        Variant(
            name=f"{role.value}-{node_pool}",
            role=role,
            node_pool=node_pool,
            gpus_per_replica=gpus,
            performance=speed,
            start_up_seconds=2.0,
        )
        for role in (Role.PREFILL, Role.DECODE)
        for node_pool, gpus, speed in (("h100", 1, SMALL), ("l40s", 2, slow))
    ]
    return Pool(key=PoolKey("serving", "chat"), slo=SLO, variants=tuple(variants))


@settings(max_examples=20)
@given(
    trace=traces(),
    seed=st.integers(0, 9),
    wishes=st.lists(st.lists(st.integers(0, 9), min_size=4, max_size=4), min_size=2, max_size=6),
    out_from=st.sampled_from([0.0, 4.0]),
)
def test_gpus_are_never_handed_out_twice_and_come_back(
    trace: RequestTrace, seed: int, wishes: list[list[int]], out_from: float
) -> None:
    pool = _two_kinds()
    names = [variant.key for variant in pool.variants]
    supply = GpuSupply(
        {"h100": GPUS, "l40s": GPUS},
        [StockOut(node_pool="l40s", start_seconds=out_from, end_seconds=out_from + 5.0)],
    )
    chosen = SimulationOptions(
        seed=seed,
        mean_seconds_between_failures=30.0,
    )
    simulated = SimulatedPool(
        pool, trace, initial={names[0]: 1, names[2]: 1}, options=chosen, capacity=supply, functions=PLAIN
    )

    def check() -> None:
        for node_pool in ("h100", "l40s"):
            used = sum(
                pool.variants[replica.variant].gpus_per_replica
                for replicas in simulated.replicas.live
                for replica in replicas
                if replica.life is not Life.WAITING and pool.variants[replica.variant].node_pool == node_pool
            )
            assert used == supply.held(node_pool) <= GPUS

    for number, wish in enumerate(wishes, start=1):
        simulated.scale(dict(zip(names, wish, strict=True)))
        check()
        simulated.run_until(number * 3.7)
        check()
        seen = simulated.observe()
        assert [variant.supply for variant in seen.variants] == wish
    simulated.scale(dict.fromkeys(names, 1))
    simulated.run_until(3_000.0)
    check()

    assert simulated.result().unserved == 0
    assert all(seconds >= 0.0 for seconds in simulated.result().replica_seconds.values())
