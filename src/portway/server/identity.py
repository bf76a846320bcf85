"""The server's key and certificate, generated at the first start, and the endpoint that join strings contain."""

import datetime as dt
import hashlib
import ssl
from dataclasses import dataclass
from pathlib import Path

import msgspec

from portway.config.files import is_private_file, read_secret, write_secret
from portway.errors import ConfigError
from portway.server.settings import ServerSettings
from portway.telemetry.logs import get_log

FILE = "server-identity.pem"
"""Key and certificate in one file: they are replaced together or not at all."""

ADVERTISED_FILE = "server.json"
"""The endpoint that the running or last server advertised to agents."""


log = get_log(__name__)


@dataclass(frozen=True, slots=True)
class Identity:
    """Certificate and key of the agents' listener."""

    cert_file: Path
    key_file: Path
    """May be the same file as `cert_file`."""
    pin: bytes | None
    """SHA-256 over the certificate's DER; None when agents check a CA instead."""


class Advertised(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A join string without its token: how agents reach and verify the server."""

    host: str
    port: int
    pin: str = ""
    """The pin in hexadecimal; empty when agents check a CA instead."""
    plaintext: bool = False


def identity_of(settings: ServerSettings) -> Identity:
    """Return the identity of the agents' listener: the files that the settings name, otherwise the server's own.

    Raises:
        ConfigError: a file is missing or damaged, or the key is readable by others.
    """
    if settings.agents_certificate is None or settings.agents_key is None:
        return ensure_identity(settings.data)
    if read_secret(settings.agents_key, follow=True) is None:
        raise ConfigError(f"agents_key: {settings.agents_key} does not exist")
    return Identity(settings.agents_certificate, settings.agents_key, pin=None)


def ensure_identity(data_dir: Path) -> Identity:
    """Return the server's identity in `data_dir`; generate it if it is missing.

    Two processes that start at once get the same one.

    Raises:
        ConfigError: the files are damaged, readable by others, or cannot be written.
    """
    path = data_dir / FILE
    if not is_private_file(path):
        write_secret(path, _make_pem(), replace=False)
    return Identity(path, path, certificate_pin(path))


def certificate_pin(path: Path) -> bytes:
    """Return SHA-256 over the DER of the first certificate in a PEM file that only we can read.

    Raises:
        ConfigError: the file is missing, readable by others, or holds no certificate.
    """
    data = read_secret(path)
    if data is None:
        raise ConfigError(f"{path}: does not exist")
    try:
        return hashlib.sha256(_first_certificate(data)).digest()
    except ValueError as exc:
        raise ConfigError(
            f"{path}: damaged ({exc}); restore it from a backup. Or remove it, start over (`portway token create NAME --init`), "
            "and give your agents new join strings"
        ) from exc


def certificate_der(path: Path) -> bytes:
    """Return the DER of the first certificate in a PEM file: the one that links present.

    Raises:
        ConfigError: the file cannot be read or contains no certificate.
    """
    try:
        return _first_certificate(path.read_bytes())
    except (OSError, ValueError) as exc:
        raise ConfigError(f"{path}: cannot read a certificate: {exc}") from exc


def _first_certificate(pem: bytes) -> bytes:
    """Return the DER of the first certificate in `pem`; raise ValueError when there is none."""
    begin, end = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
    start, stop = pem.find(begin), pem.find(end)
    if not 0 <= start < stop:
        raise ValueError("no certificate found")
    return ssl.PEM_cert_to_DER_cert(pem[start : stop + len(end)].decode("ascii"))


def record_advertised(data_dir: Path, advertised: Advertised) -> None:
    """Save the endpoint that agents dial, for `portway token create`, if it has changed.

    A failed write is only logged: the server works without this file.
    """
    try:
        if read_advertised(data_dir) == advertised:
            return
    except ConfigError as exc:
        log.info("saved endpoint unreadable, overwritten", reason=exc)
    try:
        write_secret(data_dir / ADVERTISED_FILE, msgspec.json.encode(advertised), replace=True)
    except ConfigError as exc:
        log.warning("endpoint not saved; `portway token create` uses the previous one", reason=exc)


def read_advertised(data_dir: Path) -> Advertised | None:
    """Return the endpoint that the running or last server advertised, or None when no server ever ran on this data directory.

    Raises:
        ConfigError: the file is damaged or readable by others.
    """
    path = data_dir / ADVERTISED_FILE
    data = read_secret(path)
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=Advertised)
    except msgspec.DecodeError as exc:
        raise ConfigError(f"{path}: damaged ({exc}); start the server once to write it again") from exc


def _make_pem() -> bytes:
    """Return a new P-256 key with its self-signed certificate, which never expires: agents compare its pin and nothing else."""
    try:
        from cryptography import x509  # noqa: PLC0415 - takes 60 ms, and only the first start needs it
        from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    except ImportError as exc:
        raise ConfigError("missing package cryptography: the server requires it; install portway[server]") from exc
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "portway server")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(dt.datetime(2020, 1, 1, tzinfo=dt.UTC))  # clocks of small machines may be wrong, and a pin needs no date
        .not_valid_after(dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC))  # RFC 5280 4.1.2.5: no well-defined end
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("portway.invalid")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private + certificate.public_bytes(serialization.Encoding.PEM)
