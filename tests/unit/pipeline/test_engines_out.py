"""Engines that sleep or do not move are no capacity, and a metric that lies buys at most twice the need."""

from dataclasses import dataclass, replace

import pytest

from forebay.flow.fleet import Fleet, Pool, PoolKey, Role, Variant
from forebay.flow.observation import EngineSample, Standing, VariantObservation
from forebay.flow.settings import PolicySettings
from forebay.forecast import Forecaster
from forebay.pipeline.remember.memory import PoolMemory
from forebay.pipeline.size.engines_out import without_engines_out
from forebay.pipeline.size.supply import Supply
from tests.unit.pipeline.fleets import KEY, SLO, World, variant

READY, LOST = Standing.READY, Standing.LOST


def seen(ready: int, **counts: int) -> VariantObservation:
    sample = EngineSample(interval_seconds=15.0, reporting_replicas=ready, **counts)
    return VariantObservation(name="serve", role=Role.SERVE, desired=ready, ready=ready, engine=sample)


def supply(ready: int, *, asked: float | None = 0.0, **counts: int) -> Supply:
    memory = PoolMemory(forecaster=Forecaster(PolicySettings()), last_arrival_seconds=asked)
    return without_engines_out(Supply(ready, ready, ready, 0), seen(ready, **counts), memory, 60.0)


@pytest.mark.parametrize(
    ("counts", "live"),
    [
        ({}, 8),
        ({"stuck_engines": 2}, 6),
        ({"stuck_engines": 8}, 4),  # nobody can tell a hung engine from a hung metric
        ({"sleeping_engines": 8}, 0),
        ({"stuck_engines": 3, "reporting_engines": 16}, 7),  # two engines of data parallelism make a replica
    ],
)
def test_engines_that_take_no_requests_are_no_capacity(counts: dict[str, int], live: int) -> None:
    found = supply(8, **counts)
    assert (found.live, found.ready, found.desired) == (live, live, 8)


def test_they_are_replaced_and_a_release_takes_the_others_first() -> None:
    found = supply(4, stuck_engines=1)
    assert found.order == (READY, READY, READY, LOST)
    assert (found.target_for(4), found.target_for(2)) == (5, 3)
    assert (found.overdue, found.blocked) == (0, None)


def test_where_nobody_asks_an_engine_has_nothing_to_do() -> None:
    assert supply(4, stuck_engines=4, asked=-700.0).live == 4
    assert supply(4, stuck_engines=4, asked=None).live == 4


@dataclass
class LyingWorld(World):
    """A world some of whose engines are said not to move."""

    out: int = 0

    def _variant(self, key: PoolKey, v: Variant, rate: float) -> VariantObservation:
        found = super()._variant(key, v, rate)
        assert found.engine is not None
        stuck = min(self.out, found.ready)
        return replace(found, engine=replace(found.engine, reporting_replicas=found.ready, stuck_engines=stuck))


@pytest.mark.parametrize(("out", "least", "most"), [(0, 1.0, 1.0), (5, 1.1, 1.5), (99, 1.5, 2.0)])
def test_a_metric_that_lies_buys_no_more_than_twice(out: int, least: float, most: float) -> None:
    pool = Pool(key=KEY, slo=SLO, variants=(variant(Role.SERVE, "serve"),))
    scene = LyingWorld(fleet=Fleet(pools={KEY: pool}, node_pools={}), rates={KEY: 60.0})
    steady = scene.run(60).variants[0].desired
    scene.out = out
    highest = max(scene.step()[KEY].variants[0].desired for _ in range(80))
    assert least * steady <= highest <= most * steady
