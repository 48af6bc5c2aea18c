"""One pool with one variant per role gets exactly what the rule says, directly and through the planner."""

import math
from dataclasses import replace

import pytest

from forebay.flow.decision import ReasonCode
from forebay.flow.fleet import Role
from forebay.pipeline.decide import decide
from tests.unit.pipeline.fleets import KEY, ROUND, counts, split_pool, world
from tests.unit.pipeline.rule import Rule, Work


@pytest.mark.parametrize(("before", "after"), [(20.0, 90.0), (90.0, 15.0)])
def test_the_decision_is_the_rule(before: float, after: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forebay.pipeline.size.demand._CACHE_STEP", 1e-9)  # curves of every round are its own
    pool = split_pool()
    small = world(pool, before)
    rule = Rule(cold=True, lead=60.0)
    moved = 0
    for number in range(75):
        small.rates[KEY] = before if number < 50 else after
        had = dict(small.replicas[KEY])
        decision = small.step()[KEY]
        memory = small.state.memory(pool)
        rate = memory.window.now(60.0)
        assert rate is not None
        wanted = rule.step(
            work=Work(memory.current_lengths, memory.burstiness.value),
            rate=rate,
            finished=small.rates[KEY] * ROUND,
            forecasts=dict(decision.forecasts),
            counts={role: had[role.value] for role in pool.roles},
        )
        for role in pool.roles:
            assert decision.desired(role) == wanted[role], (number, role, had)
            moved += wanted[role] != had[role.value]
    assert moved >= 3


@pytest.mark.parametrize("rate", [3.0, 40.0, 160.0])
def test_the_planner_gives_the_same_answer(rate: float) -> None:
    """A pool with a budget of its own goes to the planner; a generous one changes nothing."""
    free, budgeted = split_pool(), split_pool(budget_usd_per_hour=1e6)
    one, other = world(free, rate), world(budgeted, rate)
    for index in range(60):
        one.rates[KEY] = other.rates[KEY] = rate * (1.0 + 0.8 * math.sin(index / 9.0))
        assert counts(one.step()[KEY]) == counts(other.step()[KEY])


def test_a_miss_costs_the_same_money_in_both_roles() -> None:
    """Dearer decode replicas raise the price of a miss in prefill replicas and lower it in their own."""
    plain = split_pool()
    dear = split_pool(
        variants=[replace(v, usd_per_replica_hour=4.0 if v.role is Role.DECODE else 1.0) for v in plain.variants]
    )
    prices = {}
    for name, pool in (("plain", plain), ("dear", dear)):
        decision = world(pool, 40.0).run(40)
        sized = {r.role: r.numbers for r in decision.reasons if r.code == ReasonCode.SIZED}
        prices[name] = {
            role: sized[role]["miss_price_replica_seconds"] / sized[role]["miss_price"] for role in pool.roles
        }
    assert prices["plain"][Role.PREFILL] == pytest.approx(prices["plain"][Role.DECODE])
    assert prices["dear"][Role.PREFILL] == pytest.approx(4.0 * prices["dear"][Role.DECODE])
    assert prices["dear"][Role.PREFILL] > prices["plain"][Role.PREFILL]


def test_decide_is_a_function_of_its_arguments() -> None:
    first, second = world(rate=30.0), world(rate=30.0)
    for _ in range(50):
        left, right = first.observe(), second.observe()
        assert decide(first.fleet, left, first.state) == decide(second.fleet, right, second.state)
