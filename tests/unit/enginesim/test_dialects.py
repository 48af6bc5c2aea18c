"""What the operator reads is what the simulated engines serve, name by name."""

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from enginesim.tables import load_table, table_names
from forebay.telemetry.query.dialect import HISTOGRAMS, Candidate, Signal, built_in
from tests.unit.enginesim.worlds import NAME, WHOLE, pod, run, simulator

TABLES = {name: load_table(name).dialect or name for name in table_names()}
"""Table here -> dialect there."""
ABSENT = {
    "vllm-0.9": {Signal.PREFILL_TOKENS, Signal.REQUEST_ITL, Signal.REJECTED, Signal.QUEUED, Signal.AWAKE},
    "inference-extension": {Signal.TTFT, Signal.REQUEST_ITL, Signal.REJECTED},
}
"""Signals that these versions do not have."""
RARE = {Signal.REJECTED, Signal.ABORTED}
"""What appears with an event that the simulator does not have."""


def samples_of(table: str) -> dict[str, set[tuple[str, str]]]:
    """Return the names of samples that a table serves under load, with the labels seen."""
    if load_table(table).kind == "gateway":
        simulated = simulator(WHOLE, gateway={"name": "target", "dialect": table})
        simulated.follow(NAME, {"s": [pod("s-0")]})
    else:
        simulated = simulator(WHOLE, engine=table)
        simulated.follow(NAME, {"s": [pod("target")]})
    run(simulated, 20)
    text = simulated.metrics("serving/target")
    assert text is not None
    found: dict[str, set[tuple[str, str]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            # The parser adds a suffix to counters that have none on the wire (TGI's).
            for name in (sample.name, sample.name.removesuffix("_total")):
                found.setdefault(name, set()).update(sample.labels.items())
    return found


@pytest.mark.parametrize("table", TABLES)
def test_every_signal_of_the_dialect_is_served(table: str) -> None:
    dialect = built_in()[TABLES[table]]
    served = samples_of(table)
    missing = set()
    for signal, candidates in dialect.signals.items():
        suffix = "_count" if signal in HISTOGRAMS else ""
        found = any(
            all(metric + suffix in served for metric in candidate.metrics)
            and all(_fits(candidate, served[metric + suffix]) for metric in candidate.metrics)
            for candidate in candidates
        )
        if not found:
            missing.add(signal)
    assert missing - RARE == ABSENT.get(table, set()) - RARE


def _fits(candidate: Candidate, labels: set[tuple[str, str]]) -> bool:
    """Return whether series with these labels fit; an empty value fits series without the label."""
    wanted = {pair for pair in candidate.labels.items() if pair[1]}
    alike = all(
        any(label == name and re.fullmatch(pattern, value) for name, value in labels)
        for label, pattern in candidate.label_patterns.items()
    )
    return wanted <= labels and alike


def test_the_dialect_finds_the_size_of_the_cache() -> None:
    config = built_in()["vllm"].kv_config
    assert config is not None
    labels = dict(samples_of("vllm")[config.metric])
    assert int(labels[config.blocks_label]) * int(labels[config.block_size_label]) == 400_000
