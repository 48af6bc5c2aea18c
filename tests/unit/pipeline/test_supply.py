"""What counts as supply: starting replicas until their deadline, then the variant is blocked for a while."""

from dataclasses import replace

from forebay.flow.fleet import Role
from forebay.flow.observation import NodePoolObservation, StartingReplica, VariantObservation
from forebay.flow.settings import PolicySettings
from forebay.forecast import Forecaster
from forebay.pipeline.remember.memory import PoolMemory
from forebay.pipeline.size.supply import supply_of
from tests.keys import prefill
from tests.unit.pipeline.fleets import variant

A = prefill("a")

VARIANT = variant(Role.PREFILL, "a", min_replicas=2)
SEEN = VariantObservation(
    name="a",
    role=Role.PREFILL,
    desired=5,
    ready=3,
    starting=(StartingReplica(0.0, 120.0), StartingReplica(200.0, 320.0)),
    lead_time_seconds=120.0,
)


def _memory() -> PoolMemory:
    return PoolMemory(forecaster=Forecaster(PolicySettings()))


def test_pending_replicas_are_supply_until_their_deadline() -> None:
    supply = supply_of(VARIANT, SEEN, None, _memory(), 299.0)
    assert (supply.live, supply.ready, supply.overdue, supply.blocked) == (5, 3, 0, None)


def test_then_the_variant_is_blocked_longer_each_time() -> None:
    memory = _memory()
    first = supply_of(VARIANT, SEEN, None, memory, 301.0)
    assert (first.live, first.overdue) == (4, 1)
    assert first.blocked is not None
    assert supply_of(VARIANT, replace(SEEN, starting=()), None, memory, 900.0).blocked is not None
    supply_of(VARIANT, SEEN, None, memory, 902.0)
    assert memory.blocks[A].until_seconds == 902.0 + 1200.0


def test_a_block_ends_when_nothing_is_overdue() -> None:
    memory = _memory()
    supply_of(VARIANT, SEEN, None, memory, 301.0)
    assert supply_of(VARIANT, replace(SEEN, starting=()), None, memory, 902.0).blocked is None
    assert memory.blocks == {}


def test_a_sold_out_node_pool_blocks_unless_it_has_free_gpus() -> None:
    sold_out = NodePoolObservation(
        name="h100", nodes=2, usable_gpus=16, free_gpus=0, blocked_until_seconds=500.0, blocked_reason="no stock"
    )
    assert supply_of(VARIANT, SEEN, sold_out, _memory(), 100.0).blocked == "no stock"
    assert supply_of(VARIANT, SEEN, replace(sold_out, free_gpus=8), _memory(), 100.0).blocked is None
    assert supply_of(VARIANT, replace(SEEN, starting=()), sold_out, _memory(), 600.0).blocked is None


def test_what_cannot_be_scaled_is_frozen() -> None:
    memory = _memory()
    missing = supply_of(VARIANT, replace(SEEN, target_found=False), None, memory, 0.0)
    assert missing.frozen is not None
    contested = supply_of(VARIANT, replace(SEEN, conflict="ScaledObject chat"), None, memory, 0.0)
    assert contested.frozen is not None
    assert "ScaledObject chat" in contested.frozen
    memory.desired[A] = 4
    assert supply_of(VARIANT, None, None, memory, 0.0).desired == 4
    assert supply_of(VARIANT, None, None, _memory(), 0.0).desired == 2


def test_what_the_observation_has_given_up_is_overdue_as_well() -> None:
    """Protects: replicas that left `starting` before the deadline here blocked nothing, and were counted on."""
    given_up = replace(SEEN, starting=(), overdue=2, lead_time_seconds=560.0)
    supply = supply_of(VARIANT, given_up, None, _memory(), 1_000.0)
    assert (supply.live, supply.overdue) == (3, 2)
    assert supply.blocked is not None


def test_a_replica_that_fails_for_good_does_not_keep_a_variant_without_alternative_from_growing() -> None:
    given_up = replace(SEEN, starting=(), overdue=1)
    supply = supply_of(VARIANT, given_up, None, _memory(), 1_000.0, alone=True)
    assert (supply.live, supply.blocked) == (3, None)
