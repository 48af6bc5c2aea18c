"""Histories of several pools by the same queries."""

from dataclasses import replace

from forebay.flow.fleet import PoolKey
from forebay.telemetry.history import read_history
from forebay.telemetry.prometheus import PrometheusTelemetry
from forebay.telemetry.query.dialect import built_in
from forebay.telemetry.query.expressions import Expressions
from forebay.telemetry.query.grouping import SharedQueries
from forebay.telemetry.query.readings import arrival_queries
from tests.unit.telemetry.scripted import KNOWN, ScriptedClient, pool
from tests.unit.telemetry.test_observe import SERVE, SETTINGS, T0


async def test_two_pools_that_scale_one_workload_both_have_its_past() -> None:
    client = ScriptedClient({"history": lambda at: {SERVE: at}}, scrapes={SERVE: 20.0})
    first = pool()
    second = replace(first, key=PoolKey("ns", "other"))
    source = PrometheusTelemetry(SETTINGS, client=client)
    found = await source.history([first, second], T0 - 600.0, T0)
    assert found[first.key].known_minutes > 0
    assert found[second.key].known_minutes == found[first.key].known_minutes


async def test_history_counts_arrivals_by_the_same_queries_as_live_rounds() -> None:
    """Protects: history counted nothing where a counter was reset, live rounds what it had counted since."""
    client = ScriptedClient({"history": lambda at: {SERVE: at}}, scrapes={SERVE: 20.0})
    asked: list[str] = []
    answer = client.range

    async def range_(query: str, *arguments: int, **more: object) -> object:
        asked.append(query)
        return await answer(query, *arguments, **more)  # type: ignore[arg-type]

    client.range = range_  # type: ignore[method-assign, assignment]
    await read_history(client, SETTINGS, [pool()], T0 - 600.0, T0)
    ask = Expressions(SharedQueries(built_in()["vllm"], ("namespace",)), SETTINGS, frozenset(KNOWN), 60)
    live = {query for query in arrival_queries(ask, 60).values() if query is not None}
    shapes = {query.split("{")[0] for query in live}
    assert shapes <= {query.split("{")[0] for query in asked}
    assert any(")>=0) or (" in query for query in asked), "after a reset, what was counted since"
