"""A failover loses nothing: the successor decides as its predecessor would, from its first round on."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from forebay.flow.fleet import PoolKey
from forebay.telemetry.source import PodName, PoolTarget, PoolTelemetry
from tests.faults.plant import KEY, Plant, Telemetry
from tests.unit.runtime.conftest import Clock


class SharedTelemetry:
    """One Prometheus for both operators: who asks for the same time is told the same."""

    def __init__(self, inner: Telemetry) -> None:
        self.inner, self.answers = inner, dict[float, Mapping[PoolKey, PoolTelemetry]]()

    async def observe(self, targets: Sequence[PoolTarget], at_seconds: float) -> Mapping[PoolKey, PoolTelemetry]:
        if at_seconds not in self.answers:
            self.answers = {at_seconds: await self.inner.observe(targets, at_seconds)}
        return self.answers[at_seconds]

    async def look_up(self) -> bool:
        return await self.inner.look_up()

    async def history(self, targets: Sequence[PoolTarget], since_seconds: float, at_seconds: float) -> Any:
        return await self.inner.history(targets, since_seconds, at_seconds)

    async def pod_requests(
        self, targets: Sequence[PoolTarget], pods: Collection[PodName], at_seconds: float
    ) -> Mapping[PodName, float]:
        return await self.inner.pod_requests(targets, pods, at_seconds)

    async def close(self) -> None:
        await self.inner.close()


async def test_a_successor_decides_as_its_predecessor_would() -> None:
    """Protects: a standby knew nothing, and a fleet's forecasters took an hour to be warm again."""
    stage = Plant(Clock(), seed=3)
    source = SharedTelemetry(stage.telemetry)
    stage.start(source)
    leader = stage.loop
    stage.start(source)
    standby = stage.loop
    for rate in (20.0, 60.0, 100.0, 30.0):
        stage.load.rate = rate
        for _ in range(40):
            stage.pass_time()
            await leader.round()
            await standby.follow()
    moved = len(stage.cluster.scaled)
    assert moved > 3
    stage.load.rate = 80.0
    for _ in range(2):
        stage.pass_time()
        would = (await leader._see()).decisions.pools[KEY]
        await standby.round()
        last = standby._decider.last(KEY)
        assert last is not None
        assert [each.desired for each in last.decision.variants] == [each.desired for each in would.variants]
        assert last.decision.demand_requests_per_second == would.demand_requests_per_second
        assert not any(reason.code == "AfterRestart" for reason in last.decision.reasons)
    for loop in (leader, standby):
        await loop.close()
