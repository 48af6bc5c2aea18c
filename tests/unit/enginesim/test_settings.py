"""Configuration, command line, and the loop that follows the cluster."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest
from kubernetes.client.exceptions import ApiException

from devcluster.rest import Rest
from enginesim.cli import main, parser
from enginesim.config import PoolConfig, Traffic, Workload, load_config, parse_config
from enginesim.errors import EngineSimError
from enginesim.pods import Pod, PodLister, parse_pod
from enginesim.runner import Runner
from enginesim.traffic import build_trace
from tests.unit.enginesim.worlds import WHOLE, pod, simulator

POOL = {"name": "chat", "workloads": [{"name": "s", "role": "serve"}]}


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (None, "configuration: Input should be"),
        ({"pools": []}, "pools: Tuple should have at least 1 item"),
        ({"pools": [{**POOL, "workloads": []}]}, "pools.0.workloads"),
        (
            {"pools": [{**POOL, "workloads": [{"name": "d", "role": "decode"}]}]},
            "prefill and decode, or serve alone",
        ),
        ({"pools": [{**POOL, "workloads": [{"name": "s", "role": "cook"}]}]}, "pools.0.workloads.0.role"),
        ({"pools": [{**POOL, "traffic": {"speed": 0.5}}]}, "pools.0.traffic.speed"),
        ({"pools": [{**POOL, "colour": "red"}]}, "pools.0.colour: Extra inputs are not permitted"),
        ({"pools": [POOL], "host": "0.0.0.0"}, "host: Input should be '127.0.0.1'"),  # noqa: S104
    ],
)
def test_mistakes_in_the_configuration_are_named(data: object, sentence: str) -> None:
    with pytest.raises(EngineSimError, match=sentence.replace(".", r"\.").replace("[", r"\[")):
        parse_config(data)


def test_files_that_are_missing_or_no_yaml(tmp_path: Path) -> None:
    with pytest.raises(EngineSimError, match="cannot be read: No such file"):
        load_config(tmp_path / "absent.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("pools: [")
    with pytest.raises(EngineSimError, match="is not YAML"):
        load_config(broken)


def test_traffic_from_preset_and_file_at_another_speed(tmp_path: Path) -> None:
    day = build_trace(Traffic(preset="chat", requests_per_second=5, speed=288))
    assert day.span_seconds == pytest.approx(300, rel=0.02)
    assert len(day) / 300 == pytest.approx(5, rel=0.1)
    path = tmp_path / "trace.csv"
    path.write_text("arrival_s,input_tokens,output_tokens\n" + "".join(f"{t},5,5\n" for t in range(100)))
    assert len(build_trace(Traffic(file=path, start_seconds=10, duration_seconds=20))) == 20
    with pytest.raises(EngineSimError, match="preset 'storm' is unknown; known are chat"):
        build_trace(Traffic(preset="storm"))


def test_the_command_line_checks_a_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "sim.yaml"
    path.write_text(
        "pools:\n- name: chat\n  traffic: {preset: steady, requests_per_second: 2, duration_seconds: 60}\n"
        "  workloads: [{name: s, role: serve}]\n"
    )
    assert main([str(path), "--check"]) == 0
    assert json.loads(capsys.readouterr().out)["pools"][0]["pool"] == "chat"
    assert main([str(tmp_path / "absent.yaml")]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_help_names_every_dialect_and_path() -> None:
    text = parser().format_help()
    for word in ("/sd", "/status", "/faults", "vllm-0.9", "tensorrt-llm", "dynamo-frontend", "on-off", "speed:"):
        assert word in text


POD_JSON: dict[str, object] = {
    "metadata": {"name": "s-0", "namespace": "serving", "labels": {"app": "chat"}},
    "spec": {"nodeName": "node-1"},
    "status": {"podIP": "10.0.0.7", "conditions": [{"type": "Ready", "status": "True"}]},
}


def test_a_pod_being_deleted_is_not_ready() -> None:
    assert parse_pod(POD_JSON) == Pod("s-0", "serving", "node-1", "10.0.0.7", True, {"app": "chat"})
    deleted = {**POD_JSON, "metadata": {"name": "s-0", "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    assert not parse_pod(deleted).ready
    assert not parse_pod({}).ready


class FakeRest:
    """Answers as an API server with one workload would."""

    def __init__(self, selector: str | None) -> None:
        self.selector = selector
        self.asked: list[str] = []

    def get(self, path: str, **query: str) -> dict[str, object]:
        self.asked.append(path)
        if self.selector is None:
            raise ApiException(status=404)
        return {"status": {"selector": self.selector}}

    def items(self, path: str, **query: str) -> list[dict[str, object]]:
        self.asked.append(f"{path}?{query['labelSelector']}")
        return [POD_JSON]


def test_pods_are_found_by_the_selector_of_scale() -> None:
    config = parse_config({"pools": [{**POOL, "namespace": "serving"}]}).pools[0]
    rest = FakeRest("app=chat")
    lister = PodLister(cast("Rest", rest))
    assert [one.name for one in lister.pods(config, config.workloads[0])] == ["s-0"]
    lister.pods(config, config.workloads[0])
    scale = "/apis/apps/v1/namespaces/serving/deployments/s/scale"
    pods = "/api/v1/namespaces/serving/pods?app=chat"
    assert rest.asked == [scale, pods, pods]
    assert PodLister(cast("Rest", FakeRest(None))).pods(config, config.workloads[0]) == []
    with pytest.raises(EngineSimError, match="has no selector in its /scale"):
        PodLister(cast("Rest", FakeRest(""))).pods(config, config.workloads[0])


class FakeLister:
    """Lists what it is told, or fails."""

    def __init__(self) -> None:
        self.answers: list[Sequence[Pod] | Exception] = []

    def pods(self, pool: PoolConfig, workload: Workload) -> Sequence[Pod]:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_the_loop_keeps_time() -> None:
    simulated = simulator(WHOLE)
    lister = FakeLister()
    lister.answers = [[pod("s-0")]]
    now = [100.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    runner = Runner(simulated, cast("PodLister", lister), say=print, clock=lambda: now[0], sleep=sleep)
    runner.run(lambda: now[0] >= 110.0)
    pools = cast("list[dict[str, object]]", simulated.status()["pools"])
    assert pools[0]["now_seconds"] == pytest.approx(9.75)
    assert cast("int", pools[0]["served"]) > 20


def test_the_loop_outlives_the_api_server_and_says_so_once() -> None:
    simulated = simulator(WHOLE)
    lister = FakeLister()
    down = ApiException(status=503)
    lister.answers = [[pod("s-0")], down, down, [pod("s-0")]]
    said: list[str] = []
    runner = Runner(simulated, cast("PodLister", lister), say=said.append)
    for _ in range(4):
        runner.follow()
    assert len(said) == 2
    assert said[0].startswith("pods cannot be listed: ")
    assert said[1] == "pods can be listed again"
    assert simulated.metrics("serving/s-0") is not None
