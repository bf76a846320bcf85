"""The first bytes of a connection to a TLS port: a ClientHello, or something else."""

import ssl
import struct

from hypothesis import strategies as st

from portway.protocol.tls_alert import Alert, HelloError
from portway.protocol.tls_hello import HELLO_BYTES_MAX, WIRE_BYTES_MAX, ClientHello, HelloReader
from tests.fuzz.target import Target, add, cuts
from tests.kit import tls_wire as tls
from tests.kit.tls_opinion import Accepted, Refused, openssl_opinion


def read_hello(pieces: list[bytes]) -> ClientHello | HelloError | None:
    """Return what comes of the first bytes of a connection; what comes behind the hello is not fed."""
    reader = HelloReader()
    for piece in pieces:
        try:
            found = reader.feed(piece)
        except HelloError as exc:
            return exc
        if found is not None:
            return found
    return None


def _summary(found: ClientHello | HelloError | None) -> object:
    if isinstance(found, ClientHello):
        return (found.server_name, found.alpn, found.version, found.wire[: found.hello_bytes], found.hello_bytes)
    return (str(found), found.alert, found.protocol) if isinstance(found, HelloError) else None


def _extensions(message: bytes) -> dict[int, bytes]:
    """Return the extensions of a valid hello, read in another way than the parser's."""
    rest, found = message[38:], dict[int, bytes]()
    for length_bytes in (1, 2, 1):
        rest = rest[length_bytes + int.from_bytes(rest[:length_bytes], "big") :]
    rest = rest[2:]
    while rest:
        kind, size = struct.unpack(">HH", rest[:4])
        found[kind] = rest[4 : 4 + size]
        rest = rest[4 + size :]
    return found


STRICTER = (
    "SSL 2.0",
    "empty TLS record",
    "bytes behind the ClientHello",
    "in records of more",
    "two extensions of one type",  # of a type that OpenSSL does not support
    "compression methods",  # which OpenSSL checks later
    "extensions: expected at most",
    "ALPN: expected at most",
)
"""Refusals that OpenSSL does not share, each with its reason in the parser. Its own checks of names are fewer, too."""


def _only_host_names(body: bytes) -> bool:
    """Return whether a server_name holds one name, a host's; OpenSSL refuses any other list, where RFC 6066 allows for more."""
    return body[2:3] == b"\0" and int.from_bytes(body[3:5], "big") == len(body) - 5


def check_hello(wire: bytes) -> None:
    """However it is cut, the outcome is the same, nothing of it is lost, and OpenSSL sees the same name or the same fault."""
    found = read_hello([wire])
    for pieces in cuts(wire):
        assert _summary(read_hello(pieces)) == _summary(found), pieces
    opinion = openssl_opinion(wire)
    if isinstance(found, HelloError):
        if found.alert is not Alert.UNRECOGNIZED_NAME and not any(words in str(found) for words in STRICTER):
            # A name of no bytes is invalid, but OpenSSL accepts it.
            assert not isinstance(opinion, Accepted) or opinion.server_name == "", found
    elif found is None:
        assert opinion is None or (isinstance(opinion, Refused) and len(wire) < 11), opinion
        assert len(wire) <= WIRE_BYTES_MAX
    else:
        assert found.wire == wire
        message = tls.joined(wire[: found.hello_bytes])
        assert len(message) <= HELLO_BYTES_MAX
        if not isinstance(opinion, Accepted):
            # OpenSSL checks more extensions. With valid ones instead, it must not fail.
            own = {kind: body for kind, body in _extensions(message).items() if kind in (tls.SERVER_NAME, tls.ALPN, tls.VERSIONS)}
            if not _only_host_names(own.get(tls.SERVER_NAME, b"")):
                own.pop(tls.SERVER_NAME, None)
            opinion = openssl_opinion(tls.records(tls.hello(*(tls.extension(*one) for one in own.items()), tls.USUAL)))
            assert isinstance(opinion, Accepted), opinion
            if tls.SERVER_NAME not in own:
                return
        assert (opinion.server_name and opinion.server_name.lower().removesuffix(".")) == found.server_name


def _openssl_hello() -> bytes:
    """Return what OpenSSL sends as a client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["h2", "http/1.1"])
    outgoing = ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="App.example.org").do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


_lie = st.sampled_from([0] * 12 + [1, -1, 300])
_host = st.sampled_from(
    [b"a.example", b"A.Example", b"a.example.", b"a..example", b"-", b"a:1", b"1.2.3.4", b"", b"a" * 64, b"a\0b", b"xn--a"]
)
_name_list = st.lists(st.builds(lambda kind, host: bytes((kind,)) + tls.vector(2, host), st.sampled_from([0, 0, 0, 1]), _host), max_size=3)
_alpn_list = st.lists(st.sampled_from([b"h2", b"http/1.1", b"acme-tls/1", b"portway/1", b"", b"\x2a\x2a", b"x" * 255]), max_size=4)
_number_list = st.lists(st.sampled_from([0x0300, 0x0301, 0x0302, 0x0303, 0x0304, 0x0305, 0x7F1C, tls.grease(3)]), max_size=5)
_any_extension = st.one_of(
    st.builds(lambda names, lie: tls.extension(0, tls.vector(2, b"".join(names), lie)), _name_list, _lie),
    st.builds(lambda names, lie: tls.extension(16, tls.vector(2, b"".join(tls.vector(1, one) for one in names), lie)), _alpn_list, _lie),
    st.builds(
        lambda some, lie: tls.extension(43, tls.vector(1, b"".join(one.to_bytes(2, "big") for one in some), lie)), _number_list, _lie
    ),
    st.sampled_from(
        [tls.USUAL, tls.psk(), tls.extension(tls.PADDING, bytes(40)), tls.extension(tls.grease(1)), tls.extension(tls.ECH, b"\0")]
    ),
    st.builds(tls.extension, st.integers(0, 0xFFFF), st.binary(max_size=20), _lie),
)
_message = st.builds(
    lambda extensions, legacy, session_id, suites, methods: tls.hello(
        *extensions, legacy=legacy, session_id=session_id, suites=suites, methods=methods
    ),
    st.lists(_any_extension, max_size=6).map(lambda some: [*some, tls.USUAL] if len(some) % 2 else some),
    st.sampled_from([0x0303] * 6 + [0x0300, 0x0301, 0x0304, 0x0202]),
    st.sampled_from([b"", bytes(32), bytes(32), bytes(33)]),
    st.sampled_from([b"\x13\x01\xc0\x2b"] * 6 + [b"", b"\x13"]),
    st.sampled_from([b"\0"] * 6 + [b"\0\1", b"\1", b""]),
)
_wire = st.builds(
    lambda message, size, more: tls.records(message, size) + more,
    _message,
    st.sampled_from([1 << 14, 1 << 14, 1, 2, 5, 100]),
    st.sampled_from([b"", b"", tls.record(b"\1", 20), tls.record(bytes(20), 23), tls.record(b"\0"), tls.record(b"")]),
)
USUAL_HELLO = tls.modern(tls.server_name(b"a.example"), tls.alpn(b"h2", b"http/1.1"))


add(
    Target(
        "tls-hello",
        lambda wire: read_hello([wire]),
        check_hello,
        (
            tls.records(USUAL_HELLO),
            tls.records(USUAL_HELLO, 30),
            tls.records(tls.hello(tls.server_name(b"a.example"), tls.USUAL, suites=b"\xc0\x2b")),
            tls.records(tls.modern(tls.extension(tls.grease(1)), tls.server_name(b"A.example")))[:-40],
            tls.records(tls.hello(tls.USUAL, tls.versions(0x0304), tls.psk())),
            _openssl_hello(),
            _openssl_hello() + tls.record(b"\1", 20) + tls.record(bytes(20), 23),
            b"GET / HTTP/1.1\r\n",
            b"\x80\x2e\x01\x03\x01\x00\x15\0\0\0\x10\0\0\4",
        ),
        (
            *(
                b"\x16\x03\x01",
                b"\x16\x03\x03\0\1",
                b"\x15\x03\x03\0\2\2\x28",
                b"\x14\x03\x03\0\1\1",
                b"\xff\xff",
                b"\x40\0",
                b"\0\0",
                b"\0\x29",
            ),
            *(
                tls.server_name(b"b.example"),
                tls.alpn(b"x"),
                tls.versions(0x0304),
                tls.psk(),
                b"\3\4",
                b"\3\3",
                b"\3\0",
                b"SSH-2.0",
                b"PRI * ",
            ),
        ),
        _wire,
        bytes_max=5000,
        shapes=(
            lambda size: tls.records(tls.modern(tls.extension(tls.UNKNOWN, bytes(size // 6))), 1),
            lambda size: tls.records(tls.modern(tls.extension(tls.UNKNOWN, bytes(size // 2))), 2),
            lambda size: tls.records(tls.modern(*(tls.extension(0x1000 + kind) for kind in range(min(size // 4, 480))))),
            lambda size: tls.records(tls.modern(tls.alpn(*[b"x"] * (size // 2)))),
            lambda size: tls.records(tls.modern(tls.extension(0, tls.vector(2, b"\1\0\1x" * (size // 4))))),
            lambda size: tls.records(tls.modern(tls.server_name(b"a." * (size // 2)))),
            lambda size: b"\x16\x03\x01\x40\0\1\0\xff\0" + bytes(size),
        ),
    )
)
