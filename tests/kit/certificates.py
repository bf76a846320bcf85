"""Certificates for tests: a small authority and certificates that it signs, or self-signed ones."""

import datetime as dt
import hashlib
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Identity:
    """A certificate and its key, in memory and in files."""

    cert_file: Path
    key_file: Path
    der: bytes
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    certificate: x509.Certificate

    @property
    def pin(self) -> str:
        """SHA-256 of the DER certificate in hex, as join strings carry it."""
        return hashlib.sha256(self.der).hexdigest()

    def server_context(self) -> ssl.SSLContext:
        """Return a server context with this certificate."""
        context = _as_in_debian(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        context.load_cert_chain(self.cert_file, self.key_file)
        return context


def _as_in_debian(context: ssl.SSLContext) -> ssl.SSLContext:
    """Treat a truncated connection as ended, like CPython before 3.11.4 (Debian 12 has 3.11.2)."""
    context.options |= ssl.OP_IGNORE_UNEXPECTED_EOF
    return context


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def make_identity(
    folder: Path, *names: str, signed_by: Identity | None = None, authority: bool = False, days: int = 7, rsa_bits: int = 0
) -> Identity:
    """Return a P-256 certificate for `names` (hosts or addresses), or one with an RSA key; self-signed unless an authority signs it."""
    key = rsa.generate_private_key(65537, rsa_bits) if rsa_bits else ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signed_by.certificate.subject if signed_by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .sign(signed_by.key if signed_by else key, hashes.SHA256())
    )
    stem = certificate.fingerprint(hashes.SHA256()).hex()[:12]
    cert_file, key_file = folder / f"{stem}.crt", folder / f"{stem}.key"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    der = certificate.public_bytes(serialization.Encoding.DER)
    return Identity(cert_file, key_file, der, key, certificate)


def client_context(trusted: Identity) -> ssl.SSLContext:
    """Return a client context that trusts only this certificate."""
    context = _as_in_debian(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    context.load_verify_locations(trusted.cert_file)
    return context
