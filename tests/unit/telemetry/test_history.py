"""Histories of several pools by the same queries."""

from dataclasses import replace

from forebay.flow.fleet import PoolKey
from forebay.telemetry.prometheus import PrometheusTelemetry
from tests.unit.telemetry.scripted import ScriptedClient, pool
from tests.unit.telemetry.test_observe import SERVE, SETTINGS, T0


async def test_two_pools_that_scale_one_workload_both_have_its_past() -> None:
    client = ScriptedClient({"history": lambda at: {SERVE: at}}, scrapes={SERVE: 20.0})
    first = pool()
    second = replace(first, key=PoolKey("ns", "other"))
    source = PrometheusTelemetry(SETTINGS, client=client)
    found = await source.history([first, second], T0 - 600.0, T0)
    assert found[first.key].known_minutes > 0
    assert found[second.key].known_minutes == found[first.key].known_minutes
