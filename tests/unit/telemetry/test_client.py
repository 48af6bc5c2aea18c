"""The client against a server that fails in every way that a server can."""

import asyncio
import base64
import gzip
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from forebay.telemetry.settings import PrometheusAuth, PrometheusSettings
from forebay.telemetry.transport.breaker import BreakerState
from forebay.telemetry.transport.client import PrometheusClient
from forebay.telemetry.transport.errors import QueryError, QueryFailure
from forebay.telemetry.transport.meter import TelemetryMeter
from tests.unit.telemetry.counting_meter import CountingMeter
from tests.unit.telemetry.fake_server import FakeServer, Reply, drip, hang, raw, status, success

ONE = [{"metric": {}, "value": [1.0, "1"]}]


def as_it_is(result: object) -> object:
    return result


@asynccontextmanager
async def connected(
    server: FakeServer, meter: TelemetryMeter | None = None, **settings: object
) -> AsyncIterator[PrometheusClient]:
    values: dict[str, object] = {
        "url": server.url,
        "retries": 0,
        "retry_backoff_seconds": 0.001,
        "read_timeout_seconds": 1.0,
        "query_timeout_seconds": 2.0,
        "threads": 2,
    }
    client = PrometheusClient(PrometheusSettings(**(values | settings)), meter)  # type: ignore[arg-type]
    try:
        yield client
    finally:
        await client.close()


async def failure(client: PrometheusClient, query: str = "up") -> QueryError:
    with pytest.raises(QueryError) as caught:
        await client.instant(query, 1.0, kind="test", read=as_it_is)
    return caught.value


async def test_an_answer_comes_through(server: FakeServer) -> None:
    server.replies = [success(ONE)]
    async with connected(server) as client:
        assert await client.instant("up", 12.5, kind="test", read=as_it_is) == ONE
        assert await client.range("up", 60, 120, 15, kind="test", read=as_it_is) == ONE
    instant, over = server.asked
    assert (instant.path, instant.parameters) == ("/api/v1/query", {"query": "up", "time": "12.5"})
    assert over.path == "/api/v1/query_range"
    assert over.parameters == {"query": "up", "start": "60", "end": "120", "step": "15s"}


async def test_a_path_before_the_api_is_kept(server: FakeServer) -> None:
    async with connected(server, url=server.url + "/prometheus/") as client:
        await client.instant("up", 1.0, kind="test", read=as_it_is)
    assert server.asked[0].path == "/prometheus/api/v1/query"


async def test_long_queries_are_posted_in_the_body(server: FakeServer) -> None:
    long = "up" + " " * 3000 + "# + & = %"
    async with connected(server) as client:
        await client.instant(long, 1.0, kind="test", read=as_it_is)
        await client.range(long, 0, 60, 15, kind="test", read=as_it_is)
        await client.instant("up", 1.0, kind="test", read=as_it_is)
    assert [each.method for each in server.asked] == ["POST", "POST", "GET"]
    assert [each.address for each in server.asked[:2]] == ["/api/v1/query", "/api/v1/query_range"]
    assert server.asked[0].parameters == {"query": long, "time": "1.0"}
    assert server.asked[1].parameters["query"] == long
    assert server.asked[1].parameters["step"] == "15s"


async def test_compressed_answers_are_read(server: FakeServer) -> None:
    body = gzip.compress(b'{"status":"success","data":{"resultType":"vector","result":[]}}')
    server.replies = [status(200, body, Content_Encoding="gzip")]
    async with connected(server) as client:
        assert await client.instant("up", 1.0, kind="test", read=as_it_is) == []


WRONG: dict[str, tuple[Reply, QueryFailure]] = {
    "400": (status(400, b'{"status":"error","errorType":"bad_data","error":"secret"}'), QueryFailure.REFUSED),
    "401": (status(401), QueryFailure.UNAUTHORIZED),
    "403": (status(403), QueryFailure.UNAUTHORIZED),
    "404": (status(404, b"<html>"), QueryFailure.BAD_ANSWER),
    "422": (status(422, b'{"errorType":"execution"}'), QueryFailure.REFUSED),
    "429": (status(429, b"", Retry_After="7"), QueryFailure.THROTTLED),
    "500": (status(500, b"\xff\xfe"), QueryFailure.SERVER),
    "503": (status(503, b"[" * 100_000), QueryFailure.SERVER),
    "redirect": (status(302, b"", Location="https://login.example"), QueryFailure.REDIRECT),
    "html": (status(200, b"<html>Sign in</html>"), QueryFailure.BAD_ANSWER),
    "empty": (status(200, b""), QueryFailure.BAD_ANSWER),
    "truncated": (status(200, b'{"status":"success","data":{"result":[{"met'), QueryFailure.BAD_ANSWER),
    "list": (status(200, b"[]"), QueryFailure.BAD_ANSWER),
    "null": (status(200, b"null"), QueryFailure.BAD_ANSWER),
    "no data": (status(200, b'{"status":"success"}'), QueryFailure.BAD_ANSWER),
    "deep": (status(200, b"[" * 200_000), QueryFailure.BAD_ANSWER),
    "shorter than told": (
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", b'{"status"'),
        QueryFailure.CONNECTION,
    ),
    "broken chunks": (
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"zz\r\n"),
        QueryFailure.CONNECTION,
    ),
    "not gzip": (status(200, b"plain", Content_Encoding="gzip"), QueryFailure.CONNECTION),
    "no http": (raw(b"SSH-2.0-OpenSSH\r\n\r\n"), QueryFailure.CONNECTION),
    "nothing": (raw(), QueryFailure.CONNECTION),
    "too large": (status(200, b" " * 200_000), QueryFailure.TOO_LARGE),
}


@pytest.mark.parametrize("name", WRONG)
async def test_what_is_wrong_is_told_apart(server: FakeServer, name: str) -> None:
    reply, expected = WRONG[name]
    server.replies = [reply]
    async with connected(server, max_answer_bytes=150_000 if name == "too large" else 1_000_000) as client:
        error = await failure(client, "secret_query")
    assert error.failure is expected
    assert "secret" not in str(error)
    assert str(error).endswith(".")


async def test_nobody_listens(server: FakeServer) -> None:
    async with connected(server, url="http://127.0.0.1:1") as client:
        assert (await failure(client)).failure is QueryFailure.CONNECTION


async def test_a_server_that_hangs(server: FakeServer) -> None:
    server.replies = [hang]
    async with connected(server, read_timeout_seconds=0.1) as client:
        assert (await failure(client)).failure is QueryFailure.TIMEOUT


async def test_a_server_that_drips_holds_no_thread_beyond_the_deadline(server: FakeServer) -> None:
    server.replies = [drip, drip, success([])]
    meter = CountingMeter()
    async with connected(server, meter, query_timeout_seconds=0.3) as client:
        for _ in range(2):
            assert (await failure(client)).failure is QueryFailure.TIMEOUT
        assert await client.instant("up", 1.0, kind="test", read=as_it_is) == []
    assert meter.outcomes == ["timeout", "timeout", "ok"]


async def test_a_busy_pool_of_threads_gives_up_in_time(server: FakeServer) -> None:
    server.replies = [hang]
    meter = CountingMeter()
    async with connected(
        server, meter, threads=1, read_timeout_seconds=5.0, query_timeout_seconds=0.2, breaker_failures=99
    ) as client:
        errors = await asyncio.gather(*(failure(client) for _ in range(4)))
    assert {error.failure for error in errors} == {QueryFailure.TIMEOUT, QueryFailure.NO_THREAD}
    assert len(meter.outcomes) == 4


async def test_what_passes_is_tried_again(server: FakeServer) -> None:
    server.replies = [status(503), raw(), success(ONE)]
    meter = CountingMeter()
    async with connected(server, meter, retries=2) as client:
        assert await client.instant("up", 1.0, kind="test", read=as_it_is) == ONE
    assert meter.outcomes == ["server", "connection", "ok"]


@pytest.mark.parametrize("code", [400, 401, 404, 422])
async def test_what_does_not_pass_is_not_tried_again(server: FakeServer, code: int) -> None:
    server.replies = [status(code)]
    async with connected(server, retries=3) as client:
        await failure(client)
    assert len(server.asked) == 1


async def test_the_breaker_opens_probes_and_closes(server: FakeServer) -> None:
    server.replies = [status(500)]
    meter = CountingMeter()
    async with connected(
        server, meter, breaker_failures=3, breaker_cool_down_seconds=0.05, breaker_cool_down_max_seconds=0.05
    ) as client:
        for _ in range(3):
            assert (await failure(client)).failure is QueryFailure.SERVER
        assert client.breaker_state is BreakerState.OPEN
        assert (await failure(client)).failure is QueryFailure.BREAKER_OPEN
        assert len(server.asked) == 3
        server.replies = [success(ONE)]
        await asyncio.sleep(0.1)
        answers = await asyncio.gather(*(client.instant("up", 1.0, kind="test", read=as_it_is) for _ in range(6)))
    assert answers == [ONE] * 6
    assert meter.states == ["open", "half-open", "closed"]


async def test_a_failed_probe_fails_those_who_wait_for_it(server: FakeServer) -> None:
    server.replies = [status(500)]
    async with connected(server, breaker_failures=1, breaker_cool_down_seconds=0.03) as client:
        await failure(client)
        await asyncio.sleep(0.06)
        errors = await asyncio.gather(*(failure(client) for _ in range(5)))
    assert len(server.asked) == 2
    assert sorted(error.failure for error in errors) == ["breaker_open"] * 4 + ["server"]


async def test_a_bad_query_does_not_open_the_breaker(server: FakeServer) -> None:
    server.replies = [status(400)]
    async with connected(server, breaker_failures=2) as client:
        for _ in range(4):
            assert (await failure(client)).failure is QueryFailure.REFUSED
        assert client.breaker_state is BreakerState.CLOSED


async def test_a_cancelled_probe_lets_the_next_one_probe(server: FakeServer) -> None:
    server.replies = [status(500)]
    async with connected(server, breaker_failures=1, breaker_cool_down_seconds=0.01) as client:
        await failure(client)
        await asyncio.sleep(0.03)
        server.replies = [hang]
        probe = asyncio.create_task(client.instant("up", 1.0, kind="test", read=as_it_is))
        await asyncio.sleep(0.03)
        probe.cancel()
        with pytest.raises(asyncio.CancelledError):
            await probe
        server.replies = [success(ONE)]
        assert await client.instant("up", 1.0, kind="test", read=as_it_is) == ONE


async def test_the_bearer_token_is_read_again_when_it_changes(server: FakeServer, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    auth = PrometheusAuth(bearer_token_file=token, headers={"X-Scope-OrgID": "team-a"})
    async with connected(server, auth=auth) as client:
        await client.instant("up", 1.0, kind="test", read=as_it_is)
        token.write_text("second-token\n")
        await client.instant("up", 1.0, kind="test", read=as_it_is)
        token.unlink()
        error = await failure(client)
    assert [each.headers["Authorization"] for each in server.asked] == ["Bearer first", "Bearer second-token"]
    assert {each.headers["X-Scope-OrgID"] for each in server.asked} == {"team-a"}
    assert error.failure is QueryFailure.CREDENTIALS


@pytest.mark.parametrize("content", [b"", b"\n", b"two\nlines", b"\xff\xfe"])
async def test_a_token_file_that_holds_no_token(server: FakeServer, tmp_path: Path, content: bytes) -> None:
    token = tmp_path / "token"
    token.write_bytes(content)
    async with connected(server, auth=PrometheusAuth(bearer_token_file=token)) as client:
        assert (await failure(client)).failure is QueryFailure.CREDENTIALS
    assert not server.asked


async def test_basic_authentication(server: FakeServer, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("pa ss\n")
    async with connected(server, auth=PrometheusAuth(basic_username="me", basic_password_file=password)) as client:
        await client.instant("up", 1.0, kind="test", read=as_it_is)
    expected = "Basic " + base64.b64encode(b"me:pa ss").decode()
    assert server.asked[0].headers["Authorization"] == expected


async def test_the_environment_neither_proxies_nor_authenticates(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects: REQUESTS_CA_BUNDLE, proxies and .netrc of the process would silently replace what was set."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/does/not/exist")
    async with connected(server) as client:
        await client.instant("up", 1.0, kind="test", read=as_it_is)
    assert "Authorization" not in server.asked[0].headers


async def test_nothing_secret_is_logged(
    server: FakeServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    token = tmp_path / "token"
    token.write_text("s3cr3t-token")
    caplog.set_level(logging.DEBUG)
    server.replies = [status(500, b"s3cr3t body"), success([])]
    auth = PrometheusAuth(bearer_token_file=token, headers={"X-Key": "s3cr3t"})
    async with connected(server, auth=auth) as client:
        error = await failure(client)
        await client.instant("up", 1.0, kind="test", read=as_it_is)
    assert "s3cr3t" not in caplog.text + repr(error) + repr(auth)
