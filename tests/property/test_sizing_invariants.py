"""What holds for every miss curve, queue and profile."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.flow.fleet import Role
from forebay.flow.forecast import Quantiles
from forebay.sizing.backlog import backlog_need
from forebay.sizing.curve import demand_nodes, miss_curve
from forebay.sizing.work import Correction, ReplicaWork, replica_work
from tests.unit.sizing.models import LENGTHS, PERFORMANCE, SLO

FAST = settings(max_examples=60)

roles = st.sampled_from(list(Role))
prices = st.floats(0.01, 50.0)
bursts = st.floats(0.0, 1.0)


@st.composite
def quantiles(draw: st.DrawFn) -> Quantiles:
    q50 = draw(st.floats(0.0, 300.0))
    q90 = q50 + draw(st.floats(0.0, 200.0))
    return Quantiles(q50, q90, q90 + draw(st.floats(0.0, 400.0)))


@st.composite
def works(draw: st.DrawFn) -> ReplicaWork:
    scale = draw(st.floats(0.1, 4.0))
    lengths = replace(
        LENGTHS,
        input_tokens=LENGTHS.input_tokens * scale,
        output_tokens=draw(st.floats(1.0, 2000.0)),
        context_tokens=LENGTHS.context_tokens * scale,
        input_sample=tuple(tokens * scale for tokens in LENGTHS.input_sample),
    )
    return replica_work(
        PERFORMANCE, Correction(draw(st.floats(0.4, 2.5)), draw(st.floats(0.4, 2.5))), lengths, SLO
    )


@FAST
@given(role=roles, demand=quantiles(), burst=bursts, work=works())
def test_misses_never_rise_with_capacity_and_the_hull_is_convex(
    role: Role, demand: Quantiles, burst: float, work: ReplicaWork
) -> None:
    curve = miss_curve(role, demand_nodes(demand, 1e9), burst, work, SLO)
    assert np.all(np.isfinite(curve.misses_per_second))
    assert np.all(np.diff(curve.misses_per_second) <= 1e-7 * (1.0 + curve.misses_per_second[:-1]))
    hull = curve.hull()
    slopes = np.diff(hull.misses_per_second) / np.diff(hull.capacity)
    assert np.all(np.diff(slopes) >= -1e-9)
    assert np.all(
        np.interp(curve.replicas, hull.capacity, hull.misses_per_second) <= curve.misses_per_second + 1e-7
    )


@FAST
@given(role=roles, demand=quantiles(), burst=bursts, work=works(), price=prices, dearer=st.floats(1.0, 20.0))
def test_a_dearer_miss_never_buys_fewer_replicas(
    role: Role, demand: Quantiles, burst: float, work: ReplicaWork, price: float, dearer: float
) -> None:
    curve = miss_curve(role, demand_nodes(demand, 1e9), burst, work, SLO)
    assert curve.cheapest(price * dearer) >= curve.cheapest(price) >= 1


@FAST
@given(role=roles, demand=quantiles(), cap=st.floats(0.0, 500.0), work=works(), price=prices)
def test_no_more_is_bought_than_the_cap_can_use(
    role: Role, demand: Quantiles, cap: float, work: ReplicaWork, price: float
) -> None:
    bought = miss_curve(role, demand_nodes(demand, cap), 0.0, work, SLO).cheapest(price)
    offered = cap * work.seconds(role)
    assert bought <= np.ceil(offered + 4.0 * np.sqrt(offered) + 3.0)


@FAST
@given(
    waiting=st.floats(0.0, 1e5),
    rate=st.floats(0.0, 500.0),
    ready=st.floats(0.0, 100.0),
    starting=st.lists(st.tuples(st.floats(-10.0, 900.0), st.floats(0.0, 4.0)), max_size=20),
    lead=st.floats(1.0, 900.0),
    price=prices,
)
def test_a_backlog_is_finite_and_more_starting_replicas_never_leave_more(
    waiting: float, rate: float, ready: float, starting: list[tuple[float, float]], lead: float, price: float
) -> None:
    needs = [
        backlog_need(
            waiting=waiting,
            seconds_per_request=0.1,
            rate=rate,
            ready=ready,
            starting=arriving,
            lead_time_seconds=lead,
            ttft_seconds=0.5,
            miss_price_replica_seconds=price,
            present_need=3,
        )
        for arriving in ((), starting)
    ]
    assert needs[1].left_seconds <= needs[0].left_seconds + 1e-6
    for need in needs:
        assert need.left_seconds >= 0.0
        if need.order is not None:
            assert 0 <= need.order <= np.ceil(3.0 * max(rate * 0.1, 3)) + 2
