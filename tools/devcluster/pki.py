"""The certificates of one development cluster, and nothing that outlives it.

One CA signs a server certificate (API server) and a certificate that is both server and client (etcd and the
API server's connection to it). Keys are elliptic-curve P-256: made in milliseconds. The extensions are those
that Python 3.13's strict verification asks for (key usage, subject and authority key identifiers).
"""

import datetime as dt
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALIDITY = dt.timedelta(days=30)
CLOCK_SKEW = dt.timedelta(minutes=5)
DNS_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
IP_ADDRESSES = ("127.0.0.1", "10.96.0.1")  # loopback, and the first address of the service range


@dataclass(frozen=True, slots=True)
class Pki:
    """Paths of the files that `create` wrote (PEM; keys are readable by their owner only)."""

    ca_certificate: Path
    server_certificate: Path
    server_key: Path
    etcd_certificate: Path
    etcd_key: Path
    service_account_key: Path
    service_account_public_key: Path


def create(directory: Path, *, now: dt.datetime | None = None) -> Pki:
    """Make a new CA and all that it signs in `directory`, which is created with mode 0700.

    Args:
        directory: where the files go; it must not exist.
        now: the start of the validity; the present when left out.
    """
    directory.mkdir(mode=0o700, parents=True)
    start = (now or dt.datetime.now(dt.UTC)) - CLOCK_SKEW
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = _ca_certificate(ca_key, start)
    _write_certificate(directory / "ca.crt", ca)
    for name, usages in (
        ("server", [ExtendedKeyUsageOID.SERVER_AUTH]),
        ("etcd", [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
    ):
        key = ec.generate_private_key(ec.SECP256R1())
        _write_key(directory / f"{name}.key", key)
        _write_certificate(directory / f"{name}.crt", _leaf_certificate(name, key, usages, ca, ca_key, start))
    service_accounts = ec.generate_private_key(ec.SECP256R1())
    _write_key(directory / "service-account.key", service_accounts)
    (directory / "service-account.pub").write_bytes(
        service_accounts.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return Pki(
        ca_certificate=directory / "ca.crt",
        server_certificate=directory / "server.crt",
        server_key=directory / "server.key",
        etcd_certificate=directory / "etcd.crt",
        etcd_key=directory / "etcd.key",
        service_account_key=directory / "service-account.key",
        service_account_public_key=directory / "service-account.pub",
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _ca_certificate(key: ec.EllipticCurvePrivateKey, start: dt.datetime) -> x509.Certificate:
    name = _name("forebay-devcluster-ca")
    return (
        _builder(name, name, key, start)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(ca=True), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _leaf_certificate(
    common_name: str,
    key: ec.EllipticCurvePrivateKey,
    usages: list[x509.ObjectIdentifier],
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    start: dt.datetime,
) -> x509.Certificate:
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in DNS_NAMES]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in IP_ADDRESSES]
    return (
        _builder(_name(common_name), ca.subject, key, start)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, start: dt.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + VALIDITY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _write_certificate(path: Path, certificate: x509.Certificate) -> None:
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(
            # kube-apiserver reads EC keys for service accounts in the traditional form only from "EC PRIVATE
            # KEY" blocks; TLS reads both.
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
