"""Input over a link: yamux frames, control messages, PROXY headers, status bytes, hints, TLS records."""

import ssl
import struct

import msgspec
from hypothesis import strategies as st

from portway.engine.tls_records import RecordFeed
from portway.errors import MisuseError, PeerError
from portway.links.worker_hint import FIRST_BYTES_MAX, hint_complete, worker_from
from portway.protocol.control.framing import POST_LOGIN_BYTES_MAX, PRE_LOGIN_BYTES_MAX, MessageReader
from portway.protocol.control.messages import Message, decode_message, encode_message
from portway.protocol.proxy_header import ProxyHeader, decode, encode, encode_local, encode_visitor
from portway.protocol.stream_status import StreamStatus
from portway.protocol.yamux.limits import YamuxLimits
from tests.fuzz.target import Target, add, cuts, outcome, quietly
from tests.kit.yamux_wire import Frame, data, go_away, ping, update
from tests.protocol.yamux.harness import RecordingStream, SessionHarness
from tests.vectors.make import control_messages

# yamux

LIMITS = YamuxLimits(streams_max=64, accepts_max=32)
WINDOW = 262144


def _hear(pieces: list[bytes], *, client: bool) -> tuple[object, SessionHarness]:
    harness = SessionHarness(client=client, limits=LIMITS)
    for _ in range(2):
        harness.open()

    def receive() -> None:
        for piece in pieces:
            harness.receive_bytes(piece)

    return outcome(receive, PeerError), harness


def check_frames(wire: bytes) -> None:
    """A session behaves the same for any cuts; it sends at most one header per received frame, and respects its limits."""
    for client in (True, False):
        expected: tuple[object, ...] | None = None
        for pieces in cuts(wire):
            found, harness = _hear(pieces, client=client)
            session = harness.session
            assert len(session.streams) <= LIMITS.streams_max
            assert len(session.out) <= 24 * (len(wire) // 12 + 4)
            for stream in session.streams.values():
                assert isinstance(stream, RecordingStream)
                assert stream.unread <= WINDOW
            told = tuple((stream.stream_id, bytes(stream.received), stream.ended, stream.resets) for stream in harness.accepted)
            # An error ends the link: how much was processed before it may depend on the cuts.
            now = (found,) if found is PeerError else (found, told, bytes(session.out), sorted(session.streams))
            assert expected is None or expected == now, (pieces, expected, now)
            expected = now
            if found is PeerError:
                session.protocol_error()
            session.lose()
            assert not session.streams


def parse_frames(wire: bytes) -> object:
    """Give a session bytes."""
    return _hear([wire], client=True)[0]


_ids = st.sampled_from([0, 1, 2, 3, 4, 5, 2**31, 2**32 - 1])
_flags = st.sampled_from([0, 0, 1, 2, 4, 8, 3, 5, 12, 0xFFFF])
_frame = st.one_of(
    st.builds(data, _ids, st.binary(max_size=30), _flags).map(lambda one: one.wire),
    st.builds(update, _ids, st.sampled_from([0, 1, WINDOW, 2**31, 2**32 - 1]), _flags).map(lambda one: one.wire),
    st.builds(ping, st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 2, 3])).map(lambda one: one.wire),
    st.builds(go_away, st.integers(0, 4)).map(lambda one: one.wire),
    st.builds(
        lambda kind, flags, at, size: Frame(kind, flags, at, size, b"").wire, st.integers(0, 5), _flags, _ids, st.integers(0, 2**32 - 1)
    ),
)
OPEN = update(2, flags=1).wire + data(2, b"hello").wire

add(
    Target(
        "yamux",
        parse_frames,
        check_frames,
        (
            OPEN,
            data(4, b"x", 1).wire + data(4, b"", 4).wire,
            ping(7).wire * 3 + go_away().wire,
            data(1, b"y" * 100, 2).wire,
            update(1, 5, 2).wire,
        ),
        (OPEN, data(2, b"").wire, update(2, 0, 8).wire, struct.pack(">I", 2**32 - 1), b"\0\0\0\1", b"\0\1\0\1", ping(1).wire),
        st.lists(_frame, max_size=20).map(b"".join),
        shapes=(
            lambda size: OPEN + data(2, b"x").wire * (size // 13),
            lambda size: OPEN + data(9998, b"x").wire * (size // 13),
            lambda size: OPEN + update(2, 1).wire * (size // 12),
            lambda size: b"".join(data(at, b"", 1).wire + data(at, b"", 8).wire for at in range(4, 4 + size // 12, 2)),
            lambda size: OPEN + data(2, bytes(1000)).wire * (size // 1012),
        ),
    )
)

# Control messages


def _message_or_error(body: bytes) -> object:
    return outcome(lambda: decode_message(body), PeerError)


def read_messages(pieces: list[bytes], bytes_max: int) -> list[object]:
    """Cut and decode like a control stream; invalid messages are the class of their error."""
    reader, found = MessageReader(bytes_max), list[object]()
    for piece in pieces:
        found += [_message_or_error(body) for body in reader.feed(piece)]
        assert reader.buffered_bytes <= bytes_max + 4
    return found


def check_messages(wire: bytes) -> None:
    """However it is cut, the messages are the same; each, encoded again, is the same again, and shows no secret."""
    for bytes_max in (PRE_LOGIN_BYTES_MAX, POST_LOGIN_BYTES_MAX):
        expected = None
        for pieces in cuts(wire):
            found = outcome(lambda pieces=pieces, most=bytes_max: read_messages(pieces, most), PeerError)  # type: ignore[misc]
            assert expected is None or expected == found
            expected = found
        if isinstance(expected, list):
            for message in expected:
                if not isinstance(message, type):
                    assert decode_message(encode_message(message)[4:]) == message
                    assert len(repr(message)) < 200_000


def _framed(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(0, 2**64 - 1), st.floats(), st.text(max_size=8), st.binary(max_size=34)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=4)),
    max_leaves=12,
)
_names = st.sampled_from([kind.__name__ for kind in Message.__args__])
_field_names = st.sampled_from(sorted({name for kind in Message.__args__ for name in kind.__struct_fields__}))
_message = st.builds(
    lambda name, fields: msgspec.msgpack.encode({"t": name, **fields}),
    _names,
    st.dictionaries(_field_names, st.one_of(_json, st.just(bytes(32)), st.just(1), st.just("x")), max_size=8),
)


add(
    Target(
        "control",
        quietly(lambda wire: read_messages([wire], POST_LOGIN_BYTES_MAX), PeerError),
        check_messages,
        tuple(encode_message(message) for message in control_messages().values()),
        (
            b"\xa1t",
            b"\xa5Hello",
            b"\xa5Claim",
            b"\xa2id",
            b"\x81",
            b"\xdf\xff\xff\xff\xff",
            b"\xdd\xff\xff\xff\xff",
            b"\xc6\x7f\xff\xff\xff",
            b"\x91" * 600,
        ),
        st.lists(_message.map(_framed), max_size=3).map(b"".join),
        shapes=(
            lambda size: _framed(msgspec.msgpack.encode({"t": "AskTicket", "id": 1, "x": [0] * (size - 40)})) if size > 60 else b"",
            lambda size: _framed(msgspec.msgpack.encode({"t": "AskTicket", "id": 1, "x": bytes(max(0, size - 40))})),
            lambda size: _framed(b"\x83\xa1t\xa9AskTicket\xa2id\x01\xa1x" + b"\x91" * max(0, size - 30) + b"\x00"),
            lambda size: _framed(msgspec.msgpack.encode({"t": "AskTicket", "id": 1} | {f"k{at}": at for at in range(size // 8)})),
            lambda size: _framed(b"\xc0") * (size // 5),
        ),
    )
)

# PROXY headers


def check_proxy(wire: bytes) -> None:
    """An incomplete header is never a different one, and serialised again it has the same meaning."""
    found = outcome(lambda: decode(wire), PeerError)
    if not isinstance(found, tuple):
        return
    header, size = found
    assert isinstance(header, ProxyHeader)
    assert 16 <= size <= min(len(wire), 512)
    for at in range(size):
        assert outcome(lambda at=at: decode(wire[:at]), PeerError) is None  # type: ignore[misc]
    again = outcome(lambda: encode(header), MisuseError)
    if isinstance(again, bytes):
        second = decode(again)
        assert second is not None
        assert (second[0].local, second[0].source, second[0].tunnel_id) == (header.local, header.source, header.tunnel_id)


_tlv = st.builds(
    lambda kind, value, lie: struct.pack(">BH", kind, max(0, len(value) + lie)) + value,
    st.sampled_from([0xE0, 0x01, 0x02, 0x03, 0x04, 0x05, 0x20, 0x30, 0xFF]),
    st.binary(max_size=20),
    st.sampled_from([0, 0, 0, 1, -1, 600]),
)
_header = st.builds(
    lambda command, family, addresses, tlvs, lie: (
        b"\r\n\r\n\0\r\nQUIT\n" + bytes((command, family)) + struct.pack(">H", max(0, len(addresses) + len(tlvs) + lie)) + addresses + tlvs
    ),
    st.sampled_from([0x20, 0x21, 0x22, 0x11, 0x2F]),
    st.sampled_from([0, 0x11, 0x12, 0x21, 0x31, 0x41]),
    st.sampled_from([b"", bytes(12), bytes(36), b"/a" + bytes(214), bytes(10) + b"\xff\xff" + bytes(24)]),
    st.lists(_tlv, max_size=4).map(b"".join),
    st.sampled_from([0, 0, 0, 1, -1, 500]),
)
add(
    Target(
        "proxy-header",
        quietly(decode, PeerError),
        check_proxy,
        (
            encode_local(7),
            encode_visitor(("192.0.2.1", 1), ("198.51.100.1", 80), 7, bytes(16), sni="a.example", alpn=b"h2"),
            encode_visitor(("2001:db8::1", 1), ("2001:db8::2", 80), 7, bytes(16)),
        ),
        (b"\r\n\r\n\0\r\nQUIT\n", b"\x20\0", b"\x21\x11\0\x0c", b"\xe0\0\4", b"\x03\0\4", b"PROXY TCP4 "),
        _header,
        bytes_max=700,
        shapes=(lambda size: _local_with(min(size, 500)), lambda size: b"\r\n\r\n\0\r\nQUIT\n" + bytes(min(size, 500))),
    )
)


def _local_with(size: int) -> bytes:
    tlvs = b"\x30\0\0" * ((size - 16) // 3)
    return b"\r\n\r\n\0\r\nQUIT\n\x20\0" + struct.pack(">H", len(tlvs)) + tlvs


# Small ones


def check_hint(first: bytes) -> None:
    """A hint is a small number, and there is something to wait for only while it is short."""
    assert 0 <= worker_from(first) < 10**9
    assert hint_complete(first) in (True, False)
    assert hint_complete(first) or len(first) < FIRST_BYTES_MAX


add(
    Target(
        "hint",
        worker_from,
        check_hint,
        (b"\x16\x03\x01\x00\x20" + b"portway-hint/12" + bytes(17), OPEN, b"portway-hint/1", b""),
        (b"portway-hint/", b"1234567890", b"\x16\x03\x01\xff\xff", b"\0\0\0\0"),
        shapes=(lambda size: b"portway-hint/" * (size // 13), lambda size: b"portway-hint" * (size // 12)),
    )
)


def check_status(first: bytes) -> None:
    """Each byte is a status with a description, or refused."""
    for byte in first[:300]:
        found = outcome(lambda byte=byte: StreamStatus.of(byte), PeerError)  # type: ignore[misc]
        assert found is PeerError or (isinstance(found, StreamStatus) and found.description)


add(
    Target(
        "stream-status",
        quietly(lambda data: StreamStatus.of(data[0]) if data else None, PeerError),
        check_status,
        (bytes(range(256)),),
        by_byte=False,
    )
)


def feed_records(pieces: list[bytes]) -> bytes:
    """Return the output of a feed."""
    bio = ssl.MemoryBIO()
    feed = RecordFeed(bio)
    out = bytearray()
    for piece in pieces:
        feed.put(memoryview(piece))
        out += bio.read()
        while feed.waiting:
            feed.put_waiting()
            out += bio.read()
    return bytes(out)


def check_records(wire: bytes) -> None:
    """All input is output in order, for any cuts."""
    for pieces in cuts(wire):
        assert feed_records(pieces) == wire


add(
    Target(
        "tls-records",
        lambda wire: feed_records([wire]),
        check_records,
        (b"\x17\x03\x03\x00\x05hello" * 40, b"\x16\x03\x01\xff\xff", b"\x17\x03\x03\x00\x00" * 70),
        (b"\x17\x03\x03\x00\x00", b"\x17\x03\x03\x00\x01x", b"\x14\x03\x03\x00\x01\x01"),
        shapes=(lambda size: b"\x17\x03\x03\x00\x00" * (size // 5), lambda size: b"\x17\x03\x03\x00\x01x" * (size // 6)),
    )
)
