"""Whole rounds, with scripted answers."""

from dataclasses import replace

import pytest

from forebay.flow.fleet import Role
from forebay.flow.observation import Freshness, Problem, Traffic
from forebay.telemetry.prometheus import PrometheusTelemetry
from forebay.telemetry.settings import PrometheusSettings
from forebay.telemetry.source import GatewayTarget, PoolTarget, PoolTelemetry
from tests.keys import decode, prefill, serve
from tests.unit.telemetry.scripted import Answer, ScriptedClient, pool

P, D, SERVE_KEY = prefill("p"), decode("d"), serve("serve")

SETTINGS = PrometheusSettings(settle_seconds=2.0)
SERVE = ("ns", "chat-serve")
T0 = 1_000_002.0


def healthy(*keys: tuple[str, ...], per_slot: float = 30.0) -> dict[str, Answer]:
    """Return the answers of workloads that are scraped two seconds before each look."""
    return {
        "newest": lambda at: dict.fromkeys(keys, at - 2.0),
        "growth begun": dict.fromkeys(keys, per_slot),
        "growth finished": dict.fromkeys(keys, per_slot),
        "change running": dict.fromkeys(keys, 0.0),
        "change waiting": dict.fromkeys(keys, 0.0),
        "level running": dict.fromkeys(keys, 4.0),
        "level waiting": dict.fromkeys(keys, 2.0),
        "replicas": dict.fromkeys(keys, 1.0),
        "engines": dict.fromkeys(keys, 1.0),
    }


def scripted(*keys: tuple[str, ...]) -> ScriptedClient:
    return ScriptedClient(healthy(*keys), scrapes=dict.fromkeys(keys, 20.0))


async def observe(
    client: ScriptedClient, targets: list[PoolTarget], *times: float, settings: PrometheusSettings = SETTINGS
) -> list[PoolTelemetry]:
    """Return the first pool's telemetry in each round."""
    source = PrometheusTelemetry(settings, client=client)
    return [(await source.observe(targets, at))[targets[0].key] for at in times]


def signal(telemetry: PoolTelemetry, name: str) -> Freshness:
    return next(each for each in telemetry.freshness if each.signal == name)


def traffic(telemetry: PoolTelemetry) -> Traffic:
    assert telemetry.traffic is not None, telemetry.freshness
    return telemetry.traffic


async def test_a_round() -> None:
    (seen,) = await observe(scripted(SERVE), [pool()], T0)
    assert seen.at_seconds == 1_000_000.0
    assert traffic(seen).arrivals == 30.0
    assert (traffic(seen).start_seconds, traffic(seen).end_seconds) == (999_985.0, 1_000_000.0)
    assert (seen.waiting_prefill, seen.waiting_decode, seen.finished) == (2.0, None, 30.0)
    sample = seen.engines[SERVE_KEY]
    assert (sample.running, sample.running_now, sample.reporting_replicas) == (4.0, 4.0, 1)
    assert signal(seen, "arrivals") == Freshness(signal="arrivals", age_seconds=2.0)


async def test_the_number_of_queries_does_not_grow_with_the_pools() -> None:
    few, many = ScriptedClient(), ScriptedClient()
    await observe(few, [pool("a")], T0)
    await observe(many, [pool(f"p{index}", namespace=f"n{index}") for index in range(300)], T0)
    assert few.asked == many.asked
    assert sum(many.asked.values()) < 40


async def test_prefill_and_decode_pools_count_where_requests_enter_and_end() -> None:
    prefill, decode = ("ns", "chat-p"), ("ns", "chat-d")
    client = scripted(prefill, decode)
    client.script["growth begun"] = {prefill: 33.0, decode: 29.0}
    client.script["growth finished"] = {prefill: 32.0, decode: 28.0}
    client.script["level waiting"] = {prefill: 5.0, decode: 7.0}
    (seen,) = await observe(client, [pool(roles={"p": Role.PREFILL, "d": Role.DECODE})], T0)
    assert traffic(seen).arrivals == 33.0
    assert seen.finished == 28.0
    assert (seen.waiting_prefill, seen.waiting_decode) == (5.0, 7.0)
    assert set(seen.engines) == {P, D}


async def test_requests_that_an_overloaded_engine_holds_have_arrived() -> None:
    """Protects: counts of finished requests saturate exactly when capacity is short."""
    client = scripted(SERVE)
    client.script["change waiting"] = {SERVE: 50.0}
    (seen,) = await observe(client, [pool()], T0)
    assert traffic(seen).arrivals == 80.0


async def test_nothing_known_is_missing_and_not_zero() -> None:
    (seen,) = await observe(ScriptedClient(), [pool()], T0)
    assert seen.traffic is None
    assert not seen.engines
    assert (seen.finished, seen.missed, seen.waiting_prefill) == (None, None, None)
    assert signal(seen, "arrivals").problem is Problem.MISSING
    assert (
        signal(seen, "engine/serve").detail == "no series of vllm:request_success_total for Deployment chat-serve"
    )


async def test_a_pool_without_replicas_says_that_nothing_counts() -> None:
    (seen,) = await observe(ScriptedClient(), [pool(ready=0)], T0)
    assert seen.traffic is None
    assert signal(seen, "arrivals").detail == "no replica is ready to count arrivals: name a gateway"
    assert signal(seen, "engine/serve").problem is None


@pytest.mark.parametrize("kind", ["newest", "growth begun", "change waiting", "born begun"])
async def test_one_failed_query_makes_arrivals_unknown_and_the_next_round_makes_them_up(kind: str) -> None:
    client = scripted(SERVE)
    source = PrometheusTelemetry(SETTINGS, client=client)
    target = pool()
    first = (await source.observe([target], T0))[target.key]
    client.failing = {kind}
    lost = (await source.observe([target], T0 + 15.0))[target.key]
    client.failing = set()
    after = (await source.observe([target], T0 + 30.0))[target.key]
    assert lost.traffic is None
    assert signal(lost, "arrivals").problem is Problem.UNREACHABLE
    assert traffic(after).start_seconds == traffic(first).end_seconds
    assert traffic(after).end_seconds == traffic(first).end_seconds + 30.0
    assert traffic(after).arrivals == 60.0


async def test_arrivals_of_a_long_outage_are_lost_and_said_to_be() -> None:
    client = scripted(SERVE)
    source = PrometheusTelemetry(SETTINGS, client=client)
    target = pool()
    await source.observe([target], T0)
    client.down = True
    for index in range(1, 60):
        await source.observe([target], T0 + 15.0 * index)
    client.down = False
    after = (await source.observe([target], T0 + 900.0))[target.key]
    assert traffic(after).end_seconds - traffic(after).start_seconds == 300.0
    assert signal(after, "arrivals").detail == "arrivals of 600 s were not counted"


async def test_no_new_sample_is_not_quiet() -> None:
    client = scripted(SERVE)
    client.script["newest"] = {SERVE: 1_000_000.0 - 1.0}
    client.script["growth begun"] = lambda at: {SERVE: 30.0 if at <= 1_000_000.0 else 0.0}
    first, second, third = await observe(client, [pool()], T0, T0 + 15.0, T0 + 45.0)
    assert traffic(first).arrivals == 30.0
    assert (second.traffic, signal(second, "arrivals").problem) == (None, Problem.TOO_FEW)
    assert (third.traffic, signal(third, "arrivals").problem) == (None, Problem.STALE)
    assert signal(third, "arrivals").age_seconds == 46.0


async def test_a_variant_that_was_scaled_to_zero_holds_nothing_up() -> None:
    one, other = ("ns", "chat-a"), ("ns", "chat-b")
    client = scripted(one, other)
    client.script["newest"] = lambda at: dict.fromkeys([one, other] if at <= 1_000_000.0 else [one], at - 2.0)
    source = PrometheusTelemetry(SETTINGS, client=client)
    both = pool(roles={"a": Role.SERVE, "b": Role.SERVE})
    await source.observe([both], T0)
    gone = replace(both, workloads=(both.workloads[0], replace(both.workloads[1], ready_replicas=0)))
    seen = (await source.observe([gone], T0 + 15.0))[both.key]
    assert traffic(seen).arrivals == 60.0
    crashed = (await source.observe([both], T0 + 45.0))[both.key]
    assert signal(crashed, "arrivals").problem is Problem.STALE


async def test_samples_that_always_come_late_are_samples() -> None:
    """Protects: behind a slow remote write every sample is older than a round, and yet there is one each round."""
    client = scripted(SERVE)
    client.script["newest"] = lambda at: {SERVE: at - 20.0}
    seen = await observe(client, [pool()], *(T0 + 15.0 * index for index in range(6)))
    assert [each.traffic is not None for each in seen] == [False, True, True, True, True, True]


async def test_broken_numbers_are_told_apart() -> None:
    client = scripted(SERVE)
    client.script["replicas"] = {SERVE: "NaN"}
    (seen,) = await observe(client, [pool()], T0)
    assert not seen.engines
    assert seen.finished is None


async def test_replicas_that_do_not_report_are_partial() -> None:
    (seen,) = await observe(scripted(SERVE), [pool(ready=3)], T0)
    assert seen.traffic is not None
    told = signal(seen, "engine/serve")
    assert (told.problem, told.detail) == (Problem.PARTIAL, "1 of 3 ready replicas report")


async def test_a_first_value_counts_unless_it_is_too_large() -> None:
    client = scripted(SERVE)
    source = PrometheusTelemetry(SETTINGS, client=client)

    async def arrivals(round_: int) -> float:
        return traffic((await source.observe([pool()], T0 + 15.0 * round_))[pool().key]).arrivals

    for round_ in range(4):
        assert await arrivals(round_) == 30.0
    client.script["born begun"] = {SERVE: 12.0}
    assert await arrivals(4) == 42.0
    client.script["born begun"] = {SERVE: 1e6}
    assert await arrivals(5) == 30.0


async def test_what_replicas_had_counted_before_they_were_first_seen_has_not_just_arrived() -> None:
    """Protects: of three replicas that had served for a while, two came to sight in the second round.

    Their counts looked like a burst, and the pool grew from three replicas to ten.
    """
    client = scripted(SERVE)
    client.script["born begun"] = lambda at: {SERVE: 15.0} if at < T0 + 15.0 else {}
    seen = await observe(client, [pool()], *(T0 + 15.0 * round_ for round_ in range(4)))
    assert [traffic(each).arrivals for each in seen] == [30.0] * 4


async def test_a_lazy_counter_beside_a_fresh_gauge_is_zero() -> None:
    """Protects: SGLang's counters appear with the first request; an idle new pool is idle, not unknown."""
    client = scripted(SERVE)
    del client.script["growth finished"], client.script["growth begun"]
    client.known = ("sglang:num_running_reqs", "sglang:num_queue_reqs", "sglang:num_requests_total")
    (seen,) = await observe(client, [pool(engine="sglang")], T0)
    assert traffic(seen).arrivals == 0.0
    assert seen.finished == 0.0
    (vllm,) = await observe(client, [pool()], T0)
    assert vllm.traffic is None


async def test_a_dip_below_zero_is_made_good_later() -> None:
    client = scripted(SERVE)
    client.script["growth begun"] = lambda at: {SERVE: 30.0 if at > 1_000_000.0 else 0.0}
    client.script["change waiting"] = lambda at: {SERVE: 0.0 if at > 1_000_000.0 else -3.0}
    first, second = await observe(client, [pool()], T0, T0 + 15.0)
    assert traffic(first).arrivals == 0.0
    assert traffic(second).arrivals == 27.0


async def test_frequent_scrapes_give_slots() -> None:
    client = ScriptedClient(healthy(SERVE, per_slot=10.0), scrapes={SERVE: 60.0})
    (seen,) = await observe(client, [pool()], T0)
    assert traffic(seen).slot_counts == (10.0, 10.0, 10.0)
    assert traffic(seen).slot_seconds == 5.0


async def test_rounds_that_come_early_late_or_again_keep_the_pace() -> None:
    times = [T0, T0 + 14.6, T0 + 30.8, T0 + 44.6, T0 + 61.0]
    seen = await observe(scripted(SERVE), [pool()], *times)
    assert [each.at_seconds - 1_000_000.0 for each in seen] == [0.0, 15.0, 30.0, 45.0, 60.0]
    again = await observe(scripted(SERVE), [pool()], T0, T0 + 0.5, T0 + 15.0)
    assert again[1].traffic is None
    assert signal(again[1], "arrivals").problem is Problem.TOO_FEW
    assert traffic(again[2]).start_seconds == traffic(again[0]).end_seconds


async def test_an_interval_never_ends_after_what_has_settled() -> None:
    """Protects: a sample that appears after its time was evaluated is lost to both neighbouring intervals."""
    settings = PrometheusSettings(settle_seconds=0.4, interval_seconds=1.0, grid_seconds=1)
    times = [T0 + 0.93 * index for index in range(1, 40)]
    seen = await observe(scripted(SERVE), [pool()], *times, settings=settings)
    assert all(each.at_seconds <= at - 0.3 for each, at in zip(seen, times, strict=True) if each.traffic)
    ends = [each.traffic.end_seconds for each in seen if each.traffic]
    assert len(ends) > 30
    assert ends == sorted(set(ends))


async def test_a_second_scrape_job_is_noticed() -> None:
    client = scripted(SERVE)
    queries: list[str] = []
    plain = client.range

    async def range_(query: str, *arguments: int, **more: object) -> object:
        if more["kind"] == "growth begun":
            queries.append(query)
        return await plain(query, *arguments, **more)  # type: ignore[arg-type]

    client.range = range_  # type: ignore[method-assign, assignment]
    client.script["duplicates"] = lambda at: {(): 0.0 if at < 1_000_020.0 else 3.0}
    await observe(client, [pool()], T0, T0 + 15.0, T0 + 30.0, T0 + 45.0)
    assert ["max by(namespace,pod,engine)" in query for query in queries] == [True, False, False, True]


async def test_a_clock_that_was_set_back() -> None:
    seen = await observe(scripted(SERVE), [pool()], T0, T0 - 3600.0, T0 - 3585.0)
    assert traffic(seen[2]).end_seconds == 1_000_000.0 - 3585.0
    assert traffic(seen[2]).arrivals == 30.0


async def test_a_pool_that_comes_back_starts_anew() -> None:
    client = scripted(SERVE)
    source = PrometheusTelemetry(SETTINGS, client=client)
    one, other = pool(), pool("other")
    await source.observe([one], T0)
    await source.observe([other], T0 + 15.0)
    seen = (await source.observe([one], T0 + 30.0))[one.key]
    assert traffic(seen).start_seconds == 1_000_015.0


async def test_two_pools_may_not_count_one_gateways_series() -> None:
    gateway = GatewayTarget(dialect="requests-counter", labels={"route": "llm"})
    targets = [replace(pool(name), gateway=gateway) for name in ("a", "b")]
    (seen,) = await observe(ScriptedClient(), targets, T0)
    told = signal(seen, "arrivals")
    assert told.problem is Problem.DUPLICATE
    assert told.detail == "The pool ns/b selects the same gateway series; add a label that tells them apart."


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"engine": "abacus"}, "no known engine dialect"),
        ({"labels": {"a b": "c"}}, "is not a label name"),
        ({"labels": {"pod": "c"}}, "cannot select a pool's engines"),
        ({"gateway": GatewayTarget(dialect="abacus", labels={"a": "b"})}, "no known gateway dialect"),
        ({"gateway": GatewayTarget(dialect="requests-counter", labels={})}, "at least one label"),
        ({"gateway": GatewayTarget(dialect="requests-counter", labels={"le": "1"})}, "leave them out"),
    ],
)
async def test_what_is_wrong_with_one_pool_is_said_and_stays_with_it(change: dict[str, object], said: str) -> None:
    good, bad = pool(), replace(pool("bad"), **change)  # type: ignore[arg-type]
    source = PrometheusTelemetry(SETTINGS, client=scripted(SERVE))
    seen = await source.observe([bad, good], T0)
    assert said in signal(seen[bad.key], "arrivals").detail
    assert seen[bad.key].traffic is None
    assert traffic(seen[good.key]).arrivals == 30.0


async def test_forecasts_are_read_once_a_minute_and_once_for_all_who_share_one() -> None:
    client = scripted(SERVE)
    targets = [replace(pool(name), forecast_query="7.5") for name in ("chat", "b", "c")]
    seen = await observe(client, targets, *(T0 + 15.0 * index for index in range(5)))
    assert client.asked["forecast"] == 2
    assert {each.external_forecast.requests_per_second for each in seen if each.external_forecast} == {7.5}
    assert [signal(each, "forecast").age_seconds for each in seen] == [0.0, 15.0, 30.0, 45.0, 0.0]


async def test_a_gateway_that_starts_to_be_used_does_not_mix_with_the_engines() -> None:
    client = scripted(SERVE)
    source = PrometheusTelemetry(SETTINGS, client=client)
    plain = pool()
    await source.observe([plain], T0)
    client.labels = ("route",)
    client.known = ("forebay:gateway_requests_total",)
    client.script = {"newest": lambda at: {("x",): at - 1.0}, "growth started": {("x",): 9.0}}
    gateway = GatewayTarget(dialect="requests-counter", labels={"route": "x"})
    seen = (await source.observe([replace(plain, gateway=gateway)], T0 + 15.0))[plain.key]
    assert (traffic(seen).arrivals, traffic(seen).source) == (9.0, "gateway")


async def test_misses_add_both_objectives_and_single_tokens_are_the_last_resort() -> None:
    client = scripted(SERVE)
    client.edges = [
        (f"vllm:{name}_seconds_bucket", edge)
        for name, edges in (
            ("time_to_first_token", ("1.0", "+Inf")),
            ("inter_token_latency", ("0.05", "+Inf")),
        )
        for edge in edges
    ]
    client.known = (*client.known, "vllm:inter_token_latency_seconds_count")
    client.script["buckets ttft"] = {(*SERVE, "1.0"): 27.0, (*SERVE, "+Inf"): 30.0}
    client.script["buckets token_itl"] = {(*SERVE, "0.05"): 950.0, (*SERVE, "+Inf"): 1000.0}
    (seen,) = await observe(client, [pool()], T0)
    assert seen.missed == pytest.approx(30.0 * (0.1 + 0.05))
    assert seen.missed_ttft == pytest.approx(30.0 * 0.1)
    assert "judged by single tokens" in next(each.detail for each in seen.freshness if each.signal == "itl")


async def test_closing_closes_the_client() -> None:
    client = ScriptedClient()
    await PrometheusTelemetry(SETTINGS, client=client).close()
    assert client.closed
