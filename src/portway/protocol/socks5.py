"""SOCKS5 (RFC 1928) with user names and passwords (RFC 1929): messages of both sides, as bytes and back."""

from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple

from portway.errors import PeerError

VERSION = 5
NO_AUTHENTICATION, PASSWORD, NO_METHOD = 0, 2, 0xFF
"""Methods (RFC 1928 section 3)."""
CONNECT, BIND, UDP_ASSOCIATE = 1, 2, 3
"""Commands (RFC 1928 section 4)."""
SUCCEEDED, GENERAL_FAILURE, NOT_ALLOWED, NETWORK_UNREACHABLE, HOST_UNREACHABLE, REFUSED, TTL_EXPIRED = range(7)
COMMAND_UNSUPPORTED, ADDRESS_UNSUPPORTED = 7, 8
"""Replies (RFC 1928 section 6)."""

REPLY_TEXTS = {
    GENERAL_FAILURE: "general failure",
    NOT_ALLOWED: "not allowed by its rules",
    NETWORK_UNREACHABLE: "network unreachable",
    HOST_UNREACHABLE: "host unreachable or unknown",
    REFUSED: "connection refused",
    TTL_EXPIRED: "timed out",
    COMMAND_UNSUPPORTED: "command not supported",
    ADDRESS_UNSUPPORTED: "address type not supported",
}

_IPV4, _NAME, _IPV6 = 1, 3, 4
_CREDENTIALS_VERSION = 1


class Request(NamedTuple):
    """A request of a client."""

    command: int
    host: bytes
    """A name as it was sent, or an address as text without brackets."""
    port: int


@dataclass(frozen=True, slots=True)
class Reply:
    """A server's reply to a request."""

    code: int
    host: str
    port: int


# Every parser takes all bytes received so far, from the start of its message, and returns the message with its size, or None while it is
# incomplete. No message has more than 515 bytes.


def parse_greeting(data: bytes) -> tuple[bytes, int] | None:
    """Return the methods that a client offers; raises PeerError."""
    if data[:1] != b"\x05":
        raise PeerError("invalid SOCKS version: expected 5")
    if len(data) < 2 or len(data) < 2 + data[1]:
        return None
    size = 2 + data[1]
    return data[2:size], size


def parse_credentials(data: bytes) -> tuple[str, bytes, int] | None:
    """Return user name and password of a client; raises PeerError."""
    if data[:1] not in (b"", b"\x01"):
        raise PeerError("invalid version of SOCKS5 credentials: expected 1")
    if len(data) < 2 or len(data) < 3 + data[1]:
        return None
    at = 2 + data[1]
    size = at + 1 + data[at]
    if len(data) < size:
        return None
    return data[2:at].decode("utf-8", "backslashreplace"), data[at + 1 : size], size


def parse_request(data: bytes) -> tuple[Request, int] | None:
    """Return the request of a client; raises PeerError."""
    found = _parse_message(data)
    if found is None:
        return None
    command, host, port, size = found
    return Request(command, host, port), size


def parse_choice(data: bytes) -> int | None:
    """Return the method that a server has chosen; raises PeerError."""
    if data[:1] not in (b"", b"\x05"):
        raise PeerError("not a SOCKS5 server")
    return data[1] if len(data) >= 2 else None


def parse_verdict(data: bytes) -> bool | None:
    """Return whether a server accepts the credentials."""
    return None if len(data) < 2 else data[1] == 0


def parse_reply(data: bytes) -> tuple[Reply, int] | None:
    """Return a server's reply to a request; raises PeerError."""
    found = _parse_message(data)
    if found is None:
        return None
    code, host, port, size = found
    return Reply(code, host.decode("latin-1"), port), size


def encode_greeting(methods: bytes) -> bytes:
    """Return a client's first message."""
    return bytes((VERSION, len(methods))) + methods


def encode_credentials(name: bytes, password: bytes) -> bytes:
    """Return a client's credentials; both have 1 to 255 bytes."""
    return bytes((_CREDENTIALS_VERSION, len(name))) + name + bytes((len(password),)) + password


def encode_request(command: int, host: str, port: int) -> bytes:
    """Return a client's request for a name or an address."""
    return bytes((VERSION, command, 0)) + encode_address(host, port)


def encode_choice(method: int) -> bytes:
    """Return a server's choice of a method."""
    return bytes((VERSION, method))


def encode_verdict(accepted: bool) -> bytes:
    """Return whether a server accepts the credentials."""
    return bytes((_CREDENTIALS_VERSION, 0 if accepted else 1))


def encode_reply(code: int, host: str = "0.0.0.0", port: int = 0) -> bytes:  # noqa: S104 - RFC 1928: the bound address, unspecified
    """Return a server's reply to a request."""
    return bytes((VERSION, code, 0)) + encode_address(host, port)


def encode_address(host: str, port: int) -> bytes:
    """Return an address with its type, as in requests, replies and datagrams."""
    try:
        address = ip_address(host)
    except ValueError:
        name = host.encode("ascii")
        return bytes((_NAME, len(name))) + name + port.to_bytes(2)
    return bytes((_IPV4 if address.version == 4 else _IPV6,)) + address.packed + port.to_bytes(2)


def parse_address(data: bytes, at: int) -> tuple[bytes, int, int] | None:
    """Return the host, the port and the position behind an address that begins with its type at `at`; raises PeerError."""
    if len(data) <= at + 1:
        return None
    kind = data[at]
    if kind == _NAME:
        start, size = at + 2, data[at + 1]
        if not size:
            raise PeerError("empty name in a SOCKS5 address")
    elif kind in (_IPV4, _IPV6):
        start, size = at + 1, 4 if kind == _IPV4 else 16
    else:
        raise PeerError(f"invalid address type {kind} in SOCKS5: expected 1, 3 or 4")
    end = start + size
    if len(data) < end + 2:
        return None
    raw = data[start:end]
    host = raw if kind == _NAME else b"%d.%d.%d.%d" % tuple(raw) if kind == _IPV4 else str(IPv6Address(raw)).encode()
    return host, int.from_bytes(data[end : end + 2]), end + 2


def _parse_message(data: bytes) -> tuple[int, bytes, int, int] | None:
    if data[:1] not in (b"", b"\x05"):
        raise PeerError("invalid SOCKS version: expected 5")
    if len(data) < 4:
        return None
    found = parse_address(data, 3)
    if found is None:
        return None
    host, port, size = found
    return data[1], host, port, size
