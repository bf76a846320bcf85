"""One certificate with its key: its names, issuer and lifetime, read from PEM."""

from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.x509.oid import NameOID

from portway.errors import ConfigError, PeerError
from portway.protocol.names import HOST_CHARS_MAX, normalise_host

NAMES_MAX = 1000
"""Most names that are read from one certificate; authorities sign 100 to 250."""

ISSUER_CHARS_MAX = 100


@dataclass(frozen=True, slots=True)
class Certificate:
    """A leaf certificate with its chain and key."""

    names: tuple[str, ...]
    """As `normalise_host` returns them; a wildcard begins with `*.`."""
    issuer: str
    not_before: float
    """Seconds since 1970."""
    not_after: float
    pem: bytes = field(repr=False)
    """Key, then the leaf, then the rest of the chain."""
    key_type: str = ""
    """"rsa", "ec" or "" for others: OpenSSL serves one certificate of each type to the clients that offer it."""

    def is_valid(self, now: float) -> bool:
        """Return whether clients accept its dates; `now` is from `clock.wall`."""
        return self.not_before <= now < self.not_after


def certificate_of(leaf: x509.Certificate, chain: list[x509.Certificate], key_pem: bytes) -> Certificate:
    """Return a certificate, its chain and the key that belongs to it as one.

    Raises:
        ConfigError: it has no host name.
    """
    names = host_names(leaf)
    if not names:
        raise ConfigError("no host name in subjectAltName: expected names like app.example.org or *.example.org")
    encoded = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in (leaf, *chain))
    begin, end = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
    return Certificate(names, issuer_of(leaf), begin, end, key_pem + encoded, _key_type(leaf))


def parse_bundle(pem: bytes) -> Certificate:
    """Return the certificate in `pem`: a key, and a chain that begins with the leaf.

    Raises:
        ConfigError: something is missing or damaged, or the key is of another certificate.
    """
    try:
        leaf, *chain = x509.load_pem_x509_certificates(pem)
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError) as exc:
        raise ConfigError(f"invalid PEM: {exc}") from exc
    if key.public_key() != leaf.public_key():
        raise ConfigError("the key is not that of the first certificate")
    return certificate_of(leaf, chain, encode_key(key))


def encode_key(key: PrivateKeyTypes) -> bytes:
    """Return a key as PEM, without encryption: OpenSSL reads it at once."""
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def public_bytes(key: PublicKeyTypes) -> bytes:
    """Return a public key in DER, by which certificates and keys are matched."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def host_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return the valid host names of a certificate, in its order.

    Others are left out: addresses, and wildcards other than a whole first label (RFC 9525 section 6.3).
    """
    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    names = (_host_name(name) for name in alternatives.get_values_for_type(x509.DNSName)[:NAMES_MAX])
    return tuple(dict.fromkeys(name for name in names if name))


def issuer_of(certificate: x509.Certificate) -> str:
    """Return the issuer in few words: organisation and common name."""
    issuer = certificate.issuer
    words = [str(one.value) for oid in (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME) for one in issuer.get_attributes_for_oid(oid)[:1]]
    text = ", ".join(dict.fromkeys(words)) or issuer.rfc4514_string()
    return text[:ISSUER_CHARS_MAX]


def _key_type(certificate: x509.Certificate) -> str:
    key = certificate.public_key()
    return "rsa" if isinstance(key, rsa.RSAPublicKey) else "ec" if isinstance(key, ec.EllipticCurvePublicKey) else ""


def _host_name(raw: str) -> str:
    """Return a name in the form that it is looked up by, or "" if it is not one."""
    star, _, rest = raw.partition(".")
    base = rest if star == "*" else raw
    try:
        name = normalise_host(base)
    except PeerError:
        return ""
    if ":" in base or len(raw) > HOST_CHARS_MAX:
        return ""
    return f"*.{name}" if star == "*" else name
