"""Counts on a real Prometheus: known streams of requests go in, and the same counts must come out.

Samples are written with their own times through Prometheus' remote-write receiver, so that minutes of traffic with
chosen scrape phases, restarts and gaps are tested without waiting for them.
"""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from devcluster.remotewrite import write
from forebay.flow.observation import Problem
from forebay.telemetry.prometheus import PrometheusTelemetry
from forebay.telemetry.settings import PrometheusSettings
from forebay.telemetry.source import GatewayTarget
from tests.cluster.telemetry.asking import counted, observe, rounds, signal, target, traffic_of
from tests.cluster.telemetry_world import SCRAPE, Fleet, Samples, Server, deployment_pods, joined, stream
from tests.keys import serve

DEFAULT = serve("default")


@pytest.mark.parametrize("scrape", [5.0, 15.0, 30.0])
async def test_every_arrival_is_counted_exactly_once(server: Server, namespace: str, scrape: float) -> None:
    """Protects: nothing is counted twice or lost between rounds, whatever the phase of scrapes and rounds."""
    start = server.start
    requests = stream(1, 600.0, 8.0, 3, start + 300.0)
    fleet = Fleet(requests, deployment_pods("chat", 3), namespace, start=start, scrape=scrape)
    write(server.url, fleet.samples(start + 1100.0))
    pool = target(namespace, "chat", ready=3)
    seen = await observe(server, [pool], rounds(start + 200.0, start + 1050.0))
    traffic = traffic_of(seen, pool)
    told = [signal(each[pool.key], "arrivals").problem for each in seen]
    assert set(told) <= {None, Problem.TOO_FEW}
    assert len(traffic) == len(seen) or scrape > 15.0
    assert all(one.end_seconds == other.start_seconds for one, other in itertools.pairwise(traffic))
    assert counted(seen, pool) == pytest.approx(len(requests.arrival), abs=1e-6)
    slots = {len(each.slot_counts) for each in traffic}
    assert slots == ({3} if scrape == 5.0 else {1})
    finished = math.fsum(each[pool.key].finished or 0.0 for each in seen)
    assert finished == pytest.approx(len(requests.arrival), abs=1e-6)


async def test_counts_follow_the_stream_in_time(server: Server, namespace: str) -> None:
    """Protects: an interval's count is that interval's, a scrape's age late, and not an average of many."""
    start = server.start
    quiet, loud = stream(2, 300.0, 2.0, 4, start + 200.0), stream(3, 300.0, 40.0, 4, start + 500.0)
    fleet = Fleet(joined(quiet, loud), deployment_pods("chat", 4), namespace, start=start, scrape=5.0)
    write(server.url, fleet.samples(start + 900.0))
    pool = target(namespace, "chat", ready=4)
    seen = await observe(server, [pool], rounds(start + 210.0, start + 800.0))
    for traffic in traffic_of(seen, pool):
        low = fleet.requests.between(traffic.start_seconds - 5.0, traffic.end_seconds - 5.0)
        high = fleet.requests.between(traffic.start_seconds, traffic.end_seconds)
        late = fleet.requests.between(traffic.start_seconds - 5.0, traffic.end_seconds)
        assert min(low, high) - 40 <= traffic.arrivals <= late + 1, (traffic, low, high)


async def test_a_replica_that_starts_counts_from_its_first_scrape(server: Server, namespace: str) -> None:
    start = server.start
    requests = stream(4, 600.0, 8.0, 3, start + 100.0)
    moved = replace(requests, replica=np.where(requests.arrival < start + 400.0, 0, requests.replica))
    fleet = Fleet(
        moved, deployment_pods("chat", 3), namespace, start=start, born={1: start + 400.0, 2: start + 400.0}
    )
    write(server.url, fleet.samples(start + 900.0))
    pool = target(namespace, "chat")
    seen = await observe(server, [pool], rounds(start + 90.0, start + 850.0))
    assert counted(seen, pool) == pytest.approx(len(requests.arrival), abs=1e-6)


async def test_a_replica_that_ends_takes_nothing_from_the_count(server: Server, namespace: str) -> None:
    start = server.start
    requests = stream(5, 600.0, 8.0, 3, start + 100.0)
    safe = replace(requests, replica=np.where(requests.arrival > start + 380.0, 0, requests.replica))
    fleet = Fleet(
        safe, deployment_pods("chat", 3), namespace, start=start, dead={1: start + 430.0, 2: start + 430.0}
    )
    write(server.url, fleet.samples(start + 900.0))
    pool = target(namespace, "chat")
    seen = await observe(server, [pool], rounds(start + 90.0, start + 850.0))
    assert counted(seen, pool) == pytest.approx(len(requests.arrival), abs=1e-6)


async def test_a_restart_of_a_container_loses_at_most_one_scrape(server: Server, namespace: str) -> None:
    start = server.start
    requests = stream(6, 600.0, 8.0, 2, start + 100.0)
    fleet = Fleet(requests, deployment_pods("chat", 2), namespace, start=start, restart={0: start + 407.0})
    write(server.url, fleet.samples(start + 900.0))
    pool = target(namespace, "chat", ready=2)
    seen = await observe(server, [pool], rounds(start + 90.0, start + 850.0))
    held = 8.0 / 2 * (SCRAPE + 8.0)
    assert len(requests.arrival) - 2.0 * held <= counted(seen, pool) <= len(requests.arrival) + 1.0


async def test_a_missed_scrape_is_not_silence(server: Server, namespace: str) -> None:
    """Protects: missing is not zero. What one missed scrape hid comes out later, over the longer interval."""
    start = server.start
    requests = stream(7, 600.0, 8.0, 1, start + 100.0)
    gap = (start + 400.0, start + 434.0)
    fleet = Fleet(requests, deployment_pods("chat", 1), namespace, start=start, skip={0: gap})
    write(server.url, fleet.samples(start + 900.0))
    pool = target(namespace, "chat", ready=1)
    seen = await observe(server, [pool], rounds(start + 90.0, start + 850.0))
    problems = [signal(each[pool.key], "arrivals").problem for each in seen]
    assert {Problem.STALE, Problem.TOO_FEW} & set(problems)
    assert counted(seen, pool) == pytest.approx(len(requests.arrival), abs=1e-6)
    busy = [each for each in traffic_of(seen, pool) if start + 150.0 < each.end_seconds < start + 690.0]
    rates = [each.arrivals / (each.end_seconds - each.start_seconds) for each in busy]
    assert 4.0 < min(rates) <= max(rates) < 13.0
    assert max(each.end_seconds - each.start_seconds for each in busy) >= 30.0


async def test_a_long_silence_is_neither_zero_nor_a_burst(server: Server, namespace: str) -> None:
    start = server.start
    requests = stream(8, 900.0, 8.0, 1, start + 100.0)
    gap = (start + 400.0, start + 640.0)
    fleet = Fleet(requests, deployment_pods("chat", 1), namespace, start=start, skip={0: gap})
    write(server.url, fleet.samples(start + 1100.0))
    pool = target(namespace, "chat", ready=1)
    seen = await observe(server, [pool], rounds(start + 90.0, start + 990.0))
    inside = [each[pool.key] for each in seen if gap[0] + 45.0 < each[pool.key].at_seconds < gap[1] - 15.0]
    assert inside
    assert all(each.traffic is None for each in inside)
    assert {signal(each, "arrivals").problem for each in inside} == {Problem.STALE}
    assert all(not each.engines for each in inside)
    busy = [each for each in traffic_of(seen, pool) if start + 150.0 < each.end_seconds < start + 990.0]
    rates = [each.arrivals / (each.end_seconds - each.start_seconds) for each in busy]
    assert 3.0 < min(rates) <= max(rates) < 14.0
    assert any("were not counted" in signal(each[pool.key], "arrivals").detail for each in seen)


async def test_a_replica_that_comes_back_does_not_count_its_past_again(server: Server, namespace: str) -> None:
    """Protects: a counter of thousands that returns after any silence is not a burst of thousands."""
    start = server.start
    requests = stream(9, 1400.0, 8.0, 2, start + 10.0)
    gap = (start + 300.0, start + 1100.0)
    fleet = Fleet(requests, deployment_pods("chat", 2), namespace, start=start, skip={1: gap})
    write(server.url, fleet.samples(start + 1400.0))
    pool = target(namespace, "chat", ready=2)
    seen = await observe(server, [pool], rounds(start + 900.0, start + 1350.0), resume_guard_seconds=120.0)
    assert max(each.arrivals for each in traffic_of(seen, pool)) < 15.0 * 8.0 * 1.6
    parts = [signal(each[pool.key], "engine/default") for each in seen]
    assert (parts[0].problem, parts[0].detail) == (Problem.PARTIAL, "1 of 2 ready replicas report")
    assert parts[-1].problem is None


async def test_two_scrape_jobs_count_once(server: Server, namespace: str) -> None:
    start = server.start
    requests = stream(10, 300.0, 8.0, 2, start + 100.0)
    pods = deployment_pods("chat", 2)
    for job in ("podmonitor", "annotations"):
        write(server.url, Fleet(requests, pods, namespace, job=job, start=start).samples(start + 600.0))
    pool = target(namespace, "chat", ready=2)
    seen = await observe(server, [pool], rounds(start + 90.0, start + 560.0))
    assert counted(seen, pool) == pytest.approx(len(requests.arrival), abs=1e-6)
    assert seen[-1][pool.key].engines[DEFAULT].reporting_replicas == 2


async def test_engines_misses_and_lengths(server: Server, namespace: str) -> None:
    start = server.start
    requests = stream(11, 500.0, 8.0, 2, start + 100.0)
    write(server.url, Fleet(requests, deployment_pods("chat", 2), namespace, start=start).samples(start + 720.0))
    pool = target(namespace, "chat", ready=2)
    seen = [each[pool.key] for each in await observe(server, [pool], rounds(start + 90.0, start + 700.0))]
    engines = [each.engines[DEFAULT] for each in seen]
    n = len(requests.arrival)
    assert math.fsum(each.finished or 0.0 for each in engines) == pytest.approx(n)
    assert math.fsum(each.prefills or 0.0 for each in engines) == pytest.approx(n)
    assert math.fsum(each.prefill_seconds or 0.0 for each in engines) == pytest.approx(0.2 * n)
    assert math.fsum(each.output_tokens or 0.0 for each in engines) == pytest.approx(requests.output_tokens.sum())
    uncached = 0.75 * requests.input_tokens.sum()
    assert math.fsum(each.prefill_tokens or 0.0 for each in engines) == pytest.approx(uncached)
    busy = engines[20]
    assert busy.kv_usage == pytest.approx(0.5)
    assert busy.kv_tokens == pytest.approx(2 * 0.5 * 16_000)
    assert busy.running is not None
    assert busy.running_now is not None
    assert (busy.waiting, busy.reporting_replicas) == (seen[20].waiting_prefill, 2)
    input_tokens = math.fsum(each.traffic.input_tokens or 0.0 for each in seen if each.traffic is not None)
    assert input_tokens == pytest.approx(requests.input_tokens.sum(), rel=0.05)
    assert seen[20].traffic is not None
    assert seen[20].traffic.cached_input_tokens == pytest.approx(0.25 * (seen[20].traffic.input_tokens or 0.0))
    lengths = [each.traffic.input_lengths for each in seen if each.traffic and each.traffic.input_lengths]
    assert lengths[1].upper_tokens == (100.0, 1000.0, math.inf)
    total = math.fsum(math.fsum(each.counts) for each in lengths)
    assert total == pytest.approx(n, rel=0.15)
    late_ttft = (requests.first - requests.arrival > 1.0).mean()
    late_itl = ((requests.done - requests.first) / requests.output_tokens > 0.05).mean()
    missed = math.fsum(each.missed or 0.0 for each in seen)
    assert missed == pytest.approx(n * (late_ttft + late_itl), rel=0.05)
    assert signal(seen[20], "ttft").detail == signal(seen[20], "itl").detail == ""
    assert 1.0 < (seen[30].ttft_seconds or 0.0) <= 2.5
    assert (seen[30].itl_seconds or 0.0) > 0.0


async def test_history_is_counted_like_live_rounds_and_gaps_stay_gaps(server: Server, namespace: str) -> None:
    start = server.start
    requests = stream(12, 1200.0, 8.0, 2, start + 300.0)
    gap = (start + 900.0, start + 1100.0)
    fleet = Fleet(requests, deployment_pods("chat", 2), namespace, start=start, skip={0: gap, 1: gap})
    write(server.url, fleet.samples(start + 1620.0))
    pool, nobody = target(namespace, "chat", ready=2), target(namespace, "nobody")
    source = PrometheusTelemetry(PrometheusSettings(url=server.url, history_chunk_steps=7))
    try:
        found = await source.history([pool, nobody], start - 600.0, start + 1602.0)
    finally:
        await source.close()
    history, nothing = found[pool.key], found[nobody.key]
    minutes = history.requests_per_minute
    assert history.start_seconds == start - 600.0
    assert len(minutes) == 36
    assert history.freshness.problem is None
    assert np.isnan(minutes[:10]).all()
    assert minutes[12:14].sum() == 0.0
    known = minutes[np.isfinite(minutes)]
    middle = minutes[17:24]
    assert middle.mean() == pytest.approx(480.0, rel=0.1)
    assert 10.0 < middle.std() < 50.0
    assert known.max() < 700.0
    assert np.isnan(minutes[26:28]).all()
    assert np.isnan(nothing.requests_per_minute).all()
    assert nothing.freshness.problem is Problem.MISSING


async def test_names_that_cannot_be_told_apart_are_asked_for_alone(server: Server, namespace: str) -> None:
    """Protects: a StatefulSet `web-1` beside a LeaderWorkerSet `web` has pods that look like its workers."""
    start = server.start
    one, other = stream(13, 300.0, 4.0, 1, start + 100.0), stream(14, 300.0, 9.0, 1, start + 100.0)
    write(server.url, Fleet(one, ("web-1-0",), namespace, start=start).samples(start + 600.0))
    write(server.url, Fleet(other, ("web-0",), namespace, start=start).samples(start + 600.0))
    pools = [
        target(namespace, "web-1", ready=1, kind="StatefulSet"),
        target(namespace, "web", ready=1, kind="StatefulSet"),
    ]
    seen = await observe(server, pools, rounds(start + 90.0, start + 560.0))
    assert counted(seen, pools[0]) == pytest.approx(len(one.arrival))
    assert counted(seen, pools[1]) == pytest.approx(len(other.arrival))


async def test_a_gateway_counts_what_waits_in_it(server: Server, namespace: str) -> None:
    """Protects: an endpoint picker counts what leaves its queue; what the queue gained has arrived as well."""
    start = server.start
    requests = stream(15, 300.0, 8.0, 1, start + 100.0)
    samples: Samples = {}
    for at in np.arange(start, start + 600.0, 5.0):
        left = int((requests.first <= at).sum())
        queued = int(((requests.arrival <= at) & (requests.first > at)).sum())
        for name, value in (
            ("inference_objective_request_total", left),
            ("inference_extension_flow_control_queue_size", queued),
        ):
            labels = (("__name__", name), ("model_name", namespace), ("target_model_name", "x"))
            samples.setdefault(labels, []).append((float(at), float(value)))
    write(server.url, samples)
    gateway = GatewayTarget(dialect="inference-extension", labels={"model_name": namespace})
    pool = replace(target(namespace, "chat", ready=1), gateway=gateway)
    seen = await observe(server, [pool], rounds(start + 90.0, start + 560.0))
    assert counted(seen, pool) == pytest.approx(len(requests.arrival))
    assert {each.source for each in traffic_of(seen, pool)} == {"gateway"}
    assert max(each[pool.key].waiting_prefill or 0.0 for each in seen) > 0.0
    assert all(len(each.slot_counts) == 3 for each in traffic_of(seen, pool))
