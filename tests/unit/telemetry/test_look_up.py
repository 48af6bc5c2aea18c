"""What changes seldom is looked up in the pauses, and within a round only where it cannot go on without."""

import itertools
import math

import pytest

from forebay.telemetry.prometheus import PrometheusTelemetry
from tests.unit.telemetry.scripted import ScriptedClient, pool
from tests.unit.telemetry.test_observe import SERVE, SETTINGS, T0, scripted, traffic

ROUND = SETTINGS.interval_seconds
OFTEN = SETTINGS.discovery_seconds


async def rounds(
    source: PrometheusTelemetry, client: ScriptedClient, *, seconds: float, pauses: bool, kind: str = "facts"
) -> list[int]:
    """Run rounds for so long, and return how many questions of a kind were asked within each."""
    found = []
    for number in range(1, int(seconds / ROUND) + 1):
        before = client.asked[kind]
        await source.observe([pool()], T0 + number * ROUND)
        found.append(client.asked[kind] - before)
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


@pytest.mark.parametrize("kind", ["percentile ttft", "lengths prompt_length"])
async def test_what_is_read_once_a_minute_is_read_in_the_pauses(kind: str) -> None:
    client = scripted(SERVE)
    source = PrometheusTelemetry(SETTINGS, client=client)
    within = await rounds(source, client, seconds=5 * OFTEN, pauses=True, kind=kind)
    assert within[0] > 0
    assert not any(within[1:])
    assert client.asked[kind] == within[0] * 5 * OFTEN // SETTINGS.slow_seconds


@pytest.mark.parametrize("kind", ["percentile ttft", "lengths prompt_length"])
async def test_a_round_reads_it_itself_where_no_pause_came(kind: str) -> None:
    client = scripted(SERVE)
    source = PrometheusTelemetry(SETTINGS, client=client)
    every = int(2 * SETTINGS.slow_seconds / ROUND)
    within = await rounds(source, client, seconds=3 * every * ROUND, pauses=False, kind=kind)
    assert [number for number, asked in enumerate(within) if asked] == [0, every, 2 * every]


async def test_lengths_come_with_the_traffic_of_the_round_after_the_pause_in_which_they_were_read() -> None:
    client = scripted(SERVE)
    client.script["lengths prompt_length"] = {(*SERVE, "100"): 5.0, (*SERVE, "+Inf"): 8.0}
    source = PrometheusTelemetry(SETTINGS, client=client)
    seen = []
    for number in range(10):
        (telemetry,) = (await source.observe([pool()], T0 + number * ROUND)).values()
        seen.append(traffic(telemetry).input_lengths)
        while await source.look_up():
            pass
    assert [number for number, lengths in enumerate(seen) if lengths is not None] == [0, 5, 9]
    assert seen[0] is not None
    assert (seen[0].upper_tokens, seen[0].counts) == ((100.0, math.inf), (5.0, 3.0))


async def test_what_fails_is_not_tried_again_in_the_same_pause() -> None:
    """Protects: facts that could not be read stayed due, and with a second group a pause asked on and on."""
    client = scripted(SERVE)
    source = PrometheusTelemetry(SETTINGS, client=client)
    pools = [pool(), pool("sg", engine="sglang")]
    await source.observe(pools, T0)
    client.failing.add("facts")
    await source.observe(pools, T0 + OFTEN)
    pieces = itertools.takewhile(bool, [await source.look_up() for _ in range(20)])
    assert len(list(pieces)) < 2 * 3, "three parts of two groups, each once"


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
