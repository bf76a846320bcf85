"""Development CA: a root in the data directory, and leaf certificates that it signs in memory. Blocking."""

import datetime as dt
import fcntl
import ipaddress
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from portway.certificates.certificate import Certificate, certificate_of, encode_key
from portway.config.files import read_secret, write_secret
from portway.config.paths import private_dir
from portway.errors import ConfigError

KEY_FILE = "dev-ca-key.pem"
"""Key and certificate of the root: they are replaced together or not at all."""

ROOT_FILE = "dev-ca.pem"
"""The certificate alone, for browsers and systems that shall trust it."""

RETIRED_FILE = "dev-ca-retired.pem"
"""Certificates of earlier roots, for `portway trust --uninstall`."""

LOCK_FILE = "dev-ca.lock"

ORGANISATION = "Portway development CA"

ROOT_LIFE = dt.timedelta(days=3650)
LEAF_LIFE = dt.timedelta(days=89)
"""Browsers accept long lives from own roots, but a leaf's key is as exposed as the process, and cannot be revoked."""

CLOCK_SKEW = dt.timedelta(days=1)
"""Certificates begin in the past, as clocks of virtual machines and containers differ."""

RETIRED_MAX = 20

_LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


@dataclass(frozen=True)
class DevelopmentCa:
    """The root with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def not_after(self) -> float:
        """When the root expires; seconds since 1970."""
        return self.certificate.not_valid_after_utc.timestamp()

    def allows(self, domain: str) -> bool:
        """Return whether the root may sign for `domain` and all names below it."""
        return any(domain == one or domain.endswith("." + one) for one in self._domains)

    @cached_property
    def _domains(self) -> list[str]:
        return allowed_domains(self.certificate)

    def sign(self, name: str, now: float) -> Certificate:
        """Return a new key with its certificate for one host name. Takes 0.2 ms."""
        key = ec.generate_private_key(ec.SECP256R1())
        begin = dt.datetime.fromtimestamp(int(now), dt.UTC) - CLOCK_SKEW
        end = min(begin + LEAF_LIFE, self.certificate.not_valid_after_utc)
        leaf = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANISATION)]))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(end)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        return certificate_of(leaf, [], encode_key(key))


def ensure_ca(data: Path, domain: str, now: float) -> DevelopmentCa:
    """Return the development CA of a data directory; create it if it is missing, has nearly expired, or does not allow `domain`.

    Processes that start at once get the same one.

    Raises:
        ConfigError: a file is damaged, readable by others, or cannot be written.
    """
    with _locked(private_dir(data)):
        found = read_ca(data)
        if found is None or not found.allows(domain) or found.not_after - now < LEAF_LIFE.total_seconds():
            if found is not None:
                _retire(data, found.certificate)
            found = _create(domain, now)
            write_secret(data / KEY_FILE, encode_key(found.key) + _pem(found.certificate), replace=True)
        if read_secret(data / ROOT_FILE) != _pem(found.certificate):
            write_secret(data / ROOT_FILE, _pem(found.certificate), replace=True)
    return found


def read_ca(data: Path) -> DevelopmentCa | None:
    """Return the development CA of a data directory, None if there is none.

    Raises:
        ConfigError: the file is damaged or readable by others.
    """
    path = data / KEY_FILE
    content = read_secret(path)
    if content is None:
        return None
    try:
        certificate = x509.load_pem_x509_certificate(content)
        key = serialization.load_pem_private_key(content, None)
    except (ValueError, TypeError) as exc:
        raise ConfigError(
            f"{path}: damaged ({exc}); remove it to get a new development CA, and run `portway trust --install` again"
        ) from exc
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise ConfigError(f"{path}: the key is not that of the certificate; remove the file to get a new development CA")
    return DevelopmentCa(certificate, key)


def read_roots(data: Path) -> list[x509.Certificate]:
    """Return the certificates of the root and of earlier ones in a data directory.

    Raises:
        ConfigError: a file is damaged or readable by others.
    """
    roots = []
    for name in (ROOT_FILE, RETIRED_FILE):
        content = read_secret(data / name)
        try:
            roots += x509.load_pem_x509_certificates(content) if content else []
        except ValueError as exc:
            raise ConfigError(f"{data / name}: damaged ({exc}); remove it, the server writes it again") from exc
    return roots


def allowed_domains(root: x509.Certificate) -> list[str]:
    """Return the domains for which, and for all names below them, a root may sign."""
    permitted = root.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees or []
    return [one.value for one in permitted if isinstance(one, x509.DNSName)]


def _create(domain: str, now: float) -> DevelopmentCa:
    key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    begin = dt.datetime.fromtimestamp(int(now), dt.UTC) - CLOCK_SKEW
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANISATION),
            x509.NameAttribute(
                NameOID.COMMON_NAME, f"{domain[:40]} {serial & 0xFFFFFFFF:08x}"
            ),  # different for each root: NSS finds them by subject
        ]
    )
    domains = dict.fromkeys([domain, "localhost"])
    permitted = [*(x509.DNSName(one) for one in domains), *(x509.IPAddress(network) for network in _LOOPBACK)]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(begin)
        .not_valid_after(begin + ROOT_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.NameConstraints(permitted, None), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return DevelopmentCa(certificate, key)


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _retire(data: Path, certificate: x509.Certificate) -> None:
    path = data / RETIRED_FILE
    try:
        earlier = x509.load_pem_x509_certificates(read_secret(path) or b"")
    except ValueError:  # missing, or damaged: `portway trust --uninstall` then misses the older ones
        earlier = []
    write_secret(path, b"".join(_pem(one) for one in [*earlier, certificate][-RETIRED_MAX:]), replace=True)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


@contextmanager
def _locked(data: Path) -> Iterator[None]:
    """Hold a lock that other processes of the server respect within the block."""
    path = data / LOCK_FILE
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be written: {exc.strerror}") from exc
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
