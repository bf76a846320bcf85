"""TLS alerts that end a connection before its handshake, and the error that carries one.

Wire: content type u8 = 21 | version u16 | length u16 = 2 | level u8 | description u8 (RFC 8446 sections 5.1 and 6).
"""

from enum import Enum, IntEnum

from portway.errors import PeerError


class Alert(IntEnum):
    """Descriptions of fatal alerts that a server sends in reply to a ClientHello (RFC 8446 section 6)."""

    UNEXPECTED_MESSAGE = 10
    """A record or handshake message of a type that cannot come now."""
    RECORD_OVERFLOW = 22
    """A record of more than 2^14 bytes."""
    ILLEGAL_PARAMETER = 47
    """The syntax is right, but a value is forbidden or contradicts another one."""
    DECODE_ERROR = 50
    """The message breaks the syntax: a length is wrong, or a vector shorter or longer than allowed."""
    PROTOCOL_VERSION = 70
    """Each version that the client offers is too old."""
    INTERNAL_ERROR = 80
    """The server cannot go on, for a reason that has nothing to do with the client."""
    MISSING_EXTENSION = 109
    """A mandatory extension is missing; a server that requires server_name may send it (RFC 8446 section 9.2)."""
    UNRECOGNIZED_NAME = 112
    """The server name is invalid, or unknown to this server (RFC 6066 section 3)."""
    NO_APPLICATION_PROTOCOL = 120
    """The client offers none of the server's protocols (RFC 7301 section 3.2)."""


class FirstProtocol(Enum):
    """What the first bytes of a connection belong to; `value` is its name for logs."""

    TLS = "TLS"
    SSL2 = "SSL 2.0"
    HTTP = "HTTP"
    SSH = "SSH"
    PROXY = "PROXY protocol"
    UNKNOWN = "an unknown protocol"


class HelloError(PeerError):
    """A connection that does not begin with an acceptable ClientHello."""

    def __init__(self, reason: str, alert: Alert | None, protocol: FirstProtocol = FirstProtocol.TLS) -> None:
        """`alert` is None where the peer cannot understand one, as it uses another protocol."""
        super().__init__(reason)
        self.alert = alert
        self.protocol = protocol


_FATAL = 2


def alert_record(alert: Alert) -> bytes:
    """Return the record that carries a fatal alert, unencrypted (RFC 8446 sections 5.1 and 6.2; the same in TLS 1.2)."""
    return bytes((21, 3, 3, 0, 2, _FATAL, alert))
