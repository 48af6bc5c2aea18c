"""Health, the HTTP endpoint, logs, loop lag and settings."""

import asyncio
import json
import logging
from typing import Any

import aiohttp
import pytest
from pydantic import ValidationError

from forebay.flow.fleet import PoolKey
from forebay.flow.observation import Freshness
from forebay.runtime.health import Health
from forebay.runtime.lag import sample_lag
from forebay.runtime.logs import JsonFormatter
from forebay.runtime.metrics import Metrics
from forebay.runtime.report.record import to_json
from forebay.runtime.settings import OperatorSettings
from forebay.runtime.sources import prometheus_settings
from forebay.runtime.web import WebServer
from forebay.telemetry.settings import PrometheusSettings

CHAT = PoolKey("serving", "chat")


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


def test_history_is_read_in_the_steps_of_the_forecasters() -> None:
    assert prometheus_settings(OperatorSettings(forecast_step_seconds=4.0)).history_step_seconds == 4
    with pytest.raises(ValidationError, match="that divide an hour"):
        OperatorSettings(forecast_step_seconds=7.0, history_seconds=0.0)


def test_short_rounds_read_metrics_on_a_finer_grid() -> None:
    assert prometheus_settings(OperatorSettings()).grid_seconds == 5
    assert prometheus_settings(OperatorSettings(interval_seconds=2.5)).grid_seconds == 2
    with pytest.raises(ValidationError):
        OperatorSettings(prometheus_settle_seconds=0.0)


def test_the_telemetry_has_the_same_defaults_as_the_operator() -> None:
    url = "http://prometheus:9090"
    derived = prometheus_settings(OperatorSettings(prometheus_url=url))
    assert derived == PrometheusSettings(url=url, read_timeout_seconds=5.0, query_timeout_seconds=10.0)


def test_records_become_json_that_any_reader_takes() -> None:
    data = to_json({CHAT: (Freshness(signal="a", age_seconds=float("nan")), float("inf"), 1, None, True)})
    assert json.loads(json.dumps(data, allow_nan=False)) == {
        "serving/chat": [
            {"signal": "a", "age_seconds": None, "problem": None, "detail": ""},
            None,
            1,
            None,
            True,
        ]
    }
