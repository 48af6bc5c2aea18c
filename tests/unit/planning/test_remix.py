"""A role that stands still on dear replicas moves to cheap ones: new before old, a step at a time, if it pays."""

from dataclasses import replace

import pytest

from forebay.flow.fleet import PoolKey, RatioBand, Role
from forebay.flow.plan import FleetPlan, PlanProblem, PoolNeed
from forebay.planning import solve
from tests.keys import decode, serve
from tests.unit.planning.problems import option, pool, problem, queue_curve, role_need

D_SLOW, DEAR, CHEAP, FAST, SLOW = decode("d-slow"), serve("dear"), serve("cheap"), serve("fast"), serve("slow")

CHAT = PoolKey("test", "chat")


def two_types(
    *,
    dear: int = 12,
    cheap: int = 0,
    cheap_usd: float = 1.0,
    lead_time_seconds: float = 240.0,
    steady: bool = True,
    least_dear: int = 0,
) -> PoolNeed:
    """Return a pool that needs 12 replicas."""
    options = [
        option("dear", node_pool="h100", usd_per_replica_hour=3.0, current=dear, min_replicas=least_dear),
        option(
            "cheap",
            node_pool="l40s",
            usd_per_replica_hour=cheap_usd,
            current=cheap,
            lead_time_seconds=lead_time_seconds,
        ),
    ]
    need = role_need(queue_curve(3.0), wanted=12.0)
    one = pool("chat", [need], options)
    return replace(one, steady=frozenset({Role.SERVE}) if steady else frozenset())


def planned(one: PoolNeed, **limits: object) -> FleetPlan:
    return solve(problem(one, **limits))


def test_a_quarter_is_bought_first_and_nothing_is_released_for_it() -> None:
    plan = planned(two_types())
    assert plan.replicas[CHAT] == {DEAR: 12, CHEAP: 3}
    (words,) = plan.moves[CHAT]
    assert "3 of cheap will replace" in words
    assert "of dear" in words


def test_the_whole_fleet_has_moved_after_some_rounds_and_then_stands_still() -> None:
    now = {DEAR: 12, CHEAP: 0}
    capacities, spent = [], []
    for _ in range(20):
        plan = planned(two_types(dear=now[DEAR], cheap=now[CHEAP]))
        moves = [plan.replicas[CHAT][name] - now[name] for name in now]
        assert min(moves) >= 0 or max(moves) <= 0, "one direction at a time"
        now = dict(plan.replicas[CHAT])
        capacities.append(sum(now.values()))
        spent.append(plan.usd_per_hour)
    assert now[DEAR] == 0
    assert now[CHEAP] == 12
    assert min(capacities) >= 12, "never broken before made"
    assert spent[-1] == spent[-5] < 0.5 * 36.0


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"steady": False}, "something of the role is held, queued for or starting"),
        ({"cheap_usd": 2.8}, "the saving is within what measurements wander"),
        ({"cheap_usd": 2.4, "lead_time_seconds": 1800.0}, "both side by side cost more than an hour's saving"),
        ({"least_dear": 12}, "the user wants at least so many of the dear type"),
    ],
)
def test_what_does_not_pay_or_is_not_allowed_stays(changes: dict[str, float], why: str) -> None:
    plan = planned(two_types(**changes))  # type: ignore[arg-type]
    assert plan.replicas[CHAT] == {DEAR: 12, CHEAP: 0}, why
    assert not plan.moves


def test_only_what_is_free_is_bought() -> None:
    one = two_types()
    assert planned(one, gpu_stock={"l40s": 2, "h100": 12}).replicas[CHAT] == {DEAR: 12, CHEAP: 2}
    assert planned(one, gpu_stock={"l40s": 0, "h100": 12}).replicas[CHAT] == {DEAR: 12, CHEAP: 0}
    tight = planned(one, budget_usd_per_hour=36.5)
    assert tight.replicas[CHAT] == {DEAR: 12, CHEAP: 0}, "no money for both side by side"


def test_nothing_moves_to_a_node_pool_that_others_wait_for() -> None:
    stuck = pool("batch", [role_need(queue_curve(1.0))], [option("b", node_pool="l40s", current=1, blocked=True)])
    plan = solve(problem(two_types(), stuck))
    assert plan.replicas[CHAT] == {DEAR: 12, CHEAP: 0}


def test_the_pool_of_higher_priority_moves_first() -> None:
    first = replace(two_types(), priority=5)
    second = replace(two_types(), key=PoolKey("test", "batch"))
    plan = solve(PlanProblem(pools=(second, first), gpu_stock={"l40s": 3, "h100": 40}))
    assert plan.replicas[CHAT][CHEAP] == 3
    assert plan.replicas[PoolKey("test", "batch")][CHEAP] == 0


def test_coarse_cheap_replicas_move_whole_when_a_step_would_release_nothing() -> None:
    """Four slow replicas do the work of a fast one: a quarter of one fast replica releases nothing."""
    options = [
        option("fast", usd_per_replica_hour=8.0, speed=4.0, current=1),
        option("slow", usd_per_replica_hour=1.0, speed=1.0),
    ]
    need = role_need(queue_curve(1.0), wanted=4.0)
    one = replace(pool("chat", [need], options), steady=frozenset({Role.SERVE}))
    assert planned(one).replicas[CHAT] == {FAST: 1, SLOW: 4}


def test_the_ratio_band_is_kept() -> None:
    needs = [role_need(queue_curve(1.0), role=role, wanted=8.0) for role in (Role.PREFILL, Role.DECODE)]
    options = [
        option("p", Role.PREFILL, current=8),
        option("d-fast", Role.DECODE, usd_per_replica_hour=9.0, speed=2.0, current=4),
        option("d-slow", Role.DECODE, usd_per_replica_hour=1.0),
    ]
    steady = frozenset({Role.PREFILL, Role.DECODE})
    free = replace(pool("chat", needs, options), steady=steady)
    assert planned(free).replicas[CHAT][D_SLOW] > 0
    banded = replace(free, prefill_to_decode=RatioBand(lowest=2.0, highest=3.0))
    assert planned(banded).replicas[CHAT][D_SLOW] == 0, "eight slow ones would leave the band"
