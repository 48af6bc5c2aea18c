"""What a run cost is counted by GPU type and time; what became of requests, by the load generator's own shares."""

import itertools
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from kindscene.contrast import DAY, HEADER, Tally
from kindscene.external_metrics import Adapter
from kindscene.places import MANIFESTS

PRICES = {"h100": 3.6, "l40s": 1.8}


def test_engines_cost_as_long_as_they_exist() -> None:
    tally = Tally("HPA")
    tally.look({"h100": 2, "l40s": 1}, {"a": 2, "b": 1}, PRICES, 1_000.0)
    tally.look({"h100": 1, "l40s": 0}, {"a": 1, "b": 0}, PRICES, 1_000.0)
    assert tally.usd == pytest.approx(2 * 1.0 + 0.5 + 1.0)
    assert tally.gpu_hours == pytest.approx(4 / 3.6)
    assert (tally.most, tally.last, tally.scalings) == (3, 1, 2)


def test_shares_weigh_by_what_was_served() -> None:
    tally = Tally("HPA")
    reports: list[dict[str, Any]] = [
        {"succeeded": 5, "failed": 1, "attainment": 1.0},
        {"succeeded": 15, "failed": 1, "attainment": 0.5},
        {"succeeded": 15, "failed": 2, "attainment": None},
        {"succeeded": 45, "failed": 2, "attainment": 1.0},
    ]
    for before, after in itertools.pairwise(reports):
        tally.share(before, after)
    assert (tally.served, tally.met, tally.failed) == (40, 35.0, 1)
    assert "87.5 %" in tally.row()


def test_a_run_without_an_answer_has_no_share() -> None:
    row = Tally("HPA").row()
    assert row.split()[:3] == ["HPA", "-", "0"]
    assert len(row) == len(HEADER)


def test_the_day_is_within_what_the_load_generator_sends() -> None:
    documents = yaml.safe_load_all((MANIFESTS / "engines.yaml").read_text())
    (load,) = (one for one in documents if one["kind"] == "Deployment" and one["metadata"]["name"] == "load")
    arguments = dict(
        argument.split("=", 1)
        for argument in load["spec"]["template"]["spec"]["containers"][0]["args"]
        if "=" in argument
    )
    assert max(step.requests_per_second for step in DAY) <= float(arguments["--max-rate"])
    assert sum(step.seconds for step in DAY) < float(arguments["--max-seconds"])


@pytest.fixture
async def adapter() -> AsyncIterator[TestClient[web.Request, web.Application]]:
    """The adapter before a Prometheus that knows one value."""

    async def answer(request: web.Request) -> web.Response:
        values = {"known": [{"metric": {}, "value": [0, "1.25"]}]}
        return web.json_response({"data": {"result": values.get(request.query["query"], [])}})

    prometheus = web.Application()
    prometheus.add_routes([web.get("/api/v1/query", answer)])
    async with TestServer(prometheus) as server, aiohttp.ClientSession() as session:
        queries = {"requests": "known", "nothing": "unknown"}
        application = Adapter(str(server.make_url("")).rstrip("/"), queries, session).application()
        async with TestClient(TestServer(application)) as client:
            yield client


async def test_the_adapter_answers_as_the_hpa_controller_asks(
    adapter: TestClient[web.Request, web.Application],
) -> None:
    base = "/apis/external.metrics.k8s.io/v1beta1"
    found = await (await adapter.get(base)).json()
    assert [one["name"] for one in found["resources"]] == ["requests", "nothing"]
    (item,) = (await (await adapter.get(f"{base}/namespaces/serving/requests")).json())["items"]
    assert (item["metricName"], item["value"]) == ("requests", "1250m")
    assert (await (await adapter.get(f"{base}/namespaces/serving/nothing")).json())["items"] == []
    assert (await adapter.get(f"{base}/namespaces/serving/other")).status == 404


def test_hpas_read_metrics_that_the_adapter_has() -> None:
    documents = list(yaml.safe_load_all((MANIFESTS / "hpa.yaml").read_text()))
    read = {
        metric["external"]["metric"]["name"]
        for one in documents
        if one["kind"] == "HorizontalPodAutoscaler"
        for metric in one["spec"]["metrics"]
    }
    (adapter,) = (one for one in documents if one["kind"] == "Deployment")
    arguments = adapter["spec"]["template"]["spec"]["containers"][0]["args"]
    named = {argument.split("=")[1] for argument in arguments if argument.startswith("--metric=")}
    assert read == named
