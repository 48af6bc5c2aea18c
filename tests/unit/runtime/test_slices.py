"""Going through a fleet: in order, complete, and with turns for others in between."""

import asyncio
import time

from forebay.runtime.slices import in_slices


async def test_others_have_their_turn_while_a_fleet_is_gone_through() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    seen = [number async for number in in_slices(range(30), slice_seconds=0.0)]
    task.cancel()
    assert seen == list(range(30))
    assert turns >= 29


async def test_what_is_quick_is_not_interrupted() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        turns += 1

    task = asyncio.create_task(other())
    began = time.perf_counter()
    async for _ in in_slices(range(10), slice_seconds=60.0):
        pass
    assert time.perf_counter() - began < 60.0
    assert turns == 0
    await task
