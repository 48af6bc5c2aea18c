"""What the tests of pools' pasts share: a state that shows what it was given, and a source of history."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from forebay.flow.fleet import Pool, PoolKey, Slo
from forebay.flow.observation import Freshness, Problem
from forebay.pipeline import FleetState, StateError
from forebay.runtime.past import PoolPast
from forebay.runtime.warmup import WarmUp
from forebay.telemetry.source import History, PoolTarget

CHAT = PoolKey("serving", "chat")
POOL = Pool(key=CHAT, slo=Slo(ttft_seconds=1.0, itl_seconds=0.05), variants=())
TARGET = PoolTarget(key=CHAT, slo=POOL.slo, engine="vllm", workloads=())


class State(FleetState):
    """Snapshots that a test can see through."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[PoolKey, bytes] = {}
        self.warmed: list[tuple[int, float]] = []

    def snapshot(self, key: PoolKey) -> bytes | None:
        """Return what was restored."""
        return self.kept.get(key)

    def restore(self, key: PoolKey, data: bytes) -> None:
        """Keep the bytes, but for damaged ones."""
        if data == b"damaged":
            raise StateError("damaged")
        self.kept[key] = data

    def warm_start(
        self, pool: Pool, *, requests_per_minute: Any, end_seconds: float, lead_times_seconds: Any = ()
    ) -> None:
        """Remember how many minutes there were, and until when."""
        self.warmed.append((len(list(requests_per_minute)), end_seconds))


class Past:
    """History that comes, fails or never comes."""

    def __init__(self, minutes: int | None, error: Exception | None = None) -> None:
        self.minutes = minutes
        self.error = error
        self.is_away = False
        """Answer as the source does whose server cannot be reached."""
        self.falls_silent = False
        """Answer so, but with the minutes that came before."""
        self.bad: set[PoolKey] = set()
        """Nobody who is asked for together with one of these can be read."""
        self.asked: list[int] = []

    async def history(
        self, targets: Sequence[PoolTarget], since_seconds: float, at_seconds: float
    ) -> Mapping[PoolKey, History]:
        """Answer, or not."""
        self.asked.append(len(targets))
        if self.error is not None:
            raise self.error
        if self.minutes is None:
            await asyncio.Event().wait()
        past = _history(np.full(self.minutes or 0, 3.0))
        if self.falls_silent:
            past = _history(past.requests_per_minute, Problem.UNREACHABLE)
        if self.is_away or not self.bad.isdisjoint(target.key for target in targets):
            past = _history(np.full(30, np.nan), Problem.UNREACHABLE)
        return {target.key: past for target in targets}


def _history(minutes: Any, problem: Problem | None = None) -> History:
    freshness = Freshness(signal="history", problem=problem, detail="" if problem is None else "it is away")
    return History(start_seconds=0.0, requests_per_minute=minutes, freshness=freshness)


def some_pools(count: int) -> list[Pool]:
    """Return so many pools."""
    return [replace(POOL, key=PoolKey("serving", f"chat-{number}")) for number in range(count)]


def start(warm_up: WarmUp, pools: Sequence[Pool]) -> None:
    """Do what a round does first."""
    for pool in pools:
        warm_up.start(pool, partial(replace, TARGET, key=pool.key))


async def settled() -> None:
    """Let the reader of histories go on until it waits."""
    for _ in range(200):
        await asyncio.sleep(0)


async def drained(warm_up: WarmUp) -> list[PoolPast]:
    """Return everybody who has a past by now."""
    await settled()
    arrived = []
    while (one := warm_up.take_one()) is not None:
        arrived.append(one)
    return arrived
