"""Settings that only the planner can follow: spare replicas, and GPU types by prompt length."""

from dataclasses import replace

import pytest

from forebay.flow.fleet import Role
from forebay.flow.settings import PolicySettings
from tests.keys import prefill
from tests.unit.pipeline.fleets import PERFORMANCE, split_pool, variant, world

FAST, SLOW = prefill("fast"), prefill("slow")

SLOW_PREFILL = replace(PERFORMANCE, prefill_base_seconds=0.004, prefill_seconds_per_token=1 / 7_000)
TYPES = (
    variant(Role.PREFILL, "fast", usd_per_replica_hour=4.0),
    variant(Role.PREFILL, "slow", usd_per_replica_hour=1.0, performance=SLOW_PREFILL, min_replicas=0),
    variant(Role.DECODE),
)


def test_spare_replicas_come_on_top_in_every_role() -> None:
    bought = []
    for spare in (0, 2):
        pool = split_pool(settings=PolicySettings(spare_replicas=spare))
        last = world(pool, rate=40.0, replicas={pool.key: {"prefill": 1, "decode": 1}}).run(8)
        bought.append({role: last.desired(role) for role in pool.roles})
    assert bought[1] == {role: count + 2 for role, count in bought[0].items()}


@pytest.mark.parametrize("by_length", [False, True])
def test_routes_by_length_are_told_where_the_router_honours_them(by_length: bool) -> None:
    pool = split_pool(variants=TYPES, settings=PolicySettings(route_by_length=by_length))
    last = world(pool, rate=40.0, replicas={split_pool().key: {"fast": 2, "slow": 6, "decode": 3}}).run(4)
    assert sum(last.routing[name] for name in (FAST, SLOW)) == pytest.approx(1.0)
    routes = [route for route in last.routes if route.role is Role.PREFILL]
    assert bool(routes) is by_length
    if by_length:
        assert [route.upper_tokens for route in routes] == sorted(route.upper_tokens for route in routes)
        assert SLOW in routes[0].weights
        assert SLOW not in routes[-1].weights, "its prefill of the longest prompts is beyond the TTFT objective"


def test_demand_is_forecast_for_the_lead_time_of_the_type_that_is_bought() -> None:
    """The first type's 60 s decided the horizon, while the planner bought the cheaper type that takes 900 s."""
    types = (
        variant(Role.PREFILL, "quick", usd_per_replica_hour=6.0, start_up_seconds=60.0),
        variant(Role.PREFILL, "cheap", usd_per_replica_hour=2.0, start_up_seconds=900.0),
        variant(Role.DECODE, usd_per_replica_hour=1.0),
    )
    pool = split_pool(variants=types)
    decision = world(pool, rate=40.0, replicas={pool.key: {"quick": 2, "cheap": 2, "decode": 3}}).run(60)
    assert decision.forecasts[Role.PREFILL].lead_time_seconds == 900.0
