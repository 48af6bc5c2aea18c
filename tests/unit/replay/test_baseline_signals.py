"""What baselines see: arrivals over windows, work, and which variant gets how many."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.flow.fleet import Role
from forebay.flow.observation import EngineSample, PoolObservation, Traffic, VariantObservation
from forebay.offline.replay.baselines import facts_of
from forebay.offline.replay.baselines.common.signals import Arrivals, SignalReader
from forebay.offline.replay.baselines.common.window import Window
from forebay.offline.replay.baselines.common.workload import workload
from forebay.sizing.work import Lengths
from tests.keys import prefill
from tests.unit.replay.scenarios import KEY, scenario, variant

CHEAP, DEAR, A, B = prefill("cheap"), prefill("dear"), prefill("a"), prefill("b")

LENGTHS = Lengths(1200.0, 200.0, 1300.0, (1200.0,) * 10)


def observation(at: float, counts: tuple[float, ...], *, seconds: float = 15.0, ready: int = 2) -> PoolObservation:
    return PoolObservation(
        key=KEY,
        at_seconds=at,
        traffic=Traffic(
            start_seconds=at - seconds,
            end_seconds=at,
            arrivals=sum(counts),
            slot_counts=counts,
            input_tokens=1200.0 * sum(counts),
        ),
        variants=(
            VariantObservation(
                name="prefill",
                role=Role.PREFILL,
                desired=ready,
                ready=ready,
                engine=EngineSample(interval_seconds=seconds, prefill_seconds=12.0, prefills=200.0),
            ),
            VariantObservation(
                name="decode",
                role=Role.DECODE,
                desired=ready,
                ready=ready,
                engine=EngineSample(
                    interval_seconds=seconds, running=150.0, running_now=150.0, kv_tokens=195_000.0, kv_usage=0.25
                ),
            ),
        ),
        waiting_prefill=7.0,
        waiting_decode=3.0,
    )


def test_rates_over_windows_cut_slots_in_proportion() -> None:
    arrivals = Arrivals()
    arrivals.add(observation(15.0, (10.0, 20.0, 30.0)))
    assert arrivals.per_second(5.0) == pytest.approx(6.0)
    assert arrivals.per_second(7.5) == pytest.approx((30.0 + 10.0) / 7.5)
    assert arrivals.per_second(60.0) == pytest.approx(4.0)  # what there is


def test_without_arrivals_the_rate_is_zero() -> None:
    assert Arrivals().per_second(60.0) == 0.0


def test_signals_count_busy_replicas_per_role() -> None:
    facts = facts_of(scenario(), KEY)
    signals = SignalReader(facts).read(observation(15.0, (100.0,)))
    prefill, decode = signals[Role.PREFILL], signals[Role.DECODE]
    assert prefill.busy == pytest.approx(12.0 / 15.0)
    assert prefill.occupancy == pytest.approx(0.4)
    assert (prefill.waiting, decode.waiting) == (7.0, 3.0)
    assert decode.busy == pytest.approx(150.0 / decode.workload.batch)
    assert decode.kv_usage == pytest.approx(0.5)
    assert prefill.input_tokens == pytest.approx(1200.0)


def test_the_cheapest_variant_per_unit_of_work_goes_first_and_the_next_takes_the_rest() -> None:
    cheap, dear = variant(Role.PREFILL, "cheap", most=3, usd=1.0), variant(Role.PREFILL, "dear", most=5, usd=2.0)
    facts = facts_of(scenario(variants=(dear, cheap, variant(Role.DECODE))), KEY)
    load = workload(facts, Role.PREFILL, LENGTHS)
    assert load.reference.name == "cheap"
    assert load.fill(2.0) == {CHEAP: 1, DEAR: 1}  # the minimum of the other stays, and counts
    assert load.fill(3.1) == {CHEAP: 3, DEAR: 1}
    assert load.fill(6.2) == {CHEAP: 3, DEAR: 4}
    assert load.fill(100.0) == {CHEAP: 3, DEAR: 5}


@given(st.floats(0.0, 60.0))
def test_filling_stays_within_limits_and_holds_what_was_asked(need: float) -> None:
    variants = (variant(Role.PREFILL, "a", most=10), variant(Role.PREFILL, "b", most=20, usd=3.0))
    facts = facts_of(scenario(variants=(*variants, variant(Role.DECODE))), KEY)
    counts = workload(facts, Role.PREFILL, LENGTHS).fill(need)
    assert 1 <= counts[A] <= 10
    assert 1 <= counts[B] <= 20
    assert sum(counts.values()) >= min(need, 30.0) - 1e-6
    assert sum(counts.values()) < max(need, 2.0) + 1.0


def test_a_window_forgets() -> None:
    window = Window(60.0)
    for at, value in ((0.0, 9.0), (30.0, 1.0), (60.0, 3.0)):
        window.add(at, value)
    assert (window.highest(), window.lowest(), window.mean()) == (3.0, 1.0, 2.0)
