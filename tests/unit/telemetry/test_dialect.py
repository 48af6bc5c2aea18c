"""Dialect files."""

import re

import pytest
import yaml

from forebay.dialects import texts
from forebay.telemetry.query.dialect import DialectError, Signal, built_in, find, parse_dialect, spellings

GOOD = """
name: mine
kind: engine
title: Mine
anchor: running
arrivals: [{count: finished, held: [running]}]
signals: {finished: ["mine:done_total"], running: [mine_running]}
"""


def test_what_is_built_in() -> None:
    engines = {each.name for each in built_in().values() if each.kind == "engine"}
    gateways = {each.name for each in built_in().values() if each.kind == "gateway"}
    assert engines >= {"vllm", "sglang", "tensorrt-llm", "tgi", "dynamo", "lmdeploy"}
    assert gateways >= {"inference-extension", "dynamo-frontend", "requests-counter", "vllm-router"}


def test_a_file_is_named_after_its_dialect() -> None:
    for name, text in texts().items():
        assert yaml.safe_load(text)["name"] + ".yaml" == name


def test_no_latency_with_queueing_calibrates() -> None:
    """Protects: capacity that is calibrated on queueing buys ever more capacity."""
    for dialect in built_in().values():
        names = dialect.metric_names(Signal.PREFILL_TIME)
        assert not [name for name in names if re.search("first_token|ttft|e2e|queue", name)]


def test_a_prefix_is_before_every_name() -> None:
    dialect = find("vllm", "engine").prefixed("kserve_")
    names = [name for signal in dialect.signals for name in dialect.metric_names(signal)]
    assert all(name.startswith(("kserve_vllm:", "kserve_vllm_")) for name in names)
    assert dialect.kv_config is not None
    assert dialect.kv_config.metric == "kserve_vllm:cache_config_info"
    assert find("vllm", "engine").prefixed("") is find("vllm", "engine")


def test_both_spellings() -> None:
    dialect = parse_dialect(GOOD, "mine.yaml")
    assert dialect.metric_names(Signal.FINISHED) == ("mine:done_total", "mine_done_total")
    assert spellings("a_b") == ("a_b",)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("kind: engine", "kind: other"), "kind"),
        (("anchor: running", "anchor: waiting"), "the anchor waiting is not among the signals"),
        (("held: [running]", "held: [waiting]"), "arrivals use waiting"),
        (("mine_running", "mine running"), "is not a metric name"),
        (("name: mine", "name: Mine!"), "name"),
        (("title: Mine", "colour: red"), "title: Field required"),
        (("title: Mine", "title: Mine\ncolour: red"), "colour"),
        (("signals: {", "signals: {speed: [x], "), "speed"),
        (("[mine_running]", "[[a, b], c]"), "a sum of metrics must be the only candidate"),
        (("[mine_running]", '[{metrics: [a], labels: {"x-y": "1"}}]'), "is not a label name"),
        (("[mine_running]", "{"), "is not YAML"),
    ],
)
def test_a_wrong_file_says_where(change: tuple[str, str], said: str) -> None:
    with pytest.raises(DialectError) as caught:
        parse_dialect(GOOD.replace(*change), "mine.yaml")
    assert str(caught.value).startswith("mine.yaml")
    assert said in str(caught.value)


def test_an_unknown_dialect_names_the_known_ones() -> None:
    with pytest.raises(DialectError, match="use one of dynamo, lmdeploy, max"):
        find("abacus", "engine")
    with pytest.raises(DialectError, match="gateway"):
        find("vllm", "gateway")
