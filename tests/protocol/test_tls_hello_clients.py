"""ClientHellos of real clients: each is read in any framing, and OpenSSL sees the same name."""

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from portway.protocol.tls_hello import TLS_1_2, TLS_1_3, ClientHello, HelloReader
from tests.kit import tls_clients
from tests.kit.tls_opinion import Accepted, openssl_opinion
from tests.kit.tls_wire import joined, pieces, records

BOTH = (b"h2", b"http/1.1")
OLD, NEW = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3

CLIENTS: dict[str, tuple[Callable[[Path], bytes], bool, tuple[bytes, ...], int]] = {
    "openssl": (lambda _: tls_clients.openssl("-alpn", "h2,http/1.1"), True, BOTH, TLS_1_3),
    "openssl, TLS 1.2": (lambda _: tls_clients.openssl("-tls1_2", "-alpn", "portway/1"), True, (b"portway/1",), TLS_1_2),
    "curl": (lambda _: tls_clients.curl(), True, BOTH, TLS_1_3),
    "curl, TLS 1.2": (lambda _: tls_clients.curl("--tls-max", "1.2", "--http1.1"), True, (b"http/1.1",), TLS_1_2),
    "go": (lambda _: tls_clients.go("-alpn", "h2,http/1.1"), True, BOTH, TLS_1_3),
    "go, TLS 1.2": (lambda _: tls_clients.go("-newest", "0x0303"), True, (), TLS_1_2),
    "node": (lambda _: tls_clients.node("acme-tls/1"), True, (b"acme-tls/1",), TLS_1_3),
    "chromium": (tls_clients.chromium, True, BOTH, TLS_1_3),
    "python": (lambda _: tls_clients.python(protocols=["portway/1"]), True, (b"portway/1",), TLS_1_3),
    "python without a name": (lambda _: tls_clients.python(host=None), False, (), TLS_1_3),
    "python, an address": (lambda _: tls_clients.python(host="127.0.0.1"), False, (), TLS_1_3),
    "python, TLS 1.2": (lambda _: tls_clients.python(newest=OLD), True, (), TLS_1_2),
    "resumption, TLS 1.3": (lambda folder: tls_clients.resuming(folder, NEW), True, (), TLS_1_3),
    "resumption, TLS 1.2": (lambda folder: tls_clients.resuming(folder, OLD), True, (), TLS_1_2),
}
"""How to get it, whether it names its server, its ALPN and its highest version."""


@pytest.fixture(scope="module", params=CLIENTS)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, ClientHello]:
    get, named, alpn, version = CLIENTS[request.param]
    wire = get(tmp_path_factory.mktemp("client"))
    return wire, ClientHello(tls_clients.HOST.lower() if named else None, alpn, version, wire, len(wire))


def read(wire: bytes, segment: int) -> ClientHello | None:
    reader, found = HelloReader(), None
    for piece in pieces(wire, segment):
        assert found is None
        found = reader.feed(piece)
    return found


def test_a_clients_offer_is_found(case: tuple[bytes, ClientHello]) -> None:
    wire, expected = case
    assert read(wire, len(wire)) == expected
    opinion = openssl_opinion(wire)
    assert isinstance(opinion, Accepted)
    assert (opinion.server_name and opinion.server_name.lower()) == expected.server_name


def test_it_may_be_cut_at_every_byte(case: tuple[bytes, ClientHello]) -> None:
    wire, expected = case
    for at in range(1, len(wire)):
        reader = HelloReader()
        assert reader.feed(wire[:at]) is None
        assert reader.feed(wire[at:]) == expected
    assert read(wire, 1) == expected


def test_it_may_lie_in_records_of_every_size(case: tuple[bytes, ClientHello]) -> None:
    wire, expected = case
    message = joined(wire)
    for size in range(1, len(message) + 1):
        again = records(message, size)
        found = read(again, len(again))
        assert found == ClientHello(expected.server_name, expected.alpn, expected.version, again, len(again))
        if size < 5:
            assert read(again, 1) == found


def test_early_data_follows_the_hello(tmp_path: Path) -> None:
    wire = tls_clients.with_early_data(tmp_path)
    found = read(wire, len(wire))
    assert found is not None
    assert found.server_name == tls_clients.HOST.lower()
    assert found.wire == wire
    # The client's compatibility mode puts a change_cipher_spec between them (RFC 8446 section D.4).
    assert wire[found.hello_bytes :].startswith(b"\x14\x03\x03\0\1\1\x17\x03\x03")
