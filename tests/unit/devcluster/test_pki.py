"""The certificates of a local cluster satisfy strict clients, and only those that trust its CA."""

import datetime as dt
import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from devcluster import pki


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> pki.Pki:
    return pki.create(tmp_path_factory.mktemp("keys") / "pki")


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        server.wrap_bio(to_server, to_client, server_side=True),
        client.wrap_bio(to_client, to_server, server_hostname="127.0.0.1"),
    ]
    waiting = list(ends)
    for _ in range(10):
        for end in list(waiting):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(end)
        if not waiting:
            return
    raise AssertionError("the handshake does not end")


@pytest.mark.parametrize("name", ["server", "etcd"])
def test_a_strict_client_trusts_the_certificates(keys: pki.Pki, name: str) -> None:
    certificate, key = {
        "server": (keys.server_certificate, keys.server_key),
        "etcd": (keys.etcd_certificate, keys.etcd_key),
    }[name]
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    client = ssl.create_default_context(cafile=str(keys.ca_certificate))
    client.verify_flags |= ssl.VERIFY_X509_STRICT  # what Python 3.13 turns on
    _shake_hands(server, client)


def test_a_client_with_another_ca_refuses(keys: pki.Pki, tmp_path: Path) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(keys.server_certificate, keys.server_key)
    client = ssl.create_default_context(cafile=str(pki.create(tmp_path / "other").ca_certificate))
    with pytest.raises(ssl.SSLCertVerificationError):
        _shake_hands(server, client)


def test_the_server_is_known_by_loopback_and_by_the_service(keys: pki.Pki) -> None:
    certificate = x509.load_pem_x509_certificate(keys.server_certificate.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "kubernetes.default.svc" in names.get_values_for_type(x509.DNSName)
    assert ipaddress.ip_address("127.0.0.1") in names.get_values_for_type(x509.IPAddress)


def test_keys_are_for_their_owner_only(keys: pki.Pki) -> None:
    for path in (keys.server_key, keys.etcd_key, keys.service_account_key):
        assert path.stat().st_mode & 0o777 == 0o600
    assert keys.server_key.parent.stat().st_mode & 0o777 == 0o700


def test_certificates_are_valid_from_a_little_ago_for_a_month(tmp_path: Path) -> None:
    now = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
    made = pki.create(tmp_path / "pki", now=now)
    certificate = x509.load_pem_x509_certificate(made.server_certificate.read_bytes())
    assert certificate.not_valid_before_utc < now < certificate.not_valid_after_utc
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc == pki.VALIDITY
