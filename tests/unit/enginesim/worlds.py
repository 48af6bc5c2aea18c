"""Small simulated pools for the tests here."""

from collections.abc import Sequence

import numpy as np

from enginesim.config import parse_config
from enginesim.pods import Pod
from enginesim.simulator import Simulator
from forebay.flow.trace import RequestTrace

NAME = ("serving", "chat")
SPLIT: list[dict[str, object]] = [{"name": "p", "role": "prefill"}, {"name": "d", "role": "decode"}]
WHOLE: list[dict[str, object]] = [{"name": "s", "role": "serve"}]


def steady_trace(requests: int = 120, gap_seconds: float = 0.25, seed: int = 0) -> RequestTrace:
    rng = np.random.default_rng(seed)
    inputs = rng.integers(50, 2_000, requests)
    return RequestTrace(
        name="steady",
        arrival_seconds=np.arange(1, requests + 1, dtype=np.float64) * gap_seconds,
        input_tokens=inputs,
        output_tokens=rng.integers(2, 200, requests),
        cached_tokens=(inputs * 0.3).astype(np.int64),
    )


def simulator(
    workloads: Sequence[dict[str, object]] = (),
    *,
    engine: str = "vllm",
    gateway: dict[str, object] | None = None,
    trace: RequestTrace | None = None,
) -> Simulator:
    pool: dict[str, object] = {
        "name": NAME[1],
        "namespace": NAME[0],
        "engine": engine,
        "workloads": list(workloads or SPLIT),
    }
    if gateway is not None:
        pool["gateway"] = gateway
    return Simulator(parse_config({"pools": [pool]}), {NAME: steady_trace() if trace is None else trace})


def pod(name: str, *, ready: bool = True) -> Pod:
    return Pod(name, NAME[0], "node-1", "10.0.0.7", ready, {"app.kubernetes.io/name": "chat"})


def run(simulated: Simulator, until_seconds: float, *, begin_seconds: float = 0.0) -> None:
    for now in np.arange(begin_seconds + 0.25, until_seconds + 1e-9, 0.25).tolist():
        simulated.advance(now)
