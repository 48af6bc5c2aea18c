"""Health, the HTTP endpoint, logs, loop lag, settings and saved states."""

import asyncio
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from pydantic import ValidationError

from forebay.flow.fleet import Pool, PoolKey, Slo
from forebay.flow.observation import Freshness
from forebay.pipeline import FleetState, StateError
from forebay.runtime.cluster.targetreader import parse_selector
from forebay.runtime.health import Health
from forebay.runtime.lag import sample_lag
from forebay.runtime.logs import JsonFormatter
from forebay.runtime.memory import StateFiles
from forebay.runtime.metrics import Metrics
from forebay.runtime.report.record import to_json
from forebay.runtime.settings import OperatorSettings
from forebay.runtime.sources import prometheus_settings
from forebay.runtime.warmup import WarmUp
from forebay.runtime.web import WebServer
from forebay.telemetry.source import History, PoolTarget

CHAT = PoolKey("serving", "chat")
POOL = Pool(key=CHAT, slo=Slo(ttft_seconds=1.0, itl_seconds=0.05), variants=())
TARGET = PoolTarget(key=CHAT, slo=POOL.slo, engine="vllm", workloads=())


def test_a_loop_that_does_not_come_round_is_dead(clock: Any) -> None:
    health = Health(clock=clock, interval_seconds=15.0)
    clock.now += 89.0
    assert health.live()[0]
    health.round_done()
    clock.now += 91.0
    alive, why = health.live()
    assert not alive
    assert "has not come round for 91 s" in why


def test_a_lease_that_nobody_looks_after_is_dead(clock: Any) -> None:
    health = Health(clock=clock, interval_seconds=15.0)
    health.lease_attempted()
    for _ in range(7):
        clock.now += 10.0
        health.round_done()
    assert not health.live()[0]


def test_ready_means_that_the_caches_are_complete(clock: Any) -> None:
    health = Health(clock=clock, interval_seconds=15.0)
    health.waiting_for = "the caches of pods"
    assert health.ready() == (False, "waiting for the caches of pods")
    health.caches_complete = True
    assert health.ready()[0]


async def test_the_endpoint_answers_probes_metrics_and_decisions(clock: Any) -> None:
    health = Health(clock=clock, interval_seconds=15.0)
    records = {CHAT: {"mode": "Auto"}}
    server = WebServer(health, Metrics(), records.get)
    port = await server.start("127.0.0.1", 0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:

        async def get(path: str) -> tuple[int, str]:
            async with session.get(path) as answer:
                return answer.status, await answer.text()

        assert (await get("/healthz"))[0] == 200
        assert await get("/readyz") == (503, "waiting for the caches to fill\n")
        health.caches_complete = True
        assert (await get("/readyz"))[0] == 200
        status, text = await get("/metrics")
        assert status == 200
        assert "forebay_build_info" in text
        assert text.endswith("# EOF\n")
        assert await get("/decisions/serving/chat") == (200, '{"mode": "Auto"}')
        assert (await get("/decisions/serving/none"))[0] == 404
    await server.stop()


def test_a_log_line_is_one_json_object_with_its_fields() -> None:
    record = logging.makeLogRecord({"name": "forebay.x", "levelno": 20, "levelname": "INFO", "msg": "scaled %d"})
    record.args = (3,)
    record.pool = "chat"
    entry = json.loads(JsonFormatter().format(record))
    assert (entry["level"], entry["message"], entry["pool"]) == ("info", "scaled 3", "chat")


async def test_lag_is_how_late_the_loop_wakes_up() -> None:
    seen: list[float] = []
    enough = asyncio.Event()

    def record(lag: float) -> None:
        seen.append(lag)
        if len(seen) == 3:
            enough.set()

    task = asyncio.create_task(sample_lag(record, period_seconds=0.001))
    async with asyncio.timeout(5.0):
        await enough.wait()
    task.cancel()
    assert all(lag >= 0 for lag in seen)


def test_lease_times_must_leave_a_margin() -> None:
    with pytest.raises(ValidationError, match="retry period < renew deadline < lease duration"):
        OperatorSettings(lease_duration_seconds=5.0, renew_deadline_seconds=10.0)


def test_steps_of_forecasters_other_than_minutes_know_no_history() -> None:
    assert OperatorSettings(forecast_step_seconds=4.0, history_seconds=0.0).forecast_step_seconds == 4.0
    with pytest.raises(ValidationError, match="give --history=0s as well"):
        OperatorSettings(forecast_step_seconds=4.0)
    with pytest.raises(ValidationError, match="that divide an hour"):
        OperatorSettings(forecast_step_seconds=7.0, history_seconds=0.0)


def test_short_rounds_read_metrics_on_a_finer_grid() -> None:
    assert prometheus_settings(OperatorSettings()).grid_seconds == 5
    assert prometheus_settings(OperatorSettings(interval_seconds=2.5)).grid_seconds == 2
    with pytest.raises(ValidationError):
        OperatorSettings(prometheus_settle_seconds=0.0)


def test_records_become_json_that_any_reader_takes() -> None:
    data = to_json({CHAT: (Freshness(signal="a", age_seconds=float("nan")), float("inf"), 1, None, True)})
    assert json.loads(json.dumps(data, allow_nan=False)) == {
        "{'namespace': 'serving', 'name': 'chat'}": [
            {"signal": "a", "age_seconds": None, "problem": None, "detail": ""},
            None,
            1,
            None,
            True,
        ]
    }


@pytest.mark.parametrize(
    ("text", "labels", "more"),
    [
        ("", {}, False),
        ("a=b,c=d", {"a": "b", "c": "d"}, False),
        ("a==b", {"a": "b"}, False),
        ("a=b,x in (1", {"a": "b"}, True),
        ("a!=b", {}, True),
        ("exists", {}, True),
    ],
)
def test_serialised_selectors_are_read(text: str, labels: dict[str, str], *, more: bool) -> None:
    assert parse_selector(text) == (labels, more)


class State(FleetState):
    """Snapshots that a test can see through."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[PoolKey, bytes] = {}
        self.warmed: list[tuple[int, float]] = []

    def snapshot(self, key: PoolKey) -> bytes | None:
        return self.kept.get(key)

    def restore(self, key: PoolKey, data: bytes) -> None:
        if data == b"damaged":
            raise StateError("damaged")
        self.kept[key] = data

    def warm_start(
        self, pool: Pool, *, requests_per_minute: Any, end_seconds: float, lead_times_seconds: Any = ()
    ) -> None:
        self.warmed.append((len(list(requests_per_minute)), end_seconds))


def test_states_are_saved_restored_and_forgotten_with_their_pools(tmp_path: Path) -> None:
    files, state = StateFiles(tmp_path / "states"), State()
    state.kept[CHAT] = b"memory"
    assert files.save(state, [CHAT, PoolKey("serving", "new")]) == 1
    fresh = State()
    assert files.restore(fresh, CHAT)
    assert fresh.kept == {CHAT: b"memory"}
    files.forget_others([])
    assert not files.restore(State(), CHAT)


def test_a_damaged_state_is_removed_and_the_pool_starts_afresh(tmp_path: Path) -> None:
    files = StateFiles(tmp_path)
    path = tmp_path / "serving_chat.state"
    path.write_bytes(b"damaged")
    assert not files.restore(State(), CHAT)
    assert not path.exists()


class Past:
    """History that comes, fails or never comes."""

    def __init__(self, minutes: int | None) -> None:
        self.minutes = minutes

    async def history(self, target: PoolTarget, since_seconds: float, at_seconds: float) -> History:
        if self.minutes is None:
            await asyncio.Event().wait()
        rates = np.full(self.minutes or 0, 3.0)
        return History(start_seconds=0.0, requests_per_minute=rates, freshness=Freshness(signal="arrivals"))


async def drained(warm_up: WarmUp) -> Any:
    for _ in range(20):
        await asyncio.sleep(0)
        arrived = warm_up.take_arrived()
        if arrived:
            return arrived
    return []


async def test_a_pool_joins_when_its_history_came(clock: Any) -> None:
    warm_up, state = WarmUp(Past(30), None, history_seconds=1800.0, wall_clock=clock), State()  # type: ignore[arg-type]
    warm_up.start(POOL, lambda: TARGET)
    warm_up.start(POOL, lambda: TARGET)
    assert not warm_up.is_known(CHAT)
    arrived = await drained(warm_up)
    assert warm_up.is_known(CHAT)
    warm_up.apply(state, arrived, {})
    assert state.warmed == [(30, 1800.0)]
    warm_up.keep_only([])
    assert not warm_up.is_known(CHAT)


async def test_a_pool_whose_history_does_not_come_joins_without(
    clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forebay.runtime.warmup._PATIENCE_SECONDS", 0.0)
    warm_up, state = WarmUp(Past(None), None, history_seconds=1800.0, wall_clock=clock), State()  # type: ignore[arg-type]
    warm_up.start(POOL, lambda: TARGET)
    arrived = await drained(warm_up)
    warm_up.apply(state, arrived, {})
    assert warm_up.is_known(CHAT)
    assert state.warmed == []


async def test_a_saved_state_goes_before_history(clock: Any, tmp_path: Path) -> None:
    files = StateFiles(tmp_path)
    (tmp_path / "serving_chat.state").write_bytes(b"memory")
    warm_up, state = WarmUp(Past(30), files, history_seconds=1800.0, wall_clock=clock), State()  # type: ignore[arg-type]
    warm_up.start(POOL, lambda: TARGET)
    warm_up.apply(state, await drained(warm_up), {})
    assert state.kept == {CHAT: b"memory"}
    assert state.warmed == []


async def test_histories_are_read_ahead_for_a_few_pools_only_and_applied_one_by_one(clock: Any) -> None:
    """A history that waits for hours would leave a gap before the first live minute."""
    warm_up = WarmUp(Past(30), None, history_seconds=1800.0, wall_clock=clock)  # type: ignore[arg-type]
    pools = [replace(POOL, key=PoolKey("serving", f"chat-{number}")) for number in range(30)]
    for pool in pools:
        warm_up.start(pool, lambda: TARGET)
    joined = []
    for _ in pools:
        for _ in range(20):
            await asyncio.sleep(0)
        assert warm_up.waiting == sum(1 for pool in pools if not warm_up.is_known(pool.key))
        one = warm_up.take_one()
        assert one is not None
        joined.append(one.pool.key)
    assert joined == [pool.key for pool in pools]
    assert warm_up.take_one() is None
    assert warm_up.waiting == 0


async def test_who_waits_for_long_takes_part_meanwhile_and_is_given_the_past_later(clock: Any) -> None:
    warm_up = WarmUp(Past(30), None, history_seconds=1800.0, wall_clock=clock)  # type: ignore[arg-type]
    warm_up.start(POOL, lambda: TARGET)
    assert warm_up.join_late() == []
    clock.now += 61.0
    assert warm_up.join_late() == [CHAT]
    assert warm_up.join_late() == [], "once"
    assert warm_up.is_known(CHAT)
    assert warm_up.waiting == 1
    for _ in range(20):
        await asyncio.sleep(0)
    warm_up.start(POOL, lambda: TARGET)
    one = warm_up.take_one()
    assert one is not None
    assert one.pool.key == CHAT
    assert warm_up.waiting == 0


async def test_without_a_past_nobody_waits_for_a_turn(clock: Any) -> None:
    warm_up = WarmUp(Past(0), None, history_seconds=1800.0, wall_clock=clock)  # type: ignore[arg-type]
    pools = [replace(POOL, key=PoolKey("serving", f"chat-{number}")) for number in range(3)]
    for pool in pools:
        warm_up.start(pool, lambda: TARGET)
    for _ in range(20):
        await asyncio.sleep(0)
    assert [item.pool.key for item in warm_up.take_without_past()] == [pool.key for pool in pools]
