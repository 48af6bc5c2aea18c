"""One pool alone gets the rule `buy while it saves more than it costs`; many respect what they share."""

import itertools
from typing import Any

import pytest

from forebay.flow.fleet import PoolKey, RatioBand, Role
from forebay.planning import solve
from tests.keys import decode, prefill, serve
from tests.unit.planning.problems import option, pool, problem, queue_curve, role_need

A, FAST, SLOW, CHEAP, DEAR, P, D, H100, L40S = (
    serve("a"),
    serve("fast"),
    serve("slow"),
    serve("cheap"),
    serve("dear"),
    prefill("p"),
    decode("d"),
    serve("h100"),
    serve("l40s"),
)

CHAT = PoolKey("test", "chat")
BATCH = PoolKey("test", "batch")


def rule(erlangs: float, price: float) -> int:
    """Return argmin over n of n + price x misses(n): the rule for one pool and one GPU type."""
    curve = queue_curve(erlangs)
    return min(range(len(curve.capacity)), key=lambda n: (n + price * curve.misses_per_second[n], n))


@pytest.mark.parametrize("erlangs", [0.3, 2.0, 6.7, 25.0])
@pytest.mark.parametrize("price", [4.0, 20.0, 60.0])
def test_one_pool_and_one_type_is_the_rule(erlangs: float, price: float) -> None:
    need = role_need(queue_curve(erlangs), price=price)
    plan = solve(problem(pool("chat", [need], [option("a", usd_per_replica_hour=7.5)])))
    assert plan.replicas[CHAT][A] == rule(erlangs, price)


@pytest.mark.parametrize("current", [2, 12, 40])
def test_a_pool_moves_to_what_is_wanted(current: int) -> None:
    need = role_need(queue_curve(6.0), wanted=12.0)
    plan = solve(problem(pool("chat", [need], [option("a", current=current)])))
    assert plan.replicas[CHAT][A] == 12


def test_the_cheapest_capacity_is_bought_first_and_the_dearest_released_first() -> None:
    options = [option("fast", usd_per_replica_hour=5.0, speed=2.0), option("slow", usd_per_replica_hour=1.5)]
    plan = solve(problem(pool("chat", [role_need(queue_curve(5.0))], options)))
    assert plan.replicas[CHAT][FAST] == 0
    held = [option("fast", usd_per_replica_hour=5.0, speed=2.0, current=5), option("slow", current=5)]
    plan = solve(problem(pool("chat", [role_need(queue_curve(5.0))], held)))
    assert plan.replicas[CHAT][FAST] < 5
    assert plan.replicas[CHAT][SLOW] == 5


def test_a_blocked_type_does_not_grow_and_the_next_one_does() -> None:
    options = [option("cheap", current=2, blocked=True), option("dear", usd_per_replica_hour=3.0)]
    plan = solve(problem(pool("chat", [role_need(queue_curve(6.0))], options)))
    assert plan.replicas[CHAT][CHEAP] == 2
    assert plan.replicas[CHAT][DEAR] >= 4


def test_without_leave_to_release_nothing_shrinks() -> None:
    plan = solve(
        problem(pool("chat", [role_need(queue_curve(1.0))], [option("a", current=30)], may_release=False))
    )
    assert plan.replicas[CHAT][A] == 30


def test_what_is_wanted_is_bought_whatever_the_curve_says() -> None:
    need = role_need(queue_curve(1.0), wanted=7.2)
    plan = solve(problem(pool("chat", [need], [option("a", current=3)])))
    assert plan.replicas[CHAT][A] == 8


def test_spare_replicas_come_on_top() -> None:
    plain = solve(problem(pool("chat", [role_need(queue_curve(4.0))], [option("a")])))
    spare = solve(problem(pool("chat", [role_need(queue_curve(4.0))], [option("a")], spare=1)))
    assert spare.replicas[CHAT][A] == plain.replicas[CHAT][A] + 1


def test_the_ratio_band_moves_both_roles() -> None:
    needs = [
        role_need(queue_curve(1.0), role=Role.PREFILL),
        role_need(queue_curve(12.0), role=Role.DECODE),
    ]
    options = [option("p", Role.PREFILL), option("d", Role.DECODE)]
    band = RatioBand(lowest=0.5, highest=2.0)
    plan = solve(problem(pool("chat", needs, options, ratio=band)))
    prefill, decode = plan.replicas[CHAT][P], plan.replicas[CHAT][D]
    assert 0.5 <= prefill / decode <= 2.0
    assert decode >= 12


def test_scarce_gpus_go_to_the_higher_priority_and_nobody_is_fattened() -> None:
    def one(name: str, priority: int) -> object:
        return pool(
            name,
            [role_need(queue_curve(8.0))],
            [option("a", node_pool="h100", max_replicas=40)],
            priority=priority,
        )

    alone = solve(problem(one("chat", 1)))  # type: ignore[arg-type]
    wish = alone.replicas[CHAT][A]
    plan = solve(problem(one("chat", 1), one("batch", 0), gpu_stock={"h100": wish + 4}))  # type: ignore[arg-type]
    assert plan.replicas[CHAT][A] == wish
    assert plan.replicas[BATCH][A] == 4
    assert plan.limited_by[BATCH] == (f"{wish + 4} GPUs in node pool h100",)
    assert any("one more GPU in node pool h100 would save" in words for words in plan.shadow_prices)


def test_a_sold_out_type_moves_demand_to_the_other() -> None:
    options = [
        option("h100", node_pool="h100", usd_per_replica_hour=2.0),
        option("l40s", node_pool="l40s", usd_per_replica_hour=3.0),
    ]
    need = role_need(queue_curve(8.0), price=40.0)
    plan = solve(problem(pool("chat", [need], options), gpu_stock={"h100": 3, "l40s": 100}))
    assert plan.replicas[CHAT][H100] == 3
    assert plan.replicas[CHAT][L40S] >= 6


def test_budget_and_power_cut_and_are_named() -> None:
    one = pool("chat", [role_need(queue_curve(20.0))], [option("a", usd_per_replica_hour=2.0)])
    budget = solve(problem(one, budget_usd_per_hour=11.0))
    assert budget.replicas[CHAT][A] == 5
    assert budget.limited_by[CHAT] == ("budget of 11 $/h",)
    power = solve(problem(one, power_limit_watts=3_000.0))
    assert power.replicas[CHAT][A] == 6
    assert power.limited_by[CHAT] == ("power limit of 3000 W",)


def test_a_limit_below_the_minimum_replicas_gives_the_minimum() -> None:
    one = pool("chat", [role_need(queue_curve(20.0))], [option("a", node_pool="h100", min_replicas=4)])
    plan = solve(problem(one, gpu_stock={"h100": 0}, budget_usd_per_hour=0.0))
    assert plan.replicas[CHAT][A] == 4


def test_max_replicas_is_named_when_it_binds() -> None:
    plan = solve(problem(pool("chat", [role_need(queue_curve(20.0))], [option("a", max_replicas=8)])))
    assert plan.limited_by[CHAT] == ("maxReplicas 8 of a",)


def test_a_role_without_a_usable_variant_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="test/chat: role serve needs at least one variant"):
        solve(problem(pool("chat", [role_need(queue_curve(1.0))], [option("a", speed=0.0)])))


def test_the_answer_does_not_depend_on_the_order_of_pools() -> None:
    pools = [
        pool(f"p{i}", [role_need(queue_curve(3.0 + i))], [option("a", node_pool="h100")], priority=i % 2)
        for i in range(4)
    ]
    answers = {
        tuple(
            sorted(
                (key.name, counts[A])
                for key, counts in solve(problem(*some, gpu_stock={"h100": 17})).replicas.items()
            )
        )
        for some in itertools.permutations(pools)
    }
    assert len(answers) == 1


@pytest.mark.parametrize("unavailable", [{"blocked": True}, {"max_replicas": 0}])
def test_a_cheap_type_that_cannot_be_had_does_not_make_misses_cheaper(unavailable: dict[str, Any]) -> None:
    """Protects: with the cheap type out of stock the price of a miss fell with it, and too little was bought."""
    need = role_need(queue_curve(6.7))
    dear = option("a", usd_per_replica_hour=10.0)
    alone = solve(problem(pool("chat", [need], [dear]))).replicas[CHAT][A]
    cheap = option("b", usd_per_replica_hour=2.0, **unavailable)
    assert solve(problem(pool("chat", [need], [dear, cheap]))).replicas[CHAT][A] == alone


@pytest.mark.parametrize("name", ["budget", "power"])
def test_a_node_pool_may_be_called_like_a_limit(name: str) -> None:
    """Protects from a stock of 4 GPUs that is read as a budget of 4 dollars, or as 4 watts."""

    def plan(node_pool: str) -> tuple[object, object]:
        options = [option("a", node_pool=node_pool), option("b", node_pool="other", usd_per_replica_hour=3.0)]
        pools = [pool(key.name, [role_need(queue_curve(3.0))], options) for key in (CHAT, BATCH)]
        stock = {node_pool: 5, "other": 4}
        found = solve(problem(*pools, gpu_stock=stock, budget_usd_per_hour=20.0, power_limit_watts=1e5))
        limits = [[words.replace(node_pool, "") for words in said] for said in found.limited_by.values()]
        return dict(found.replicas), limits

    assert plan(name) == plan("h100")
