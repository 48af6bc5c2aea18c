"""The API client: what it sends, and how it tells failures apart."""

from typing import Any

import pytest
from kubernetes.aio.client.configuration import Configuration

from forebay.actuation.kube import ApiError, KubeApi


async def test_a_merge_patch_says_what_it_is_and_who_writes(server: Any, api: KubeApi) -> None:
    server.on("PATCH", "/x", 200, {"ok": True})
    assert await api.merge_patch("/x", {"spec": {"replicas": 2}}) == {"ok": True}
    (asked,) = server.asked
    assert asked.headers["Content-Type"] == "application/merge-patch+json"
    assert asked.headers["Authorization"] == "Bearer secret"
    assert asked.query == {"fieldManager": "forebay"}
    assert asked.body == {"spec": {"replicas": 2}}


@pytest.mark.parametrize(
    ("status", "attribute"), [(404, "not_found"), (409, "conflict"), (429, "throttled"), (403, "forbidden")]
)
async def test_refusals_are_told_apart(server: Any, api: KubeApi, status: int, attribute: str) -> None:
    server.on("GET", "/x", status, {"kind": "Status", "reason": "Because", "message": "no"})
    with pytest.raises(ApiError, match=r"GET /x: .* no") as caught:
        await api.get("/x")
    assert getattr(caught.value, attribute)
    assert caught.value.reason == "Because"


async def test_an_answer_that_is_no_json_is_an_error_with_its_beginning(server: Any, api: KubeApi) -> None:
    server.on("GET", "/x", 502, "<html>bad gateway</html>")
    with pytest.raises(ApiError, match="bad gateway"):
        await api.get("/x")
    server.on("GET", "/y", 200, "[1]")
    with pytest.raises(ApiError, match="not a JSON object"):
        await api.get("/y")


async def test_after_429_no_write_is_sent_until_the_server_said(server: Any, api: KubeApi, clock: Any) -> None:
    server.on("PATCH", "/x", 429, {"reason": "TooManyRequests"}, **{"Retry-After": "7"})
    server.on("PATCH", "/x", 200, {})
    server.on("GET", "/x", 200, {"read": "on"})
    with pytest.raises(ApiError) as caught:
        await api.merge_patch("/x", {})
    assert caught.value.retry_after_seconds == 7.0
    clock.now += 6.9
    with pytest.raises(ApiError) as caught:
        await api.merge_patch("/y", {})
    assert caught.value.throttled
    assert await api.get("/x") == {"read": "on"}
    assert len([asked for asked in server.asked if asked.method == "PATCH"]) == 1
    clock.now += 0.2
    assert await api.merge_patch("/x", {}) == {}


@pytest.mark.parametrize(
    ("header", "seconds"), [("Fri, 20 Nov 2026 10:00:00 GMT", 1.0), ("-3", 0.0), ("9999", 120.0)]
)
async def test_a_strange_retry_after_is_bounded(server: Any, api: KubeApi, header: str, seconds: float) -> None:
    server.on("GET", "/x", 503, {}, **{"Retry-After": header})
    with pytest.raises(ApiError) as caught:
        await api.get("/x")
    assert caught.value.retry_after_seconds == seconds


async def test_the_fence_stops_writes_and_lets_reads_through(server: Any) -> None:
    class LostError(Exception):
        """Not leading."""

    def fence() -> None:
        raise LostError

    configuration = Configuration()
    configuration.host = server.url
    server.on("GET", "/x", 200, {})
    async with KubeApi(configuration, fence=fence) as api:
        assert await api.get("/x") == {}
        for method in ("PATCH", "POST", "PUT", "DELETE"):
            with pytest.raises(LostError):
                await api.request(method, "/x", body={})
        assert api.writes == 0
    assert [asked.method for asked in server.asked] == ["GET"]


async def test_no_server_is_an_api_error_with_status_0() -> None:
    configuration = Configuration()
    configuration.host = "http://127.0.0.1:9"
    async with KubeApi(configuration, timeout_seconds=1.0) as api:
        with pytest.raises(ApiError, match="no answer from the API server") as caught:
            await api.get("/x")
    assert caught.value.status == 0
