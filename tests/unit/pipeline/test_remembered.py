"""What rounds remember: across restarts, from history, and in fleets whose forecasters take turns."""

from dataclasses import replace

import numpy as np
import pytest

from forebay.flow.fleet import PoolKey, Role
from forebay.flow.observation import StartingReplica
from forebay.flow.settings import PolicySettings
from forebay.forecast.jobs import WarmJob
from forebay.forecast.resolution import ONE_MINUTE, steps_of
from forebay.pipeline import FleetState, StateError, decide
from forebay.pipeline.remember.memory import Withdrawal
from tests.keys import prefill
from tests.unit.pipeline.fleets import KEY, codes, counts, fleet_world, split_pool, world

OTHER = PoolKey("serving", "other")


def test_a_snapshot_carries_on_where_it_was_taken() -> None:
    small = world(rate=60.0)
    small.run(120)
    data = small.state.snapshot(KEY)
    assert data is not None
    restored = FleetState()
    restored.restore(KEY, data)
    for _ in range(4):
        observed = small.observe()
        kept = decide(small.fleet, observed, small.state).pools[KEY]
        back = decide(small.fleet, observed, restored).pools[KEY]
    had = small.replicas[KEY]
    assert all(counts(kept)[name] <= counts(back)[name] <= had[name] for name in had), "no dip after a restart"
    assert back.slo_attainment == kept.slo_attainment
    for role, forecast in kept.forecasts.items():
        assert back.forecasts[role].at_horizon.q90 == pytest.approx(forecast.at_horizon.q90, rel=0.1)
    assert restored.snapshot(KEY) is not None
    assert restored.snapshot(OTHER) is None


@pytest.mark.parametrize("data", [b"", b"not json\n", b"{}\n", b'{"version":1}\n', b'{"version":99}\nrest'])
def test_a_damaged_snapshot_is_refused_in_words(data: bytes) -> None:
    with pytest.raises(StateError, match="saved state of a pool"):
        FleetState().restore(KEY, data)


def test_forecasters_count_in_steps_of_the_length_that_they_were_given() -> None:
    """Protects a day that is played in minutes: it is over before a forecaster of minutes has said a word."""
    by_minutes, by_rounds = world(rate=40.0), world(rate=40.0)
    by_rounds.state = FleetState(steps_of(15.0))
    assert not by_minutes.run(8).forecasts
    decision = by_rounds.run(8)
    forecast = decision.forecasts[Role.PREFILL]
    assert 30.0 < forecast.at_horizon.q50 < forecast.at_horizon.q90 < 80.0
    again = FleetState(steps_of(15.0))
    snapshot = by_rounds.state.snapshot(KEY)
    assert snapshot is not None
    again.restore(KEY, snapshot)
    by_rounds.state = again
    assert by_rounds.step()[KEY].forecasts
    with pytest.raises(StateError, match="another sampling step"):
        FleetState().restore(KEY, snapshot)


def test_a_day_of_short_steps_has_144_of_them() -> None:
    short = steps_of(2.0)
    assert (short.steps_per_day, short.day_seconds) == (144, 288)
    assert steps_of(60.0) is ONE_MINUTE


@pytest.mark.parametrize("seconds", [0.5, 7.0, 3.5, 120.0])
def test_a_step_that_divides_no_hour_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match=f"that divide an hour; got {seconds:g} s"):
        steps_of(seconds)


def test_a_warm_start_knows_the_day_before() -> None:
    cold, warm = world(rate=20.0), world(rate=20.0)
    pool = warm.fleet.pools[KEY]
    history = [20.0 * 60.0] * 600 + [100.0 * 60.0] * 20 + [20.0 * 60.0] * 100
    warm.state.warm_start(pool, requests_per_minute=history, end_seconds=0.0, lead_times_seconds=[60.0])
    first = warm.step()[KEY]
    assert set(first.forecasts) == {Role.PREFILL, Role.DECODE}
    assert cold.step()[KEY].forecasts == {}


def test_a_pool_whose_past_is_to_come_grows_but_releases_nothing() -> None:
    small = world(rate=20.0)
    pool = small.fleet.pools[KEY]
    small.run(60)
    before = dict(small.replicas[KEY])
    small.state.await_past(pool)
    small.rates[KEY] = 5.0
    assert "HistoryPending" in codes(small.run(60))
    assert small.replicas[KEY] == before
    small.rates[KEY] = 60.0
    small.run(8)
    assert all(count > before[name] for name, count in small.replicas[KEY].items())
    minutes = 600
    history = [3600.0] * minutes
    small.state.warm_start(pool, requests_per_minute=history, end_seconds=small.clock, lead_times_seconds=[60.0])
    assert "HistoryPending" not in codes(small.run(2))
    learned = small.state.memory(pool).forecaster
    assert learned.horizons, "it was given its past"


def test_a_pool_without_history_goes_on_without() -> None:
    small = world(rate=20.0)
    small.state.await_past(small.fleet.pools[KEY])
    assert small.state.memory(small.fleet.pools[KEY]).awaits_past
    small.state.go_without_past(KEY)
    small.state.go_without_past(OTHER)
    assert not small.state.memory(small.fleet.pools[KEY]).awaits_past


def test_a_long_history_is_learned_in_a_round_and_not_before() -> None:
    """Replaying days takes seconds, so it is a job: the first round does it, or the caller does elsewhere."""
    inside, outside = world(rate=20.0), world(rate=20.0)
    pool = inside.fleet.pools[KEY]
    for small in (inside, outside):
        small.state.warm_start(pool, requests_per_minute=[1200.0] * 600, end_seconds=0.0)
    inside.step()
    assert inside.step()[KEY].forecasts
    for _ in range(2):
        decision = decide(outside.fleet, outside.observe(), outside.state, jobs=0).pools[KEY]
    assert decision.forecasts == {}
    found = outside.state.next_job()
    assert found is not None
    key, job = found
    outside.state.apply(key, job.run())
    assert decide(outside.fleet, outside.observe(), outside.state, jobs=0).pools[KEY].forecasts


def test_forecasters_of_a_staggered_fleet_take_their_samples_in_turns() -> None:
    """Protects the longest round of a large fleet: not every forecaster works in the same one."""
    pools = [PoolKey("serving", f"pool-{number:02}") for number in range(12)]
    fleet = fleet_world({key: split_pool(key) for key in pools}, dict.fromkeys(pools, 40.0))
    fleet.state = FleetState(stagger_seconds=15.0)
    fed: list[set[PoolKey]] = []
    learned: list[set[PoolKey]] = []
    for _ in range(40):
        before = {key: fleet.state.memory(fleet.fleet.pools[key]) for key in pools}
        seen = {key: (memory.fed_until_seconds, memory.known_steps) for key, memory in before.items()}
        decisions = fleet.step()
        after = {key: fleet.state.memory(fleet.fleet.pools[key]) for key in pools}
        fed.append({key for key in pools if after[key].fed_until_seconds != seen[key][0]})
        learned.append({key for key in pools if after[key].known_steps != seen[key][1]})
    assert all(
        one | other == set(pools) and not one & other for one, other in zip(fed[-8:], fed[-7:], strict=False)
    )
    assert sorted(key for each in learned[-4:] for key in each) == pools, "each once within a minute"
    assert all(1 <= len(each) <= 6 for each in learned[-4:])
    assert all(decision.forecasts for decision in decisions.values())


def test_the_steps_of_a_staggered_fleet_end_all_over_the_minute() -> None:
    fleet = FleetState(stagger_seconds=15.0)
    keys = [PoolKey("serving", f"pool-{number}") for number in range(40)]
    offsets = {fleet.memory(split_pool(key)).forecaster.resolution.offset_seconds for key in keys}
    assert offsets == {0.0, 15.0, 30.0, -15.0}, "history of full minutes is never half a minute off"


@pytest.mark.parametrize("offset", [0.0, 15.0, 30.0, -15.0])
def test_samples_follow_on_history_and_on_a_restart_without_a_gap(offset: float) -> None:
    """Protects a pool whose minutes end elsewhere than on the full minute: none is lost, none counts twice."""
    small = world(rate=40.0)
    small.clock = 7200.0
    small.state = FleetState(replace(ONE_MINUTE, offset_seconds=offset))
    pool = small.fleet.pools[KEY]
    small.state.warm_start(pool, requests_per_minute=[2400.0] * 120, end_seconds=7200.0, lead_times_seconds=[60.0])
    fed = []
    for number in range(24):
        if number == 12:
            snapshot = small.state.snapshot(KEY)
            assert snapshot is not None
            small.state = FleetState(replace(ONE_MINUTE, offset_seconds=offset))
            small.state.restore(KEY, snapshot)
        small.step()
        fed.append(small.state.memory(pool).fed_until_seconds)
    known = [end for end in dict.fromkeys(fed) if end is not None]
    assert known[0] == 7200.0 + offset
    assert np.diff(known[1:]) == pytest.approx(30.0)
    assert known[-1] >= 7200.0 + 24 * 15.0 - 30.0


def test_a_clock_that_was_set_back_is_followed() -> None:
    """Protects: demand stood still until the clock had caught up, while telemetry counted as fresh."""
    small = world(rate=20.0, clock=1_000_000.0)
    small.run(60)
    memory = small.state.memory(small.fleet.pools[KEY])
    memory.actions[Role.PREFILL], memory.cancelled = [small.clock], [small.clock]
    small.clock -= 3_600.0
    small.rates[KEY] = 200.0
    decision = small.run(6)
    assert decision.demand_requests_per_second == pytest.approx(200.0, rel=0.15)
    assert sum(counts(decision).values()) > 10
    assert memory.fed_until_seconds is not None
    assert memory.fed_until_seconds <= small.clock
    assert all(at <= small.clock for at in [*memory.actions[Role.PREFILL], *memory.cancelled])
    assert memory.last_arrival_seconds == small.clock


def test_a_wish_that_nobody_carries_out_spends_no_action() -> None:
    """Protects `Recommend`, and targets that refuse writes: the wish was given up after a few rounds."""
    pool = split_pool(settings=PolicySettings(actions_per_hour=4))
    small = world(pool, rate=80.0, replicas={KEY: {"prefill": 2, "decode": 2}})
    wishes = [counts(decide(small.fleet, small.observe(), small.state).pools[KEY]) for _ in range(12)]
    assert all(wish["prefill"] > 2 for wish in wishes)


def test_actions_that_were_carried_out_are_counted() -> None:
    pool = split_pool(settings=PolicySettings(actions_per_hour=2, max_scale_out_step=1))
    small = world(pool, rate=80.0, replicas={KEY: {"prefill": 2, "decode": 4}})
    assert [counts(small.run(1))["prefill"] for _ in range(5)] == [3, 4, 4, 4, 4]


def test_starts_that_were_taken_back_are_counted() -> None:
    small = world(rate=20.0)
    small.run(2)
    small.replicas[KEY]["prefill"] += 2
    small.starting[KEY, "prefill"] = (StartingReplica(small.clock, small.clock + 60.0),) * 2
    assert decide(small.fleet, small.observe(), small.state).pools[KEY].cancelled_last_hour == 0
    small.replicas[KEY]["prefill"] -= 2
    small.starting.clear()
    decision = decide(small.fleet, small.observe(), small.state).pools[KEY]
    assert decision.cancelled_last_hour == 2
    assert decision.actions_last_hour >= 2


def test_the_last_hour_ends_for_a_pool_that_is_held_and_for_a_role_that_is_gone() -> None:
    """Protects the status: it told of actions for as long as telemetry was lost, or a role was gone."""
    small = world(rate=20.0)
    small.run(2)
    memory = small.state.memory(small.fleet.pools[KEY])
    memory.actions[Role.SERVE], memory.cancelled = [small.clock] * 2, [small.clock]
    small.blind.add(KEY)
    small.clock += 600.0
    assert small.run(1).actions_last_hour >= 2
    small.clock += 3_600.0
    held = small.run(1)
    assert (held.held, held.actions_last_hour, held.cancelled_last_hour) == (True, 0, 0)
    small.blind.clear()
    memory.actions[Role.SERVE] = [small.clock - 3_601.0]
    assert small.run(1).actions_last_hour < 2


def test_a_window_without_requests_tells_nothing() -> None:
    """Protects alerts: where traffic ended in a bad hour, the burn rate of that hour stood still for ever."""
    small = world(rate=20.0, noise=False)
    small.run(4)
    memory = small.state.memory(small.fleet.pools[KEY])
    memory.windows["1h"].missed = 0.5 * memory.windows["1h"].finished
    assert small.run(1).windows["1h"].burn_rate > 10.0
    small.rates[KEY] = 0.0
    small.clock += 3_000.0
    assert set(small.run(1).windows) == {"1h", "1d", "28d"}
    small.clock += 600.0
    assert set(small.run(1).windows) == {"1d", "28d"}
    small.rates[KEY] = 20.0
    assert set(small.run(2).windows) == {"1h", "1d", "28d"}


def test_a_forecasters_failure_names_its_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    small = world(rate=20.0)
    pool = small.fleet.pools[KEY]
    small.state.warm_start(pool, requests_per_minute=[1200.0] * 600, end_seconds=0.0)
    for _ in range(2):
        decide(small.fleet, small.observe(), small.state, jobs=0)
    monkeypatch.setattr(WarmJob, "run", lambda _: 1 // 0)
    with pytest.raises(ZeroDivisionError) as failure:
        small.state.work()
    assert failure.value.__notes__ == [f"It is the forecaster of {KEY}."]


def test_attainment_goes_on_from_what_an_earlier_process_left() -> None:
    """Protects: both replicas restarted at once, and a pool that missed its objective said 100 %."""
    scene = world()
    pool = scene.fleet.pools[KEY]
    scene.state.recall_attainment(pool, missed=300.0, finished=10_000.0)
    decision = scene.run(2)
    assert decision.slo_attainment == pytest.approx(0.97, abs=0.003)
    scene.state.recall_attainment(pool, missed=0.0, finished=10_000.0)
    assert scene.run(1).slo_attainment == pytest.approx(0.97, abs=0.003), "what was seen since counts more"


def test_a_withdrawal_that_failed_is_remembered_in_a_snapshot() -> None:
    scene = world()
    scene.run(2)
    memory = scene.state.memory(scene.fleet.pools[KEY])
    memory.withdrawals[prefill("prefill")] = Withdrawal(desired=3, overdue=1, ready=3, failed=True)
    data = scene.state.snapshot(KEY)
    assert data is not None
    scene.state.restore(KEY, data)
    assert scene.state.memory(scene.fleet.pools[KEY]).withdrawals == memory.withdrawals
