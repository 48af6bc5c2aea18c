"""The clairvoyant oracle: orders that follow from needs, and what its search promises."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.flow.fleet import Role
from forebay.offline.replay.baselines import baseline_named
from forebay.offline.replay.loop.closed_loop import run
from forebay.offline.replay.loop.scenario import Scenario
from forebay.offline.replay.loop.score import PolicyScore, score
from forebay.offline.replay.oracle import FAST, Effort, oracle
from forebay.offline.replay.oracle.schedule import RoleGrid, grids
from forebay.offline.replay.results.floor import floor
from forebay.offline.replay.results.frontier import best_in_hindsight
from tests.keys import serve
from tests.unit.replay.scenarios import KEY, scenario, trace

A = serve("a")

SHORT = replace(FAST, margins=(0.0, 1.0, 2.5, 5.0), bisections=6, rounds=12)
NEEDS = st.lists(st.integers(1, 9), min_size=1, max_size=40).map(np.array)
LAGS = st.integers(0, 8)


def grid(lag: int) -> RoleGrid:
    return RoleGrid(
        role=Role.PREFILL,
        erlangs=np.zeros(1),
        replicas={A: np.arange(20)},
        lag={A: lag},
        usd={A: 1.0},
    )


@given(NEEDS, LAGS)
def test_what_is_ordered_is_ready_when_it_is_needed(need: np.ndarray, lag: int) -> None:
    orders = grid(lag).orders(need)[A]
    for interval in range(len(need)):
        ready = orders[max(0, interval - lag) : interval + 1].min()
        assert ready >= need[interval]


@given(NEEDS, LAGS)
def test_capacity_that_is_paid_for_costs_nothing_more(need: np.ndarray, lag: int) -> None:
    made = grid(lag)
    raised = made.paid_for(need)
    assert (raised >= need).all()
    assert np.array_equal(made.usd_per_interval(raised), made.usd_per_interval(need))


def test_the_grid_holds_all_work() -> None:
    made = scenario()
    roles = grids(made, KEY)
    hours = sum(float(role.erlangs.sum()) * 30.0 / 3600.0 for role in roles.values())
    assert hours == pytest.approx(floor(made).replica_hours, rel=0.02)


def every_setting(made: Scenario, *names: str) -> Iterator[PolicyScore]:
    for name in names:
        baseline = baseline_named(name)
        for knob in baseline.knob.sweep:
            yield score(made, run(made, baseline.policy(made, knob), name=name, knob=knob))


@pytest.fixture(scope="module")
def bursts() -> Scenario:
    return scenario(trace(900.0, 20.0))


def test_it_meets_the_target_between_the_floor_and_the_cheapest_static_fleet(bursts: Scenario) -> None:
    found = oracle(bursts, SHORT)
    result = score(bursts, found.run)
    static = best_in_hindsight(every_setting(bursts, "static-peak"))["static-peak"]
    assert found.met
    assert result.meets_target
    assert floor(bursts).usd < result.cost_usd <= static.cost_usd
    assert found.simulations <= 60
    assert "upper bound" in found.statement


def test_it_is_cheaper_than_any_policy_here_that_meets_the_target(bursts: Scenario) -> None:
    best = score(bursts, oracle(bursts, SHORT).run).cost_usd
    met = best_in_hindsight(every_setting(bursts, "reactive", "hpa"))
    assert met
    assert all(best < entry.cost_usd for entry in met.values())


def test_more_search_never_costs_more(bursts: Scenario) -> None:
    ladder_only = score(bursts, oracle(bursts, replace(SHORT, rounds=0)).run).cost_usd
    assert score(bursts, oracle(bursts, SHORT).run).cost_usd <= ladder_only + 1e-9


def test_it_is_reproducible(bursts: Scenario) -> None:
    effort = replace(SHORT, rounds=4)
    assert score(bursts, oracle(bursts, effort).run) == score(bursts, oracle(bursts, effort).run)


def test_it_says_when_no_schedule_reaches_the_target() -> None:
    made = scenario(trace(300.0, 20.0))
    few = tuple(replace(v, max_replicas=1) for v in made.fleet.pools[KEY].variants)
    pool = replace(made.fleet.pools[KEY], variants=few)
    small = replace(made, fleet=replace(made.fleet, pools={KEY: pool}), initial={KEY: {v.key: 1 for v in few}})
    found = oracle(small, Effort(margins=(1.0,), bisections=1, rounds=1))
    assert not found.met
    assert "none of" in found.statement


def test_a_schedule_is_a_policy_with_the_start_up_of_the_others(bursts: Scenario) -> None:
    """A longer start-up can only cost the oracle more, as replicas are paid from their order."""
    slow = replace(bursts, start_up={KEY: scenario(start_up_seconds=240.0).start_up[KEY]})
    quick, late = (score(made, oracle(made, SHORT).run).cost_usd for made in (bursts, slow))
    assert late > quick
    static = baseline_named("static-peak")
    costs = [score(made, run(made, static.policy(made), name="static")).cost_usd for made in (bursts, slow)]
    assert costs[0] <= costs[1]
