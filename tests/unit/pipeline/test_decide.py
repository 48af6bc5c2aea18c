"""A round over the fleet: it follows load, holds when blind, and one bad pool takes no other down."""

import math
from dataclasses import replace

import pytest

from forebay.flow.decision import ReasonCode
from forebay.flow.fleet import PoolKey, Role
from forebay.flow.observation import (
    FleetObservation,
    Freshness,
    LengthHistogram,
    Problem,
    StartingReplica,
    VariantObservation,
)
from forebay.flow.performance import ProfilePoints
from forebay.flow.settings import KnownLoad, PolicySettings
from forebay.pipeline import decide
from tests.keys import decode, prefill
from tests.unit.pipeline.fleets import KEY, codes, counts, fleet_world, split_pool, variant, world

PREFILL, DECODE = prefill("prefill"), decode("decode")

OTHER = PoolKey("serving", "other")


def test_load_up_and_load_down_are_followed() -> None:
    small = world(rate=20.0)
    quiet = counts(small.run(120))
    small.rates[KEY] = 120.0
    busy = counts(small.run(60))
    small.rates[KEY] = 10.0
    idle = counts(small.run(240))
    assert all(busy[name] > quiet[name] for name in busy)
    assert all(idle[name] < busy[name] for name in idle)


def test_a_constant_load_reaches_a_fixed_point() -> None:
    small = world(rate=40.0, noise=False)
    small.run(300)
    settled = counts(small.step()[KEY])
    for _ in range(60):
        assert counts(small.step()[KEY]) == settled


def test_blind_holds_and_says_why_and_recovers() -> None:
    small = world(rate=60.0)
    before = counts(small.run(80))
    small.blind.add(KEY)
    small.rates[KEY] = 1.0
    for _ in range(40):
        decision = small.step()[KEY]
        assert counts(decision) == before
        assert decision.held
        assert "arrivals are unknown" in decision.reasons[0].message
    small.blind.clear()
    assert sum(counts(small.run(200)).values()) < sum(before.values())


@pytest.mark.parametrize("problem", [Problem.STALE, Problem.PARTIAL, Problem.UNREACHABLE, Problem.NOT_A_NUMBER])
def test_untrusted_signals_release_nothing_but_may_order(problem: Problem) -> None:
    small = world(rate=60.0)
    before = counts(small.run(80))
    small.freshness = (Freshness(signal="arrivals", problem=problem, detail="test"),)
    small.rates[KEY] = 2.0
    decision = small.run(60)
    assert counts(decision) == before
    assert decision.held
    assert "TelemetryMissing" in codes(decision)
    small.rates[KEY] = 200.0
    assert sum(counts(small.run(20)).values()) > sum(before.values())


def test_a_signal_that_never_was_is_optional_and_one_that_was_lost_is_not() -> None:
    never, lost = world(rate=60.0), world(rate=60.0)
    missing = (Freshness(signal="prefix_hits", problem=Problem.MISSING),)
    never.freshness = missing
    lost.freshness = (Freshness(signal="prefix_hits", age_seconds=1.0),)
    for small in (never, lost):
        small.run(80)
        small.freshness = missing
        small.rates[KEY] = 2.0
    before = dict(lost.replicas[KEY])
    assert counts(lost.run(100)) == before
    assert sum(counts(never.run(100)).values()) < sum(before.values())


def test_old_arrivals_are_no_arrivals() -> None:
    small = world(rate=60.0)
    before = counts(small.run(80))
    frozen = small.observe().pools[KEY]
    for _ in range(40):
        small.clock += 15.0
        stale = FleetObservation(at_seconds=small.clock, pools={KEY: replace(frozen, at_seconds=small.clock)})
        decision = decide(small.fleet, stale, small.state).pools[KEY]
        assert all(counts(decision)[name] >= before[name] for name in before)
    assert decision.held
    assert "s old" in decision.reasons[0].message


def test_a_round_without_a_new_scrape_goes_on_with_the_last_one() -> None:
    small = world(rate=20.0)
    small.run(60)
    small.rates[KEY] = 150.0
    small.run(2)
    small.freshness = (Freshness(signal="arrivals", problem=Problem.TOO_FEW),)
    small.blind.add(KEY)
    decision = small.step()[KEY]
    assert not decision.held
    assert "Sized" in codes(decision)
    assert small.run(8).held, "but not for long"


def test_without_a_profile_capacity_is_learned_and_nothing_is_bought_on_a_guess() -> None:
    unprofiled = [variant(role, performance=None) for role in (Role.PREFILL, Role.DECODE)]
    small = world(split_pool(variants=unprofiled), 20.0)
    first = small.step()[KEY]
    assert counts(first) == {"prefill": 3, "decode": 3}
    assert "CapacityUnknown" in codes(first)
    learned = small.run(80)
    assert learned.capacity_source == {PREFILL: "learned", DECODE: "learned"}
    assert "CapacityUnknown" not in codes(learned)
    profiled = counts(world(rate=20.0).run(81))
    assert 0.5 * profiled["prefill"] <= counts(learned)["prefill"] <= 2 * profiled["prefill"]


def test_one_broken_pool_holds_and_the_others_go_on() -> None:
    broken = ProfilePoints(prefill=(), decode=(), max_batch=1, kv_capacity_tokens=1)
    bad = split_pool(OTHER, [variant(Role.PREFILL, performance=broken), variant(Role.DECODE, performance=broken)])
    both = fleet_world({KEY: split_pool(), OTHER: bad}, {KEY: 20.0, OTHER: 20.0})
    both.run(60)
    both.rates[KEY] = 150.0
    both.run(20)
    decisions = both.step()
    assert counts(decisions[KEY])["prefill"] > 3
    assert counts(decisions[OTHER]) == {"prefill": 3, "decode": 3}
    assert decisions[OTHER].held
    assert "give prefill or decode measurements" in decisions[OTHER].reasons[-1].message


def test_a_pool_that_is_not_observed_keeps_what_it_last_had() -> None:
    small = world(rate=90.0)
    before = counts(small.run(60))
    empty = FleetObservation(at_seconds=small.clock + 15.0, pools={})
    decision = decide(small.fleet, empty, small.state).pools[KEY]
    assert counts(decision) == before
    assert codes(decision) == ["NotObserved"]


def test_pools_that_vanish_are_forgotten() -> None:
    both = fleet_world({KEY: split_pool(), OTHER: split_pool(OTHER)}, {KEY: 20.0, OTHER: 20.0})
    both.run(3)
    assert set(both.state.keys()) == {KEY, OTHER}
    only = replace(both.fleet, pools={KEY: both.fleet.pools[KEY]})
    decide(only, both.observe(), both.state)
    assert both.state.keys() == (KEY,)


def test_nothing_is_released_for_a_while_after_the_start() -> None:
    small = world(rate=1.0, replicas={KEY: {"prefill": 9, "decode": 9}})
    for _ in range(19):
        decision = small.step()[KEY]
        assert counts(decision) == {"prefill": 9, "decode": 9}
    assert "AfterRestart" in codes(decision)
    assert sum(counts(small.run(30)).values()) < 18


def test_the_time_after_a_start_does_not_run_down_while_nothing_is_seen() -> None:
    """Protects a restart beside an outage of Prometheus: the first fresh round released five of eight."""
    small = world(rate=1.0, replicas={KEY: {"prefill": 9, "decode": 9}})
    small.run(4)
    small.blind.add(KEY)
    small.run(60)
    small.blind.clear()
    for _ in range(14):
        decision = small.step()[KEY]
        assert counts(decision) == {"prefill": 9, "decode": 9}
    assert "AfterRestart" in codes(decision)
    assert sum(counts(small.run(40)).values()) < 18


def test_nothing_is_released_while_a_queue_stands() -> None:
    small = world(rate=90.0)
    before = counts(small.run(80))
    small.rates[KEY] = 5.0
    small.waiting[KEY] = 400.0
    for _ in range(80):
        decision = small.step()[KEY]
        assert counts(decision)["prefill"] >= before["prefill"]
    assert "QueueStands" in codes(decision)
    small.waiting[KEY] = 0.0
    assert counts(small.run(10))["prefill"] < before["prefill"]


def test_a_queue_that_capacity_on_the_way_cannot_drain_is_bought_down() -> None:
    calm, queued = world(rate=30.0), world(rate=30.0)
    for small in (calm, queued):
        small.run(60)
    queued.waiting[KEY] = 4000.0
    decision = queued.step()[KEY]
    assert counts(decision)["prefill"] > counts(calm.step()[KEY])["prefill"]
    assert "Backlog" in codes(decision)


def test_a_paused_direction_stays() -> None:
    up = world(split_pool(settings=PolicySettings(pause_scale_out=True)), 10.0)
    before = counts(up.run(60))
    up.rates[KEY] = 300.0
    decision = up.run(20)
    assert counts(decision) == before
    assert "ScaleOutPaused" in codes(decision)
    down = world(split_pool(settings=PolicySettings(pause_scale_in=True)), 90.0)
    before = counts(down.run(60))
    down.rates[KEY] = 1.0
    decision = down.run(60)
    assert counts(decision) == before
    assert "ScaleInPaused" in codes(decision)


def test_an_announced_load_is_bought_for_before_it_comes() -> None:
    load = KnownLoad(start_seconds=3000.0, end_seconds=4000.0, requests_per_second=200.0, name="launch")
    small = world(split_pool(settings=PolicySettings(known_loads=(load,))), 10.0)
    early = counts(small.run(180))
    before_start = counts(small.run(15))
    assert small.clock < load.start_seconds
    assert before_start["prefill"] >= 3 * early["prefill"]


def test_reactive_only_when_forecasting_is_off() -> None:
    small = world(split_pool(settings=PolicySettings(forecast_enabled=False)), 20.0)
    decision = small.run(80)
    assert "Reactive" in codes(decision)
    assert decision.forecasts == {}
    before = counts(decision)
    small.rates[KEY] = 120.0
    assert counts(small.run(10))["prefill"] > before["prefill"]


def test_a_decision_explains_itself() -> None:
    decision = world(rate=40.0).run(80)
    assert [r.step for r in decision.reasons][:2] == ["forecast", "size"]
    assert decision.demand_requests_per_second == pytest.approx(40.0, rel=0.2)
    assert decision.input_tokens_per_second == pytest.approx(40.0 * 1200.0, rel=0.2)
    assert decision.capacity_source == {PREFILL: "profile", DECODE: "profile"}
    assert decision.slo_attainment == 1.0
    assert decision.error_budget_left == 1.0
    fewer, more = decision.alternatives[:2]
    assert "one replica fewer" in fewer.description
    assert fewer.expected_miss_share is not None
    assert more.expected_miss_share is not None
    assert fewer.expected_miss_share > more.expected_miss_share


def test_what_one_pool_cannot_be_sized_by_holds_that_pool_alone() -> None:
    small = fleet_world({KEY: split_pool(), OTHER: split_pool(OTHER)}, {KEY: 20.0, OTHER: 20.0})
    small.run(4)
    small.state.memory(small.fleet.pools[OTHER]).burstiness.push(math.inf)
    decisions = small.step()
    assert "StepFailed" in codes(decisions[OTHER])
    assert decisions[OTHER].held
    assert "StepFailed" not in codes(decisions[KEY])


def test_missing_targets_and_conflicts_are_left_alone() -> None:
    small = world(rate=20.0)
    small.run(60)
    observed = small.observe()
    seen = observed.pools[KEY]

    def with_first(**changes: object) -> FleetObservation:
        first: VariantObservation = replace(seen.variants[0], **changes)  # type: ignore[arg-type]
        pool = replace(seen, variants=(first, *seen.variants[1:]))
        return replace(observed, pools={KEY: pool})

    missing = decide(small.fleet, with_first(desired=7, target_found=False), small.state).pools[KEY]
    assert counts(missing)["prefill"] == 7
    assert "LeftAlone" in codes(missing)
    conflict = decide(small.fleet, with_first(desired=7, conflict="HPA chat"), small.state).pools[KEY]
    assert counts(conflict)["prefill"] == 7
    assert any("HPA chat" in r.message for r in conflict.reasons)


def test_what_did_not_come_in_time_is_replaced_by_the_next_type() -> None:
    pool = split_pool(
        variants=[
            variant(Role.PREFILL, "cheap", usd_per_replica_hour=1.0),
            variant(Role.PREFILL, "dear", usd_per_replica_hour=1.5, min_replicas=0),
            variant(Role.DECODE, usd_per_replica_hour=1.0),
        ]
    )
    small = world(pool, 90.0, replicas={KEY: {"cheap": 3, "dear": 0, "decode": 5}})
    wanted = counts(small.run(20))
    assert wanted["cheap"] > 3
    assert wanted["dear"] == 0
    ordered = small.clock
    while small.clock < ordered + 330.0:
        stuck = small.replicas[KEY]["cheap"] - 3
        small.starting[KEY, "cheap"] = tuple(StartingReplica(ordered, ordered + 60.0) for _ in range(stuck))
        decision = small.step()[KEY]
    # Flat traffic needs one replica less by now: the forecast has become surer, and the misses of the start fade.
    assert counts(decision)["dear"] >= wanted["cheap"] - 3 - 1
    assert counts(decision)["cheap"] == 3
    blocked = [r for r in decision.reasons if r.code == ReasonCode.VARIANT_BLOCKED]
    assert "did not become ready in time" in blocked[0].message


def test_an_itl_that_no_replica_meets_is_said_and_sized_by_full_batches() -> None:
    pool = split_pool()
    out_of_reach = replace(pool, slo=replace(pool.slo, itl_seconds=0.004))
    fast, slow = world(pool, rate=40.0).run(40), world(out_of_reach, rate=40.0).run(40)
    (reason,) = [each for each in slow.reasons if each.code == ReasonCode.OUT_OF_REACH]
    assert reason.numbers["reachable_share"] == 0.0
    assert "raise slo.itl" in reason.message
    assert 1 <= slow.desired(Role.DECODE) <= fast.desired(Role.DECODE)


def test_an_objective_out_of_reach_is_said_with_what_can_be_met() -> None:
    small = world(rate=40.0)
    histogram = LengthHistogram(upper_tokens=(1000.0, 100_000.0), counts=(90.0, 10.0))
    for _ in range(3):
        seen = small.observe()
        pool = seen.pools[KEY]
        assert pool.traffic is not None
        longer = replace(pool, traffic=replace(pool.traffic, input_lengths=histogram))
        decision = decide(small.fleet, replace(seen, pools={KEY: longer}), small.state).pools[KEY]
    (reason,) = [each for each in decision.reasons if each.code == ReasonCode.OUT_OF_REACH]
    assert reason.numbers["reachable_share"] == pytest.approx(0.91, abs=0.01)
    assert "99 % cannot be met" in reason.message
