"""HTTP: metrics per target, service discovery, status, and faults on demand."""

import json
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse

import pytest

from enginesim.faults import Fault, FaultMode
from enginesim.server import MetricsServer
from enginesim.simulator import Simulator
from tests.unit.enginesim.worlds import NAME, pod, run, simulator


@pytest.fixture
def simulated() -> Simulator:
    made = simulator(gateway={"name": "epp"})
    made.follow(NAME, {"p": [pod("p-0")], "d": [pod("d-0")]})
    run(made, 5)
    return made


@pytest.fixture
def server(simulated: Simulator) -> Iterator[MetricsServer]:
    with MetricsServer(simulated, "127.0.0.1", 0) as running:
        yield running


def ask(server: MetricsServer, method: str, path: str, body: object = None) -> tuple[HTTPResponse, str]:
    connection = HTTPConnection(server.address, timeout=10)
    try:
        content = body if isinstance(body, str) else None if body is None else json.dumps(body)
        connection.request(method, path, content)
        answer = connection.getresponse()
        return answer, answer.read().decode()
    finally:
        connection.close()


def test_metrics_have_the_content_type_of_the_text_format(server: MetricsServer) -> None:
    answer, text = ask(server, "GET", "/targets/serving/p-0/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert text.startswith("# HELP vllm:num_requests_running ")


def test_discovery_names_every_target_on_one_address(server: MetricsServer) -> None:
    answer, text = ask(server, "GET", "/sd")
    assert answer.headers["Content-Type"] == "application/json"
    groups = json.loads(text)
    assert [group["targets"] for group in groups] == [[server.address]] * 3
    labels = {group["labels"]["pod"]: group["labels"] for group in groups}
    assert set(labels) == {"p-0", "d-0", "epp-0"}
    assert labels["p-0"]["__metrics_path__"] == "/targets/serving/p-0/metrics"
    assert labels["p-0"]["namespace"] == "serving"
    assert labels["p-0"]["instance"] == "10.0.0.7:8000"
    assert labels["p-0"]["node"] == "node-1"
    assert labels["p-0"]["__meta_kubernetes_pod_label_app_kubernetes_io_name"] == "chat"
    for group in groups:
        assert ask(server, "GET", group["labels"]["__metrics_path__"])[0].status == 200


def test_status_is_json(server: MetricsServer) -> None:
    _, text = ask(server, "GET", "/status")
    pool = json.loads(text)["pools"][0]
    assert pool["arrived"] == 20
    assert pool["roles"]["prefill"]["ready"] == 1


def test_unknown_targets_do_not_answer(server: MetricsServer) -> None:
    assert ask(server, "GET", "/targets/serving/absent/metrics")[0].status == 503
    assert ask(server, "GET", "/elsewhere")[0].status == 404
    assert ask(server, "POST", "/status", {})[0].status == 404
    assert ask(server, "DELETE", "/status")[0].status == 404
    assert ask(server, "GET", "/healthz")[1] == "ok\n"


def test_silent_targets_answer_503_and_come_back(server: MetricsServer) -> None:
    answer, text = ask(server, "POST", "/faults", {"mode": "silent", "targets": "serving/p-*"})
    assert answer.status == 200
    assert json.loads(text) == [{"mode": "silent", "targets": "serving/p-*"}]
    assert ask(server, "GET", "/targets/serving/p-0/metrics")[0].status == 503
    assert ask(server, "GET", "/targets/serving/d-0/metrics")[0].status == 200
    assert len(json.loads(ask(server, "GET", "/sd")[1])) == 3
    assert ask(server, "DELETE", "/faults")[1] == "[]"
    assert ask(server, "GET", "/targets/serving/p-0/metrics")[0].status == 200


def test_vanished_targets_are_not_discovered(server: MetricsServer) -> None:
    ask(server, "POST", "/faults", {"mode": "vanish", "targets": "serving/d-0"})
    pods = {group["labels"]["pod"] for group in json.loads(ask(server, "GET", "/sd")[1])}
    assert pods == {"p-0", "epp-0"}
    assert json.loads(ask(server, "GET", "/faults")[1])[0]["mode"] == "vanish"


def test_nan_reaches_every_sample(simulated: Simulator) -> None:
    simulated.inject(Fault(FaultMode.NAN))
    text = simulated.metrics("serving/p-0")
    assert text is not None
    values = [line.rsplit(" ", 1)[1] for line in text.splitlines() if not line.startswith("#")]
    assert set(values) == {"NaN"}


def test_frozen_targets_repeat_themselves_from_the_moment_of_the_fault(simulated: Simulator) -> None:
    before = simulated.metrics("serving/p-0")
    simulated.inject(Fault(FaultMode.FROZEN))
    run(simulated, 10, begin_seconds=5)
    assert simulated.metrics("serving/p-0") == before
    simulated.faults.clear()
    assert simulated.metrics("serving/p-0") != before


def test_reset_counters_start_again_and_gauges_stay(simulated: Simulator) -> None:
    name = 'vllm:generation_tokens_total{model_name="example/model",engine="0"} '
    before = float((simulated.metrics("serving/d-0") or "").split(name)[1].split()[0])
    simulated.inject(Fault(FaultMode.RESET, "serving/*-0"))
    text = simulated.metrics("serving/p-0")
    assert text is not None
    assert 'vllm:prompt_tokens_total{model_name="example/model",engine="0"} 0.0' in text
    assert 'num_gpu_blocks="25000"' in text
    assert simulated.status()["faults"] == []
    simulated.advance(5.25)
    assert float((simulated.metrics("serving/d-0") or "").split(name)[1].split()[0]) < before / 4
    run(simulated, 10, begin_seconds=5)
    later = simulated.metrics("serving/p-0")
    assert later is not None
    assert 'vllm:prompt_tokens_total{model_name="example/model",engine="0"} 0.0' not in later


def test_the_newest_fault_that_matches_wins(simulated: Simulator) -> None:
    simulated.inject(Fault(FaultMode.SILENT))
    simulated.inject(Fault(FaultMode.NAN, "serving/d-0"))
    assert simulated.metrics("serving/p-0") is None
    assert "NaN" in (simulated.metrics("serving/d-0") or "")


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("{", "the body is not JSON"),
        ("[]", "send an object such as"),
        ({"mode": "explode"}, "mode 'explode' is unknown; known are silent"),
        ({"mode": "nan", "targets": 5}, "targets must be a shell pattern"),
        ({"mode": "nan", "pods": "x"}, "other fields are unknown"),
        ({"mode": ["nan"]}, "is unknown"),
    ],
)
def test_bad_faults_are_refused_with_a_sentence(server: MetricsServer, body: object, sentence: str) -> None:
    answer, text = ask(server, "POST", "/faults", body)
    assert answer.status == 400
    assert sentence in text
