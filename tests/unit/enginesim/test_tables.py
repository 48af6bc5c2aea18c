"""The metric tables are well-formed, and have the buckets that the engines document."""

from itertools import pairwise

import pytest

from enginesim.errors import EngineSimError
from enginesim.exposition import wire_name
from enginesim.series import Target
from enginesim.tables import Table, load_table, table_names

NAMES = {"model": "example/model", "pool": "chat", "role": "serve", "kv_blocks_16": "100"}


def served_names(name: str) -> set[str]:
    target = Target(load_table(name), NAMES)
    return {wire_name(table, metric) for table, metric in target.metrics}


def bounds_of(table: str, metric: str) -> tuple[float, ...]:
    loaded = load_table(table)
    return next(loaded.bounds(one) for one in loaded.metrics if one.name == metric)


@pytest.mark.parametrize("name", table_names())
def test_every_table_is_well_formed(name: str) -> None:
    table = load_table(name)
    assert table.name == name
    seen: dict[str, str] = {}
    previous = ""
    for metric in table.metrics:
        if metric.name != previous:
            assert metric.name not in seen, f"{metric.name} is in two places"
            assert metric.help
        assert seen.setdefault(metric.name, metric.type) == metric.type
        previous = metric.name
        if metric.type == "histogram":
            bounds = table.bounds(metric)
            assert all(low < high for low, high in pairwise(bounds)), metric.name
    assert len(Target(table, NAMES).metrics) >= len(table.metrics)


@pytest.mark.parametrize(
    ("table", "metric", "first", "last", "count"),
    [
        ("vllm", "vllm:time_to_first_token_seconds", 0.001, 2560, 22),
        ("vllm", "vllm:inter_token_latency_seconds", 0.01, 80, 19),
        ("vllm", "vllm:request_queue_time_seconds", 0.3, 7680, 21),
        ("vllm", "vllm:request_prompt_tokens", 1, 100_000, 16),
        ("vllm-0.9", "vllm:time_per_output_token_seconds", 0.01, 80, 19),
        ("sglang", "sglang:time_to_first_token_seconds", 0.1, 400, 18),
        ("sglang", "sglang:inter_token_latency_seconds", 0.002, 8, 23),
        ("sglang", "sglang:per_stage_req_latency_seconds", 0.001, 0.001 * 1.62**29, 30),
        ("tensorrt-llm", "trtllm_request_prefill_time_seconds", 0.001, 2560, 18),
        ("tgi", "tgi_request_duration", 0.00015, 0.0001 * 1.5**35, 35),
        ("dynamo-frontend", "dynamo_frontend_time_to_first_token_seconds", 0, 480, 18),
        ("dynamo-frontend", "dynamo_frontend_inter_token_latency_seconds", 0, 2, 13),
        ("inference-extension", "inference_objective_request_duration_seconds", 0.005, 3600, 35),
        ("llm-d", "llm_d_epp_request_streaming_tpot_seconds", 0.0005, 2, 19),
    ],
)
def test_buckets_are_those_of_the_engines(table: str, metric: str, first: float, last: float, count: int) -> None:
    bounds = bounds_of(table, metric)
    assert bounds[0] == pytest.approx(first)
    assert bounds[-1] == pytest.approx(last)
    assert len(bounds) == count


def test_older_vllm_has_the_older_names_only() -> None:
    new, old = served_names("vllm"), served_names("vllm-0.9")
    assert "vllm:kv_cache_usage_perc" in new
    assert "vllm:kv_cache_usage_perc" not in old
    assert {"vllm:gpu_cache_usage_perc", "vllm:gpu_prefix_cache_hits_total"} <= old - new
    assert "vllm:time_per_output_token_seconds" in old - new


def test_dynamo_workers_pass_on_their_engine() -> None:
    assert {"dynamo_component_requests_total", "vllm:num_requests_running"} <= served_names("dynamo")


def test_tgi_counters_have_no_suffix() -> None:
    assert "tgi_request_success" in served_names("tgi")


def test_unknown_tables_and_values_are_refused() -> None:
    with pytest.raises(EngineSimError, match="dialect 'ollama' is unknown; known are dynamo"):
        load_table("ollama")
    table = Table.model_validate(
        {
            "name": "odd",
            "kind": "engine",
            "labels": {},
            "buckets": {},
            "metrics": [{"name": "m", "type": "gauge", "value": "happiness"}],
        }
    )
    with pytest.raises(EngineSimError, match="asks for 'happiness'; a gauge is of"):
        Target(table, NAMES)
    histogram = table.model_copy(
        update={"metrics": (table.metrics[0].model_copy(update={"type": "histogram", "value": "ttft_seconds"}),)}
    )
    with pytest.raises(EngineSimError, match="has no buckets named None"):
        Target(histogram, NAMES)
