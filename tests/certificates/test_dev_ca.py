"""The development CA: made once, private, limited to a few names, and accepted by real clients."""

import datetime as dt
import ipaddress
import ssl
import stat
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from portway.certificates.contexts import visitor_context
from portway.certificates.dev_ca import (
    KEY_FILE,
    RETIRED_FILE,
    ROOT_FILE,
    DevelopmentCa,
    allowed_domains,
    ensure_ca,
    read_ca,
    read_roots,
)
from portway.errors import ConfigError
from tests.certificates.kit import curl, https_server, join, trusting

NOW = dt.datetime.now(dt.UTC).timestamp()
DAY_S = 86_400.0


@pytest.fixture
def ca(tmp_path: Path) -> DevelopmentCa:
    return ensure_ca(tmp_path, "tunnel.example.org", NOW)


def test_the_root_is_made_once_with_a_private_key(ca: DevelopmentCa, tmp_path: Path) -> None:
    again = ensure_ca(tmp_path, "tunnel.example.org", NOW)

    assert again.certificate == ca.certificate
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600
    assert b"PRIVATE" not in (tmp_path / ROOT_FILE).read_bytes()
    assert read_roots(tmp_path) == [ca.certificate]


def test_the_root_is_limited_by_critical_extensions(ca: DevelopmentCa) -> None:
    extensions = {one.oid: one for one in ca.certificate.extensions}
    limits, names = extensions[x509.BasicConstraints.oid], extensions[x509.NameConstraints.oid]

    assert isinstance(ca.certificate.public_key(), ec.EllipticCurvePublicKey)
    assert limits.critical
    assert limits.value == x509.BasicConstraints(ca=True, path_length=0)
    assert names.critical
    assert isinstance(names.value, x509.NameConstraints)
    assert names.value.excluded_subtrees is None
    assert [one.value for one in names.value.permitted_subtrees or ()] == [
        "tunnel.example.org",
        "localhost",
        ipaddress.ip_network("127.0.0.0/8"),
        ipaddress.ip_network("::1/128"),
    ]


@pytest.mark.parametrize(
    "name", ["tunnel.example.org", "app.tunnel.example.org", "a.b.localhost", "x" * 63 + ".localhost", "a_b.localhost"]
)
def test_clients_that_trust_the_root_accept_its_leaves(ca: DevelopmentCa, tmp_path: Path, name: str) -> None:
    leaf = ca.sign(name, NOW)

    assert leaf.names == (name,)
    assert leaf.is_valid(NOW)
    assert leaf.not_after - leaf.not_before <= 90 * DAY_S
    assert join(visitor_context(leaf.pem), trusting(tmp_path / ROOT_FILE), name).client.version() == "TLSv1.3"


def test_curl_accepts_a_leaf_and_no_name_outside_the_domain(ca: DevelopmentCa, tmp_path: Path) -> None:
    with https_server(visitor_context(ca.sign("app.tunnel.example.org", NOW).pem)) as port:
        answer = curl("app.tunnel.example.org", port, "--cacert", tmp_path / ROOT_FILE)
        assert (answer.stdout, answer.stderr) == ("ok", "")
        assert curl("app.tunnel.example.org", port).returncode == 60
    with https_server(visitor_context(ca.sign("example.com", NOW).pem)) as port:
        refused = curl("example.com", port, "--cacert", tmp_path / ROOT_FILE)
        assert refused.returncode == 60
        assert "permitted subtree violation" in refused.stderr


def test_clients_refuse_a_leaf_for_another_name(ca: DevelopmentCa, tmp_path: Path) -> None:
    for name in ("example.org", "eviltunnel.example.org", "app.example.com"):
        assert not ca.allows(name)
        with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
            join(visitor_context(ca.sign(name, NOW).pem), trusting(tmp_path / ROOT_FILE), name)
    assert ca.allows("tunnel.example.org")
    assert ca.allows("a.localhost")


def test_clients_refuse_an_authority_that_the_root_signed(ca: DevelopmentCa, tmp_path: Path) -> None:
    key, subject = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "between")])

    def signed(
        name: x509.Name, of: ec.EllipticCurvePrivateKey, issuer: x509.Name, by: ec.EllipticCurvePrivateKey, *, authority: bool
    ) -> bytes:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer)
            .public_key(of.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(ca.certificate.not_valid_before_utc)
            .not_valid_after(ca.certificate.not_valid_after_utc)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("app.localhost")]), critical=False)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .sign(by, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
        )

    between = signed(subject, key, ca.certificate.subject, ca.key, authority=True)
    leaf_key = ec.generate_private_key(ec.SECP256R1())
    leaf = signed(x509.Name([]), leaf_key, subject, key, authority=False)
    pem = leaf_key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())

    with pytest.raises(ssl.SSLCertVerificationError, match="path length constraint exceeded"):
        join(visitor_context(pem + leaf + between), trusting(tmp_path / ROOT_FILE), "app.localhost")


def test_a_leaf_does_not_outlive_the_root(ca: DevelopmentCa) -> None:
    assert ca.sign("app.localhost", ca.not_after - DAY_S).not_after == ca.not_after


@pytest.mark.parametrize("domain", ["localhost", "tunnel.example.org"])
def test_a_root_for_another_domain_replaces_it_and_the_earlier_one_is_remembered(ca: DevelopmentCa, tmp_path: Path, domain: str) -> None:
    other = ensure_ca(tmp_path, "other.example.org", NOW)

    assert allowed_domains(other.certificate) == ["other.example.org", "localhost"]
    assert other.certificate.subject != ca.certificate.subject
    assert read_roots(tmp_path) == [other.certificate, ca.certificate]
    assert ensure_ca(tmp_path, "below.other.example.org", NOW).certificate == other.certificate


def test_a_root_that_has_nearly_expired_is_replaced(ca: DevelopmentCa, tmp_path: Path) -> None:
    assert ensure_ca(tmp_path, "localhost", ca.not_after - 91 * DAY_S).certificate == ca.certificate
    assert ensure_ca(tmp_path, "localhost", ca.not_after - 80 * DAY_S).certificate != ca.certificate


def test_processes_that_start_at_once_get_the_same_root(tmp_path: Path) -> None:
    found: list[x509.Certificate] = []
    threads = [threading.Thread(target=lambda: found.append(ensure_ca(tmp_path, "localhost", NOW).certificate)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 8
    assert len(set(found)) == 1
    assert not (tmp_path / RETIRED_FILE).exists()


def test_a_lost_copy_of_the_root_is_written_again(ca: DevelopmentCa, tmp_path: Path) -> None:
    content = (tmp_path / ROOT_FILE).read_bytes()
    (tmp_path / ROOT_FILE).unlink()
    ensure_ca(tmp_path, "tunnel.example.org", NOW)

    assert (tmp_path / ROOT_FILE).read_bytes() == content


def test_damaged_and_public_files_are_refused_with_a_reason(ca: DevelopmentCa, tmp_path: Path) -> None:
    path = tmp_path / KEY_FILE
    content = path.read_bytes()
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="accessible to other users"):
        ensure_ca(tmp_path, "localhost", NOW)
    path.chmod(0o600)
    foreign = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for damaged, reason in ((content[:300], "damaged"), (b"", "damaged"), (foreign + (tmp_path / ROOT_FILE).read_bytes(), "not that of")):
        path.write_bytes(damaged)
        with pytest.raises(ConfigError, match=reason):
            ensure_ca(tmp_path, "localhost", NOW)
    (tmp_path / ROOT_FILE).write_bytes(b"-----BEGIN CERTIFICATE-----\nx")
    with pytest.raises(ConfigError, match="damaged"):
        read_roots(tmp_path)


def test_reading_creates_nothing(tmp_path: Path) -> None:
    assert read_ca(tmp_path) is None
    assert read_roots(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
