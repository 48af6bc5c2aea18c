"""Files to a scenario, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from forebay.flow.trace import RequestTrace
from forebay.offline.replay.inputs.build import build_scenario
from forebay.offline.replay.inputs.build_error import BuildError
from forebay.offline.replay.inputs.default_pool import DEFAULT_POOL, default_fleet, preset_trace
from forebay.offline.replay.inputs.resource_files import load_fleet
from forebay.offline.replay.inputs.traffic_of_pools import assign_traces
from forebay.offline.simulation import SimulationOptions
from tests.keys import decode, prefill, serve

CHAT, PREFILL_H100, DECODE_H200, PREFILL_H200, DECODE_H100 = (
    serve("chat"),
    prefill("h100"),
    decode("h200"),
    prefill("h200"),
    decode("h100"),
)

POOL = """
apiVersion: forebay.io/v1alpha1
kind: InferencePool
metadata: {{name: {name}, namespace: serving}}
spec:
  slo: {{ttft: {ttft}, itl: {itl}}}
  telemetry: {{engine: vllm}}
  roles:
    serve:
      variants:
      - name: {name}
        target: {{kind: Deployment, name: {name}}}
        nodePool: h100
        gpusPerReplica: 1
        maxReplicas: 20
        minReplicas: {least}
        {profile}
---
apiVersion: forebay.io/v1alpha1
kind: GPUNodePool
metadata: {{name: h100}}
spec: {{accelerator: H100, gpusPerNode: 8, pricePerGPUHour: "2.99", nodeSelector: {{gpu: h100}}, maxNodes: 1}}
---
apiVersion: forebay.io/v1alpha1
kind: ServingProfile
metadata: {{name: fast}}
spec:
  model: m
  accelerator: H100
  gpusPerReplica: 1
  linear:
    prefillBase: 10ms
    prefillPerThousandTokens: 40ms
    decodeBase: 8ms
    decodePerSequence: 60us
    decodePerThousandKVTokens: 22us
  maxBatch: 256
  kvCacheTokens: 400000
  source: invented
"""


def _file(
    folder: Path, *, name: str = "chat", ttft: str = "1s", itl: str = "50ms", least: int = 1, **kw: str
) -> Path:
    path = folder / f"{name}.yaml"
    profile = kw.get("profile", "profileRef: {name: fast}")
    path.write_text(POOL.format(name=name, ttft=ttft, itl=itl, least=least, profile=profile))
    return path


def _trace(name: str = "t", at: tuple[float, ...] = (0.0, 1.0, 2.0)) -> RequestTrace:
    lengths = np.full(len(at), 500, np.int64)
    return RequestTrace(name=name, arrival_seconds=np.array(at), input_tokens=lengths, output_tokens=lengths // 5)


def _build(path: Path) -> None:
    loaded = load_fleet([path], span_seconds=60.0)
    traces = assign_traces(loaded.fleet, [(None, _trace())])
    build_scenario(loaded.fleet, traces, name="t", options=SimulationOptions())


def test_resources_become_a_scenario(tmp_path: Path) -> None:
    loaded = load_fleet([_file(tmp_path)], span_seconds=60.0)
    traces = assign_traces(loaded.fleet, [("chat", _trace())])
    made = build_scenario(loaded.fleet, traces, name="t", options=SimulationOptions(), start_up_seconds=60.0)
    (key,) = made.traces
    assert made.start_up[key][CHAT].expected_seconds == 60.0
    assert made.performance[key][CHAT].decode_base_seconds == pytest.approx(0.008)
    assert made.gpu_limits() == {"h100": 8}
    assert made.initial[key][CHAT] == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ttft": "1ms"}, "no variant can meet the TTFT of 0.001 s"),
        ({"itl": "5ms"}, "no variant can meet the ITL of 5 ms"),
        ({"least": 9}, "lower minReplicas or raise maxNodes"),
    ],
)
def test_an_infeasible_pool_is_refused(tmp_path: Path, change: dict[str, object], words: str) -> None:
    path = _file(tmp_path, **change)  # type: ignore[arg-type]
    with pytest.raises(BuildError, match=words):
        _build(path)


def test_a_variant_without_profile_cannot_be_simulated(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="add profileRef"):
        _build(_file(tmp_path, profile=""))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind: [", "line 1: this is no valid YAML"),
        ("- 1", "is no object"),
        ("apiVersion: v1\nkind: Pod", "'Pod' is not in"),
        ("", "have no InferencePool"),
    ],
)
def test_a_broken_file_is_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "pool.yaml"
    path.write_text(text)
    with pytest.raises(BuildError, match=words):
        load_fleet([path], span_seconds=60.0)


def test_every_pool_of_a_fleet_needs_its_trace(tmp_path: Path) -> None:
    files = [_file(tmp_path, name="chat"), _file(tmp_path, name="code")]
    fleet = load_fleet(files, span_seconds=60.0).fleet
    with pytest.raises(BuildError, match="say whose trace it is"):
        assign_traces(fleet, [(None, _trace())])
    with pytest.raises(BuildError, match="no trace is given for serving/code"):
        assign_traces(fleet, [("chat", _trace())])
    with pytest.raises(BuildError, match="'other' names no pool"):
        assign_traces(fleet, [("other", _trace())])
    found = assign_traces(
        fleet, [("chat", _trace()), ("code", _trace("a")), ("serving/code", _trace("b", (0.5,)))]
    )
    merged = next(trace for key, trace in found.items() if key.name == "code")
    assert merged.arrival_seconds.tolist() == [0.0, 0.5, 1.0, 2.0]


def test_the_default_pool_has_room_for_its_traffic_and_no_more_than_users_allow() -> None:
    trace = preset_trace("steady", seed=1, hours=0.2, requests_per_second=200.0)
    fleet = default_fleet(trace)
    most = {v.key: v.max_replicas for v in fleet.pools[DEFAULT_POOL].variants}
    assert 2.5 * 200 * 0.12 < most[PREFILL_H100] < 4 * 200 * 0.12
    gpus = {name: pool.max_nodes for name, pool in fleet.node_pools.items()}
    assert gpus["h100"] == -(-(most[PREFILL_H100] + 2 * most[DECODE_H100]) // 8)


def test_the_default_pool_can_be_served() -> None:
    fleet = default_fleet()
    trace = preset_trace("steady", seed=1, hours=0.2)
    made = build_scenario(fleet, {DEFAULT_POOL: trace}, name="t", options=SimulationOptions())
    counts = made.initial[DEFAULT_POOL]
    assert counts[PREFILL_H100] >= 1
    assert counts[DECODE_H200] >= 1  # the cheaper type differs by phase
    assert counts[PREFILL_H200] + counts[DECODE_H100] == 0
    assert made.fill_order[DEFAULT_POOL] == (PREFILL_H100, PREFILL_H200, DECODE_H200, DECODE_H100)
    assert trace.history_requests_per_minute is not None
    assert len(trace.history_requests_per_minute) == 2 * 1440
