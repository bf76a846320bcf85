"""PROXY protocol version 2: the addresses of a visitor, sent before its bytes.

Wire: signature 12 bytes | version and command u8 | family u8 | length u16 | addresses | TLVs (type u8 | length u16 | value)
Spec: HAProxy doc/proxy-protocol.txt, section 2.2. Version 1, from proxies in front, is in `proxy_inbound`.
"""

import struct
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TypeAlias

from portway.errors import MisuseError, PeerError
from portway.protocol.crc32c import crc32c

Address: TypeAlias = tuple[str, int]
"""Host and port. IPv6 without brackets; a unix socket is ("unix:/path", 0), an abstract one ("unix:@name", 0)."""

HEADER_BYTES_MAX = 512
"""Portway's own need at most about 430 (IPv6, a 253 byte SNI, a unique id); more would only fill buffers."""

TLV_ALPN = 0x01
TLV_AUTHORITY = 0x02
TLV_CRC32C = 0x03
TLV_UNIQUE_ID = 0x05
TLV_SSL = 0x20
TLV_TUNNEL_ID = 0xE0
"""Portway's own, from the range for applications: u32, the tunnel of this stream."""
TLV_UNTOUCHED = 0xE1
"""Portway's own: one byte, 1: the server supports UNTOUCHED (yamux/frame.py), and the stream carries consecutive HTTP requests."""
UNIQUE_ID_BYTES = 16
"""Bytes of TLV_UNIQUE_ID; random, so that it correlates the logs of both ends and reveals nothing else."""

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_HEAD = struct.Struct("!12sBBH")
_TLV = struct.Struct("!BH")
_TUNNEL_TLV = struct.Struct("!BHI")
_UNTOUCHED_TLV = _TLV.pack(TLV_UNTOUCHED, 1) + b"\1"
_PORTS = struct.Struct("!HH")
_LOCAL, _PROXY = 0x20, 0x21
_SSL_CLIENT = 0x01
_UNSPEC = 0x00
_IPV4, _IPV6, _UNIX = 0x10, 0x20, 0x30
_STREAM, _DATAGRAM = 0x01, 0x02
_ADDRESS_BYTES = {_IPV4: 4, _IPV6: 16, _UNIX: 108}
_FAMILIES = {_UNSPEC} | {family | kind for family in _ADDRESS_BYTES for kind in (_STREAM, _DATAGRAM)}
_V4_MAPPED = b"\0" * 10 + b"\xff\xff"


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """One header. `local`: the connection is the sender's own (a pooled stream, a health check), without a visitor."""

    local: bool
    source: Address | None = None
    """The visitor; None when local or unspecified."""
    destination: Address | None = None
    """The public address that it connected to."""
    tlvs: tuple[tuple[int, bytes], ...] = ()
    """In order, including unknown ones."""
    datagram: bool = False
    """UDP or a unix datagram socket instead of a stream."""

    def tlv(self, kind: int) -> bytes | None:
        """Return the first value of that type, or None."""
        return next((value for found, value in self.tlvs if found == kind), None)

    @property
    def tunnel_id(self) -> int | None:
        """The tunnel of the stream; None unless the header has exactly one."""
        values = [value for kind, value in self.tlvs if kind == TLV_TUNNEL_ID]
        return int.from_bytes(values[0], "big") if len(values) == 1 and len(values[0]) == 4 else None

    @property
    def encrypted(self) -> bool:
        """Whether the visitor connected to the sender over TLS, according to PP2_TYPE_SSL (section 2.2.6)."""
        value = self.tlv(TLV_SSL)
        return value is not None and value[:1] != b"" and bool(value[0] & _SSL_CLIENT)

    @property
    def wants_untouched(self) -> bool:
        """Whether the server requests UNTOUCHED, for origins that end before they get a byte of a request."""
        return self.tlv(TLV_UNTOUCHED) == b"\1"

    @property
    def unique_id(self) -> bytes | None:
        """Correlates the logs of both ends; reveals nothing about the visitor."""
        return self.tlv(TLV_UNIQUE_ID)


def encode(header: ProxyHeader) -> bytes:
    """Return the header's bytes, to be sent first and in one piece.

    Raises:
        MisuseError: it exceeds HEADER_BYTES_MAX, or an address cannot be encoded.
    """
    tlvs = b"".join(_TLV.pack(kind, len(value)) + value for kind, value in header.tlvs)
    if header.local or header.source is None or header.destination is None:
        if header.source or header.destination:
            raise MisuseError("a PROXY header has two addresses, or none because it is local")
        return _assembled(_LOCAL if header.local else _PROXY, _UNSPEC, b"", tlvs)
    family, addresses = _pair(header.source, header.destination)
    return _assembled(_PROXY, family | (_DATAGRAM if header.datagram else _STREAM), addresses, tlvs)


def encode_visitor(source: Address, destination: Address, tunnel_id: int, unique_id: bytes, sni: str = "", alpn: bytes = b"") -> bytes:
    """Return the preamble of a visitor's stream, like `encode` but without a ProxyHeader.

    Raises:
        MisuseError: like `encode`; up to 253 bytes of `sni` and 32 each of `alpn` and `unique_id` always fit.
    """
    tlvs = _TUNNEL_TLV.pack(TLV_TUNNEL_ID, 4, tunnel_id)
    for kind, value in ((TLV_UNIQUE_ID, unique_id), (TLV_AUTHORITY, sni.encode()), (TLV_ALPN, alpn)):
        if value:
            tlvs += _TLV.pack(kind, len(value)) + value
    family, addresses = _pair(source, destination)
    return _assembled(_PROXY, family | _STREAM, addresses, tlvs)


def encode_local(tunnel_id: int, unique_id: bytes = b"", *, wants_untouched: bool = False) -> bytes:
    """Return the preamble of a stream for a tunnel without a particular visitor (the HTTP edge's pooled streams)."""
    tlvs = _TUNNEL_TLV.pack(TLV_TUNNEL_ID, 4, tunnel_id)
    if wants_untouched:
        tlvs += _UNTOUCHED_TLV
    if unique_id:
        tlvs += _TLV.pack(TLV_UNIQUE_ID, len(unique_id)) + unique_id
    return _assembled(_LOCAL, _UNSPEC, b"", tlvs)


def decode(data: bytes | bytearray | memoryview, bytes_max: int = HEADER_BYTES_MAX) -> tuple[ProxyHeader, int] | None:
    """Return the header and its length in bytes if `data` contains all of it, else None.

    Raises:
        PeerError: not a PROXY v2 header, an invalid one, or one above `bytes_max`; as early as possible.
    """
    head = bytes(data[: _HEAD.size])
    if not head.startswith(_SIGNATURE[: len(head)]):
        what = "a PROXY v1 header" if head.startswith(b"PROXY") else f"{ascii(head)[1:]}"
        raise PeerError(f"stream starts with {what}: expected a PROXY protocol v2 header")
    if len(head) < _HEAD.size:
        return None
    _, command, family, length = _HEAD.unpack(head)
    _check_head(command, family, length, bytes_max)
    end = _HEAD.size + length
    if len(data) < end:
        return None
    whole = bytes(data[:end])
    if command == _LOCAL:
        return ProxyHeader(local=True, tlvs=_local_tlvs(whole, family)), end
    source, destination, offset = _addresses(whole, family)
    datagram = family & 0x0F == _DATAGRAM
    return ProxyHeader(local=False, source=source, destination=destination, tlvs=_tlvs(whole, offset), datagram=datagram), end


def _check_head(command: int, family: int, length: int, bytes_max: int) -> None:
    if command not in (_LOCAL, _PROXY):
        raise PeerError(f"PROXY header with version and command 0x{command:02x}: expected 0x20 (LOCAL) or 0x21 (PROXY)")
    # "other values ... must be rejected as invalid"; but of a LOCAL header the family is to be ignored.
    if command == _PROXY and family not in _FAMILIES:
        raise PeerError(f"PROXY header with unknown family 0x{family:02x}")
    if _HEAD.size + length > bytes_max:
        raise PeerError(f"PROXY header of {_HEAD.size + length} bytes: expected at most {bytes_max}")


def _local_tlvs(whole: bytes, family: int) -> tuple[tuple[int, bytes], ...]:
    # A LOCAL header is valid with any content; TLVs are read if possible (the tunnel id).
    try:
        return _tlvs(whole, _HEAD.size + 2 * _address_bytes(family))
    except PeerError:
        return ()


def _address_bytes(family: int) -> int:
    """Bytes of one end: its address and, for IP, its port."""
    kind = family & 0xF0
    return _ADDRESS_BYTES.get(kind, 0) + (2 if kind in (_IPV4, _IPV6) else 0)


def _addresses(whole: bytes, family: int) -> tuple[Address | None, Address | None, int]:
    """Return source, destination, and where the TLVs begin."""
    kind = family & 0xF0
    offset = _HEAD.size + 2 * _address_bytes(family)
    if len(whole) < offset:
        raise PeerError(f"PROXY header with {len(whole) - _HEAD.size} bytes of addresses: expected {offset - _HEAD.size}")
    if family == _UNSPEC:
        return None, None, offset
    size = _ADDRESS_BYTES[kind]
    first, second = whole[_HEAD.size : _HEAD.size + size], whole[_HEAD.size + size : _HEAD.size + 2 * size]
    if kind == _UNIX:
        return (_unix_text(first), 0), (_unix_text(second), 0), offset
    source_port, destination_port = _PORTS.unpack_from(whole, offset - _PORTS.size)
    return (_ip_text(first), source_port), (_ip_text(second), destination_port), offset


def _tlvs(whole: bytes, offset: int) -> tuple[tuple[int, bytes], ...]:
    found, end, unpack, size = [], len(whole), _TLV.unpack_from, _TLV.size
    while offset < end:
        if end - offset < size:
            raise PeerError(f"PROXY header ends with {end - offset} stray bytes after its last TLV")
        kind, length = unpack(whole, offset)
        start = offset + size
        offset = start + length
        if offset > end:
            raise PeerError(f"PROXY TLV 0x{kind:02x} of {length} bytes, but the header ends after {end - start}")
        if kind == TLV_CRC32C:
            _check_crc(whole, start, length)
        found.append((kind, whole[start:offset]))
    return tuple(found)


def _check_crc(whole: bytes, start: int, length: int) -> None:
    sent = whole[start : start + length]
    computed = crc32c(whole[:start] + b"\0" * length + whole[start + length :]).to_bytes(4, "big")
    if sent != computed:
        raise PeerError(f"PROXY header with invalid checksum {sent.hex()}: expected {computed.hex()}")


def _assembled(command: int, family: int, addresses: bytes, tlvs: bytes) -> bytes:
    length = len(addresses) + len(tlvs)
    if _HEAD.size + length > HEADER_BYTES_MAX:
        raise MisuseError(f"PROXY header of {_HEAD.size + length} bytes: at most {HEADER_BYTES_MAX} can be sent")
    return _HEAD.pack(_SIGNATURE, command, family, length) + addresses + tlvs


def _pair(source: Address, destination: Address) -> tuple[int, bytes]:
    """Return the family and the address block of two ends."""
    first, second = _packed(source[0]), _packed(destination[0])
    if len(first) != len(second):
        if len(first) == 108 or len(second) == 108:
            raise MisuseError(f"PROXY header between a unix socket and an IP address: {source[0]!r}, {destination[0]!r}")
        # One header cannot contain both kinds; IPv6 can express both.
        first, second = (_V4_MAPPED + end if len(end) == 4 else end for end in (first, second))
    if len(first) == 108:
        return _UNIX, first + second
    return _IPV4 if len(first) == 4 else _IPV6, first + second + _PORTS.pack(source[1], destination[1])


@lru_cache(maxsize=4096)
def _packed(host: str) -> bytes:
    """Return 4, 16 or 108 bytes. Cached, because the same visitors and listeners occur repeatedly."""
    if host.startswith("unix:"):
        path = host[5:].encode(errors="surrogateescape")
        path = b"\0" + path[1:] if path.startswith(b"@") else path
        if len(path) > 108:
            raise MisuseError(f"unix socket path of {len(path)} bytes: at most 108 fit into a PROXY header")
        return path.ljust(108, b"\0")
    try:
        # An interface ("%eth0") means nothing to the other machine.
        address = ip_address(host.partition("%")[0])
    except ValueError:
        raise MisuseError(f"PROXY header for {host!r}: expected an IP address or unix:/path") from None
    # A listener on [::] reports IPv4 visitors in IPv6 form; send them as IPv4.
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).packed


@lru_cache(maxsize=4096)
def _ip_text(packed: bytes) -> str:
    packed = packed.removeprefix(_V4_MAPPED)
    return str(IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed))


def _unix_text(packed: bytes) -> str:
    if packed.startswith(b"\0") and packed.strip(b"\0"):
        return "unix:@" + packed[1:].rstrip(b"\0").decode(errors="surrogateescape")
    return "unix:" + packed.partition(b"\0")[0].decode(errors="surrogateescape")
