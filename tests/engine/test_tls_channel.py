"""Properties of TLS only: failed handshakes, damaged records, and a peer that is plain OpenSSL."""

import fcntl
import os
import random
import socket
import ssl
import termios
import threading
from array import array
from pathlib import Path

import pytest

from portway.engine.channel import BLOCKED
from portway.engine.socket_channel import RESET_ON_CLOSE
from portway.engine.tls_channel import TlsChannel
from portway.engine.tls_records import EMPTY_RECORDS_MAX, FEED_VISITOR_BYTES, RECORDS_A_CALL
from portway.errors import BrokenChannel
from tests.kit.certificates import Identity, client_context, make_identity
from tests.kit.channels import tls_ends
from tests.kit.loops import EngineLoop
from tests.kit.probe import Probe
from tests.kit.socket_cable import SocketCable
from tests.kit.sockets import read_exactly, tcp_pair

MIB = 1024 * 1024


def handshake_of(engine: EngineLoop, client_side: ssl.SSLContext, server_side: ssl.SSLContext, host: str) -> list[BrokenChannel | None]:
    cable = SocketCable(engine.loop)
    client = TlsChannel(engine.reactor, cable.left, client_side, server_side=False, server_hostname=host)
    server = TlsChannel(engine.reactor, cable.right, server_side, server_side=True)
    outcomes: dict[str, BrokenChannel | None] = {}
    server.handshake(lambda why: outcomes.update(server=why))

    def client_done(why: BrokenChannel | None) -> None:
        outcomes["client"] = why
        if why is not None:
            client.close()

    client.handshake(client_done)
    engine.run_until(lambda: "client" in outcomes)
    if outcomes["client"] is not None:
        probe = Probe(server).read()
        engine.run_until(lambda: "server" in outcomes and (outcomes["server"] is not None or probe.broken is not None))
    client.close()
    server.close()
    engine.settle()
    cable.close()
    return [outcomes["client"], outcomes.get("server")]


def test_an_untrusted_certificate_is_refused_with_a_reason(engine: EngineLoop, identity: Identity, tmp_path: Path) -> None:
    stranger = make_identity(tmp_path, "localhost")
    client, _ = handshake_of(engine, client_context(identity), stranger.server_context(), "localhost")
    assert client is not None
    assert "certificate not accepted" in str(client)


def test_a_certificate_for_another_name_is_refused_in_words(engine: EngineLoop, identity: Identity) -> None:
    client, _ = handshake_of(engine, client_context(identity), identity.server_context(), "example.org")
    assert client is not None
    assert "example.org" in str(client)


def test_no_common_version_fails_on_both_ends(engine: EngineLoop, identity: Identity) -> None:
    old, new = client_context(identity), identity.server_context()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    new.minimum_version = ssl.TLSVersion.TLSv1_3
    client, server = handshake_of(engine, old, new, "localhost")
    assert client is not None
    assert server is not None


def test_an_alert_arrives_although_the_socket_was_set_to_reset(engine: EngineLoop, identity: Identity) -> None:
    stranger, sock = tcp_pair()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)  # as every accepted one is
    channel = TlsChannel(engine.reactor, sock, identity.server_context(), server_side=True)
    said: list[BrokenChannel | None] = []
    channel.handshake(said.append)
    stranger.sendall(b"\x16\x03\x01\x00\x04\x01\x00\x00\x00")  # an empty ClientHello
    engine.run_until(lambda: bool(said))
    assert said[0] is not None
    channel.close()
    engine.settle()
    stranger.settimeout(5)
    assert stranger.recv(99)[:1] == b"\x15"
    assert stranger.recv(99) == b""
    stranger.close()


def test_the_handshake_yields_protocol_and_certificate(engine: EngineLoop, identity: Identity) -> None:
    cable = SocketCable(engine.loop)
    at_client, at_server = client_context(identity), identity.server_context()
    at_client.set_alpn_protocols(["portway/1"])
    at_server.set_alpn_protocols(["http/1.1", "portway/1"])
    client = TlsChannel(engine.reactor, cable.left, at_client, server_side=False, server_hostname="localhost")
    server = TlsChannel(engine.reactor, cable.right, at_server, server_side=True)
    outcomes: list[BrokenChannel | None] = []
    for end in (client, server):
        end.handshake(outcomes.append)
    assert not outcomes, "called back from inside the call"
    engine.run_until(lambda: outcomes == [None, None])
    assert (client.alpn, server.alpn) == ("portway/1", "portway/1")
    assert client.peer_certificate_der() == identity.der
    assert server.peer_certificate_der() is None
    client.close()
    server.close()
    engine.settle()
    cable.close()


@pytest.mark.parametrize(
    "greeting",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x00" * 100,
        b"\x16\x03\x01\xff\xff" + b"\x01" * 70_000,
        random.Random(1).randbytes(500),
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
)
def test_plain_data_instead_of_tls_is_refused(engine: EngineLoop, identity: Identity, greeting: bytes) -> None:
    near, far = tcp_pair()
    near.setblocking(False)
    server = TlsChannel(engine.reactor, near, identity.server_context(), server_side=True)
    outcomes: list[BrokenChannel | None] = []
    server.handshake(outcomes.append)
    far.sendall(greeting)
    engine.run_until(lambda: bool(outcomes))
    assert isinstance(outcomes[0], BrokenChannel)
    server.abort()
    far.close()
    engine.settle()


def in_the_kernel(sock: socket.socket) -> int:
    """Return the number of unread received bytes of a socket."""
    unread = array("i", [0])
    fcntl.ioctl(sock, termios.FIONREAD, unread)
    return unread[0]


def test_an_unverified_peer_is_read_in_small_feeds(engine: EngineLoop, identity: Identity) -> None:
    near, far = tcp_pair()
    near.setblocking(False)
    server = TlsChannel(engine.reactor, near, identity.server_context(), server_side=True)
    outcomes: list[BrokenChannel | None] = []
    server.handshake(outcomes.append)
    far.sendall(bytes(100_000))
    engine.run_until(lambda: bool(outcomes))
    assert in_the_kernel(near) > 100_000 - 2 * FEED_VISITOR_BYTES
    server.abort()
    far.close()
    engine.settle()


def test_a_verified_link_is_read_in_large_feeds(engine: EngineLoop, identity: Identity) -> None:
    client, server, cable = tls_ends(engine, identity, feed_bytes=256 * 1024)
    client.send(bytes(60_000))
    engine.settle()
    assert in_the_kernel(cable.right) > 2 * FEED_VISITOR_BYTES
    assert server.recv_into(memoryview(bytearray(10))) == 10
    assert in_the_kernel(cable.right) == 0
    client.close()
    server.close()
    engine.settle()
    cable.close()


@pytest.mark.parametrize("sent", [0, 1, 100])
def test_a_peer_that_leaves_during_the_handshake_is_noticed(engine: EngineLoop, identity: Identity, sent: int) -> None:
    near, far = tcp_pair()
    near.setblocking(False)
    server = TlsChannel(engine.reactor, near, identity.server_context(), server_side=True)
    outcomes: list[BrokenChannel | None] = []
    server.handshake(outcomes.append)
    engine.settle()
    far.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".ljust(200, b"\0")[:sent])
    engine.settle()
    far.close()
    engine.run_until(lambda: bool(outcomes))
    assert isinstance(outcomes[0], BrokenChannel)
    server.close()
    engine.settle()


def test_a_handshake_that_was_aborted_never_calls_back(engine: EngineLoop, identity: Identity) -> None:
    near, far = tcp_pair()
    near.setblocking(False)
    server = TlsChannel(engine.reactor, near, identity.server_context(), server_side=True)
    outcomes: list[BrokenChannel | None] = []
    server.handshake(outcomes.append)
    engine.settle()
    server.abort()
    far.close()
    engine.settle()
    assert not outcomes


def test_a_damaged_record_is_a_break_and_none_of_it_is_delivered(engine: EngineLoop, identity: Identity) -> None:
    client, server, cable = tls_ends(engine, identity)
    sender, receiver = Probe(client), Probe(server).read()
    sender.feed(b"good")
    engine.run_until(lambda: receiver.received == b"good")
    cable.rightward.mangle = lambda data: data[:-1] + bytes([data[-1] ^ 1])
    sender.feed(b"damaged")
    engine.run_until(lambda: receiver.broken is not None)
    assert receiver.received == b"good"
    assert not receiver.ended
    sender.close()
    receiver.close()
    engine.settle()
    cable.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("here_is_server", [True, False])
def test_it_understands_openssl_on_a_plain_socket(
    engine: EngineLoop, identity: Identity, version: ssl.TLSVersion, here_is_server: bool
) -> None:
    near, far = tcp_pair()
    near.setblocking(False)
    at_client, at_server = client_context(identity), identity.server_context()
    at_client.maximum_version = version
    message = random.Random(5).randbytes(3 * MIB)
    heard: list[bytes] = []
    ended: list[str] = []

    def peer() -> None:
        context = at_client if here_is_server else at_server
        with context.wrap_socket(far, server_side=not here_is_server, server_hostname="localhost" if here_is_server else None) as sock:
            echo = threading.Thread(target=lambda: sock.sendall(message))
            heard.append(read_exactly(sock, len(message)))
            echo.start()
            echo.join()
            sock.unwrap()  # sends close_notify and waits for ours
            ended.append("properly")

    thread = threading.Thread(target=peer)
    thread.start()
    if here_is_server:
        channel = TlsChannel(engine.reactor, near, at_server, server_side=True)
    else:
        channel = TlsChannel(engine.reactor, near, at_client, server_side=False, server_hostname="localhost")
    outcomes: list[BrokenChannel | None] = []
    channel.handshake(outcomes.append)
    engine.run_until(lambda: outcomes == [None])
    probe = Probe(channel).read()
    probe.feed(message)
    engine.run_until(lambda: probe.ended, deadline_s=20)
    assert probe.received == message
    probe.end()
    engine.settle()
    thread.join(5)
    assert ended == ["properly"]
    assert heard == [message]
    probe.close()
    engine.settle()


def test_the_half_closed_openssl_peer_still_sends(engine: EngineLoop, identity: Identity) -> None:
    """OpenSSL's own half-close, by MemoryBIO: close_notify first, a megabyte after it."""
    near, far = tcp_pair()
    near.setblocking(False)
    channel = TlsChannel(engine.reactor, near, identity.server_context(), server_side=True)
    outcomes: list[BrokenChannel | None] = []
    channel.handshake(outcomes.append)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context(identity).wrap_bio(incoming, outgoing, server_hostname="localhost")
    far.settimeout(0)

    def exchange() -> None:
        if outgoing.pending:
            far.sendall(outgoing.read())
        engine.settle()
        try:
            while data := far.recv(65536):
                incoming.write(data)
        except BlockingIOError:
            pass

    while not outcomes:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        exchange()
    probe = Probe(channel).read()
    probe.end()
    exchange()
    assert tls.read(10) == b""
    message = os.urandom(50_000)
    tls.write(message)
    exchange()
    engine.run_until(lambda: len(probe.received) == len(message))
    assert probe.received == message
    assert not probe.ended
    tls.unwrap()
    exchange()
    engine.run_until(lambda: probe.ended)
    far.close()
    probe.close()
    engine.settle()


def test_a_close_delivers_accepted_bytes_to_a_slow_reader(engine: EngineLoop, identity: Identity) -> None:
    client, server, cable = tls_ends(engine, identity)
    sender, receiver = Probe(client), Probe(server)
    cable.rightward.pause()
    sender.feed(iter([bytes(MIB)] * 8))
    engine.settle()
    sender.end().close()
    taken = sender.sent_bytes
    cable.rightward.resume()
    receiver.read()
    engine.run_until(lambda: receiver.ended)
    assert receiver.received_bytes == taken
    receiver.close()
    engine.settle()
    cable.close()


def test_a_close_that_the_peer_never_reads_ends_by_its_deadline(
    engine: EngineLoop, identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portway.engine.tls_channel.LINGER_S", 0.05)
    client, server, cable = tls_ends(engine, identity)
    sender = Probe(client)
    cable.rightward.pause()
    sender.feed(iter([bytes(MIB)] * 8))
    engine.settle()
    sender.close()
    assert cable.left.fileno() >= 0
    engine.run_until(lambda: cable.left.fileno() == -1, deadline_s=2)
    server.close()
    engine.settle()
    cable.close()


class PlainOpenssl:
    """The other end as OpenSSL alone: the test decides what is sent, and when."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, *, server_side: bool) -> None:
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        host = None if server_side else "localhost"
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=server_side, server_hostname=host)

    def shake_hands(self, engine: EngineLoop, channel: TlsChannel) -> None:
        """Do it with a channel at the other end of the socket."""
        outcomes: list[BrokenChannel | None] = []
        channel.handshake(outcomes.append)
        self.sock.setblocking(False)
        ready = False
        while not (ready and outcomes):
            try:
                self.tls.do_handshake()
                ready = True
            except ssl.SSLWantReadError:
                pass
            self.sock.sendall(self.outgoing.read())
            engine.settle()
            try:
                self.incoming.write(self.sock.recv(65536))
            except BlockingIOError:
                engine.settle()
        assert outcomes == [None]


def test_a_flood_of_tiny_records_is_read_a_few_at_a_time(engine: EngineLoop, identity: Identity) -> None:
    """A turn of one-byte records from an unverified peer once delayed all others by 230 ms."""
    near, far = tcp_pair()
    near.setblocking(False)
    server = TlsChannel(engine.reactor, near, identity.server_context(), server_side=True)
    peer = PlainOpenssl(far, client_context(identity), server_side=False)
    peer.shake_hands(engine, server)
    server.feed_bytes = 256 * 1024
    for number in range(5000):
        peer.tls.write(bytes((number % 251,)))
    far.sendall(peer.outgoing.read())
    engine.settle()
    buffer, got = memoryview(bytearray(MIB)), b""
    while len(got) < 5000:
        count = server.recv_into(buffer)
        assert count <= RECORDS_A_CALL + 1  # one more may have begun before
        if count == BLOCKED:
            engine.settle()
        else:
            got += buffer[:count]
    assert got == bytes(number % 251 for number in range(5000))
    assert server.recv_into(buffer) == BLOCKED
    server.abort()
    far.close()
    engine.settle()


@pytest.mark.parametrize("tickets", [0, 2, 200, 2000])
def test_records_without_data_are_taken_in_turns_and_a_flood_of_them_is_a_break(
    engine: EngineLoop, identity: Identity, tickets: int
) -> None:
    """Session tickets here; key updates, which cost OpenSSL 15 µs each, stopped a server for as long as they came."""
    context = identity.server_context()
    context.num_tickets = tickets
    near, far = tcp_pair()
    near.setblocking(False)
    client = TlsChannel(engine.reactor, near, client_context(identity), server_side=False, server_hostname="localhost")
    peer = PlainOpenssl(far, context, server_side=True)
    peer.shake_hands(engine, client)
    peer.tls.write(b"hello")
    far.sendall(peer.outgoing.read())
    engine.settle()
    first = client.recv_into(memoryview(bytearray(100)))
    assert first == (5 if tickets <= 2 else BLOCKED)
    reader = Probe(client).read()
    engine.run_until(lambda: bool(first == 5 or reader.received or reader.broken))
    assert (reader.broken is None) == (tickets < EMPTY_RECORDS_MAX)
    client.abort()
    far.close()
    engine.settle()


@pytest.mark.parametrize("piece_bytes", [1, 5, 6, 1000])
def test_a_handshake_in_small_pieces_is_not_a_flood(engine: EngineLoop, identity: Identity, piece_bytes: int) -> None:
    cable = SocketCable(engine.loop)
    cable.rightward.piece_bytes = cable.leftward.piece_bytes = piece_bytes
    client = TlsChannel(engine.reactor, cable.left, client_context(identity), server_side=False, server_hostname="localhost")
    server = TlsChannel(engine.reactor, cable.right, identity.server_context(), server_side=True)
    outcomes: list[BrokenChannel | None] = []
    client.handshake(outcomes.append)
    server.handshake(outcomes.append)
    engine.run_until(lambda: len(outcomes) == 2)
    assert outcomes == [None, None]
    got = Probe(server).read()
    Probe(client).feed(b"hello", end=True)
    engine.run_until(lambda: got.ended)
    assert got.received == b"hello"
    for end in (client, server):
        end.close()
    engine.settle()
    cable.close()


def test_an_error_of_send_leaves_the_senders_buffer_free_to_grow(engine: EngineLoop, identity: Identity) -> None:
    """While the error is handled: a mux whose link breaks under a bulk frame still resets streams into its output."""
    client, server, cable = tls_ends(engine, identity)
    cable.reset()
    waiting = bytearray(b"small frames that have gathered")
    try:
        client.send(waiting)
    except BrokenChannel:
        waiting += b", and one more"
    assert waiting.endswith(b"one more"), "the link did not break"
    for end in (client, server):
        end.abort()
    engine.settle()
    cable.close()


def test_a_write_that_tls_refuses_leaves_the_senders_buffer_free_to_grow(engine: EngineLoop, identity: Identity) -> None:
    """Also when TLS and not the socket broke: the frame of the ssl module, referenced by the error, has seen the buffer."""
    client, server, cable = tls_ends(engine, identity)
    cable.leftward.mangle = lambda data: data[:-1] + bytes([data[-1] ^ 1])
    server.send(b"damaged on its way")
    engine.run_until(lambda: client.readable)
    with pytest.raises(BrokenChannel, match="TLS broke"):
        client.recv_into(memoryview(bytearray(100)))
    waiting = bytearray(b"small frames that have gathered")
    with pytest.raises(BrokenChannel, match="TLS broke") as still_handled:
        client.send(waiting)
    waiting += b", and one more"
    assert still_handled.value.__traceback__ is not None
    for end in (client, server):
        end.abort()
    engine.settle()
    cable.close()


def test_a_damaged_record_after_a_complete_one_is_a_break_without_further_events(engine: EngineLoop, identity: Identity) -> None:
    near, far, cable = tls_ends(engine, identity)
    probe = Probe(near).read()
    engine.settle()
    cable.leftward.pause()
    for piece in (b"whole", b"damaged"):
        far.send(piece)
        engine.settle()
    cable.leftward.mangle = lambda data: data[:-1] + bytes([data[-1] ^ 1])
    cable.leftward.resume()
    engine.run_until(lambda: probe.broken is not None)
    assert probe.received == b"whole"
    assert "TLS broke" in str(probe.broken)
    near.abort()
    far.abort()
    engine.settle()
    cable.close()
