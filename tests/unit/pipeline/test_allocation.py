"""Pools with a choice of GPU types, and pools that share GPUs, money and power."""

from dataclasses import replace

import pytest

from forebay.flow.fleet import NodePool, Pool, PoolKey, RatioBand, Role, Variant
from forebay.flow.observation import NodePoolObservation, StartingReplica
from forebay.flow.plan import FleetPlan, PlanProblem
from forebay.flow.roles import Phase
from forebay.pipeline.plan import allocation
from tests.keys import prefill
from tests.unit.pipeline.fleets import (
    KEY,
    PERFORMANCE,
    World,
    codes,
    counts,
    fleet_world,
    split_pool,
    variant,
    world,
)

OTHER = PoolKey("serving", "other")
H100 = NodePool(
    name="h100", accelerator="H100", gpus_per_node=8, usd_per_gpu_hour=2.0, max_nodes=2, watts_per_gpu=700
)


def _faster(factor: float) -> object:
    return replace(
        PERFORMANCE,
        prefill_base_seconds=PERFORMANCE.prefill_base_seconds / factor,
        prefill_seconds_per_token=PERFORMANCE.prefill_seconds_per_token / factor,
    )


def _two_types(fast_price: float) -> Pool:
    return split_pool(
        variants=[
            variant(Role.PREFILL, "slow", usd_per_replica_hour=1.0, min_replicas=0),
            variant(
                Role.PREFILL, "fast", usd_per_replica_hour=fast_price, min_replicas=0, performance=_faster(2.0)
            ),
            variant(Role.DECODE, usd_per_replica_hour=1.0),
        ]
    )


@pytest.mark.parametrize(("fast_price", "bought"), [(1.5, "fast"), (3.0, "slow")])
def test_the_type_that_is_cheaper_per_speed_is_bought(fast_price: float, bought: str) -> None:
    small = world(_two_types(fast_price), 150.0, replicas={KEY: {"slow": 0, "fast": 0, "decode": 3}})
    got = counts(small.run(1))
    other = {"fast": "slow", "slow": "fast"}[bought]
    assert got[bought] >= 5
    assert got[other] <= 1


def test_capacity_moves_to_the_cheaper_type_without_a_dip() -> None:
    small = world(_two_types(1.5), 150.0, replicas={KEY: {"slow": 16, "fast": 0, "decode": 8}})
    for _ in range(300):
        before = dict(small.replicas[KEY])
        after = counts(small.step()[KEY])
        moves = {after[name] - before[name] for name in ("slow", "fast")}
        assert not min(moves) < 0 < max(moves)
        assert after["slow"] + 2 * after["fast"] >= 150.0 * 0.058


def test_a_type_that_was_never_measured_shares_the_pessimism_that_its_sibling_earned() -> None:
    """Both profiles are twice too optimistic; only the type in use is found out, and the other is not bought."""
    claimed = _faster(2.0)
    pool = split_pool(
        variants=[
            variant(Role.PREFILL, "used", usd_per_replica_hour=1.0, performance=claimed),
            variant(Role.PREFILL, "new", usd_per_replica_hour=1.2, min_replicas=0, performance=claimed),
            variant(Role.DECODE, usd_per_replica_hour=1.0),
        ]
    )
    small = world(pool, 90.0, replicas={KEY: {"used": 6, "new": 0, "decode": 5}}, true={"used": PERFORMANCE})
    decision = small.run(60)
    assert decision.capacity_correction[prefill("used")][Phase.PREFILL] == pytest.approx(2.0, abs=0.05)
    assert decision.capacity_correction[prefill("new")][Phase.PREFILL] == pytest.approx(2.0, abs=0.05)
    assert counts(decision)["new"] == 0


def test_a_type_without_profile_that_was_never_used_counts_by_its_gpus() -> None:
    pool = split_pool(
        variants=[
            variant(Role.PREFILL, "used", usd_per_replica_hour=2.0),
            variant(
                Role.PREFILL, "new", usd_per_replica_hour=1.9, gpus_per_replica=2, min_replicas=0, performance=None
            ),
            variant(Role.DECODE, usd_per_replica_hour=1.0),
        ]
    )
    small = world(pool, 150.0, replicas={KEY: {"used": 3, "new": 0, "decode": 6}})
    assert counts(small.step()[KEY])["new"] >= 2


def _on_h100(pool: Pool) -> Pool:
    variants: list[Variant] = [replace(v, node_pool="h100", min_replicas=1) for v in pool.variants]
    return replace(pool, variants=tuple(variants))


def _shared(nodes: int, priority: int = 0, **limits: object) -> World:
    first = _on_h100(split_pool(KEY))
    second = replace(_on_h100(split_pool(OTHER)), priority=priority)
    seen = NodePoolObservation(name="h100", nodes=nodes, usable_gpus=8 * nodes, free_gpus=8 * nodes - 4)
    return fleet_world(
        {KEY: first, OTHER: second},
        {KEY: 90.0, OTHER: 90.0},
        {"h100": H100},
        node_pools={"h100": seen},
        replicas={KEY: {"prefill": 1, "decode": 1}, OTHER: {"prefill": 1, "decode": 1}},
        **limits,
    )


def test_enough_stock_changes_nothing() -> None:
    shared, alone = _shared(nodes=200), world(rate=90.0, replicas={KEY: {"prefill": 1, "decode": 1}})
    alone.lead = shared.lead
    decisions = shared.step()
    expected = counts(alone.step()[KEY])
    assert counts(decisions[KEY]) == pytest.approx(expected, abs=1)


def test_when_gpus_run_out_priority_decides_and_the_decision_says_so() -> None:
    shared = _shared(nodes=2, priority=10)
    decisions = shared.step()
    totals = {key: sum(counts(decision).values()) for key, decision in decisions.items()}
    assert sum(totals.values()) <= 16
    assert totals[OTHER] > totals[KEY]
    assert "Limited" in codes(decisions[KEY])
    assert decisions[KEY].unserved_share > 0.0


def test_a_fleet_budget_is_kept() -> None:
    shared = _shared(nodes=200, budget_usd_per_hour=20.0)
    decisions = shared.step()
    assert sum(sum(counts(decision).values()) for decision in decisions.values()) * 2.0 <= 20.0


def test_a_power_limit_is_kept() -> None:
    shared = _shared(nodes=200, power_limit_watts=7000.0)
    decisions = shared.step()
    assert sum(sum(counts(decision).values()) for decision in decisions.values()) * 700.0 <= 7000.0


def test_a_plan_that_fails_leaves_everything_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(problem: PlanProblem, previous: FleetPlan | None = None) -> FleetPlan:
        raise RuntimeError("solver is gone")

    shared = _shared(nodes=2)
    before = dict(shared.replicas[KEY])
    monkeypatch.setattr(allocation, "solve", broken)
    decision = shared.step()[KEY]
    assert counts(decision) == before
    assert any("solver is gone" in reason.message for reason in decision.reasons)


def _priced(key: PoolKey) -> Pool:
    cheap = variant(Role.SERVE, "x", usd_per_replica_hour=1.0)
    return Pool(key=key, slo=split_pool().slo, variants=(cheap, variant(Role.SERVE, "y", min_replicas=0)))


def test_a_pool_that_is_held_keeps_its_part_of_the_budget() -> None:
    """Protects the fleet's budget while telemetry of one pool is lost: the others were given all of it again."""
    shared = fleet_world(
        {KEY: _priced(KEY), OTHER: _priced(OTHER)},
        {KEY: 60.0, OTHER: 60.0},
        replicas={KEY: {"x": 8, "y": 0}, OTHER: {"x": 4, "y": 0}},
        budget_usd_per_hour=20.0,
    )
    for _ in range(12):
        shared.step()
    kept = dict(shared.replicas[KEY])
    shared.blind, shared.rates[OTHER] = {KEY}, 400.0
    for _ in range(6):
        decisions = shared.step()
    assert decisions[KEY].held
    assert counts(decisions[KEY]) == kept
    assert sum(decision.usd_per_hour or 0.0 for decision in decisions.values()) <= 20.0


@pytest.mark.parametrize(("budget", "expected"), [(None, (7, 5)), (9.0, (6, 3))])
def test_the_ratio_band_goes_not_beyond_the_budget(budget: float | None, expected: tuple[int, int]) -> None:
    """Protects: what fitted before the band was raised into it afterwards, past the fleet's budget."""
    one_dollar = tuple(variant(role, usd_per_replica_hour=1.0) for role in (Role.PREFILL, Role.DECODE))
    pool = split_pool(variants=one_dollar, prefill_to_decode=RatioBand(lowest=0.2, highest=1.5))
    small = fleet_world(
        {KEY: pool}, {KEY: 80.0}, replicas={KEY: {"prefill": 2, "decode": 2}}, budget_usd_per_hour=budget
    )
    decision = small.run(8)
    assert (counts(decision)["prefill"], counts(decision)["decode"]) == expected
    assert ("RatioBand" in codes(decision)) is (budget is not None), "where limits are in the way it is said"


def _beside_one_that_does_not_act(*, acts: bool, nodes: int = 2, priority: int = 0, **limits: object) -> World:
    """Return a pool that wants more replicas beside a busier one that may not act."""
    quiet, busy = _on_h100(split_pool(KEY)), _on_h100(split_pool(OTHER))
    seen = NodePoolObservation(name="h100", nodes=nodes, usable_gpus=8 * nodes, free_gpus=8 * nodes - 4)
    return fleet_world(
        {KEY: quiet, OTHER: replace(busy, acts=acts, priority=priority)},
        {KEY: 200.0, OTHER: 600.0},
        {"h100": H100},
        node_pools={"h100": seen},
        replicas={KEY: {"prefill": 1, "decode": 1}, OTHER: {"prefill": 1, "decode": 1}},
        **limits,
    )


def test_a_pool_that_does_not_act_takes_no_gpus_from_one_that_does() -> None:
    """Protects: a busy pool in mode Recommend must not starve a pool in mode Auto beside it."""
    alone = _beside_one_that_does_not_act(acts=False)
    alone.rates[OTHER] = 0.1
    beside = _beside_one_that_does_not_act(acts=False, priority=10)
    wanted, decided = alone.step()[KEY], beside.step()
    assert counts(decided[KEY]) == counts(wanted)
    assert sum(counts(decided[OTHER]).values()) > 6, "its advice is what it would get if it acted"
    assert sum(counts(wanted).values()) > 6
    rivals = _beside_one_that_does_not_act(acts=True, priority=10).step()
    assert counts(decided[OTHER]) == counts(rivals[OTHER])
    assert sum(counts(rivals[KEY]).values()) < sum(counts(wanted).values()), "if both acted they would be rivals"


def test_money_of_a_pool_that_does_not_act_is_spent_all_the_same() -> None:
    decided = _beside_one_that_does_not_act(acts=False, nodes=100, budget_usd_per_hour=14.0).step()
    assert sum(counts(decided[KEY]).values()) * 2.0 == 14.0 - 2 * 2.0


def test_pending_pods_of_a_pool_that_does_not_act_keep_their_gpus() -> None:
    beside = _beside_one_that_does_not_act(acts=False)
    beside.replicas[OTHER] = {"prefill": 4, "decode": 3}
    beside.starting[OTHER, "prefill"] = tuple(StartingReplica(0.0, 60.0, unschedulable=True) for _ in range(3))
    beside.starting[OTHER, "decode"] = tuple(StartingReplica(0.0, 60.0, unschedulable=True) for _ in range(2))
    decided = beside.step()
    assert sum(counts(decided[KEY]).values()) == 2 + 12 - 5
