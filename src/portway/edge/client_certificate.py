"""The certificate that a visitor proved to have in its TLS handshake."""

import base64
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class VerifiedClient:
    """A visitor's certificate, and the CAs by which it was verified."""

    client_ca: str = field(repr=False)
    """PEM certificates, as the tunnel's agent gave them: after they changed, the connection no longer counts as verified."""
    certificate: bytes = field(repr=False)
    """DER."""

    def field_line(self) -> bytes:
        """Return the line of Client-Cert (RFC 9440 section 2): the certificate as a byte sequence of RFC 8941."""
        return b"Client-Cert: :" + base64.b64encode(self.certificate) + b":\r\n"
