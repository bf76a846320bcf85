"""SOCKS4 and SOCKS4a, server's side: requests and replies as bytes. The only specifications are NEC's two memos of 1992 and 1996."""

from dataclasses import dataclass
from ipaddress import IPv4Address

from portway.errors import PeerError

CONNECT, BIND = 1, 2
GRANTED, REJECTED = 90, 91

_TEXT_BYTES_MAX = 255
"""Of the user id, and of the name in SOCKS4a."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request of a client."""

    command: int
    host: bytes
    """An address as text, or a name (SOCKS4a)."""
    port: int


def parse_request(data: bytes) -> tuple[Request, int] | None:
    """Return a client's request with its size, or None while it is incomplete; `data` is all that was received so far.

    Raises:
        PeerError: another version, or a user id or name of more than 255 bytes.
    """
    if data[:1] != b"\x04":
        raise PeerError("invalid SOCKS version: expected 4")
    if len(data) < 9:
        return None
    end = _text_end(data, 8, "user id")
    if end is None:
        return None
    raw, size = data[4:8], end + 1
    host = str(IPv4Address(raw)).encode()
    if raw[:3] == b"\0\0\0" and raw[3]:  # 0.0.0.x: a name follows
        end = _text_end(data, size, "name")
        if end is None:
            return None
        host, size = data[size:end], end + 1
        if not host:
            raise PeerError("empty name in a SOCKS4a request")
    return Request(data[1], host, int.from_bytes(data[2:4])), size


def encode_reply(code: int) -> bytes:
    """Return the reply to a request; the address in it is unspecified."""
    return bytes((0, code)) + bytes(6)


def _text_end(data: bytes, start: int, what: str) -> int | None:
    end = data.find(0, start, start + _TEXT_BYTES_MAX + 1)
    if end < 0:
        if len(data) - start > _TEXT_BYTES_MAX:
            raise PeerError(f"SOCKS4 {what} too long: expected at most {_TEXT_BYTES_MAX} bytes")
        return None
    return end
