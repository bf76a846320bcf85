"""ClientHellos with faults, each with its alert, and other protocols: any cut gives the same error, as early as it can be."""

import pytest

from portway.protocol.tls_alert import Alert, FirstProtocol, HelloError
from portway.protocol.tls_hello import EXTENSIONS_MAX, HELLO_BYTES_MAX, PROTOCOLS_MAX, TLS_1_3, WIRE_BYTES_MAX, HelloReader
from tests.kit import tls_wire as tls
from tests.kit.tls_wire import alpn, extension, grease, hello, modern, pieces, psk, record, records, server_name, vector, versions

NAMED = modern(server_name(b"App.Example.org"), alpn(b"h2", b"http/1.1"))


def fault(wire: bytes) -> HelloError:
    """Return the error, which must not depend on the segments."""
    with pytest.raises(HelloError) as whole:
        HelloReader().feed(wire)
    with pytest.raises(HelloError) as cut:
        reader = HelloReader()
        for piece in pieces(wire, 1):
            reader.feed(piece)
    assert (cut.value.alert, cut.value.protocol, str(cut.value)) == (whole.value.alert, whole.value.protocol, str(whole.value))
    return whole.value


# ----------------------------------------------------------------------------------------------------------------- faults

SHORT = hello(tls.USUAL)
TOO_MANY = modern(*(extension(0x1000 + number) for number in range(EXTENSIONS_MAX - 3)))


@pytest.mark.parametrize(
    ("wire", "alert"),
    [
        # Records
        (record(b""), Alert.UNEXPECTED_MESSAGE),
        (record(NAMED[:9]) + record(b"") + record(NAMED[9:]), Alert.UNEXPECTED_MESSAGE),
        (b"\x16\x03\x01\x40\x01", Alert.RECORD_OVERFLOW),
        (record(NAMED[:9]) + b"\x16\x03\x01\xff\xff", Alert.RECORD_OVERFLOW),
        (b"\x16\x02\x00\x00\x10", Alert.PROTOCOL_VERSION),
        (b"\x16\xfe\xfd\x00\x10", Alert.PROTOCOL_VERSION),
        (record(NAMED[:9]) + record(NAMED[9:], version=0x0403), Alert.PROTOCOL_VERSION),
        (record(NAMED, version=0x0203), Alert.PROTOCOL_VERSION),
        (record(modern(extension(tls.UNKNOWN, bytes(1 << 14)))), Alert.RECORD_OVERFLOW),
        (record(b"\1", 20), Alert.UNEXPECTED_MESSAGE),
        (record(b"\2\x28", 21), Alert.UNEXPECTED_MESSAGE),
        (record(b"GET /", 23), Alert.UNEXPECTED_MESSAGE),
        (record(NAMED[:9]) + record(b"\1", 20) + record(NAMED[9:]), Alert.UNEXPECTED_MESSAGE),
        (record(NAMED[:9]) + record(b"\1\0", 21), Alert.UNEXPECTED_MESSAGE),
        # Messages
        *((record(bytes((kind,)) + NAMED[1:]), Alert.UNEXPECTED_MESSAGE) for kind in (0, 2, 16, 20, 255)),
        (record(NAMED + b"\1"), Alert.UNEXPECTED_MESSAGE),
        (record(NAMED + NAMED), Alert.UNEXPECTED_MESSAGE),
        (record(NAMED[:60]) + record(NAMED[60:] + b"\0"), Alert.UNEXPECTED_MESSAGE),
        (record(tls.message(1, b"")), Alert.DECODE_ERROR),
        (record(tls.message(1, SHORT[4:44])), Alert.DECODE_ERROR),
        (record(tls.message(1, NAMED[4:], -1)), Alert.UNEXPECTED_MESSAGE),
        (records(tls.message(1, NAMED[4:-1])), Alert.DECODE_ERROR),
        (records(tls.message(1, NAMED[4:] + b"\0")), Alert.DECODE_ERROR),
        # Vectors of the hello
        (records(hello(tls.USUAL, session_id=bytes(33))), Alert.DECODE_ERROR),
        *((records(tls.message(1, NAMED[4:38] + bytes((size,)) + bytes(6))), Alert.DECODE_ERROR) for size in (3, 4, 5, 6, 7, 32)),
        *((records(tls.message(1, NAMED[4:38] + b"\0\0" + bytes((size,)) + bytes(20))), Alert.DECODE_ERROR) for size in (20, 22, 18)),
        *(
            (records(tls.message(1, NAMED[4:38] + b"\0\0\2\x13\1" + bytes((size,)) + bytes(9))), Alert.DECODE_ERROR)
            for size in (10, 8, 255)
        ),
        (records(hello(tls.USUAL, suites=b"")), Alert.DECODE_ERROR),
        (records(hello(tls.USUAL, suites=b"\x13\1\x13")), Alert.DECODE_ERROR),
        (records(hello(tls.USUAL, methods=b"")), Alert.DECODE_ERROR),
        (records(hello(tls.USUAL, methods=b"\1")), Alert.ILLEGAL_PARAMETER),
        (records(hello(tls.USUAL, versions(TLS_1_3), methods=b"\1\0")), Alert.ILLEGAL_PARAMETER),
        (records(hello(rest=b"\0")), Alert.DECODE_ERROR),
        (records(hello(rest=vector(2, tls.USUAL, 1))), Alert.DECODE_ERROR),
        (records(hello(rest=vector(2, tls.USUAL, -1))), Alert.DECODE_ERROR),
        (records(hello(rest=vector(2, tls.USUAL) + b"\0\0")), Alert.DECODE_ERROR),
        # Extensions
        (records(modern(b"\x12")), Alert.DECODE_ERROR),
        (records(hello(tls.USUAL, b"\x12\x34\0")), Alert.DECODE_ERROR),
        (records(hello(tls.USUAL, extension(tls.UNKNOWN, b"ab", 1))), Alert.DECODE_ERROR),
        (records(hello(tls.USUAL, extension(tls.UNKNOWN, b"ab", -1))), Alert.DECODE_ERROR),
        (records(modern(extension(tls.UNKNOWN), extension(tls.UNKNOWN))), Alert.ILLEGAL_PARAMETER),
        (records(modern(server_name(b"a.example"), server_name(b"b.example"))), Alert.ILLEGAL_PARAMETER),
        (records(modern(alpn(b"h2"), alpn(b"h2"))), Alert.ILLEGAL_PARAMETER),
        (records(hello(psk(), tls.USUAL, versions(TLS_1_3))), Alert.ILLEGAL_PARAMETER),
        (records(hello(psk(), tls.USUAL)), Alert.ILLEGAL_PARAMETER),
        (records(TOO_MANY), Alert.DECODE_ERROR),
        # Versions
        (records(hello(tls.USUAL, legacy=0x0302)), Alert.PROTOCOL_VERSION),
        (records(hello(tls.USUAL, legacy=0x0200)), Alert.PROTOCOL_VERSION),
        (records(hello(tls.USUAL, versions(TLS_1_3), legacy=0x0300)), Alert.PROTOCOL_VERSION),
        (records(hello(tls.USUAL, versions(0x0301, 0x0302, grease(1)))), Alert.PROTOCOL_VERSION),
        (records(hello(tls.USUAL, versions())), Alert.DECODE_ERROR),
        (records(hello(tls.USUAL, extension(tls.VERSIONS))), Alert.DECODE_ERROR),
        (records(hello(tls.USUAL, extension(tls.VERSIONS, b"\3\3\4\3"))), Alert.DECODE_ERROR),
        (records(hello(tls.USUAL, extension(tls.VERSIONS, b"\4\3\4"))), Alert.DECODE_ERROR),
        (records(hello(tls.USUAL, extension(tls.VERSIONS, b"\2\3\4\0"))), Alert.DECODE_ERROR),
        # ALPN
        (records(modern(alpn())), Alert.DECODE_ERROR),
        (records(modern(alpn(b""))), Alert.DECODE_ERROR),
        (records(modern(alpn(b"h2", b""))), Alert.DECODE_ERROR),
        (records(modern(extension(tls.ALPN))), Alert.DECODE_ERROR),
        (records(modern(extension(tls.ALPN, b"\0\3\2h"))), Alert.DECODE_ERROR),
        (records(modern(extension(tls.ALPN, vector(2, b"\3h2")))), Alert.DECODE_ERROR),
        (records(modern(extension(tls.ALPN, vector(2, b"\2h2") + b"\0"))), Alert.DECODE_ERROR),
        (records(modern(alpn(*[b"x"] * (PROTOCOLS_MAX + 1)))), Alert.DECODE_ERROR),
        # Names
        (records(modern(extension(0))), Alert.DECODE_ERROR),
        (records(modern(extension(0, b"\0\0"))), Alert.DECODE_ERROR),
        (records(modern(extension(0, vector(2, b"\0")))), Alert.DECODE_ERROR),
        (records(modern(server_name(b""))), Alert.DECODE_ERROR),
        (records(modern(extension(0, vector(2, b"\0\0\0" + b"\1" + vector(2, b"a"))))), Alert.DECODE_ERROR),
        (records(modern(extension(0, vector(2, b"\0" + vector(2, b"a.example", 1))))), Alert.DECODE_ERROR),
        (records(modern(extension(0, vector(2, b"\0" + vector(2, b"a.example", -1))))), Alert.DECODE_ERROR),
        (records(modern(extension(0, vector(2, b"\0" + vector(2, b"a.example"), 1)))), Alert.DECODE_ERROR),
        (records(modern(extension(0, vector(2, b"\0" + vector(2, b"a.example")) + b"\0"))), Alert.DECODE_ERROR),
        (records(modern(extension(0, vector(2, (b"\0" + vector(2, b"a.example")) * 2)))), Alert.ILLEGAL_PARAMETER),
        (records(modern(extension(0, vector(2, b"\0" + vector(2, b"a") + b"\0" + vector(2, b"b"))))), Alert.ILLEGAL_PARAMETER),
    ],
)
def test_each_fault_has_its_alert(wire: bytes, alert: Alert) -> None:
    found = fault(wire)
    assert (found.alert, found.protocol) == (alert, FirstProtocol.TLS)
    assert str(found)


@pytest.mark.parametrize(
    "host",
    [
        *(
            b"a..example",
            b".a",
            b"..",
            b"a b",
            b"a.example:443",
            b"[::1]",
            b"::1",
            b"127.0.0.1",
            b"127.0.0.1.",
            b"a@b",
            b"*.example",
            b"a/b",
        ),
        *(
            b"a\0.example",
            "bücher.example".encode(),
            b"\xff",
            b"a" * 64,
            b"a." * 127 + b"a",
            b"a" * 60_000,
            b"a.example\n",
            b"a%2e",
            b"a.1",
        ),
    ],
)
def test_an_invalid_name_is_unrecognized(host: bytes) -> None:
    found = fault(records(modern(server_name(host))))
    assert found.alert is Alert.UNRECOGNIZED_NAME
    assert len(str(found)) < 500
    assert str(found).isascii()
    assert str(found).isprintable()


@pytest.mark.parametrize(
    ("wire", "at", "alert"),
    [
        (b"\x17\x03\x03\x00\x10", 2, Alert.UNEXPECTED_MESSAGE),
        (records(NAMED)[:3] + b"\x50\0", 5, Alert.RECORD_OVERFLOW),
        (record(b"\2\0\0\x50" + bytes(80)), 9, Alert.UNEXPECTED_MESSAGE),
        (record(b"\1\1\0\0" + bytes(80)), 9, Alert.DECODE_ERROR),
        (record(NAMED + b"more"), 9, Alert.UNEXPECTED_MESSAGE),
        (record(NAMED[:50]) + record(NAMED[50:] + b"more"), 60, Alert.UNEXPECTED_MESSAGE),
        (record(NAMED[:50]) + b"\x15\x03\x03\0\2", 60, Alert.UNEXPECTED_MESSAGE),
    ],
)
def test_a_fault_is_found_as_early_as_it_can_be(wire: bytes, at: int, alert: Alert) -> None:
    for size in (1, at):
        reader = HelloReader()
        for piece in pieces(wire[: at - 1], size):
            assert reader.feed(piece) is None
        with pytest.raises(HelloError) as found:
            reader.feed(wire[at - 1 : at])
        assert found.value.alert is alert


# -------------------------------------------------------------------------------------------------------- other protocols


@pytest.mark.parametrize(
    ("wire", "protocol", "alert"),
    [
        *(
            (b"%s / HTTP/1.1\r\n" % method, FirstProtocol.HTTP, None)
            for method in (b"GET", b"POST", b"HEAD", b"OPTIONS", b"PATCH", b"DELETE")
        ),
        (b"CONNECT a:443 HTTP/1.1\r\n", FirstProtocol.HTTP, None),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", FirstProtocol.HTTP, None),
        (b"SSH-2.0-OpenSSH_9.2\r\n", FirstProtocol.SSH, None),
        (b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2\r\n", FirstProtocol.PROXY, None),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", FirstProtocol.PROXY, None),
        (b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10", FirstProtocol.SSL2, Alert.PROTOCOL_VERSION),
        (b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10", FirstProtocol.SSL2, Alert.PROTOCOL_VERSION),
        (b"\x80\x2e\x02\x03\x01", FirstProtocol.UNKNOWN, None),
        (b"\x80\x2e\x01\x04\x01", FirstProtocol.UNKNOWN, None),
        (b"\x17\x05\0\0", FirstProtocol.UNKNOWN, None),
        (b"GETS ", FirstProtocol.UNKNOWN, None),
        (b"get / http/1.1\r\n", FirstProtocol.UNKNOWN, None),
        (b"\0\1\0\1\0\0\0\1\0\0\0\0", FirstProtocol.UNKNOWN, None),
        (b"EHLO a.example\r\n", FirstProtocol.UNKNOWN, None),
        (b"\0", FirstProtocol.UNKNOWN, None),
    ],
)
def test_other_protocols_are_named(wire: bytes, protocol: FirstProtocol, alert: Alert | None) -> None:
    found = fault(wire)
    assert (found.protocol, found.alert) == (protocol, alert)
    assert "expected TLS" in str(found)


def test_the_bytes_of_another_protocol_can_be_replayed() -> None:
    reader = HelloReader()
    assert reader.feed(b"GE") is None
    with pytest.raises(HelloError):
        reader.feed(b"T / HTTP/1.1\r\n")
    assert reader.wire == b"GET / HTTP/1.1\r\n"


def test_more_than_the_longest_hello_is_refused_at_its_header() -> None:
    header = b"\1" + (HELLO_BYTES_MAX - 4 + 1).to_bytes(3, "big")
    assert fault(record(header)).alert is Alert.DECODE_ERROR
    assert HelloReader().feed(record(b"\1" + (HELLO_BYTES_MAX - 4).to_bytes(3, "big"))) is None


def test_the_bytes_of_records_are_bounded_whatever_they_hold() -> None:
    handshake = modern(extension(tls.UNKNOWN, bytes(60_000)))
    reader, fed = HelloReader(), 0
    with pytest.raises(HelloError) as refused:
        for piece in pieces(records(handshake, 1), 100):
            fed += len(piece)
            reader.feed(piece)
    assert refused.value.alert is Alert.DECODE_ERROR
    assert WIRE_BYTES_MAX - 100 <= fed <= WIRE_BYTES_MAX + 100
    over = fault(records(modern(extension(tls.UNKNOWN, bytes(WIRE_BYTES_MAX // 6))), 1))
    assert (over.alert, "records" in str(over)) == (Alert.DECODE_ERROR, True)
