"""Rounds of the whole loop over a small fleet: what they ask and write does not grow with pools or with time."""

import asyncio
import gc
from collections.abc import Iterator

import pytest

from forebay.runtime.watch.kinds import Kind
from tests.benchmarks.operator_fleet.inprocess import InProcess

FORECASTS_BEGIN = 24
"""Rounds after which every forecaster has what it needs."""


@pytest.fixture(autouse=True)
def _collector_as_before() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


async def test_queries_do_not_grow_with_pools() -> None:
    asked = []
    for pools in (2, 12):
        fleet = InProcess(pools)
        for _ in range(4):
            await fleet.round()
        before = fleet.client.asked
        await fleet.round()
        asked.append(fleet.client.asked - before)
        await fleet.loop.close()
    assert asked[0] == asked[1] > 0


async def test_constant_traffic_is_told_once_without_a_forecast_and_once_with_one() -> None:
    """And not again: neither while windows fill up, nor when calibrations and estimates go on settling."""
    pools = 6
    fleet = InProcess(pools)
    writes = [await fleet.round() for _ in range(FORECASTS_BEGIN + 20)]
    await fleet.loop.close()
    of_pools = sum(writes) - 2  # the two node pools say once what they have
    # Once more each in the second round: what decode adds to TTFT is known from then on.
    assert of_pools <= 4 * pools
    assert sum(writes[8 : FORECASTS_BEGIN - 6]) == 0
    assert sum(writes[FORECASTS_BEGIN + 4 :]) == 0
    statuses = [record.status for record in fleet.store.resources[Kind.POOLS].values()]
    assert all(status["forecast"]["source"] == "mixture" for status in statuses)


async def test_a_change_of_the_traffic_is_told() -> None:
    fleet = InProcess(2)
    for _ in range(8):
        await fleet.round()
    fleet.client.answers.swing = 0.9
    writes = [await fleet.round() for _ in range(16)]
    await fleet.loop.close()
    assert sum(writes) > 0


async def test_figures_are_written_after_the_round_and_what_matters_within() -> None:
    """Protects the length of a round: a fleet whose figures breathe has hundreds of statuses to write."""
    fleet = InProcess(pools=4)
    for _ in range(30):
        await fleet.round()
    fleet.client.answers.swing = 0.5
    within, after = 0, 0
    for _ in range(16):
        fleet.api.written.clear()
        assert await fleet.loop.round()
        within += len(statuses(fleet))
        await fleet.loop.use_pause(asyncio.get_running_loop().time() + 1.0)
        after += len(statuses(fleet))
        fleet.now_seconds += 15.0
    assert after > within + 4


def statuses(fleet: InProcess) -> list[str]:
    return [path for path, _ in fleet.api.written if path.endswith("/status") and "inferencepools" in path]
