"""ClientHellos of real clients at a real server's https port: cut at every byte, in records of many sizes, and long ones."""

import select
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.e2e.world import World, event, web
from tests.kit import tls_clients
from tests.kit.tls_wire import ECH, PADDING, alpn, extension, grease, joined, modern, records, server_name, vector

DOMAIN = "tunnel.example.org"
NAME = tls_clients.HOST.lower().encode()

AT_A_TIME = 200
"""Connections at once: fewer than a source may have before the end of their handshakes."""

EVERY_BYTE = 520

DEADLINE_S = 20.0

CLIENTS: dict[str, Callable[[], bytes]] = {
    "openssl": lambda: tls_clients.openssl("-alpn", "h2,http/1.1"),
    "openssl, TLS 1.2": lambda: tls_clients.openssl("-tls1_2"),
    "curl": tls_clients.curl,
    "curl, TLS 1.2": lambda: tls_clients.curl("--tls-max", "1.2"),
    "go": lambda: tls_clients.go("-alpn", "h2,http/1.1"),
    "go, TLS 1.2": lambda: tls_clients.go("-newest", "0x0303"),
}

# The outer form of RFC 9849 section 5 with random content, which clients send without a configuration (section 6.2).
ECH_GREASE = extension(ECH, b"\0" + struct.pack(">HHB", 1, 1, 77) + vector(2, bytes(range(32))) + vector(2, bytes(range(144))))

LONG = {
    "ECH GREASE": modern(extension(grease(2)), server_name(NAME), ECH_GREASE, alpn(b"h2", b"http/1.1")),
    "20 kB of padding": modern(server_name(NAME), extension(PADDING, bytes(20_000))),
    "60 kB of padding": modern(extension(PADDING, bytes(60_000)), server_name(NAME)),
    "16 kB of protocols": modern(server_name(NAME), alpn(*(b"%03d" % at + bytes(61) for at in range(255)), b"http/1.1")),
}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World(https=True, server_flags=("--domain", DOMAIN, "--dev-tls")) as world:
        world.start_server()
        event(world.agent(world.token(), *web("app")), "tunnel_up")
        yield world


def begins_handshake(data: bytes) -> bool:
    """Return whether this is a ServerHello, at least its beginning."""
    return data[:3] == b"\x16\x03\x03" and data[5:6] == b"\2"


def answers(world: World, cuts: list[list[bytes]]) -> list[bytes]:
    """Return the first bytes of the answer to each hello, whose pieces are sent one after the other."""
    with ExitStack() as stack:
        socks = []
        for pieces in cuts:
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", world.https_port), timeout=DEADLINE_S))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            socks.append((sock, pieces))
        for at in range(max(len(pieces) for pieces in cuts)):
            # All of one round are sent before the next: the server reads them in between.
            for sock, pieces in socks:
                if at < len(pieces):
                    sock.sendall(pieces[at])
            ready, _, _ = select.select([sock for sock, pieces in socks if at + 1 < len(pieces)], [], [], 0.005)
            assert not ready, "an answer to a part of a hello"
        return [sock.recv(64) for sock, _ in socks]


@pytest.fixture(scope="module", params=CLIENTS)
def wire(request: pytest.FixtureRequest) -> bytes:
    return CLIENTS[request.param]()


def test_it_may_be_cut_at_every_byte(world: World, wire: bytes) -> None:
    # Behind the first bytes of a long hello are keys, of 1,200 bytes: every fifth is enough.
    places = [at for at in range(1, len(wire)) if at < EVERY_BYTE or at % 5 == 0]
    for first in range(0, len(places), AT_A_TIME):
        some = places[first : first + AT_A_TIME]
        for at, answer in zip(some, answers(world, [[wire[:at], wire[at:]] for at in some]), strict=True):
            assert begins_handshake(answer), (at, answer)


def test_it_may_lie_in_records_of_many_sizes(world: World, wire: bytes) -> None:
    message = joined(wire)
    sizes = [1, 2, 3, 4, 5, 16, 100, len(message) - 1, len(message)]
    for size, answer in zip(sizes, answers(world, [[records(message, size)] for size in sizes]), strict=True):
        assert begins_handshake(answer), size


@pytest.mark.parametrize("message", LONG.values(), ids=list(LONG))
def test_unusual_and_long_ones_are_answered(world: World, message: bytes) -> None:
    wires = [records(message, size) for size in (100, 1000, 16_383, 16_384)]
    assert len(message) > 16_384 or len(message) < 1000
    cuts = [[wire] for wire in wires] + [[wire[:at], wire[at:]] for wire in wires for at in (1, 5, 100, len(wire) // 2, len(wire) - 1)]
    assert [begins_handshake(answer) for answer in answers(world, cuts)] == [True] * len(cuts)
