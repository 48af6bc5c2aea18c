"""What is exposed parses, is conserved, and never runs backwards."""

import math

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from enginesim.config import parse_config
from enginesim.physics import PoolPhysics
from enginesim.simulator import Simulator
from enginesim.tables import load_table, table_names
from forebay.telemetry.query.dialect import built_in
from tests.unit.enginesim.worlds import SPLIT, WHOLE, pod, run, simulator, steady_trace

ENGINES = [name for name in table_names() if load_table(name).kind == "engine"]
GATEWAYS = [name for name in table_names() if load_table(name).kind == "gateway"]


def samples(simulated: Simulator, target: str) -> list[Sample]:
    text = simulated.metrics(target)
    assert text is not None
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def pick(found: list[Sample], name: str, **labels: str) -> float:
    values = [one.value for one in found if one.name == name and labels.items() <= one.labels.items()]
    assert len(values) == 1, (name, values)
    return values[0]


def value(simulated: Simulator, target: str, name: str, **labels: str) -> float:
    return pick(samples(simulated, target), name, **labels)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("workloads", [SPLIT, WHOLE], ids=["split", "whole"])
def test_expositions_parse_and_histograms_are_sound(engine: str, workloads: list[dict[str, object]]) -> None:
    simulated = simulator(workloads, engine=engine)
    pods = {str(one["name"]): [pod(f"{one['name']}-0")] for one in workloads}
    simulated.follow(("serving", "chat"), pods)
    run(simulated, 20)
    for name in pods:
        text = simulated.metrics(f"serving/{name}-0")
        assert text is not None
        for family in text_string_to_metric_families(text):
            assert family.type in {"gauge", "counter", "histogram"}
            assert family.documentation
            if family.type == "histogram":
                check_histogram(family.samples)


def check_histogram(found: list[Sample]) -> None:
    buckets = [(float(sample.labels["le"]), sample.value) for sample in found if sample.name.endswith("_bucket")]
    count = next(sample.value for sample in found if sample.name.endswith("_count"))
    total = next(sample.value for sample in found if sample.name.endswith("_sum"))
    assert buckets == sorted(buckets)
    assert [number for _, number in buckets] == sorted(number for _, number in buckets)
    assert buckets[-1] == (math.inf, count)
    lower = [0.0] + [bound for bound, _ in buckets[:-1]]
    parts = [after - before for (_, after), before in zip(buckets, [0.0, *(n for _, n in buckets)], strict=False)]
    least = sum(part * bound for part, bound in zip(parts, lower, strict=True))
    assert least <= total * (1 + 1e-9) + 1e-9


def test_counters_never_fall() -> None:
    simulated = simulator(gateway={"name": "epp"})
    simulated.follow(("serving", "chat"), {"p": [pod("p-0")], "d": [pod("d-0"), pod("d-1")]})
    before: dict[tuple[str, str, tuple[tuple[str, str], ...]], float] = {}
    for step in range(3, 31, 3):
        run(simulated, step, begin_seconds=step - 3)
        for target in ("serving/p-0", "serving/d-0", "serving/d-1", "serving/epp"):
            for sample in samples(simulated, target):
                if not sample.name.endswith(("_total", "_bucket", "_count", "_sum")):
                    continue
                key = (target, sample.name, tuple(sorted(sample.labels.items())))
                assert sample.value >= before.get(key, 0.0) - 1e-9, key
                before[key] = sample.value


@pytest.mark.parametrize("holds_queue", [True, False])
def test_arrived_is_finished_and_in_flight_and_waiting(holds_queue: bool) -> None:
    simulated = simulator(gateway={"name": "epp", "holds_queue": holds_queue}, trace=steady_trace(300, 0.03))
    simulated.follow(("serving", "chat"), {"p": [pod("p-0")], "d": [pod("d-0")]})
    for step in range(3, 25, 3):
        run(simulated, step, begin_seconds=step - 3)
        pools = simulated.status()["pools"]
        assert isinstance(pools, list)
        status = pools[0]
        assert status["arrived"] == status["served"] + status["in_flight"] + status["refused"]
        front, prefill, decode = (samples(simulated, f"serving/{name}") for name in ("epp", "p-0", "d-0"))
        queue = pick(front, "inference_extension_flow_control_queue_size") if holds_queue else 0
        assert pick(front, "inference_objective_request_total") + queue == status["arrived"]
        prefilled = pick(prefill, "vllm:request_success_total", finished_reason="stop")
        at_prefill = pick(prefill, "vllm:num_requests_running") + pick(prefill, "vllm:num_requests_waiting")
        assert prefilled + at_prefill + queue == status["arrived"]
        decoded = pick(decode, "vllm:request_success_total", finished_reason="stop")
        at_decode = pick(decode, "vllm:num_requests_running") + pick(decode, "vllm:num_requests_waiting")
        assert decoded + at_decode == prefilled
    assert simulated.exhausted


def test_tokens_are_those_of_the_trace() -> None:
    trace = steady_trace()
    simulated = simulator(WHOLE, trace=trace)
    simulated.follow(("serving", "chat"), {"s": [pod("s-0"), pod("s-1")]})
    run(simulated, 60)
    assert simulated.exhausted
    pods = ("serving/s-0", "serving/s-1")
    expected = {
        "vllm:prompt_tokens_total": trace.input_tokens.sum(),
        "vllm:prefix_cache_hits_total": 0 if trace.cached_tokens is None else trace.cached_tokens.sum(),
        "vllm:generation_tokens_total": trace.output_tokens.sum(),
        "vllm:request_prompt_tokens_sum": trace.input_tokens.sum(),
        "vllm:request_generation_tokens_sum": trace.output_tokens.sum(),
        "vllm:time_to_first_token_seconds_count": len(trace),
        "vllm:inter_token_latency_seconds_count": trace.output_tokens.sum(),
    }
    for name, total in expected.items():
        assert sum(value(simulated, target, name) for target in pods) == pytest.approx(float(total)), name


def test_gauges_follow_the_physics() -> None:
    simulated = simulator(trace=steady_trace(400, 0.02))
    simulated.follow(("serving", "chat"), {"p": [pod("p-0"), pod("p-1")], "d": [pod("d-0")]})
    run(simulated, 6)
    assert value(simulated, "serving/d-0", "vllm:num_requests_running") > 10
    assert 0 < value(simulated, "serving/d-0", "vllm:kv_cache_usage_perc") < 1
    assert value(simulated, "serving/p-0", "vllm:num_requests_running") in {0, 1}
    info = next(sample for sample in samples(simulated, "serving/d-0") if sample.name == "vllm:cache_config_info")
    assert int(info.labels["num_gpu_blocks"]) * int(info.labels["block_size"]) == 400_000


def test_the_engines_queue_is_dealt_out_evenly() -> None:
    simulated = simulator(WHOLE, trace=steady_trace(200, 0.001))
    simulated.follow(("serving", "chat"), {"s": [pod(f"s-{number}") for number in range(3)]})
    run(simulated, 0.25)
    waiting = [value(simulated, f"serving/s-{number}", "vllm:num_requests_waiting") for number in range(3)]
    running = [value(simulated, f"serving/s-{number}", "vllm:num_requests_running") for number in range(3)]
    assert max(waiting) - min(waiting) <= 1
    assert sum(waiting) + sum(running) == 200


@pytest.mark.parametrize("engine", ["sglang", "tensorrt-llm", "tgi"])
def test_series_appear_with_their_first_event(engine: str) -> None:
    simulated = simulator(WHOLE, engine=engine)
    simulated.follow(("serving", "chat"), {"s": [pod("s-0")]})
    simulated.advance(0.1)
    early = {sample.name for sample in samples(simulated, "serving/s-0")}
    run(simulated, 20)
    late = {sample.name for sample in samples(simulated, "serving/s-0")}
    assert early < late
    assert not any(name.endswith("_bucket") for name in early)


@pytest.mark.parametrize("dialect", GATEWAYS)
def test_gateways_count_every_request(dialect: str) -> None:
    reads = built_in()[load_table(dialect).dialect or dialect]
    names = reads.metric_names(reads.arrivals[0].count)
    simulated = simulator(gateway={"name": "front", "dialect": dialect})
    simulated.follow(("serving", "chat"), {"p": [pod("p-0")], "d": [pod("d-0")]})
    run(simulated, 60)
    # The parser adds a suffix to counters that have none on the wire.
    found = [
        one.value for one in samples(simulated, "serving/front") if one.name.removesuffix("_total") in bare(names)
    ]
    assert found
    assert set(found) == {120.0}


def bare(names: tuple[str, ...]) -> set[str]:
    return {name.removesuffix("_total") for name in names}


def test_a_gateway_counts_while_no_pod_is_ready() -> None:
    simulated = simulator(gateway={"name": "epp"})
    run(simulated, 10)
    assert value(simulated, "serving/epp", "inference_extension_flow_control_queue_size") == 40
    assert value(simulated, "serving/epp", "inference_pool_ready_pods") == 0


def test_kv_caches_on_their_way_are_shown_where_sglang_shows_them() -> None:
    slow = {"kv_transfer_seconds_per_token": 0.01}
    workloads: list[dict[str, object]] = [
        {"name": "p", "role": "prefill", "speed": slow},
        {"name": "d", "role": "decode"},
    ]
    simulated = simulator(workloads, engine="sglang")
    simulated.follow(("serving", "chat"), {"p": [pod("p-0")], "d": [pod("d-0")]})
    run(simulated, 5)
    sent = value(simulated, "serving/p-0", "sglang:num_prefill_inflight_queue_reqs")
    assert sent > 5
    assert value(simulated, "serving/d-0", "sglang:num_decode_transfer_queue_reqs") == sent
    assert value(simulated, "serving/d-0", "sglang:num_queue_reqs") == 0


def test_attainment_is_that_of_the_simulation() -> None:
    trace = steady_trace(300, 0.03)
    simulated = simulator(trace=trace)
    simulated.follow(("serving", "chat"), {"p": [pod("p-0")], "d": [pod("d-0")]})
    run(simulated, 60)
    pools = simulated.status()["pools"]
    assert isinstance(pools, list)
    pool = parse_config({"pools": [{"name": "chat", "workloads": SPLIT}]}).pools[0]
    physics = PoolPhysics(pool, trace)
    physics.add("p", "p-0")
    physics.add("d", "d-0")
    physics.advance(60)
    expected = physics._pool.result().attained(physics._pool.pool.slo)
    assert 0 < expected < 1
    assert pools[0]["slo_attainment"] == pytest.approx(expected)
