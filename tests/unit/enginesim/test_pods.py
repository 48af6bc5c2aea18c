"""Engines follow the pods: Ready ones serve, others drain, lost ones give their requests back."""

from typing import cast

from enginesim.simulator import Simulator
from tests.unit.enginesim.worlds import NAME, WHOLE, pod, run, simulator, steady_trace


def status(simulated: Simulator) -> dict[str, object]:
    return cast("list[dict[str, object]]", simulated.status()["pools"])[0]


def role(simulated: Simulator, name: str) -> dict[str, int]:
    return cast("dict[str, dict[str, int]]", status(simulated)["roles"])[name]


def test_pods_that_are_not_ready_get_nothing() -> None:
    simulated = simulator(WHOLE)
    simulated.follow(NAME, {"s": [pod("s-0", ready=False)]})
    run(simulated, 5)
    assert simulated.metrics("serving/s-0") is None
    assert role(simulated, "serve") == {"ready": 0, "draining": 0, "queue": 20, "running": 0}
    simulated.follow(NAME, {"s": [pod("s-0")]})
    run(simulated, 60, begin_seconds=5)
    assert simulated.exhausted


def test_a_pod_that_is_not_ready_any_more_finishes_what_it_has() -> None:
    simulated = simulator(WHOLE, trace=steady_trace(400, 0.02))
    simulated.follow(NAME, {"s": [pod("s-0"), pod("s-1")]})
    run(simulated, 5)
    simulated.follow(NAME, {"s": [pod("s-0"), pod("s-1", ready=False)]})
    assert role(simulated, "serve")["draining"] == 1
    held = simulated.metrics("serving/s-1")
    assert held is not None
    run(simulated, 120, begin_seconds=5)
    assert simulated.exhausted
    assert status(simulated)["served"] == 400
    assert "serving/s-1" in str(simulated.discovery("127.0.0.1:1"))
    simulated.follow(NAME, {"s": [pod("s-0")]})
    assert simulated.metrics("serving/s-1") is None


def test_requests_of_a_lost_pod_start_again_and_none_is_forgotten() -> None:
    simulated = simulator(trace=steady_trace(400, 0.02))
    simulated.follow(NAME, {"p": [pod("p-0"), pod("p-1")], "d": [pod("d-0"), pod("d-1")]})
    run(simulated, 4)
    simulated.follow(NAME, {"p": [pod("p-1")], "d": [pod("d-1")]})
    now = status(simulated)
    assert now["arrived"] == cast("int", now["served"]) + cast("int", now["in_flight"])
    run(simulated, 240, begin_seconds=4)
    assert simulated.exhausted
    assert status(simulated)["served"] == 400


def test_a_pod_that_drained_may_come_back() -> None:
    simulated = simulator(WHOLE)
    simulated.follow(NAME, {"s": [pod("s-0")]})
    run(simulated, 2)
    simulated.follow(NAME, {"s": [pod("s-0", ready=False)]})
    run(simulated, 20, begin_seconds=2)
    simulated.follow(NAME, {"s": [pod("s-0")]})
    assert role(simulated, "serve")["ready"] == 1
    run(simulated, 60, begin_seconds=20)
    assert simulated.exhausted
    text = simulated.metrics("serving/s-0")
    assert text is not None
    total = float(steady_trace().output_tokens.sum())
    assert f'vllm:generation_tokens_total{{model_name="example/model",engine="0"}} {total}' in text


def test_a_replaced_pod_begins_its_counters_at_zero() -> None:
    simulated = simulator(WHOLE)
    simulated.follow(NAME, {"s": [pod("s-0")]})
    run(simulated, 10)
    simulated.follow(NAME, {"s": []})
    simulated.follow(NAME, {"s": [pod("s-0")]})
    text = simulated.metrics("serving/s-0")
    assert text is not None
    assert 'vllm:prompt_tokens_total{model_name="example/model",engine="0"} 0.0' in text


def test_status_tells_demand_service_and_objective() -> None:
    simulated = simulator(WHOLE)
    simulated.follow(NAME, {"s": [pod("s-0")]})
    run(simulated, 20)
    now = status(simulated)
    assert now["pool"] == "chat"
    assert now["demand_requests_per_second"] == 4.0
    assert now["slo_attainment"] == 1.0
    assert cast("float", now["ttft_seconds"]) < 1.0
    assert cast("float", now["served_requests_per_second"]) > 3.0
    run(simulated, 300, begin_seconds=20)
    later = status(simulated)
    assert later["demand_requests_per_second"] == 0.0
    assert later["slo_attainment_last_minute"] is None


def test_a_request_longer_than_any_cache_is_refused_and_counted() -> None:
    trace = steady_trace(10)
    trace.input_tokens[3] = 500_000
    simulated = simulator(WHOLE, trace=trace, gateway={"name": "epp"})
    simulated.follow(NAME, {"s": [pod("s-0")]})
    run(simulated, 30)
    now = status(simulated)
    assert (now["served"], now["refused"]) == (9, 1)
    assert now["slo_attainment"] == 0.9
    text = simulated.metrics("serving/epp")
    assert text is not None
    assert 'error_code="Unknown"} 1.0' in text
