"""What each product's rule answers to hand-made signals."""

import math
from dataclasses import replace

import numpy as np
import pytest

from forebay.flow.fleet import Role
from forebay.flow.observation import PoolObservation, Traffic
from forebay.offline.replay.baselines import PoolFacts, baseline_named, facts_of
from forebay.offline.replay.baselines.aibrix import AibrixApa, AibrixKpa
from forebay.offline.replay.baselines.common.signals import Arrivals, RoleSignals
from forebay.offline.replay.baselines.common.workload import workload
from forebay.offline.replay.baselines.dynamo import Load, Sla, Throughput
from forebay.offline.replay.baselines.hpa import OnBoth, OnQueue, OnUtilisation
from forebay.offline.replay.baselines.keda import KvUse, PrefillBacklog, Rate, Velocity
from forebay.offline.replay.baselines.learned_rule import features, miss_share, penalised_cost, train
from forebay.offline.replay.baselines.reactive import Reactive
from forebay.offline.replay.baselines.seasonal import Seasonal
from forebay.sizing.work import Lengths
from tests.unit.replay.scenarios import KEY, SLO, scenario

LENGTHS = Lengths(1200.0, 200.0, 1300.0, (1200.0,) * 10)
FACTS = facts_of(scenario(), KEY)
PREFILL = workload(FACTS, Role.PREFILL, LENGTHS)
DECODE = workload(FACTS, Role.DECODE, LENGTHS)
SECONDS = PREFILL.seconds_per_request


def signals(at: float = 60.0, role: Role = Role.PREFILL, **changes: float) -> RoleSignals:
    base = RoleSignals(
        role=role,
        at_seconds=at,
        interval_seconds=15.0,
        workload=PREFILL if role is Role.PREFILL else DECODE,
        desired=4.0,
        ready=4.0,
        supply=4.0,
        busy=3.2,
        kv_usage=1.6,
        running=3.2,
        waiting=0.0,
        input_tokens=1200.0,
        output_tokens=200.0,
        tokens_per_second=1000.0,
        ttft_seconds=None,
        itl_seconds=None,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def arrivals(per_second: float, *, until: float = 60.0, since: float = 0.0) -> Arrivals:
    counted = Arrivals()
    counted.add(
        PoolObservation(
            key=KEY,
            at_seconds=until,
            traffic=Traffic(
                start_seconds=since,
                end_seconds=until,
                arrivals=per_second * (until - since),
                slot_counts=(per_second * (until - since),),
            ),
            variants=(),
        )
    )
    return counted


def test_reactive_holds_the_highest_of_five_minutes() -> None:
    scaler = Reactive(0.7)
    high = scaler.tick(signals(60.0), arrivals(7.0 / SECONDS))
    assert high == pytest.approx(10.0)  # more than the four that it found
    assert scaler.tick(signals(330.0), arrivals(0.7 / SECONDS)) == pytest.approx(10.0)
    assert scaler.tick(signals(361.0), arrivals(0.7 / SECONDS)) == pytest.approx(1.0)


def test_hpa_on_utilisation_and_on_queue() -> None:
    nothing = Arrivals()
    assert OnUtilisation(0.8, 15.0).tick(signals(busy=3.2), nothing) == 4
    assert OnUtilisation(0.8, 15.0).tick(signals(busy=4.0), nothing) == 5
    assert OnUtilisation(0.8, 15.0).tick(signals(busy=4.0, ready=0.0), nothing) == 4
    assert OnQueue(4.0).tick(signals(waiting=29.0), nothing) == 8


def test_hpa_reads_a_rate_over_its_window() -> None:
    scaler = OnUtilisation(0.8, 60.0)
    for at in (15.0, 30.0, 45.0):
        assert scaler.tick(signals(at, busy=3.2), Arrivals()) == 4
    assert scaler.tick(signals(60.0, busy=4.0), Arrivals()) == 4  # .85 on average: within the tolerance
    assert scaler.tick(signals(75.0, busy=4.0), Arrivals()) == 5


def test_keda_keeps_the_lengths_of_the_first_ten_minutes() -> None:
    longer = workload(FACTS, Role.PREFILL, replace(LENGTHS, input_tokens=2400.0))
    scaler = Rate(0.8)
    rate = 4.0 / SECONDS
    assert scaler.tick(signals(600.0), arrivals(rate)) == 5
    late = replace(signals(615.0), workload=longer)
    assert scaler.tick(late, arrivals(rate)) == 5


def test_keda_scales_to_zero_only_after_its_cool_down() -> None:
    scaler = Rate(0.8)
    assert scaler.tick(signals(15.0), arrivals(3.2 / SECONDS)) == 4
    assert scaler.tick(signals(30.0), arrivals(0.0)) == 4
    assert scaler.tick(signals(316.0), arrivals(0.0)) == 0
    assert scaler.tick(signals(331.0), arrivals(0.5 / SECONDS)) == 1


def test_guides_for_inference_keep_one_replica() -> None:
    scaler = KvUse(0.8)
    for at in range(15, 1600, 15):
        wanted = scaler.tick(signals(float(at), Role.DECODE, kv_usage=0.0), Arrivals())
    assert wanted == 1


def test_llmd_adds_a_replica_per_three_minutes_and_takes_one_per_five() -> None:
    scaler = KvUse(0.8)
    full = [scaler.tick(signals(float(at), Role.DECODE, kv_usage=8.0), Arrivals()) for at in range(15, 391, 15)]
    assert full[0] == 5
    assert [full.index(count) * 15 + 15 for count in (5, 6, 7)] == [15, 195, 375]
    empty = [scaler.tick(signals(float(at), Role.DECODE, kv_usage=0.4), Arrivals()) for at in range(405, 1306, 15)]
    assert [empty.index(count) * 15 + 405 for count in (6, 5, 4)] == [690, 990, 1290]


def test_token_velocity_follows_the_present_lengths() -> None:
    longer = workload(FACTS, Role.PREFILL, replace(LENGTHS, input_tokens=2400.0))
    scaler = Velocity(0.8)
    rate = 4.0 / SECONDS
    assert scaler.tick(signals(600.0), arrivals(rate)) == 5
    wanted = scaler.tick(replace(signals(615.0), workload=longer), arrivals(rate))
    assert wanted == math.ceil(rate * longer.seconds_per_request / 0.8)


def test_token_backlog_is_seconds_of_wait_against_what_the_objective_leaves() -> None:
    allowed = SLO.ttft_seconds - SECONDS
    queued = signals(running=0.0, waiting=7.5 * allowed / SECONDS, desired=7.0)
    assert PrefillBacklog(0.95, SLO.ttft_seconds).tick(queued, Arrivals()) == 8
    assert PrefillBacklog(1.2, SLO.ttft_seconds).tick(queued, Arrivals()) == 7


def test_apa_acts_outside_its_tolerance_and_at_most_doubles() -> None:
    assert AibrixApa(0.5).decide(10.0, total_use=2.1, ready=4.0, desired=4) == 4
    assert AibrixApa(0.5).decide(10.0, total_use=2.6, ready=4.0, desired=4) == 6
    assert AibrixApa(0.5).decide(10.0, total_use=8.0, ready=4.0, desired=4) == 8


def test_apa_averages_three_minutes_and_gives_back_after_five() -> None:
    apa = AibrixApa(0.5)
    for at in range(10, 190, 10):
        assert apa.decide(float(at), total_use=2.0, ready=4.0, desired=4) == 4
    for at in range(190, 480, 10):
        assert apa.decide(float(at), total_use=0.5, ready=4.0, desired=4) == 4
    assert [apa.decide(float(at), total_use=0.5, ready=4.0, desired=4) for at in (600, 700, 800)][-1] == 2


def test_aibrix_kpa_panics_when_the_short_window_is_twice_the_long_one() -> None:
    kpa = AibrixKpa(0.5)
    for at in range(10, 190, 10):
        assert kpa.decide(float(at), total_use=1.0, ready=2.0, desired=2) == 2
    for at in range(190, 230, 10):
        wanted = kpa.decide(float(at), total_use=6.0, ready=2.0, desired=2)
    assert wanted == 4  # doubled at most


def test_dynamo_throughput_counts_saturation_and_eight_replicas_at_a_time() -> None:
    demand = arrivals(6.3 / SECONDS, until=180.0)
    assert Throughput(1.0).tick(signals(180.0), demand) == 7
    assert Throughput(1.5).tick(signals(180.0), demand) == 10
    assert Throughput(4.0).tick(signals(180.0), demand) == 12
    assert Throughput(1.0).tick(signals(180.0, desired=30.0), demand) == 22


def test_dynamo_load_moves_one_replica_and_waits_for_the_last() -> None:
    load = Load(1.0)
    assert load.tick(signals(waiting=0.5), Arrivals()) == 5
    assert load.tick(signals(waiting=0.5, supply=5.0, desired=5.0), Arrivals()) == 5
    assert load.tick(signals(waiting=0.0), Arrivals()) == 3
    assert load.tick(signals(role=Role.DECODE, kv_usage=1.7), Arrivals()) == 5
    assert load.tick(signals(role=Role.DECODE, kv_usage=1.0), Arrivals()) == 4
    assert load.tick(signals(role=Role.DECODE, kv_usage=0.2), Arrivals()) == 3


def test_dynamo_sla_keeps_the_throughput_floor_and_moves_by_latency() -> None:
    sla = Sla(1.0, SLO)
    before = arrivals(3.3 / SECONDS, until=175.0)
    assert sla.tick(signals(175.0, waiting=1000.0), before) == 4  # no floor yet: it does not move
    demand = arrivals(3.3 / SECONDS, until=180.0)
    assert sla.tick(signals(180.0, waiting=0.0), demand) == 4  # the floor
    assert sla.tick(signals(185.0, desired=6.0, ready=6.0, supply=6.0), demand) == 5
    late = 4.5 * SLO.ttft_seconds / SECONDS
    assert sla.tick(signals(190.0, waiting=late), demand) == 5
    assert sla.tick(signals(195.0, waiting=late, supply=5.0, desired=5.0), demand) == 5


def test_dynamo_sla_sizes_decode_by_the_estimated_itl() -> None:
    sla = Sla(1.0, SLO)
    demand = arrivals(1.0, until=180.0)
    edge = DECODE.batch
    assert sla.tick(signals(180.0, Role.DECODE, running=4.2 * edge, kv_usage=2.0), demand) == 5
    assert sla.tick(signals(185.0, Role.DECODE, running=1.0 * edge, kv_usage=0.5), demand) == 3
    assert sla.tick(signals(190.0, Role.DECODE, running=1.0 * edge, kv_usage=3.5), demand) == 4  # KV would not fit


def test_two_metrics_in_one_hpa_the_higher_counts() -> None:
    assert OnBoth(0.8, 15.0).tick(signals(busy=4.0, waiting=0.0), Arrivals()) == 5
    assert OnBoth(0.8, 15.0).tick(signals(busy=3.2, waiting=29.0), Arrivals()) == 8


def test_seasonal_looks_a_day_back_and_half_an_hour_ahead() -> None:
    history = np.ones(1440)
    history[60:90] = 600.0
    scaler = Seasonal(0.8, history)
    assert scaler.a_period_ago(20 * 60.0) == pytest.approx(1.0 / 60.0)
    assert scaler.a_period_ago(40 * 60.0) == pytest.approx(10.0)  # minute 70 of yesterday
    assert Seasonal(0.8, None).a_period_ago(40 * 60.0) == 0.0


def test_training_beats_the_untrained_rule_and_is_reproducible() -> None:
    minutes = np.arange(720)
    erlangs = np.where(minutes % 20 < 5, 10.0, 4.0).astype(np.float64)
    weights = train(erlangs, 2, 10.0, SLO, seed=1)
    again = train(erlangs, 2, 10.0, SLO, seed=1)
    assert np.array_equal(weights, again)
    plain = np.array([1.0 / 0.7, 0.0, 0.0, 0.0, 0.0, 0.0])
    costs = penalised_cost(np.array([plain, weights]), erlangs, 2, 10.0, SLO)
    assert costs[1] < 0.8 * costs[0]


def test_features_never_look_ahead() -> None:
    chance = np.random.default_rng(0)
    erlangs = chance.uniform(1.0, 9.0, 1600)
    changed = erlangs.copy()
    changed[1501:] = 99.0
    assert np.array_equal(features(erlangs, 4)[:1501], features(changed, 4)[:1501])


def test_fewer_miss_with_more_replicas() -> None:
    replicas = np.arange(1.0, 30.0)
    shares = miss_share(np.full(29, 10.0), replicas, 2.0)
    assert shares[5] == 1.0
    assert (np.diff(shares) <= 0.0).all()
    assert shares[-1] < 1e-6


def test_static_needs_the_traffic() -> None:
    facts = PoolFacts(
        pool=FACTS.pool,
        performance=FACTS.performance,
        start_up_seconds=FACTS.start_up_seconds,
        usd_per_replica_hour=FACTS.usd_per_replica_hour,
    )
    with pytest.raises(ValueError, match="needs the traffic"):
        baseline_named("static-peak").make(facts, 1.0)


def test_reactive_keeps_the_fleet_that_it_finds_for_five_minutes() -> None:
    scaler = Reactive(0.7)
    assert scaler.tick(signals(30.0), arrivals(0.7 / SECONDS)) == pytest.approx(4.0)
    assert scaler.tick(signals(331.0), arrivals(0.7 / SECONDS)) == pytest.approx(1.0)
