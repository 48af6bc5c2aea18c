"""Quotas: growth that they have no room for is taken back, and nothing that a pool has."""

import pytest

from forebay.flow.decision import PoolDecision, VariantDecision
from forebay.flow.fleet import Fleet, GpuQuota, Pool, PoolKey, RatioBand, Role
from forebay.pipeline.guard.quota import within_quotas
from tests.unit.pipeline.fleets import SLO, split_pool, variant

HIGH, LOW, OTHER = (PoolKey("lab", name) for name in ("high", "low", "other"))


def pool(key: PoolKey, priority: int = 0) -> Pool:
    return Pool(key=key, slo=SLO, variants=(variant(Role.SERVE, gpus_per_replica=2),), priority=priority)


def decision(key: PoolKey, current: int, desired: int) -> PoolDecision:
    wanted = VariantDecision(name="serve", role=Role.SERVE, current=current, desired=desired)
    return PoolDecision(key=key, at_seconds=0.0, variants=(wanted,), reasons=())


def counts(fleet: Fleet, *decisions: PoolDecision) -> dict[str, int]:
    within = within_quotas(fleet, {each.key: each for each in decisions})
    return {key.name: each.desired(Role.SERVE) for key, each in within.items()}


def fleet(gpus: int, *pools: Pool) -> Fleet:
    quota = GpuQuota(source="the rule lab of the FleetPolicy", gpus=gpus, pools=frozenset({HIGH, LOW}))
    return Fleet(pools={each.key: each for each in pools}, node_pools={}, quotas=(quota,))


def test_growth_is_taken_back_from_the_lowest_priority_first() -> None:
    pools = pool(HIGH, 10), pool(LOW), pool(OTHER)
    wishes = decision(HIGH, 1, 4), decision(LOW, 1, 4), decision(OTHER, 1, 9)
    assert counts(fleet(12, *pools), *wishes) == {"high": 4, "low": 2, "other": 9}
    assert counts(fleet(8, *pools), *wishes) == {"high": 3, "low": 1, "other": 9}
    assert counts(fleet(100, *pools), *wishes) == {"high": 4, "low": 4, "other": 9}


def test_what_a_pool_has_is_not_taken_away_by_a_quota() -> None:
    assert counts(fleet(2, pool(HIGH), pool(LOW)), decision(HIGH, 3, 3), decision(LOW, 2, 1)) == {
        "high": 3,
        "low": 1,
    }


def test_it_says_so() -> None:
    one = within_quotas(fleet(4, pool(HIGH)), {HIGH: decision(HIGH, 1, 5)})[HIGH]
    (reason,) = one.reasons
    assert reason.code == "Limited"
    assert reason.message == "3 more replicas are wanted, but the rule lab of the FleetPolicy allows 4 GPUs in all"


@pytest.mark.parametrize(("gpus", "expected"), [(6, (3, 3)), (5, (1, 2))])
def test_prefill_and_decode_with_a_band_grow_together_or_not_at_all(gpus: int, expected: tuple[int, int]) -> None:
    both = split_pool(HIGH, prefill_to_decode=RatioBand(lowest=0.5, highest=2.0))
    wanted = PoolDecision(
        key=HIGH,
        at_seconds=0.0,
        variants=(
            VariantDecision(name="prefill", role=Role.PREFILL, current=1, desired=3),
            VariantDecision(name="decode", role=Role.DECODE, current=2, desired=3),
        ),
        reasons=(),
    )
    within = within_quotas(fleet(gpus, both), {HIGH: wanted})[HIGH]
    assert (within.desired(Role.PREFILL), within.desired(Role.DECODE)) == expected
