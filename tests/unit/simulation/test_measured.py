"""The simulator against public measurements: batches of equal requests on one GPU.

Argonne's LLM-Inference-Bench (BSD-3) timed batches of 1 to 64 requests that start together, with as many output as
input tokens, end to end. The linear performance model is fitted to three of the lengths; the simulator then has
to foretell the other two.
"""

import csv
import gzip
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from forebay.flow.performance import Performance
from tests.keys import serve
from tests.unit.simulation.builders import mixed, requests, simulate

S = serve("s")
PROFILES = Path(os.environ.get("FOREBAY_DATA", "../shared/data")) / "profiles" / "gpu_serving_profiles.csv.gz"
FITTED_LENGTHS, FORETOLD_LENGTHS = (128, 512, 2048), (256, 1024)

pytestmark = pytest.mark.skipif(not PROFILES.exists(), reason=f"no measured profiles at {PROFILES} (FOREBAY_DATA)")


@dataclass(frozen=True)
class Batch:
    """``size`` requests of ``length`` input and ``length`` output tokens took ``seconds`` in all."""

    size: int
    length: int
    seconds: float


def _measured(engine: str, gpu: str, model: str, tensor_parallel: str) -> list[Batch]:
    with gzip.open(PROFILES, "rt") as file:
        return [
            Batch(int(float(row["batch"])), int(float(row["input_len"])), float(row["latency_ms"]) / 1e3)
            for row in csv.DictReader(file)
            if row["source"] == "argonne_llm_inference_bench"
            and (row["engine"], row["gpu_norm"], row["model"], row["tp"]) == (engine, gpu, model, tensor_parallel)
            and row["input_len"] == row["output_len"]
        ]


def _fit(batches: list[Batch]) -> Performance:
    """Return the linear model with the least relative error: prefills one after the other, then all steps."""
    rows = [[b.size * b.length, b.length, b.length * b.size, b.length * b.size * 1.5 * b.length] for b in batches]
    weights = np.array([1 / b.seconds for b in batches])
    answer, *_ = np.linalg.lstsq(np.array(rows) * weights[:, None], np.ones(len(batches)), rcond=None)
    prefill, base, sequence, kv = np.maximum(answer, 1e-12)
    return Performance(
        prefill_base_seconds=0.0,
        prefill_seconds_per_token=float(prefill),
        decode_base_seconds=float(base),
        decode_seconds_per_sequence=float(sequence),
        decode_seconds_per_kv_token=float(kv),
        max_batch=256,
        kv_capacity_tokens=10**7,
    )


@pytest.mark.parametrize(
    ("engine", "gpu", "model", "tensor_parallel"),
    [
        ("vLLM", "H100-80GB", "meta-llama/Meta-Llama-3-8B", "1"),
        ("TensorRT-LLM", "H100-80GB", "meta-llama/Meta-Llama-3-8B", "1"),
        ("vLLM", "H100-80GB", "meta-llama/Llama-2-70b-hf", "4"),
    ],
)
def test_batches_of_unseen_lengths_take_the_measured_time(
    engine: str, gpu: str, model: str, tensor_parallel: str
) -> None:
    batches = _measured(engine, gpu, model, tensor_parallel)
    pool = mixed(_fit([b for b in batches if b.length in FITTED_LENGTHS]))
    foretold = [b for b in batches if b.length in FORETOLD_LENGTHS]
    assert len(foretold) >= 8

    errors = []
    for batch in foretold:
        result = simulate(pool, requests([0.0] * batch.size, batch.length, batch.length), {S: 1})
        errors.append(float(result.done_seconds.max()) / batch.seconds - 1)

    assert np.abs(errors).mean() < 0.04
    assert np.abs(errors).max() < 0.08
