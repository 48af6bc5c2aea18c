"""TLS: verified unless told otherwise, by the authorities that were named and no others."""

import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster.pki import Pki, create
from forebay.telemetry.settings import PrometheusAuth, PrometheusSettings
from forebay.telemetry.transport.client import PrometheusClient
from forebay.telemetry.transport.errors import QueryError, QueryFailure
from tests.unit.telemetry.fake_server import FakeServer, Handler, QuietServer, success


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return create(tmp_path_factory.mktemp("pki") / "ours")


@pytest.fixture
def fake(pki: Pki, request: pytest.FixtureRequest) -> Iterator[FakeServer]:
    """A server with TLS; with the parameter ``mutual`` it asks for a client certificate."""
    fake = FakeServer(replies=[success([])])
    http = QuietServer(("127.0.0.1", 0), type("Bound", (Handler,), {"fake": fake}))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.server_certificate, pki.server_key)
    if getattr(request, "param", None) == "mutual":
        context.load_verify_locations(pki.ca_certificate)
        context.verify_mode = ssl.CERT_REQUIRED
    http.socket = context.wrap_socket(http.socket, server_side=True, do_handshake_on_connect=False)
    fake.url = f"https://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


async def outcome(settings: PrometheusSettings) -> QueryError | None:
    client = PrometheusClient(settings)
    try:
        await client.instant("up", 1.0, kind="test", read=lambda result: result)
    except QueryError as error:
        return error
    else:
        return None
    finally:
        await client.close()


async def test_our_own_authority_is_trusted_when_named(fake: FakeServer, pki: Pki) -> None:
    assert await outcome(PrometheusSettings(url=fake.url, ca_file=pki.ca_certificate, retries=0)) is None


async def test_the_environments_bundle_does_not_replace_the_named_one(
    fake: FakeServer, pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects: REQUESTS_CA_BUNDLE wins over a session's own setting unless the environment is ignored."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pki.ca_certificate))
    error = await outcome(PrometheusSettings(url=fake.url, retries=0))
    assert error is not None
    assert error.failure is QueryFailure.TLS


async def test_an_unknown_authority_is_refused_with_the_reason(fake: FakeServer) -> None:
    error = await outcome(PrometheusSettings(url=fake.url, retries=0))
    assert error is not None
    assert error.failure is QueryFailure.TLS
    assert "certificate" in str(error)
    assert not fake.asked


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
async def test_verification_can_be_skipped_on_purpose_only(fake: FakeServer) -> None:
    assert await outcome(PrometheusSettings(url=fake.url, insecure_skip_verify=True, retries=0)) is None


@pytest.mark.parametrize("fake", ["mutual"], indirect=True)
async def test_a_client_certificate(fake: FakeServer, pki: Pki) -> None:
    without = await outcome(PrometheusSettings(url=fake.url, ca_file=pki.ca_certificate, retries=0))
    assert without is not None
    assert without.failure in {QueryFailure.TLS, QueryFailure.CONNECTION}
    assert not fake.asked
    auth = PrometheusAuth(client_certificate_file=pki.etcd_certificate, client_key_file=pki.etcd_key)
    settings = PrometheusSettings(url=fake.url, ca_file=pki.ca_certificate, auth=auth, retries=0)
    assert await outcome(settings) is None


async def test_files_that_are_not_there(fake: FakeServer, tmp_path: Path) -> None:
    error = await outcome(PrometheusSettings(url=fake.url, ca_file=tmp_path / "none", retries=0))
    assert error is not None
    assert error.failure is QueryFailure.CREDENTIALS
