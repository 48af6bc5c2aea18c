"""Metrics recorded from real engines hold what the dialects read; skipped where the recordings are not at hand."""

import gzip
import os
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from forebay.telemetry.query.dialect import HISTOGRAMS, Signal, built_in, count_suffix

FOLDER = Path(os.environ.get("FOREBAY_ENGINE_DUMPS", ""))
pytestmark = pytest.mark.skipif(
    not os.environ.get("FOREBAY_ENGINE_DUMPS"), reason="FOREBAY_ENGINE_DUMPS names no folder of recorded metrics"
)
_NEEDS_MORE = {"vllm": {Signal.ABORTED}, "dynamo-frontend": {Signal.FINISHED}, "dynamo": {Signal.KV_USAGE}}


def names_in(dump: str) -> dict[str, list[dict[str, str]]]:
    """Return the labels of every sample of a recording, by name."""
    text = gzip.decompress((FOLDER / f"metrics-{dump}.txt.gz").read_bytes()).decode()
    found: dict[str, list[dict[str, str]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(dict(sample.labels))
    return found


@pytest.mark.parametrize(
    ("dump", "dialect"),
    [
        ("a-after-cap", "vllm"),
        ("c-dp2-during", "vllm"),
        ("dec-during", "vllm"),
        ("dynamo-frontend-pd", "dynamo-frontend"),
        ("dynamo-worker-agg-18042", "dynamo"),
        ("vllm-router", "vllm-router"),
        ("smg", "smg"),
    ],
)
def test_a_real_engine_has_what_its_dialect_reads(dump: str, dialect: str) -> None:
    served, reads = names_in(dump), built_in()[dialect]
    missing = {
        signal
        for signal in reads.signals
        if not any(name + count_suffix(signal) in served for name in reads.metric_names(signal))
    }
    assert missing <= _NEEDS_MORE.get(dialect, set())


@pytest.mark.parametrize("dump", ["a-before", "c-dp2-before"])
def test_an_idle_vllm_has_the_anchor_for_each_rank(dump: str) -> None:
    served, reads = names_in(dump), built_in()["vllm"]
    (anchor,) = {name for name in reads.metric_names(reads.anchor) if name in served}
    ranks = {labels["engine"] for labels in served[anchor]}
    assert ranks == ({"0", "1"} if "dp2" in dump else {"0"})
    absent = {each for each in reads.signals if each not in HISTOGRAMS} - {
        each for each in reads.signals if any(name in served for name in reads.metric_names(each))
    }
    assert absent <= {*reads.lazy, Signal.QUEUED, Signal.KV_USAGE}


def test_an_idle_frontend_has_its_anchor() -> None:
    served, reads = names_in("dynamo-frontend-agg-before"), built_in()["dynamo-frontend"]
    assert any(name in served for name in reads.metric_names(reads.anchor))
