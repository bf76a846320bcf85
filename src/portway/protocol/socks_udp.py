"""The header of datagrams between a SOCKS5 client and its UDP relay (RFC 1928 section 7)."""

from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from portway.errors import PeerError

_IPV4, _NAME, _IPV6 = 1, 3, 4
"""Types of an address (RFC 1928 section 5)."""

HEADER_BYTES_MAX = 4 + 1 + 255 + 2
"""The longest header: that of a name of 255 bytes."""

ANSWER_HEADER_BYTES_MAX = 4 + 16 + 2
"""The longest header that the relay writes: answers come from addresses, not from names."""


class DatagramHeader(NamedTuple):
    """Where a client's datagram is to be sent."""

    host: str
    """An address in canonical form, or a name as the client spelled it."""
    port: int
    size: int
    """Length of the header; the payload follows."""


class FragmentError(PeerError):
    """A fragment of a datagram: reassembly is optional, and relays that do not support it drop fragments."""


def decode_datagram_header(data: bytes | memoryview) -> DatagramHeader:
    """Return the header at the beginning of a datagram.

    Raises:
        FragmentError: a fragment.
        PeerError: it breaks off, or is invalid.
    """
    head = bytes(data[:HEADER_BYTES_MAX])
    if len(head) < 5:
        raise PeerError(f"invalid SOCKS datagram of {len(head)} bytes: expected a header of at least 10")
    if head[2]:
        raise FragmentError(f"fragment {head[2]}: expected a whole datagram (0)")
    kind = head[3]
    start, length = (5, head[4]) if kind == _NAME else (4, {_IPV4: 4, _IPV6: 16}.get(kind, 0))
    size = start + length + 2
    if not length or head[:2] != b"\0\0":
        raise PeerError("invalid SOCKS datagram: expected two reserved zero bytes and an IPv4 address, an IPv6 address or a name")
    if len(head) < size:
        raise PeerError(f"invalid SOCKS datagram of {len(head)} bytes: its header breaks off")
    host, port = head[start : start + length], int.from_bytes(head[size - 2 : size], "big")
    if not port:
        raise PeerError("invalid port 0 of a SOCKS datagram: expected 1 to 65535")
    if kind == _NAME:
        if not host.isascii():
            raise PeerError("invalid name of a SOCKS datagram: expected ASCII")
        return DatagramHeader(host.decode("ascii"), port, size)
    return DatagramHeader(str(IPv4Address(host) if kind == _IPV4 else IPv6Address(host)), port, size)


def encode_datagram_header(address: IPv4Address | IPv6Address, port: int) -> bytes:
    """Return the header of a datagram that the relay received from `address` and `port`."""
    kind = _IPV4 if address.version == 4 else _IPV6
    return b"\0\0\0%c%b%b" % (kind, address.packed, port.to_bytes(2, "big"))
