"""`forebay replay --prometheus` against a real Prometheus whose history was written as engines export it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from devcluster.remotewrite import write
from forebay.offline.replay.command import command
from tests.cluster.telemetry_world import Fleet, Requests, Server, deployment_pods, joined, stream

POOL = """
apiVersion: forebay.io/v1alpha1
kind: InferencePool
metadata: {name: chat, namespace: serving}
spec:
  slo: {ttft: 1s, itl: 50ms, percentile: 99}
  telemetry: {engine: vllm}
  roles:
    serve:
      variants:
      - {name: chat, target: {kind: Deployment, name: chat}, profileRef: {name: small}, maxReplicas: 20}
---
apiVersion: forebay.io/v1alpha1
kind: ServingProfile
metadata: {name: small}
spec:
  model: example/8b
  accelerator: NVIDIA-L40S
  gpusPerReplica: 1
  prefill:
  - {inputTokens: 512, latency: 30ms}
  - {inputTokens: 4096, latency: 174ms}
  decode:
  - {batch: 1, contextTokens: 1024, itl: 8ms}
  - {batch: 128, contextTokens: 1024, itl: 18ms}
  maxBatch: 256
  kvCacheTokens: 400000
  source: made up for this test
"""
GAP_MINUTES = 5


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("replay"))
    try:
        yield server
    finally:
        server.close()


@pytest.fixture(scope="module")
def history(server: Server) -> Requests:
    """Write 45 minutes: 6 requests/s, then 12, and five minutes that nobody scraped."""
    start = server.start
    requests = joined(stream(1, 1200.0, 6.0, 2, start + 60.0), stream(2, 1500.0, 12.0, 2, start + 1260.0))
    gap = (start + 600.0, start + 600.0 + 60.0 * GAP_MINUTES)
    fleet = Fleet(requests, deployment_pods("chat", 2), namespace="serving", start=start, skip={0: gap, 1: gap})
    write(server.url, fleet.samples(start + 2800.0))
    return requests


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    path = tmp_path / "pool.yaml"
    path.write_text(POOL)
    return path


def _replay(server: Server, pool: Path, *arguments: str) -> Any:
    return CliRunner().invoke(
        command,
        ["--prometheus", server.url, "--pool-ref", "serving/chat", "--pool", str(pool), "--jobs", "1", *arguments],
    )


def test_a_pools_own_history_is_replayed(server: Server, pool: Path, history: Requests) -> None:
    result = _replay(server, pool, "--since", "14d", "--policies", "forebay,hpa", "-o", "json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    assert found["trace"]["requests"] == pytest.approx(len(history.arrival), rel=0.06)
    assert 2400.0 <= found["trace"]["span_seconds"] <= 2880.0
    assert found["trace"]["source"] == f"serving/chat at {server.url}, the last 14.0 days"
    (note,) = (note for note in found["notes"] if note.startswith("serving/chat: the server has 0."))
    assert "of the 14.0 days asked for" in note
    assert "minutes have no count and are joined by straight lines" in note
    assert {policy["name"] for policy in found["policies"]} == {"forebay", "hpa"}
    assert all(policy["slo_attainment"] > 0.5 for policy in found["policies"])


def test_rates_and_lengths_are_those_that_were_recorded(server: Server, pool: Path, history: Requests) -> None:
    found = {}
    for name, cut in {"slow": ("--until", "18m"), "fast": ("--from", "25m")}.items():
        result = _replay(
            server, pool, "--since", "50m", *cut, "--policies", "static-peak", "-o", "json", "--seed", "1"
        )
        assert result.exit_code == 0, result.output
        trace = json.loads(result.stdout)["trace"]
        found[name] = trace["requests"] / trace["span_seconds"]
    assert found["slow"] == pytest.approx(6.0, rel=0.1)  # the gap is joined, not taken for quiet
    assert found["fast"] == pytest.approx(12.0, rel=0.1)


def test_mean_lengths_are_read_from_the_token_counters(server: Server, pool: Path, history: Requests) -> None:
    from forebay.offline.replay.inputs.prometheus_past import recorded_trace
    from forebay.offline.replay.inputs.resource_files import load_fleet
    from forebay.telemetry.settings import PrometheusSettings

    (binding,) = load_fleet([pool], span_seconds=3600.0).bindings.values()
    settings = PrometheusSettings(url=server.url)
    drawn = recorded_trace(binding, settings, since_seconds=3000.0, now_seconds=server.start + 2800.0, seed=0)
    assert drawn.trace.input_tokens.mean() == pytest.approx(history.input_tokens.mean(), rel=0.1)
    assert drawn.trace.output_tokens.mean() == pytest.approx(history.output_tokens.mean(), rel=0.1)
    assert drawn.trace.cached_tokens is not None
    assert drawn.trace.cached_tokens.sum() / drawn.trace.input_tokens.sum() == pytest.approx(0.25, abs=0.01)
    assert np.all(np.diff(drawn.trace.arrival_seconds) >= 0.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"--prometheus": "http://127.0.0.1:9"}, "http://127.0.0.1:9"),
        ({"--pool-ref": "serving/other"}, "the files have no InferencePool serving/other; they have serving/chat"),
        ({"--pool-ref": "chat"}, "names no pool: write NAMESPACE/NAME"),
        ({"--since": "soon"}, "is no duration"),
    ],
)
def test_what_is_wrong_is_one_sentence(server: Server, pool: Path, change: dict[str, str], words: str) -> None:
    given = {
        "--prometheus": server.url,
        "--pool-ref": "serving/chat",
        "--pool": str(pool),
        "--since": "1h",
    } | change
    result = CliRunner().invoke(command, [part for pair in given.items() for part in pair])
    assert result.exit_code == 2
    assert words in result.output
    assert "Traceback" not in result.output


def test_a_pool_that_the_server_never_saw(server: Server, tmp_path: Path, history: Requests) -> None:
    path = tmp_path / "quiet.yaml"
    path.write_text(POOL.replace("namespace: serving", "namespace: elsewhere"))
    given = ["--prometheus", server.url, "--pool-ref", "elsewhere/chat", "--pool", str(path), "--since", "1h"]
    result = CliRunner().invoke(command, given)
    assert result.exit_code == 2
    assert "elsewhere/chat: Prometheus has no usable history of it" in result.output
    assert "check --prometheus" in result.output
