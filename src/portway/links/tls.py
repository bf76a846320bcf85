"""TLS for links: always verified, against a pin or a CA; ALPN says that it is a link."""

import hashlib
import hmac
import ssl
from dataclasses import dataclass, field

from portway.errors import BrokenChannel, ConfigError, PortwayError, RefusedError, UnavailableError
from portway.protocol.control import codes

ALPN = "portway/1"
"""Agents offer this alone, so that one port can carry visitors and agents."""


class WrongServerError(UnavailableError):
    """Somebody answers who is no Portway server with links of this kind; perhaps one comes there later."""


@dataclass(frozen=True, slots=True)
class AgentTls:
    """How an agent verifies the server it dials; build it with `agent_tls`."""

    context: ssl.SSLContext
    pin: bytes | None
    """SHA-256 over the DER certificate of the server, or None when a CA vouches for it."""
    server_name: str = field(default="")
    """The name that the CA has to vouch for, empty with a pin."""

    def set_alpn(self, hint: str = "") -> None:
        """Show `hint`, or nothing but that it is a link, in the ClientHello of connections that are made from now on."""
        self.context.set_alpn_protocols([ALPN, hint] if hint else [ALPN])

    def check(self, certificate_der: bytes | None) -> None:
        """Compare the server's certificate with the pin.

        Raises:
            RefusedError: another certificate than the one that the join string names.
        """
        if self.pin is None:
            return
        found = hashlib.sha256(certificate_der or b"").digest()
        if not hmac.compare_digest(found, self.pin):
            raise RefusedError(
                codes.WRONG_PIN,
                f"the server's certificate is sha256:{found.hex()}, the join string says sha256:{self.pin.hex()}",
                "Someone may be in the middle, or the server has a new identity: ask its operator for a new join string",
            )

    def to_error(self, failure: BrokenChannel) -> PortwayError:
        """Return what a failed handshake means to who dialled: a refusal when it was the certificate, else that nobody is there."""
        cause = failure.__cause__
        if not isinstance(cause, ssl.SSLCertVerificationError):
            answered = isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError)
            return (WrongServerError if answered else UnavailableError)(f"no encrypted link: {failure}")
        return RefusedError(
            codes.WRONG_CERTIFICATE,
            str(failure),
            f"Someone may be in the middle; or the certificate is old, for another name than {self.server_name}, or of an authority "
            "that is not known here (--ca-file): ask the server's operator",
        )


def server_context(cert_file: str, key_file: str) -> ssl.SSLContext:
    """Return the context of the agents' listener. Keep it for the life of the process.

    Raises:
        ConfigError: the files cannot be read or do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([ALPN])
    context.num_tickets = 0  # links live long; resumption would only be state to leak
    context.options |= ssl.OP_NO_RENEGOTIATION
    try:
        # An encrypted key is an error, not a question: without a password OpenSSL would ask on the terminal and wait.
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
        # The pin is the whole proof and is compared after the handshake: names and dates of a self-made identity say nothing.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return AgentTls(context, pin)
    try:
        if ca_file is None:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        else:
            context.load_verify_locations(ca_file)
    except (OSError, ssl.SSLError) as exc:
        raise ConfigError(f"{ca_file}: not a file of CA certificates: {exc}") from exc
    return AgentTls(context, None, host)
