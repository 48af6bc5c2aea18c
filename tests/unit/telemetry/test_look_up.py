"""What changes seldom is looked up in the pauses, and within a round only where it cannot go on without."""

from forebay.telemetry.prometheus import PrometheusTelemetry
from tests.unit.telemetry.scripted import ScriptedClient, pool
from tests.unit.telemetry.test_observe import SERVE, SETTINGS, T0, scripted

ROUND = SETTINGS.interval_seconds
OFTEN = SETTINGS.discovery_seconds


async def rounds(
    source: PrometheusTelemetry, client: ScriptedClient, *, seconds: float, pauses: bool
) -> list[int]:
    """Run rounds for so long, and return how many facts were asked for within each."""
    found = []
    for number in range(1, int(seconds / ROUND) + 1):
        before = client.asked["facts"]
        await source.observe([pool()], T0 + number * ROUND)
        found.append(client.asked["facts"] - before)
        while pauses and await source.look_up():
            pass
    return found


async def test_the_first_round_looks_facts_up_and_the_pauses_do_so_from_then_on() -> None:
    client = scripted(SERVE)
    source = PrometheusTelemetry(SETTINGS, client=client)
    within = await rounds(source, client, seconds=3 * OFTEN, pauses=True)
    assert within[0] > 0
    assert not any(within[1:])
    assert client.asked["facts"] == within[0] * (1 + 2), "once per five minutes, as before"


async def test_a_round_does_it_itself_where_no_pause_came() -> None:
    client = scripted(SERVE)
    source = PrometheusTelemetry(SETTINGS, client=client)
    within = await rounds(source, client, seconds=3 * OFTEN, pauses=False)
    assert [number for number, asked in enumerate(within) if asked] == [0, 2 * OFTEN // ROUND]


async def test_metrics_that_are_missing_are_looked_for_every_half_minute_in_the_pauses() -> None:
    client = scripted(SERVE)
    client.script["newest"] = {}
    source = PrometheusTelemetry(SETTINGS, client=client)
    within = await rounds(source, client, seconds=OFTEN, pauses=True)
    assert not any(within[1:])
    assert client.asked["facts"] >= within[0] * (OFTEN / 30.0 - 1)


async def test_a_server_that_does_not_answer_is_left_alone_in_the_pauses() -> None:
    client = scripted(SERVE)
    source = PrometheusTelemetry(SETTINGS, client=client)
    await rounds(source, client, seconds=ROUND, pauses=True)
    client.down = True
    await source.observe([pool()], T0 + OFTEN)
    before = client.asked["facts"]
    assert not await source.look_up()
    assert client.asked["facts"] == before


async def test_there_is_nothing_to_look_up_before_the_first_round() -> None:
    assert not await PrometheusTelemetry(SETTINGS, client=ScriptedClient()).look_up()
