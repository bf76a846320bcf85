"""ClientHello reader: finds server name, ALPN and version before any handshake, to route a connection by them.

Wire: records of content type u8 = 22 | version u16 | length u16 | fragment (RFC 8446 section 5.1), whose fragments together are
a handshake message of type u8 = 1 | length u24 | ClientHello (sections 4 and 4.1.2). TLS 1.2 has the same (RFC 5246).

The reader checks the framing and what routing depends on; extensions that only the handshake needs are left to the TLS stack,
which gets the same bytes. The name and the ALPN of an encrypted inner hello (ECH) cannot be seen: the outer ones count, as for
every server without the keys.
"""

from dataclasses import dataclass, field
from struct import Struct

from portway.errors import PeerError
from portway.protocol.names import normalise_host
from portway.protocol.tls_alert import Alert, FirstProtocol, HelloError

HELLO_BYTES_MAX = 64 * 1024
"""Longest handshake message, header included. Clients send 250 to 2,000 bytes, but a ticket alone may have 2^16 (section 4.6.1)."""

WIRE_BYTES_MAX = 100_000
"""Most bytes of records that one hello may take: a hello in fragments of 1 byte takes 6 times its length, and has to be short."""

EXTENSIONS_MAX = 512
"""Most extensions of one hello. 70 are registered, and clients add up to 5 of GREASE; the bound keeps parsing below 1 ms."""

PROTOCOLS_MAX = 256
"""Most ALPN names of one hello; clients offer 1 to 5."""

TLS_1_2 = 0x0303
TLS_1_3 = 0x0304

_HANDSHAKE, _CLIENT_HELLO = 22, 1
_SERVER_NAME, _ALPN, _PRE_SHARED_KEY, _SUPPORTED_VERSIONS = 0, 16, 41, 43

_HOST_NAME = 0
"""The only NameType there is."""

_RECORD = Struct(">BBxH")
"""content type, major version, length of the fragment."""
_START = Struct(">BBxHI")
"""The same, then type and length of the message in one number."""
_EXTENSION = Struct(">HH")
"""type, length."""

_RECORD_HEADER_BYTES = _RECORD.size
_HEADER_BYTES = 4
_FRAGMENT_MAX = 1 << 14
_SESSION_ID_AT = 34
_SESSION_ID_BYTES_MAX = 32
_BODY_BYTES_MIN = 41
"""Version, random, empty session id, one cipher suite, one compression method."""
_FITS_MIN = _HEADER_BYTES + _BODY_BYTES_MIN
_HELLO_START = (_CLIENT_HELLO << 24) - _HEADER_BYTES
"""Add the length of the message, header included: its first four bytes."""

_OTHER_PROTOCOLS = (
    *((method + b" ", FirstProtocol.HTTP) for method in b"GET POST HEAD PUT DELETE OPTIONS PATCH CONNECT TRACE PRI".split()),
    (b"SSH-", FirstProtocol.SSH),
    (b"PROXY ", FirstProtocol.PROXY),
    (b"\r\n\r\n\0\r\nQUIT\n", FirstProtocol.PROXY),
)


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What a client offers, and its bytes."""

    server_name: str | None
    """The host of server_name as `normalise_host` returns it; None without one (RFC 6066 section 3)."""
    alpn: tuple[bytes, ...]
    """Application protocols, the client's favourite first; empty without the extension (RFC 7301 section 3.1)."""
    version: int
    """The highest version offered of those that are accepted: TLS_1_2 or TLS_1_3."""
    wire: bytes = field(repr=False)
    """All bytes that were fed, to be replayed untouched: the records of the hello, then what came behind them."""
    hello_bytes: int
    """Length of the records of the hello in `wire`. Early data or a change_cipher_spec may follow (RFC 8446 section D.4)."""


class HelloReader:
    """Reads the first bytes of a connection, in pieces of any size, until they are a ClientHello or an error.

    Time is linear in the bytes fed. Memory is bounded by them: twice WIRE_BYTES_MAX and the last piece at most.
    """

    __slots__ = ("_at", "_message", "_next", "_total", "_wire")

    def __init__(self) -> None:
        """Start before the first byte."""
        self._wire = bytearray()
        self._message = bytearray()
        """Fragments joined."""
        self._total = 0
        """Length of the message, header included, once its header is there."""
        self._at = 0
        """Where in `_wire` the first record begins whose fragment is not in `_message`."""
        self._next = _RECORD_HEADER_BYTES
        """Bytes of `_wire` without which nothing more can be decided."""

    @property
    def wire(self) -> bytes:
        """All bytes fed so far; those of another protocol can be replayed to its parser."""
        return bytes(self._wire)

    def feed(self, data: bytes | bytearray | memoryview) -> ClientHello | None:
        """Return the hello once it is complete; None while bytes are missing. Not to be called again after that.

        Raises:
            HelloError: no ClientHello, or an invalid one, with the alert for it; as early as possible.
        """
        wire = self._wire
        wire += data
        size = len(wire)
        if size < self._next:
            if size and wire[0] != _HANDSHAKE:
                _check_protocol(wire)
            return None
        if size == len(data) and size >= _START.size:
            # One record holds all of the message and is here: nearly every hello.
            kind, major, fragment_bytes, start = _START.unpack_from(wire)
            if (
                kind == _HANDSHAKE
                and major == 3
                and start == _HELLO_START + fragment_bytes
                and _FITS_MIN <= fragment_bytes <= _FRAGMENT_MAX
            ):
                end = _RECORD_HEADER_BYTES + fragment_bytes
                if size >= end:
                    whole = bytes(wire)
                    return ClientHello(*_parse(whole, _START.size, end), whole, end)
        if wire[0] != _HANDSHAKE:
            _check_protocol(wire)
            return None
        return self._read_records(wire)

    def _read_records(self, wire: bytearray) -> ClientHello | None:
        """Join the fragments that are here; return the hello if the last one is among them."""
        message, have, total, at, end = self._message, len(self._message), self._total, self._at, len(wire)
        while end >= (start := at + _RECORD_HEADER_BYTES):
            kind, major, size = _RECORD.unpack_from(wire, at)
            stop = start + size
            if kind != _HANDSHAKE or major != 3 or not 0 < size <= _FRAGMENT_MAX or stop > WIRE_BYTES_MAX:
                raise _record_error(kind, major, size)
            if not total and have + size >= _HEADER_BYTES:
                known = start + _HEADER_BYTES - have
                if end < known:
                    self._next = known
                    break
                total = self._total = _message_bytes(message + wire[start:known])
            if total and have + size > total:
                raise HelloError(
                    f"TLS record: {have + size - total} bytes behind the ClientHello: expected its end", Alert.UNEXPECTED_MESSAGE
                )
            if end < stop:
                self._next = stop
                break
            message += wire[start:stop]
            have += size
            at = stop
            if have == total:
                return ClientHello(*_parse(bytes(message), _HEADER_BYTES, total), bytes(wire), at)
        else:
            self._next = start
        self._at = at
        return None


def choose_alpn(offered: tuple[bytes, ...], wanted: tuple[bytes, ...]) -> bytes | None:
    """Return the first of `wanted`, the server's favourite first, that is offered; None without any offer (RFC 7301 section 3.2).

    Raises:
        HelloError: no_application_protocol: the offer holds none of them.
    """
    for name in wanted:
        if name in offered:
            return name
    if offered:
        expected = " or ".join(ascii(name)[1:] for name in wanted)
        raise HelloError(f"ALPN: no common protocol: expected {expected}", Alert.NO_APPLICATION_PROTOCOL)
    return None


# ------------------------------------------------------------------------------------------------------------- records


def _check_protocol(wire: bytearray) -> None:
    """Raise once the first bytes of a connection that does not begin with a TLS handshake identify their protocol.

    SSL 2.0's hello begins with length u16, its highest bit set | type u8 = 1 | version u16 (RFC 5246 appendix E.2). Servers
    should refuse it (RFC 8446 section D.5).
    """
    first, size = wire[0], len(wire)
    if 20 <= first <= 24:
        if size == 1:
            return
        if wire[1] == 3:
            raise HelloError(f"TLS record of type {first}: expected a handshake ({_HANDSHAKE})", Alert.UNEXPECTED_MESSAGE)
    if first & 0x80 and (size < 3 or wire[2] == _CLIENT_HELLO):
        if size < 5:
            return
        if wire[3] == 3 or wire[3:5] == b"\0\2":
            raise HelloError("SSL 2.0 hello: expected TLS 1.2 or newer", Alert.PROTOCOL_VERSION, FirstProtocol.SSL2)
    for start, protocol in _OTHER_PROTOCOLS:
        if wire.startswith(start):
            raise HelloError(f"{protocol.value}: expected TLS", None, protocol)
        if start.startswith(wire):
            return
    raise HelloError(f"{FirstProtocol.UNKNOWN.value}: expected TLS", None, FirstProtocol.UNKNOWN)


def _record_error(kind: int, major: int, size: int) -> HelloError:
    """Return what is wrong with the header of a record (RFC 8446 section 5.1), whose minor version is ignored."""
    if kind != _HANDSHAKE:
        return HelloError(f"TLS record of type {kind}: expected a handshake ({_HANDSHAKE})", Alert.UNEXPECTED_MESSAGE)
    if major != 3:
        return HelloError(f"TLS record of version {major}: expected 3", Alert.PROTOCOL_VERSION)
    if not size:
        return HelloError("empty TLS record: expected a fragment of a handshake message", Alert.UNEXPECTED_MESSAGE)
    if size > _FRAGMENT_MAX:
        return HelloError(f"TLS record of {size} bytes: expected at most {_FRAGMENT_MAX}", Alert.RECORD_OVERFLOW)
    return HelloError(f"ClientHello in records of more than {WIRE_BYTES_MAX} bytes", Alert.DECODE_ERROR)


def _message_bytes(start: bytearray) -> int:
    """Return the length of the message whose header is `start`, header included (RFC 8446 section 4)."""
    if start[0] != _CLIENT_HELLO:
        raise HelloError(f"handshake message of type {start[0]}: expected a ClientHello (1)", Alert.UNEXPECTED_MESSAGE)
    size = _HEADER_BYTES + int.from_bytes(start[1:4], "big")
    if not _FITS_MIN <= size <= HELLO_BYTES_MAX:
        raise HelloError(f"ClientHello of {size} bytes: expected {_FITS_MIN} to {HELLO_BYTES_MAX}", Alert.DECODE_ERROR)
    return size


# ------------------------------------------------------------------------------------------------------------- message


def _parse(data: bytes, at: int, end: int) -> tuple[str | None, tuple[bytes, ...], int]:
    """Return server name, ALPN and version of the hello between `at` and `end`, which are _BODY_BYTES_MIN apart at least.

    RFC 8446 section 4.1.2, RFC 5246 section 7.4.1.2. `data` may go on behind `end`.
    """
    legacy_version = data[at] << 8 | data[at + 1]
    at += _SESSION_ID_AT
    if data[at] > _SESSION_ID_BYTES_MAX:
        raise HelloError(f"session id of {data[at]} bytes: expected at most {_SESSION_ID_BYTES_MAX}", Alert.DECODE_ERROR)
    at += 1 + data[at]
    size = data[at] << 8 | data[at + 1] if at + 2 <= end else 0
    at += 2 + size
    if not size or size & 1 or at >= end:
        raise HelloError(f"cipher suites of {size} bytes: expected an even number that the ClientHello holds", Alert.DECODE_ERROR)
    methods = data[at + 1 : at + 1 + data[at]]
    at += 1 + data[at]
    if not methods or at > end:
        raise HelloError("compression methods: expected 1 to 255 bytes that the ClientHello holds", Alert.DECODE_ERROR)
    found = _extensions(data, at, end)
    version = _version(legacy_version, found.get(_SUPPORTED_VERSIONS))
    if methods != b"\0" and (version == TLS_1_3 or 0 not in methods):
        raise HelloError(f"compression methods {methods[:8].hex()}: expected null alone", Alert.ILLEGAL_PARAMETER)
    name, alpn = found.get(_SERVER_NAME), found.get(_ALPN)
    return None if name is None else _server_name(name), () if alpn is None else _protocols(alpn), version


def _extensions(data: bytes, at: int, end: int) -> dict[int, bytes]:
    """Return the extensions between `at` and `end` by their type (RFC 8446 section 4.2); TLS 1.2 allows for none.

    Unknown ones, GREASE included (RFC 8701), are ignored by callers.
    """
    found: dict[int, bytes] = {}
    if at == end:
        return found
    at += 2
    if at > end or at + (data[at - 2] << 8 | data[at - 1]) != end:
        raise HelloError("extensions: their length differs from what the ClientHello holds", Alert.DECODE_ERROR)
    count, last = 0, end - 4
    kind = None
    while at <= last and count <= EXTENSIONS_MAX:
        kind, size = _EXTENSION.unpack_from(data, at)
        at += 4
        found[kind] = data[at : at + size]
        at += size
        count += 1
    if count > EXTENSIONS_MAX:
        raise HelloError(f"extensions: expected at most {EXTENSIONS_MAX}", Alert.DECODE_ERROR)
    if at != end:
        raise HelloError(f"extension {kind}: its length differs from what the extensions hold", Alert.DECODE_ERROR)
    if len(found) != count:
        raise HelloError("two extensions of one type: expected one at most", Alert.ILLEGAL_PARAMETER)
    if _PRE_SHARED_KEY in found and kind != _PRE_SHARED_KEY:
        raise HelloError("extension pre_shared_key: expected it to be the last one", Alert.ILLEGAL_PARAMETER)  # section 4.2.11
    return found


def _version(legacy: int, supported: bytes | None) -> int:
    """Return the highest version offered that is accepted: TLS 1.2 or 1.3 (RFC 8446 sections 4.2.1 and D.5, RFC 8996)."""
    if legacy <= 0x0300:
        raise HelloError(f"legacy version {legacy:#06x}: expected {TLS_1_2:#06x}", Alert.PROTOCOL_VERSION)
    if supported is None:
        if legacy < TLS_1_2:
            raise HelloError(f"TLS version {legacy:#06x}: expected {TLS_1_2:#06x} or newer", Alert.PROTOCOL_VERSION)
        return TLS_1_2
    size = len(supported) - 1
    if size < 2 or size & 1 or supported[0] != size:
        raise HelloError("supported versions: expected a list of 1 to 127", Alert.DECODE_ERROR)
    offered = {major << 8 | minor for major, minor in zip(supported[1::2], supported[2::2], strict=True)}
    for version in (TLS_1_3, TLS_1_2):
        if version in offered:
            return version
    raise HelloError("supported versions: expected TLS 1.2 or 1.3 among them", Alert.PROTOCOL_VERSION)


def _server_name(body: bytes) -> str | None:
    """Return the host name of a ServerNameList (RFC 6066 section 3); None when it has names of other types only."""
    end = len(body)
    if end < 3 or body[0] << 8 | body[1] != end - 2:
        raise HelloError("server_name: its list differs from its length", Alert.DECODE_ERROR)
    at, names = 2, dict[int, bytes]()
    while at < end:
        if end - at < 4:
            raise HelloError("server_name: expected a type and a name", Alert.DECODE_ERROR)
        kind, stop = body[at], at + 3 + (body[at + 1] << 8 | body[at + 2])
        if stop == at + 3 or stop > end:
            raise HelloError("server_name: a name's length is wrong", Alert.DECODE_ERROR)
        if kind in names:
            raise HelloError("server_name: two names of one type: expected one at most", Alert.ILLEGAL_PARAMETER)
        names[kind] = body[at + 3 : stop]
        at = stop
    host = names.get(_HOST_NAME)
    if host is None:
        return None
    # The normaliser also accepts ports and addresses, which have no place here.
    if b":" not in host:
        try:
            name = normalise_host(host)
        except PeerError:
            name = "0"
        if not name.rpartition(".")[2].isdigit():
            return name
    raise HelloError(f"server_name {ascii(host[:80])[1:]}: invalid host name", Alert.UNRECOGNIZED_NAME)


def _protocols(body: bytes) -> tuple[bytes, ...]:
    """Return the names of a ProtocolNameList (RFC 7301 section 3.1)."""
    end = len(body)
    if end < 4 or body[0] << 8 | body[1] != end - 2:
        raise HelloError("ALPN: its list differs from its length", Alert.DECODE_ERROR)
    at, names = 2, list[bytes]()
    while at < end and len(names) <= PROTOCOLS_MAX:
        stop = at + 1 + body[at]
        if stop == at + 1 or stop > end:
            raise HelloError("ALPN: expected names of 1 to 255 bytes that the list holds", Alert.DECODE_ERROR)
        names.append(body[at + 1 : stop])
        at = stop
    if len(names) > PROTOCOLS_MAX:
        raise HelloError(f"ALPN: expected at most {PROTOCOLS_MAX}", Alert.DECODE_ERROR)
    return tuple(names)
