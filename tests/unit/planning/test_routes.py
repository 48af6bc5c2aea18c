"""Weights for the router: by capacity, and by prompt length where GPU types differ in it."""

import pytest

from forebay.flow.fleet import PoolKey, Role
from forebay.flow.sizing import WorkBucket
from forebay.planning import solve
from tests.keys import serve
from tests.unit.planning.problems import option, pool, problem, queue_curve, role_need

SMALL, LARGE, A, B = serve("small"), serve("large"), serve("a"), serve("b")

CHAT = PoolKey("test", "chat")
BUCKETS = (
    WorkBucket(0.5, ((SMALL, 0.8), (LARGE, 1.0)), upper_tokens=500.0),
    WorkBucket(0.5, ((SMALL, 0.0), (LARGE, 1.0))),
)


def test_weights_follow_capacity() -> None:
    options = [option("a", current=2, frozen=True), option("b", speed=2.0, current=1, frozen=True)]
    plan = solve(problem(pool("chat", [role_need(queue_curve(2.0))], options)))
    assert plan.routing[CHAT] == {A: pytest.approx(0.5), B: pytest.approx(0.5)}
    assert CHAT not in plan.routes


def test_long_prompts_go_where_they_can_be_served_and_short_ones_where_they_are_cheap() -> None:
    options = [option("small", usd_per_replica_hour=1.0), option("large", usd_per_replica_hour=4.0)]
    need = role_need(queue_curve(6.0), buckets=BUCKETS)
    plan = solve(problem(pool("chat", [need], options)))
    short, long = plan.routes[CHAT]
    assert (short.role, short.upper_tokens) == (Role.SERVE, 500.0)
    assert short.weights[SMALL] > 0.8
    assert long.weights == {LARGE: pytest.approx(1.0)}
    assert plan.replicas[CHAT][SMALL] > 0
    assert plan.replicas[CHAT][LARGE] > 0
