"""ClientHellos made by hand: what is found in them, in any framing, within the bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.protocol.tls_alert import Alert, FirstProtocol, HelloError
from portway.protocol.tls_hello import (
    EXTENSIONS_MAX,
    HELLO_BYTES_MAX,
    PROTOCOLS_MAX,
    TLS_1_2,
    TLS_1_3,
    WIRE_BYTES_MAX,
    ClientHello,
    HelloReader,
    choose_alpn,
)
from tests.kit import tls_wire as tls
from tests.kit.tls_opinion import Accepted, openssl_opinion
from tests.kit.tls_wire import alpn, extension, grease, hello, modern, pieces, psk, record, records, server_name, vector, versions

NAMED = modern(server_name(b"App.Example.org"), alpn(b"h2", b"http/1.1"))


def read(*some: bytes) -> ClientHello:
    """Return the hello that the last piece completes, and no piece before it."""
    reader = HelloReader()
    for piece in some[:-1]:
        assert reader.feed(piece) is None
    found = reader.feed(some[-1])
    assert found is not None
    return found


# ---------------------------------------------------------------------------------------------------------- what is found


def test_name_protocols_and_version_are_found() -> None:
    wire = records(NAMED)
    assert read(wire) == ClientHello("app.example.org", (b"h2", b"http/1.1"), TLS_1_3, wire, len(wire))
    assert openssl_opinion(wire) == Accepted("App.Example.org")
    assert "wire" not in repr(read(wire))


def test_a_hello_without_extensions_is_one_of_tls_1_2() -> None:
    for rest in (b"", b"\0\0"):
        found = read(records(hello(suites=b"\xc0\x2b", rest=rest)))
        assert (found.server_name, found.alpn, found.version) == (None, (), TLS_1_2)


@pytest.mark.parametrize("buffer", [bytearray, memoryview, bytes])
def test_any_buffer_may_be_fed_and_used_again(buffer: type[bytearray]) -> None:
    wire = bytearray(records(NAMED))
    for size in (len(wire), 10):
        copy = bytearray(wire)
        reader, found = HelloReader(), None
        for at in range(0, len(wire), size):
            found = reader.feed(buffer(memoryview(copy)[at : at + size]))
        copy[:] = bytes(len(copy))
        assert found is not None
        assert found.wire == bytes(wire)
        assert type(found.wire) is bytes


@pytest.mark.parametrize(
    ("offer", "expected"),
    [
        (versions(TLS_1_3), TLS_1_3),
        (versions(TLS_1_2), TLS_1_2),
        (versions(0x0301, 0x0302, TLS_1_2), TLS_1_2),
        (versions(grease(7), 0x0305, 0x7F1C, TLS_1_2, TLS_1_3), TLS_1_3),
        (versions(*[grease(number) for number in range(16)] * 7, TLS_1_3), TLS_1_3),
        (b"", TLS_1_2),
    ],
)
def test_the_highest_version_that_is_known_counts(offer: bytes, expected: int) -> None:
    assert read(records(hello(tls.USUAL, offer))).version == expected


@pytest.mark.parametrize(
    ("legacy", "offer"), [(0x0301, versions(TLS_1_3)), (0x0304, b""), (0x0305, b""), (0x0400, b""), (0x0304, versions(0x0303))]
)
def test_the_legacy_version_says_little(legacy: int, offer: bytes) -> None:
    found = read(records(hello(tls.USUAL, offer, legacy=legacy)))
    assert found.version == (TLS_1_3 if legacy == 0x0301 else TLS_1_2)


@pytest.mark.parametrize("version", [0x0300, 0x0301, 0x0303, 0x0304, 0x03FF])
def test_the_minor_version_of_a_record_says_nothing(version: int) -> None:
    assert read(record(NAMED[:50], version=version) + record(NAMED[50:], version=version)).server_name == "app.example.org"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (b"a", "a"),
        (b"A.EXAMPLE", "a.example"),
        (b"a.example.", "a.example"),
        (b"xn--bcher-kva.example", "xn--bcher-kva.example"),
        (b"_acme-challenge.a_b.example", "_acme-challenge.a_b.example"),
        (b".".join([b"a" * 63] * 3 + [b"b" * 61]), ".".join(["a" * 63] * 3 + ["b" * 61])),
        (b"1.0.0.127.in-addr.arpa", "1.0.0.127.in-addr.arpa"),
    ],
)
def test_a_name_is_normalised_as_everywhere(host: bytes, expected: str) -> None:
    wire = records(modern(server_name(host)))
    assert read(wire).server_name == expected
    assert openssl_opinion(wire) == Accepted(host.decode())


def test_names_of_other_types_are_ignored() -> None:
    other, host = b"\1" + vector(2, b"x"), b"\0" + vector(2, b"a.example")
    assert read(records(modern(extension(0, vector(2, other))))).server_name is None
    assert read(records(modern(extension(0, vector(2, other + host))))).server_name == "a.example"


def test_grease_unknown_and_padding_extensions_are_ignored() -> None:
    ignored = [extension(grease(number), bytes(number % 2)) for number in range(16)]
    ignored += [extension(tls.UNKNOWN, b"?" * 100), extension(tls.ECH, b"\0\0\1\0\1" + bytes(200)), extension(tls.PADDING, bytes(600))]
    wire = records(modern(*ignored, server_name(b"a.example"), alpn(b"\x0a\x0a", b"h2"), extension(35, b"a ticket" * 20)))
    found = read(wire)
    assert (found.server_name, found.alpn) == ("a.example", (b"\x0a\x0a", b"h2"))
    assert openssl_opinion(wire) == Accepted("a.example")
    assert read(records(hello(server_name(b"a.example"), extension(tls.UNKNOWN)))).server_name == "a.example"


def test_the_offer_of_a_ticket_is_the_last_extension() -> None:
    modes = extension(tls.PSK_MODES, b"\1\1")
    wire = records(hello(server_name(b"a.example"), tls.USUAL, versions(TLS_1_3), modes, extension(tls.EARLY_DATA), psk()))
    assert read(wire).server_name == "a.example"


@pytest.mark.parametrize(
    "behind",
    [record(b"\1", 20), record(bytes(40), 23, 0x0303), record(b"\1", 20) + record(bytes(40), 23), b"\x17", b"anything", record(b"")],
)
@pytest.mark.parametrize("size", [1 << 14, 20, 1])
def test_what_follows_the_hello_is_kept_and_left_alone(behind: bytes, size: int) -> None:
    wire = records(NAMED, size)
    found = read(wire + behind)
    assert (found.wire, found.hello_bytes) == (wire + behind, len(wire))
    assert read(wire[:30], wire[30:] + behind).wire == wire + behind


# ------------------------------------------------------------------------------------------------------------------- cuts


def test_a_hello_may_be_cut_at_every_byte() -> None:
    wire = records(NAMED)
    expected = read(wire)
    for at in range(len(wire)):
        assert read(wire[:at], wire[at:]) == expected


@pytest.mark.parametrize("segment", [1, 2, 3, 7, 1000, 100_000])
def test_a_hello_may_lie_in_records_of_every_size(segment: int) -> None:
    for size in range(1, len(NAMED) + 1):
        wire = records(NAMED, size)
        found = read(*pieces(wire, segment))
        assert (found.server_name, found.alpn, found.version) == ("app.example.org", (b"h2", b"http/1.1"), TLS_1_3)
        assert (found.wire, found.hello_bytes) == (wire, len(wire))


def test_an_empty_piece_changes_nothing() -> None:
    wire = records(NAMED)
    assert (
        read(b"", wire)
        == read(
            wire[:3],
            b"",
            wire[3:],
        )
        == read(wire)
    )


@pytest.mark.parametrize("size", [(1 << 14) + 1, 40_000, HELLO_BYTES_MAX])
@pytest.mark.parametrize("segment", [1460, 16_384, 200_000])
def test_a_hello_may_be_longer_than_a_record(size: int, segment: int) -> None:
    missing = size - len(modern(server_name(b"a.example"), extension(tls.UNKNOWN)))
    wire = records(modern(extension(tls.UNKNOWN, bytes(missing)), server_name(b"a.example")))
    found = read(*pieces(wire, segment))
    assert found.server_name == "a.example"
    assert found.wire == wire
    if size < 40_000:
        assert openssl_opinion(wire) == Accepted("a.example")


def test_the_bounds_themselves_are_accepted() -> None:
    longest = modern(extension(tls.UNKNOWN, bytes(WIRE_BYTES_MAX // 6 - len(modern(extension(tls.UNKNOWN))))))
    assert read(records(longest, 1)).version == TLS_1_3
    usual = 4
    most = modern(*(extension(0x1000 + number) for number in range(EXTENSIONS_MAX - usual)))
    assert read(records(most)).version == TLS_1_3
    assert len(read(records(modern(alpn(*[b"x"] * PROTOCOLS_MAX)))).alpn) == PROTOCOLS_MAX
    assert read(records(hello(tls.USUAL, session_id=bytes(32), suites=b"\x13\1" * 2000, methods=bytes(range(255))))).version == TLS_1_2


# ------------------------------------------------------------------------------------------------------------- properties

_hosts = st.from_regex(rb"[a-zA-Z]([a-zA-Z0-9-]{0,20}[a-zA-Z])?(\.[a-zA-Z]{1,20}){0,4}", fullmatch=True)
_names = st.lists(st.binary(min_size=1, max_size=255), max_size=6)


@given(st.none() | _hosts, _names, st.binary(max_size=32), st.integers(1, 400), st.integers(1, 400), st.binary(max_size=60))
def test_what_is_offered_is_found_in_any_framing(
    host: bytes | None, protocols: list[bytes], session_id: bytes, size: int, segment: int, behind: bytes
) -> None:
    offer = [server_name(host)] if host is not None else []
    offer += [alpn(*protocols)] if protocols else []
    wire = records(hello(extension(grease(size)), *offer, tls.USUAL, versions(TLS_1_2, TLS_1_3), session_id=session_id), size)
    reader, found = HelloReader(), None
    for piece in pieces(wire + record(behind or b"x", 23), segment):
        if (found := reader.feed(piece)) is not None:
            break
    assert found is not None
    assert found.server_name == (host.decode().lower() if host is not None else None)
    assert (found.alpn, found.version, found.hello_bytes) == (tuple(protocols), TLS_1_3, len(wire))
    assert (wire + record(behind or b"x", 23)).startswith(found.wire)
    assert openssl_opinion(wire) == Accepted(host.decode() if host is not None else None)


@given(
    st.binary(max_size=300), st.sampled_from([b"", b"\x16", b"\x16\x03\x01", record(NAMED)[:60], record(NAMED[:50])]), st.integers(1, 50)
)
def test_noise_is_refused_or_waited_for_and_nothing_else(noise: bytes, start: bytes, segment: int) -> None:
    reader, error = HelloReader(), None
    try:
        for piece in pieces(start + noise, segment):
            if reader.feed(piece) is not None:
                return
    except HelloError as exc:
        error = exc
    assert error is None or error.alert is not None or error.protocol not in (FirstProtocol.TLS, FirstProtocol.SSL2)


# -------------------------------------------------------------------------------------------------------- choice of ALPN


@pytest.mark.parametrize(
    ("offered", "wanted", "expected"),
    [
        ((b"h2", b"http/1.1"), (b"http/1.1",), b"http/1.1"),
        ((b"b", b"a"), (b"a", b"b"), b"a"),
        ((), (b"http/1.1",), None),
        ((), (), None),
    ],
)
def test_the_server_chooses(offered: tuple[bytes, ...], wanted: tuple[bytes, ...], expected: bytes | None) -> None:
    assert choose_alpn(offered, wanted) == expected


@pytest.mark.parametrize("wanted", [(b"http/1.1", b"portway/1"), ()])
def test_an_offer_without_a_common_protocol_is_refused(wanted: tuple[bytes, ...]) -> None:
    with pytest.raises(HelloError) as found:
        choose_alpn((b"h2",), wanted)
    assert found.value.alert is Alert.NO_APPLICATION_PROTOCOL
