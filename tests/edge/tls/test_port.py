"""Routing of the TLS port: by ALPN and server name, with the right alert for everything else."""

import socket
from functools import partial

import pytest

from portway.certificates.contexts import visitor_context
from portway.edge.handoff import HandoffState
from portway.edge.lease import Lease
from portway.edge.tls.port import HandshakeLimits
from portway.engine.channel import Channel
from portway.engine.socket_channel import SocketChannel
from portway.engine.tls_channel import TlsChannel
from portway.links.tls import ALPN
from portway.protocol.tls_alert import Alert, alert_record
from tests.edge.tls.kit import open_port
from tests.kit.certificates import Identity
from tests.kit.loops import EngineLoop
from tests.kit.tls_wire import alpn, modern, pieces, records, server_name
from tests.links.kit import delivers, pinned

UNKNOWN_NAME = alert_record(Alert.UNRECOGNIZED_NAME)


def hello_for(name: bytes, *protocols: bytes) -> bytes:
    return records(modern(server_name(name), *([alpn(*protocols)] if protocols else [])))


@pytest.mark.parametrize("offer", [(), ("http/1.1",), ("h2", "http/1.1")])
def test_a_visitor_of_an_http_tunnel_is_decrypted(engine: EngineLoop, identity: Identity, offer: tuple[str, ...]) -> None:
    with open_port(engine, identity) as opened:
        channel, failure = opened.dial(alpn=offer)
        assert failure == ""
        engine.run_until(lambda: bool(opened.to.served), what="a served visitor")
        served, scheme, name = opened.to.served[0]
        assert (scheme, name, channel.alpn) == ("https", "localhost", "http/1.1" if offer else None)
        assert delivers(engine, channel, served, b"request")
        assert delivers(engine, served, channel, bytes(100_000))
        assert opened.port.under_way == 0
        channel.abort()


def test_a_hello_in_pieces_is_read(engine: EngineLoop, identity: Identity) -> None:
    with open_port(engine, identity) as opened:
        opened.to.tunnel("raw.localhost", passthrough=True)
        wire = hello_for(b"raw.localhost", b"h2")
        sock = opened.connect()
        for piece in pieces(wire, 1):
            sock.sendall(piece)
            engine.settle()
        engine.run_until(lambda: bool(opened.to.passed), what="a visitor that is passed through")
        _, lease, hello = opened.to.passed[0]
        assert (lease.address, hello.wire, hello.alpn) == ("raw.localhost", wire, (b"h2",))


def test_bytes_after_the_hello_travel_with_it(engine: EngineLoop, identity: Identity) -> None:
    with open_port(engine, identity) as opened:
        opened.to.tunnel("raw.localhost", passthrough=True)
        wire = hello_for(b"raw.localhost") + b"early data"
        opened.connect(wire)
        engine.run_until(lambda: bool(opened.to.passed), what="a visitor that is passed through")
        assert opened.to.passed[0][2].wire == wire


def test_an_agent_is_recognised_by_its_protocol(engine: EngineLoop, identity: Identity) -> None:
    with open_port(engine, identity) as opened:
        opened.connect(hello_for(b"localhost", ALPN.encode(), b"portway-hint/3"))
        engine.run_until(lambda: bool(opened.to.agents), what="an agent")
        assert opened.port.under_way == 0


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (records(modern()), UNKNOWN_NAME),
        (hello_for(b"other.localhost"), UNKNOWN_NAME),
        (hello_for(b"bad..name"), UNKNOWN_NAME),
        (hello_for(b"127.0.0.1"), UNKNOWN_NAME),
        (hello_for(b"bare.localhost"), UNKNOWN_NAME),
        (hello_for(b"localhost", b"h2"), alert_record(Alert.NO_APPLICATION_PROTOCOL)),
        (hello_for(b"localhost", b"acme-tls/1"), UNKNOWN_NAME),
        (b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00", alert_record(Alert.UNEXPECTED_MESSAGE)),
        (b"SSH-2.0-x\r\n", b"reset"),
    ],
    ids=["no name", "unknown", "invalid", "an address", "no certificate", "h2 only", "no order", "no hello", "ssh"],
)
def test_everything_else_is_refused(engine: EngineLoop, identity: Identity, sent: bytes, answer: bytes) -> None:
    with open_port(engine, identity) as opened:
        opened.to.tunnel("bare.localhost")
        assert opened.answer(opened.connect(sent)) == answer
        assert opened.port.under_way == 0


def test_plain_http_is_told_to_use_https(engine: EngineLoop, identity: Identity) -> None:
    with open_port(engine, identity) as opened:
        answer = opened.answer(opened.connect(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"))
        assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert b"https://" in answer
        assert not answer.endswith(b"reset")


def test_a_challenge_of_a_ca_gets_its_certificate_and_ends(engine: EngineLoop, identity: Identity) -> None:
    with open_port(engine, identity) as opened:
        pem = identity.cert_file.read_bytes() + identity.key_file.read_bytes()
        opened.to.challenges["localhost"] = visitor_context(pem, alpn=["acme-tls/1"])
        channel, failure = opened.dial(alpn=("acme-tls/1",))
        assert (failure, channel.alpn) == ("", "acme-tls/1")
        engine.run_until(lambda: channel.recv_into(memoryview(bytearray(1))) == 0, what="the end")
        assert not opened.to.served
        channel.abort()


def test_a_visitor_waits_for_a_certificate_that_is_being_ordered(engine: EngineLoop, identity: Identity) -> None:
    with open_port(engine, identity) as opened:
        opened.to.tunnel("localhost")
        opened.to.names.clear()
        opened.to.ordered.add("localhost")
        engine.reactor.call_later(0.3, lambda: opened.to.names.add("localhost"))
        channel, failure = opened.dial()
        assert failure == ""
        engine.run_until(lambda: bool(opened.to.served), what="a visitor at the HTTP edge")
        channel.abort()


def test_a_failed_order_is_an_alert_and_a_slow_one_ends_at_the_deadline(engine: EngineLoop, identity: Identity) -> None:
    with open_port(engine, identity, HandshakeLimits(seconds_max=0.4)) as opened:
        opened.to.tunnel("localhost")
        opened.to.names.clear()
        opened.to.ordered.add("localhost")
        engine.reactor.call_later(0.2, opened.to.ordered.clear)
        assert opened.answer(opened.connect(hello_for(b"localhost"))) == alert_record(Alert.UNRECOGNIZED_NAME)
        opened.to.ordered.add("localhost")
        assert opened.answer(opened.connect(hello_for(b"localhost"))) == UNKNOWN_NAME
        assert opened.port.under_way == 0


def test_a_visitor_that_leaves_while_it_waits_frees_its_slot(engine: EngineLoop, identity: Identity) -> None:
    with open_port(engine, identity) as opened:
        opened.to.names.clear()
        opened.to.ordered.add("localhost")
        sock = opened.connect(hello_for(b"localhost"))
        engine.run_until(lambda: opened.port.under_way == 1, what="a connection")
        opened.visitors.remove(sock)
        sock.close()
        engine.run_until(lambda: not opened.port.under_way, what="a free slot")


def test_few_visitors_wait_for_certificates_and_sources_share_the_wait(engine: EngineLoop, identity: Identity) -> None:
    with open_port(engine, identity, HandshakeLimits(waiting_max=4)) as opened:
        opened.to.names.clear()
        opened.to.ordered.add("localhost")
        many = [opened.connect(hello_for(b"localhost")) for _ in range(4)]
        engine.run_until(lambda: opened.port.under_way == 4, what="four connections")
        engine.settle()
        assert opened.answer(opened.connect(hello_for(b"localhost"))) == UNKNOWN_NAME, "a fifth of the same source"
        other = opened.connect(hello_for(b"localhost"), source="127.0.0.2")
        assert opened.answer(many[0]) == UNKNOWN_NAME, "the oldest of the source with the most"
        opened.to.names.add("localhost")
        for sock in (*many[1:], other):
            engine.run_until(partial(begins_handshake, sock), what="a ServerHello")


def begins_handshake(sock: socket.socket) -> bool:
    try:
        return sock.recv(3, socket.MSG_PEEK) == b"\x16\x03\x03"
    except BlockingIOError:
        return False


def test_a_tls_tunnel_gets_challenges_for_its_name(engine: EngineLoop, identity: Identity) -> None:
    with open_port(engine, identity) as opened:
        opened.to.tunnel("localhost", passthrough=True)
        opened.connect(hello_for(b"localhost", b"acme-tls/1"))
        engine.run_until(lambda: bool(opened.to.passed), what="a visitor that is passed through")


def test_a_full_edge_costs_no_handshake(engine: EngineLoop, identity: Identity) -> None:
    with open_port(engine, identity) as opened:
        opened.to.full = True
        assert opened.answer(opened.connect(hello_for(b"localhost"))) == alert_record(Alert.INTERNAL_ERROR)


@pytest.mark.parametrize("sent", [b"", hello_for(b"localhost")[:40], hello_for(b"localhost")], ids=["nothing", "part", "hello only"])
def test_a_handshake_has_a_deadline(engine: EngineLoop, identity: Identity, sent: bytes) -> None:
    with open_port(engine, identity, HandshakeLimits(seconds_max=0.2)) as opened:
        answer = opened.answer(opened.connect(sent))
        assert answer.endswith(b"reset")
        assert opened.port.under_way == 0


def test_slots_are_shared_by_source(engine: EngineLoop, identity: Identity) -> None:
    with open_port(engine, identity, HandshakeLimits(under_way_max=2)) as opened:
        first, second = opened.connect(), opened.connect()
        engine.run_until(lambda: opened.port.under_way == 2, what="two connections")
        far = socket.create_connection(opened.listener.address, source_address=("127.0.0.2", 0))
        far.setblocking(False)
        opened.visitors.append(far)
        engine.run_until(lambda: b"reset" in (peek(first) + peek(second)), what="a connection of the first source to end")
        assert opened.port.under_way == 2


def peek(sock: socket.socket) -> bytes:
    try:
        return sock.recv(1)
    except BlockingIOError:
        return b""
    except ConnectionResetError:
        return b"reset"


def taken_from(channel: Channel) -> socket.socket:
    """Take the socket out of a channel, as a message to another process does."""
    assert isinstance(channel, SocketChannel)
    taken: list[socket.socket] = []
    channel.detach(lambda sock: not taken.append(sock))  # type: ignore[func-returns-value]
    return taken[0]


def test_a_visitor_goes_to_its_agents_worker_before_the_handshake(engine: EngineLoop, identity: Identity) -> None:
    handed: list[tuple[Lease, HandoffState, socket.socket]] = []

    def hand_off(lease: Lease, channel: Channel, state: HandoffState) -> bool:
        handed.append((lease, state, taken_from(channel)))
        return True

    with open_port(engine, identity, hand_off=hand_off) as opened:
        opened.to.leases["localhost"].remote_worker = 2
        wire = hello_for(b"localhost")
        opened.connect(wire)
        engine.run_until(lambda: bool(handed), what="a handoff")
        lease, state, sock = handed[0]
        assert (lease.address, state.buffered, state.handoffs, state.tls) == ("localhost", wire, 1, True)
        assert opened.port.under_way == 0

        opened.to.leases["localhost"].remote_worker = 0
        sock.setblocking(False)
        opened.port.accept_handoff(sock, state)
        assert opened.port.under_way == 1
        opened.port.close()


def test_a_whole_handshake_continues_after_a_handoff(engine: EngineLoop, identity: Identity) -> None:
    handed: list[tuple[HandoffState, socket.socket]] = []

    def hand_off(_lease: Lease, channel: Channel, state: HandoffState) -> bool:
        handed.append((state, taken_from(channel)))
        return True

    def other_worker() -> bool:
        while handed:
            state, sock = handed.pop()
            sock.setblocking(False)
            opened.to.leases["localhost"].remote_worker = 0
            opened.port.accept_handoff(sock, state)
        return bool(opened.to.served)

    with open_port(engine, identity, hand_off=hand_off) as opened:
        opened.to.leases["localhost"].remote_worker = 2
        client = pinned(identity)
        client.context.set_alpn_protocols(["http/1.1"])
        channel = TlsChannel(engine.reactor, opened.connect(), client.context, server_side=False, server_hostname="localhost")
        channel.handshake(lambda _failure: None)
        engine.run_until(other_worker, what="a visitor served by the other worker")
        assert delivers(engine, opened.to.served[0][0], channel, b"hello")
        channel.abort()
