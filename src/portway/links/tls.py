"""TLS for links: always verified, against a pin or a CA; ALPN identifies it as a link."""

import hashlib
import hmac
import ssl
from dataclasses import dataclass, field

from portway.errors import BrokenChannel, ConfigError, PortwayError, RefusedError, UnavailableError
from portway.protocol.control import codes

ALPN = "portway/1"
"""The only protocol that agents offer, besides hints, so that one port can serve visitors and agents."""


class WrongServerError(UnavailableError):
    """The peer is not a Portway server with links of this kind; that may be temporary."""


@dataclass(frozen=True, slots=True)
class AgentTls:
    """How an agent verifies its server; created by `agent_tls`."""

    context: ssl.SSLContext
    pin: bytes | None
    """SHA-256 of the server's certificate (DER), or None to verify with a CA."""
    server_name: str = field(default="")
    """The name that the certificate must have, empty with a pin."""

    def set_alpn(self, hint: str = "") -> None:
        """Set the ALPN protocols of future connections: that of links, and `hint` if there is one."""
        self.context.set_alpn_protocols([ALPN, hint] if hint else [ALPN])

    def check(self, certificate_der: bytes | None) -> None:
        """Compare the server's certificate with the pin.

        Raises:
            RefusedError: the certificate differs from that of the join string.
        """
        if self.pin is None:
            return
        found = hashlib.sha256(certificate_der or b"").digest()
        if not hmac.compare_digest(found, self.pin):
            raise RefusedError(
                codes.WRONG_PIN,
                f"the server's certificate is sha256:{found.hex()}, but the join string requires sha256:{self.pin.hex()}",
                "The connection may be intercepted, or the server has a new certificate: ask its operator for a new join string",
            )

    def to_error(self, failure: BrokenChannel) -> PortwayError:
        """Return the error for a failed handshake: a refusal if the certificate was the reason, else that the server is unavailable."""
        cause = failure.__cause__
        if not isinstance(cause, ssl.SSLCertVerificationError):
            answered = isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError)
            return (WrongServerError if answered else UnavailableError)(f"cannot establish TLS: {failure}")
        return RefusedError(
            codes.WRONG_CERTIFICATE,
            str(failure),
            f"The connection may be intercepted; or the certificate has expired, is for another name than {self.server_name}, or is from an "
            "authority that is unknown here (--ca-file): ask the server's operator",
        )


def server_context(cert_file: str, key_file: str) -> ssl.SSLContext:
    """Return the context of the agents' listener. Keep it as long as the process runs.

    Raises:
        ConfigError: the files cannot be read or do not match.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([ALPN])
    context.num_tickets = 0  # links are long-lived; resumption would only add state to leak
    context.options |= ssl.OP_NO_RENEGOTIATION
    try:
        # An encrypted key is an error: without a password OpenSSL would prompt on the terminal and wait.
        context.load_cert_chain(cert_file, key_file, password="")
    except (OSError, ssl.SSLError) as exc:
        raise ConfigError(f"{cert_file} and {key_file}: cannot be used as certificate and key: {exc}") from exc
    return context


def agent_tls(host: str, pin: bytes | None, ca_file: str | None = None) -> AgentTls:
    """Return how to verify the server at `host`: by `pin` (32 bytes) if there is one, else by `ca_file` or the system's CAs.

    Raises:
        ConfigError: the CA file cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([ALPN])
    if pin is not None:
        # The pin alone is compared, after the handshake: names and dates of a self-signed certificate prove nothing.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return AgentTls(context, pin)
    try:
        if ca_file is None:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        else:
            context.load_verify_locations(ca_file)
    except (OSError, ssl.SSLError) as exc:
        raise ConfigError(f"{ca_file}: invalid CA certificates: {exc}") from exc
    return AgentTls(context, None, host)
