"""Requests that leave by an exit that no counter has, and engines that do not move."""

from dataclasses import replace

import pytest

from forebay.flow.fleet import Role, VariantKey
from forebay.flow.observation import Problem
from forebay.telemetry.prometheus import PrometheusTelemetry
from forebay.telemetry.signals.balance import FlowBalance
from forebay.telemetry.source import GatewayTarget, PoolTelemetry
from tests.unit.telemetry.scripted import ScriptedClient, pool
from tests.unit.telemetry.test_observe import (
    SERVE,
    SERVE_KEY,
    SETTINGS,
    T0,
    healthy,
    observe,
    scripted,
    signal,
    traffic,
)


def problems(telemetry: PoolTelemetry) -> dict[str, Problem]:
    return {each.signal: each.problem for each in telemetry.freshness if each.problem is not None}


def test_balance_allows_what_is_held() -> None:
    balance = FlowBalance()
    for index in range(40):
        assert balance.enter(15.0 * index, 15.0 * index + 15.0, begun=40.0, ended=30.0, held=10.0 * index) is None


@pytest.mark.parametrize(("ended", "lost"), [(28.0, 480.0), (52.0, -480.0)])
def test_balance_tells_what_leaves_unseen(ended: float, lost: float) -> None:
    balance = FlowBalance()
    drifts = [
        balance.enter(15.0 * index, 15.0 * index + 15.0, begun=40.0, ended=ended, held=5.0) for index in range(60)
    ]
    assert drifts[10] is None, "a few minutes say nothing"
    last = drifts[-1]
    assert last is not None
    assert last.seconds == 600.0
    assert last.lost == pytest.approx(lost)


def test_balance_begins_anew_after_a_gap() -> None:
    balance = FlowBalance()
    for index in range(60):
        balance.enter(15.0 * index, 15.0 * index + 15.0, begun=40.0, ended=20.0, held=5.0)
    assert balance.enter(2000.0, 2015.0, begun=40.0, ended=20.0, held=5.0) is None


async def test_clients_that_hang_up_are_arrivals_and_are_told() -> None:
    """Protects: with 30 % cancelled, 28 of 40 requests a second were seen, and 61 % missed their TTFT."""
    client = scripted(SERVE)
    client.script["growth begun"] = {SERVE: 600.0}
    client.script["growth finished"] = {SERVE: 420.0}
    seen = await observe(client, [pool()], *(T0 + 15.0 * index for index in range(45)))
    assert traffic(seen[-1]).arrivals == 600.0
    told = signal(seen[-1], "flow")
    assert told.problem is Problem.DRIFT
    assert told.detail.startswith("about 30% of the requests began and neither finished nor are held")


async def test_clients_that_leave_a_queue_are_told_where_no_counter_has_them() -> None:
    """Protects: SGLang counts those that leave its queue together with those that leave while they run."""
    client = scripted(SERVE)
    client.known = ("sglang:num_running_reqs", "sglang:num_queue_reqs", "sglang:num_requests_total")
    client.known = (*client.known, "sglang:num_aborted_requests_total")
    client.script["growth finished"] = {SERVE: 420.0}
    client.script["growth aborted"] = {SERVE: 180.0}
    seen = await observe(client, [pool(engine="sglang")], *(T0 + 15.0 * index for index in range(45)))
    assert traffic(seen[-1]).arrivals == 420.0
    assert signal(seen[-1], "flow").problem is Problem.DRIFT


async def test_requests_that_are_refused_are_arrivals_and_no_drift() -> None:
    """Protects: with a queue limit, 119 of 613 requests were seen."""
    client = scripted(SERVE)
    client.known = (*client.known, "vllm:admission_rejections_total")
    client.script["growth rejected"] = {SERVE: 120.0}
    seen = await observe(client, [pool()], *(T0 + 15.0 * index for index in range(45)))
    assert traffic(seen[-1]).arrivals == 150.0
    assert "flow" not in problems(seen[-1])


async def test_a_missed_scrape_loses_no_arrivals_where_nothing_counts_rejections() -> None:
    """Protects: without that counter, the arrivals of every missed scrape were lost."""
    client = scripted(SERVE)
    client.script["newest"] = lambda at: {SERVE: min(at, 1_000_015.0) - 2.0 if at < 1_000_060.0 else at - 2.0}
    times = [T0 + 15.0 * index for index in range(7)]
    seen = await observe(client, [pool()], *times)
    given = [each.traffic for each in seen if each.traffic is not None]
    assert len(given) < len(seen)
    assert sum(each.arrivals for each in given) == 30.0 * len(seen)


async def test_an_engine_that_does_not_move_is_told_and_what_it_holds_is_not_counted() -> None:
    """Protects: gauges that froze at 106 running and 15 waiting held twelve idle replicas for two hours."""
    client = scripted(SERVE)
    client.script |= {
        "growth begun": {SERVE: 0.0},
        "growth finished": {SERVE: 0.0},
        "level running": {SERVE: 106.0},
        "level waiting": {SERVE: 15.0},
        "stuck engines": {SERVE: 1.0},
        "stuck running": {SERVE: 106.0},
        "stuck waiting": {SERVE: 15.0},
    }
    _, seen = await observe(client, [pool()], T0, T0 + 15.0)
    assert seen.waiting_prefill == 0.0
    assert (seen.engines[SERVE_KEY].running_now, seen.engines[SERVE_KEY].stuck_engines) == (0.0, 1)
    assert problems(seen)["engine/serve/stuck"] is Problem.STUCK
    assert signal(seen, "engine/serve").problem is None, "nothing is held back for it"


async def test_what_stuck_engines_hold_is_asked_only_where_there_are_some() -> None:
    client = scripted(SERVE)
    await observe(client, [pool()], T0, T0 + 15.0)
    assert client.asked["stuck engines"] == 2
    assert client.asked["stuck running"] == 0


async def test_an_idle_engine_without_gauges_is_idle() -> None:
    """Protects: several API servers show no gauge before the first request; the pool was Missing until then."""
    client = scripted(SERVE)
    for name in ("change waiting", "change running", "level running", "level waiting"):
        del client.script[name]
    client.script["growth begun"] = {SERVE: 0.0}
    (seen,) = await observe(client, [pool()], T0)
    assert traffic(seen).arrivals == 0.0
    assert seen.waiting_prefill == 0.0
    assert seen.engines[SERVE_KEY].running == 0.0


async def test_first_events_of_a_process_that_was_there_count_in_full() -> None:
    """Protects: a frontend's counters appear with its first request, and the first scrape's 25 were lost."""
    client = ScriptedClient(labels=("model", "le"), scrapes={("m",): 20.0})
    client.known = ("dynamo_frontend_model_context_length",)
    target = replace(pool(), gateway=GatewayTarget(dialect="dynamo-frontend", labels={"model": "m"}))
    client.script = {
        "newest": lambda at: {("m",): at - 2.0},
        "born started": lambda at: {("m",): 250.0} if at == 1_000_015.0 else {},
        "first started": lambda at: {("m",): 250.0} if at == 1_000_015.0 else {},
    }
    first, second = await observe(client, [target], T0, T0 + 15.0)
    assert traffic(first).arrivals == 0.0
    assert traffic(second).arrivals == 250.0


async def test_more_replicas_than_exist_are_no_numbers() -> None:
    """Protects: two clusters with equal names in one Prometheus were summed."""
    client = scripted(SERVE)
    client.script["replicas"] = {SERVE: 2.0}
    target = pool()
    target = replace(target, workloads=(replace(target.workloads[0], most_replicas=1),))
    seen = await observe(client, [target], *(T0 + 15.0 * index for index in range(10)))
    assert seen[0].traffic is not None, "pods that have just ended report for a while"
    assert (seen[-1].traffic, seen[-1].engines) == (None, {})
    assert signal(seen[-1], "arrivals").problem is Problem.IMPLAUSIBLE
    assert "prometheus.matchLabels" in signal(seen[-1], "arrivals").detail


async def test_a_share_above_one_is_no_number() -> None:
    client = scripted(SERVE)
    client.script["level kv_usage"] = {SERVE: 4.0}
    (seen,) = await observe(client, [pool()], T0)
    assert seen.engines[SERVE_KEY].kv_usage is None
    assert problems(seen)["engine/serve/kv"] is Problem.IMPLAUSIBLE


async def test_sleeping_engines_are_told() -> None:
    client = scripted(SERVE)
    client.known = (*client.known, "vllm:engine_sleep_state")
    client.script |= {"engines": {SERVE: 3.0}, "level awake": {SERVE: 2.0}}
    (seen,) = await observe(client, [pool()], T0)
    assert seen.engines[SERVE_KEY].sleeping_engines == 1
    assert problems(seen)["engine/serve/asleep"] is Problem.ASLEEP


async def test_metrics_behind_a_prefix_are_named_and_the_prefix_finds_them() -> None:
    client = ScriptedClient(known=["kserve_vllm:request_success_total"])
    (seen,) = await observe(client, [pool()], T0)
    assert signal(seen, "engine/serve").detail == (
        "no series of vllm:request_success_total for Deployment chat-serve, but there is"
        " kserve_vllm:request_success_total: set telemetry.metricPrefix to kserve_"
    )
    client = scripted(SERVE)
    client.known = [f"kserve_{name}" for name in client.known]
    (seen,) = await observe(client, [replace(pool(), metric_prefix="kserve_")], T0)
    assert traffic(seen).arrivals == 30.0


async def test_the_missing_counter_has_its_name() -> None:
    """Protects: every round said that a counter needs two samples, of an engine that has no such counter."""
    client = scripted(SERVE)
    del client.script["growth begun"], client.script["growth finished"]
    (seen,) = await observe(client, [pool()], T0)
    assert signal(seen, "arrivals").detail.startswith("vllm:request_success_total has no two samples yet")


async def test_labels_of_this_cluster_are_on_every_query() -> None:
    client = scripted(SERVE)
    asked: list[str] = []
    for name in ("instant", "range"):
        plain = getattr(client, name)

        async def noted(query: str, *arguments: object, _plain: object = plain, **more: object) -> object:
            asked.append(query)
            return await _plain(query, *arguments, **more)  # type: ignore[operator]

        setattr(client, name, noted)
    settings = replace(SETTINGS, match_labels={"cluster": 'eu"1'})
    source = PrometheusTelemetry(settings, client=client)
    await source.observe([pool()], T0)
    await source.history([pool()], T0 - 600.0, T0)
    assert len(asked) > 30
    for query in asked:
        assert query.count('cluster="eu\\"1"') == query.count("namespace=~") > 0, query


async def test_decode_engines_did_not_prefill_and_their_ttft_comes_on_top() -> None:
    """Protects: a pool said 99.7 % where clients had waited ten seconds for a decode slot."""
    prefill, decode = ("ns", "chat-p"), ("ns", "chat-d")
    client = ScriptedClient(healthy(prefill, decode), scrapes={prefill: 20.0, decode: 20.0})
    client.edges = [("vllm:time_to_first_token_seconds_bucket", edge) for edge in ("0.5", "0.75", "1.0", "+Inf")]
    client.script |= {
        "growth prefill_time_count": {prefill: 30.0, decode: 30.0},
        "growth prefill_time_sum": {prefill: 6.0, decode: 60.0},
        "growth ttft_sum": {prefill: 6.0, decode: 7.5},
        "growth ttft_count": {prefill: 30.0, decode: 30.0},
        "buckets ttft": {
            (*prefill, edge): value for edge, value in {"0.5": 3.0, "0.75": 6.0, "1.0": 30.0, "+Inf": 30.0}.items()
        },
    }
    target = pool(roles={"p": Role.PREFILL, "d": Role.DECODE})
    first, second = await observe(client, [target], T0, T0 + 15.0)
    assert first.missed_ttft is None
    assert second.missed_ttft == pytest.approx(24.0), "0.25 s are decode's, so 0.75 s remain"
    assert second.engines[VariantKey(Role.PREFILL, "p")].prefill_seconds == 6.0
    assert second.engines[VariantKey(Role.DECODE, "d")].prefill_seconds is None


async def test_a_miss_between_two_edges_has_a_range_and_is_told() -> None:
    client = scripted(SERVE)
    client.edges = [("vllm:time_to_first_token_seconds_bucket", edge) for edge in ("0.5", "2.5", "+Inf")]
    client.script["buckets ttft"] = {(*SERVE, "0.5"): 15.0, (*SERVE, "2.5"): 27.0, (*SERVE, "+Inf"): 30.0}
    (seen,) = await observe(client, [pool()], T0)
    assert seen.missed is not None
    assert seen.missed_range is not None
    fewest, most = seen.missed_range
    assert (fewest, most) == (3.0, 15.0)
    assert fewest < seen.missed < most
    told = signal(seen, "ttft/edges")
    assert told.problem is Problem.INEXACT
    assert told.detail.endswith("interpolated between 0.5 s and 2.5 s; give the histogram an edge there")
