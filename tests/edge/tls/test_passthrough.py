"""Visitors of tls tunnels: the agent gets every byte of the ClientHello untouched, and the name and ALPN in its preamble."""

import contextlib
import hashlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from portway.edge import relaying
from portway.edge.events import RelayDone
from portway.edge.handoff import HANDOFFS_MAX, HandoffState
from portway.edge.lease import Lease, LeaseKey, OnStatus, Owner
from portway.edge.relaying import RelayEdge, RelaySettings
from portway.edge.tls.hello_reading import HelloReading
from portway.edge.tls.passthrough import PassthroughEdge, first_alpn
from portway.engine.accounts import Account
from portway.engine.channel import Channel
from portway.engine.limits import scopes_of
from portway.engine.listener import Address, Listener, listen
from portway.engine.memory_channel import MemoryChannel, memory_pair
from portway.engine.policy import Policy
from portway.engine.relay import Relay
from portway.engine.socket_channel import SocketChannel
from portway.errors import BrokenChannel, UnavailableError
from portway.protocol.proxy_header import TLV_ALPN, TLV_AUTHORITY, ProxyHeader, decode
from portway.protocol.stream_status import StreamStatus
from portway.protocol.tls_hello import WIRE_BYTES_MAX, ClientHello, HelloReader
from portway.server.tunnels.registry import Acquired, Registry
from portway.session.stream_handshake import PreambleReader, open_visitor_stream, send_status
from tests.kit.certificates import Identity, client_context, make_identity
from tests.kit.loops import EngineLoop
from tests.kit.origins import RawOrigin
from tests.kit.raw_agent import read_now
from tests.kit.streams import BLOCK_BYTES, blocks, stream_hash
from tests.kit.tls_wire import alpn, extension, grease, modern, pieces, records, server_name

NAME = "app.localhost"
APP = LeaseKey("http", NAME)


def hello_of(name: str = NAME, protocols: tuple[str, ...] = ("h2", "http/1.1")) -> bytes:
    """Return the ClientHello of the ssl module."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


@dataclass
class FakeHolder:
    """A session whose streams the test controls, or which relays them to an origin."""

    engine: EngineLoop
    session_id: str = "s1"
    origin: int = 0
    """Port of an origin, to which streams are relayed."""
    streams: list[MemoryChannel] = field(default_factory=list)
    headers: list[ProxyHeader] = field(default_factory=list)
    gone: bool = False
    account: Account = field(default_factory=Account)

    def open(self, tunnel_id: int, header: bytes, on_status: OnStatus) -> Channel:
        if self.gone:
            raise UnavailableError("no live link")
        near, far = memory_pair(self.engine.reactor)
        self.streams.append(far)

        class Link:
            def open(self, first: bytes = b"") -> Channel:
                near.send(first)
                return near

        stream = open_visitor_stream(self.engine.reactor, Link(), header, on_status)
        if self.origin:
            PreambleReader(self.engine.reactor, far, self._relay, lambda _why: None)
        return stream

    def _relay(self, header: ProxyHeader, stream: Channel) -> None:
        self.headers.append(header)
        sock = socket.create_connection(("127.0.0.1", self.origin))
        sock.setblocking(False)
        send_status(stream, StreamStatus.CONNECTED)
        Relay(self.engine.reactor, stream, SocketChannel(self.engine.reactor, sock), lambda _relay: None).start()

    def record_request(self, tunnel_id: int, method: str, path: str, status: int, seconds: float, cut: str = "") -> None:
        raise AssertionError("a tls tunnel has no requests")


class Place:
    """A listener that reads ClientHellos, and a tls tunnel."""

    def __init__(self, engine: EngineLoop, **settings: Any) -> None:
        self.engine = engine
        self.registry = Registry(engine.reactor.call_soon, grace_s=60.0)
        self.told: list[RelayDone] = []
        self.handed: list[HandoffState] = []
        self.taken: list[socket.socket] = []
        self.edge = RelayEdge(engine.reactor, lambda n: b"u" * n, RelaySettings(**settings), on_relay=self.told.append)
        self.passthrough = PassthroughEdge(self.edge)
        self.holder = FakeHolder(engine)
        self.lease = self.claim()
        self.listener = Listener(engine.reactor, listen("127.0.0.1", 0), self._accept)
        self.visitors: list[socket.socket] = []

    def claim(self, session: str = "s1", *, passthrough: bool = True, name: str = NAME) -> Lease:
        self.holder.session_id = session
        outcome = self.registry.claim(LeaseKey("http", name), Owner("t", b"i"), self.holder, passthrough=passthrough)
        assert isinstance(outcome, Acquired)
        return outcome.lease

    def _accept(self, sock: socket.socket, address: Address) -> None:
        def serve(hello: ClientHello) -> None:
            lease = self.registry.lookup("http", hello.server_name or "")
            assert lease is not None
            self.passthrough.serve(sock, address, lease, hello)

        HelloReading(self.engine.reactor, sock, self.engine.reactor.unassigned, serve, lambda _error: sock.close())

    def hand_off(self, _lease: Lease, channel: Channel, state: HandoffState) -> bool:
        assert isinstance(channel, SocketChannel)
        assert channel.detach(self._take)
        self.handed.append(state)
        return True

    def _take(self, sock: socket.socket) -> bool:
        self.taken.append(sock)
        return True

    def connect(self) -> socket.socket:
        visitor = socket.create_connection(self.listener.address)
        visitor.settimeout(5)
        self.visitors.append(visitor)
        return visitor

    def visit(self, wire: bytes = b"") -> socket.socket:
        visitor = self.connect()
        visitor.sendall(wire or hello_of())
        self.engine.settle()
        return visitor

    def stream(self, number: int = 0) -> tuple[ProxyHeader, MemoryChannel, bytes]:
        """Return a stream's preamble, the stream behind it, and what followed the preamble so far."""
        far = self.holder.streams[number]
        wire = read_now(far)
        found = decode(wire)
        assert found is not None
        return found[0], far, wire[found[1] :]

    def until(self, wanted: Callable[[], bool], what: str = "") -> None:
        self.engine.run_until(wanted, what=what)

    def run(self, work: Callable[[socket.socket], None]) -> None:
        """Connect, and run a blocking client in a thread until it is done; its errors fail the test."""
        failures: list[BaseException] = []
        sock = self.connect()

        def client() -> None:
            try:
                work(sock)
            except BaseException as exc:  # noqa: BLE001 - raised again in the test's thread
                failures.append(exc)

        thread = threading.Thread(target=client, daemon=True)
        thread.start()
        self.poll(lambda: not thread.is_alive(), "the client")
        if failures:
            raise failures[0]

    def poll(self, wanted: Callable[[], bool], what: str) -> None:
        """Run until a condition holds that no event of the loop announces."""
        found = False

        def look() -> None:
            nonlocal found
            found = wanted()
            if not found:
                self.engine.loop.call_later(0.01, look)

        look()
        self.engine.run_until(lambda: found, 60.0, what)

    def close(self) -> None:
        self.listener.close()
        for sock in (*self.visitors, *self.taken):
            sock.close()
        for stream in self.holder.streams:
            stream.abort()
        self.registry.session_ended(self.holder.session_id)
        self.engine.settle()


@pytest.fixture
def place(engine: EngineLoop) -> Iterator[Place]:
    place = Place(engine, hold_s=0.3)
    yield place
    place.close()


def is_reset(place: Place, visitor: socket.socket) -> bool:
    place.until(lambda: place.edge.visitors == 0)
    place.engine.settle()
    try:
        while visitor.recv(1000):
            pass
    except ConnectionResetError:
        return True
    return False


def test_the_hello_arrives_untouched_with_name_alpn_and_addresses(place: Place) -> None:
    wire = hello_of()
    visitor = place.visit(wire)
    header, stream, first = place.stream()
    assert first == wire
    assert (header.tlv(TLV_AUTHORITY), header.tlv(TLV_ALPN)) == (b"app.localhost", b"h2")
    assert (header.source, header.destination) == (visitor.getsockname(), place.listener.address)
    assert (header.tunnel_id, header.unique_id, header.local) == (place.lease.tunnel_id, b"u" * 16, False)
    stream.send(b"\0server hello")
    place.engine.settle()
    assert visitor.recv(100) == b"server hello"
    visitor.sendall(b"client finished")
    place.engine.settle()
    assert read_now(stream) == b"client finished"


@pytest.mark.parametrize("size", [1, 7, 100, 600])
def test_a_hello_in_any_pieces_arrives_as_it_was_sent(place: Place, size: int) -> None:
    wire = records(modern(server_name(b"APP.localhost"), alpn(b"h2"), extension(21, bytes(300))), 50)
    visitor = place.connect()
    for piece in pieces(wire, size):
        visitor.sendall(piece)
        place.engine.settle()
    place.until(lambda: bool(place.holder.streams))
    assert place.stream()[2] == wire


def test_a_hello_of_the_largest_size_and_what_was_sent_behind_it(place: Place) -> None:
    wire = records(modern(server_name(b"app.localhost"), extension(21, bytes(60_000))), 8)
    assert 90_000 < len(wire) < WIRE_BYTES_MAX
    early = bytes(range(256)) * 400
    visitor, got = place.connect(), bytearray()
    threading.Thread(target=visitor.sendall, args=(wire + early,)).start()
    place.until(lambda: bool(place.holder.streams))

    def complete() -> bool:
        got.extend(read_now(place.holder.streams[0]))
        found = decode(got)
        return found is not None and len(got) - found[1] >= len(wire + early)

    place.poll(complete, "every byte")
    found = decode(got)
    assert found is not None
    assert bytes(got[found[1] :]) == wire + early


def test_a_visitor_without_alpn_has_no_such_tlv(place: Place) -> None:
    place.visit(hello_of(protocols=()))
    header, _, _ = place.stream()
    assert [kind for kind, _ in header.tlvs if kind in (TLV_ALPN, TLV_AUTHORITY)] == [TLV_AUTHORITY]


def test_placeholders_and_overlong_protocols_are_not_passed_on() -> None:
    def favourite(*names: bytes) -> bytes:
        hello = HelloReader().feed(records(modern(server_name(b"a.b"), alpn(*names))))
        assert isinstance(hello, ClientHello)
        return first_alpn(hello)

    assert favourite(grease(3).to_bytes(2, "big"), b"h2", b"http/1.1") == b"h2"
    assert favourite(b"x" * 33, b"http/1.1") == b"http/1.1"
    assert favourite(b"\x0a\x0b", b"h2") == b"\x0a\x0b"
    assert favourite(b"\xfa\xfa") == b""


def test_the_longest_name_and_protocol_fit_into_a_preamble(engine: EngineLoop) -> None:
    name = ".".join(["a" * 63] * 3 + ["b" * 61])
    place = Place(engine)
    place.claim(name=name)
    place.visit(records(modern(server_name(name.encode()), alpn(b"p" * 32))))
    header, _, _ = place.stream()
    assert (header.tlv(TLV_AUTHORITY), header.tlv(TLV_ALPN)) == (name.encode(), b"p" * 32)
    place.close()


def test_half_closes_and_counts_include_the_hello(place: Place) -> None:
    wire = hello_of()
    visitor = place.visit(wire)
    _, stream, _ = place.stream()
    visitor.sendall(b"all")
    visitor.shutdown(socket.SHUT_WR)
    stream.send(b"\0")
    place.until(lambda: read_now(stream) == b"all" or stream.ended)
    place.engine.settle()
    stream.send(b"the whole reply")
    stream.shutdown_write()
    place.until(lambda: place.edge.visitors == 0)
    assert (visitor.recv(100), visitor.recv(100)) == (b"the whole reply", b"")
    (done,) = place.told
    assert (done.tunnel, done.port, done.visitor, done.why) == (place.lease.tunnel_id, 0, None, "")
    assert (done.forward.total_bytes, done.backward.total_bytes) == (len(wire) + 3, 15)


@pytest.mark.parametrize("status", [StreamStatus.REFUSED, StreamStatus.FORBIDDEN])
def test_a_visitor_without_an_origin_is_reset(place: Place, status: StreamStatus) -> None:
    visitor = place.visit()
    place.stream()[1].send(bytes((status,)))
    assert is_reset(place, visitor)


def test_a_break_of_the_stream_is_never_an_end(place: Place) -> None:
    visitor = place.visit()
    _, stream, _ = place.stream()
    stream.send(b"\0half")
    place.engine.settle()
    assert visitor.recv(100) == b"half"
    stream.abort()
    assert is_reset(place, visitor)


def test_a_visitor_that_resets_breaks_its_stream(place: Place) -> None:
    visitor = place.visit()
    _, stream, _ = place.stream()
    visitor.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    visitor.close()
    place.until(lambda: place.edge.visitors == 0)
    with pytest.raises(BrokenChannel):
        stream.send(b"\0")


def test_limits_count_the_hello(place: Place) -> None:
    wire = hello_of()
    place.lease.scopes = scopes_of(place.engine.reactor, Policy(max_total_payload=len(wire) + 5))
    visitor = place.visit(wire)
    _, stream, first = place.stream()
    assert first == wire
    stream.send(b"\0more than five")
    place.until(lambda: place.edge.visitors == 0)
    assert visitor.recv(100) == b"more "


def test_a_hello_over_a_rate_arrives_in_time_and_whole(place: Place) -> None:
    wire = records(modern(server_name(b"app.localhost"), extension(21, bytes(30_000))))
    place.lease.scopes = scopes_of(place.engine.reactor, Policy(max_rate_bps=60_000))
    place.visit(wire)
    header, stream, got = place.stream()
    assert len(got) < len(wire), "a second's worth at most is sent at once"
    received = bytearray(got)

    def complete() -> bool:
        received.extend(read_now(stream))
        return len(received) >= len(wire)

    place.poll(complete, "the rest")
    assert bytes(received) == wire
    assert header.tlv(TLV_AUTHORITY) == b"app.localhost"


# Agents that are offline, or elsewhere.


def test_a_visitor_is_held_with_its_hello_until_the_agent_is_back(place: Place) -> None:
    place.registry.session_lost("s1", now=0.0)
    wire = hello_of()
    visitor = place.visit(wire)
    visitor.sendall(b"patient")
    assert (place.holder.streams, place.edge.held_bytes) == ([], len(wire))
    place.claim("s2")
    place.engine.settle()
    header, stream, rest = place.stream()
    assert rest == wire + b"patient"
    assert header.tunnel_id == place.lease.tunnel_id
    assert (place.edge.held_bytes, len(place.edge.holds), len(place.lease.waiters)) == (0, 0, 0)
    stream.send(b"\0welcome back")
    place.engine.settle()
    assert visitor.recv(100) == b"welcome back"


def test_a_held_visitor_is_reset_after_its_time_or_when_the_name_is_free(place: Place) -> None:
    place.registry.session_lost("s1", now=0.0)
    assert is_reset(place, place.visit())
    visitor = place.visit()
    place.registry.expire(now=60.0)
    assert is_reset(place, visitor)
    assert place.edge.held_bytes == 0


def test_a_visitor_that_waits_for_a_name_that_becomes_an_http_tunnel_is_reset(place: Place) -> None:
    place.registry.session_lost("s1", now=0.0)
    visitor = place.visit()
    place.claim("s2", passthrough=False)
    assert is_reset(place, visitor)
    assert place.holder.streams == []


def test_held_hellos_share_a_budget(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    wire = hello_of()
    monkeypatch.setattr(relaying, "HELD_BYTES_MAX", 2 * len(wire))
    place.registry.session_lost("s1", now=0.0)
    first, second = place.visit(wire), place.visit(wire)
    third = place.visit(wire)
    with pytest.raises(ConnectionResetError):
        third.recv(1)
    place.claim("s2")
    place.engine.settle()
    assert len(place.holder.streams) == 2
    for number, visitor in enumerate((first, second)):
        place.stream(number)[1].send(b"\0served")
        place.engine.settle()
        assert visitor.recv(100) == b"served"


def test_a_visitor_of_another_workers_agent_is_handed_off_with_its_hello(place: Place) -> None:
    place.edge.hand_off = place.hand_off
    place.registry.session_lost("s1", now=0.0)
    place.lease.remote_worker = 2
    wire = hello_of()
    visitor = place.visit(wire)
    place.until(lambda: bool(place.handed))
    assert place.handed == [HandoffState(visitor.getsockname(), wire, 1, tls=True)]
    assert place.edge.visitors == 0

    hello = HelloReader().feed(wire)
    assert hello is not None
    place.passthrough.serve(place.taken.pop(), visitor.getsockname(), place.lease, hello, HANDOFFS_MAX)
    place.engine.settle()
    assert (len(place.handed), len(place.lease.waiters)) == (1, 1), "after several handoffs it waits"
    place.lease.remote_worker = 0
    place.claim("s2")
    place.engine.settle()
    assert place.stream()[2] == wire


# Capacity.


def test_each_tunnel_has_its_own_share(engine: EngineLoop) -> None:
    place = Place(engine, visitors_max=2)
    place.claim(name="other.localhost")
    kept = [place.visit(), place.visit(), place.visit(hello_of("other.localhost"))]
    with pytest.raises(ConnectionResetError):
        place.visit().recv(1)
    assert place.edge.visitors == len(kept) == place.edge.admission.connected
    for number, visitor in enumerate(kept):
        place.stream(number)[1].send(b"\0ok")
        engine.settle()
        assert visitor.recv(10) == b"ok"
    place.close()


def test_a_tunnel_without_visitors_leaves_nothing_behind(place: Place) -> None:
    for _ in range(3):
        visitor = place.visit()
        place.holder.streams.pop().abort()
        assert is_reset(place, visitor)
        visitor.close()
    place.holder.gone = True
    assert is_reset(place, place.visit())
    assert place.passthrough._tunnels == {}
    assert place.edge.admission._shares == {}


# Real TLS, with the origin's own certificate.


class TlsOrigin:
    """A TLS service with its own certificate, in threads."""

    def __init__(self, folder: Path, serve: Callable[[ssl.SSLSocket], None], clients: Identity | None = None) -> None:
        self.identity = make_identity(folder, NAME)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.identity.cert_file, self.identity.key_file)
        self._context.set_alpn_protocols(["h2", "http/1.1"])
        if clients is not None:
            self._context.verify_mode = ssl.CERT_REQUIRED
            self._context.load_verify_locations(clients.cert_file)
        self._serve = serve
        self.failures: list[str] = []
        self._raw = RawOrigin(self._handle)
        self.port = self._raw.port

    def _handle(self, sock: socket.socket) -> None:
        try:
            with self._context.wrap_socket(sock, server_side=True, suppress_ragged_eofs=False) as secure:
                self._serve(secure)
        except ssl.SSLError as exc:
            self.failures.append(str(exc))

    def close(self) -> None:
        self._raw.close()


@pytest.fixture
def tls_origin(tmp_path: Path) -> Iterator[Callable[..., TlsOrigin]]:
    made: list[TlsOrigin] = []

    def make(serve: Callable[[ssl.SSLSocket], None], clients: Identity | None = None) -> TlsOrigin:
        made.append(TlsOrigin(tmp_path, serve, clients))
        return made[-1]

    yield make
    for origin in made:
        origin.close()


def secure(sock: socket.socket, origin: TlsOrigin, client: Identity | None = None) -> ssl.SSLSocket:
    context = client_context(origin.identity)
    context.set_alpn_protocols(["h2"])
    if client is not None:
        context.load_cert_chain(client.cert_file, client.key_file)
    return context.wrap_socket(sock, server_hostname=NAME, suppress_ragged_eofs=False)


def test_the_certificate_is_the_origins_and_the_server_never_decrypts(place: Place, tls_origin: Callable[..., TlsOrigin]) -> None:
    origin = tls_origin(lambda sock: sock.sendall(b"secret reply"))
    place.holder.origin = origin.port

    def client(sock: socket.socket) -> None:
        with secure(sock, origin) as tls:
            assert tls.getpeercert(binary_form=True) == origin.identity.der
            assert tls.selected_alpn_protocol() == "h2"
            assert tls.recv(100) == b"secret reply"

    place.run(client)
    assert place.holder.headers[0].tlv(TLV_AUTHORITY) == NAME.encode()


def test_client_certificates_reach_the_origin(place: Place, tls_origin: Callable[..., TlsOrigin], tmp_path: Path) -> None:
    visitor = make_identity(tmp_path, "visitor")
    seen: list[bytes | None] = []

    def serve(sock: ssl.SSLSocket) -> None:
        seen.append(sock.getpeercert(binary_form=True))
        sock.sendall(b"hello, you")

    origin = tls_origin(serve, visitor)
    place.holder.origin = origin.port

    def known(sock: socket.socket) -> None:
        with secure(sock, origin, visitor) as tls:
            assert tls.recv(100) == b"hello, you"

    def unknown(sock: socket.socket) -> None:
        with pytest.raises((ssl.SSLError, ConnectionError)), secure(sock, origin) as tls:  # TLS 1.3 reports it after the handshake
            assert tls.recv(100) == b""

    place.run(known)
    assert seen == [visitor.der]
    place.run(unknown)
    assert seen == [visitor.der]


def upload(sock: ssl.SSLSocket) -> None:
    """Read to close_notify, then send the hash and end."""
    digest = hashlib.sha256()
    while data := sock.recv(1 << 16):
        digest.update(data)
    sock.sendall(digest.hexdigest().encode())


MEGABYTES = 100 << 20


def test_100_megabytes_in_each_direction_are_equal(place: Place, tls_origin: Callable[..., TlsOrigin]) -> None:
    digest = hashlib.sha256()

    def serve(sock: ssl.SSLSocket) -> None:
        for block in blocks(MEGABYTES, 2):
            sock.sendall(block)
            left = len(block)
            while left:
                data = sock.recv(left)
                digest.update(data)
                left -= len(data)
        sock.sendall(digest.hexdigest().encode())

    origin = tls_origin(serve)
    place.holder.origin = origin.port

    def client(sock: socket.socket) -> None:
        received = hashlib.sha256()
        with secure(sock, origin) as tls:
            for block in blocks(MEGABYTES, 1):
                left = len(block)
                while left:
                    data = tls.recv(left)
                    received.update(data)
                    left -= len(data)
                tls.sendall(block)
            assert received.hexdigest() == stream_hash(MEGABYTES, 2)
            assert tls.recv(100).decode() == stream_hash(MEGABYTES, 1)

    place.run(client)
    assert origin.failures == []
    assert MEGABYTES % BLOCK_BYTES == 0


def test_ends_are_exact_in_both_directions(place: Place, tls_origin: Callable[..., TlsOrigin]) -> None:
    """close_notify and FIN of one side arrive while the other side continues."""

    def serve(sock: ssl.SSLSocket) -> None:
        assert sock.recv(100) == b"all of it"
        assert sock.recv(100) == b"", "close_notify"
        sock.sendall(b"the whole ")
        sock.sendall(b"reply")
        with contextlib.suppress(OSError):
            sock.unwrap()

    origin = tls_origin(serve)
    place.holder.origin = origin.port

    def client(sock: socket.socket) -> None:
        context = client_context(origin.identity)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname=NAME)

        def drive(step: Callable[[], Any]) -> Any:
            while True:
                try:
                    done = step()
                except ssl.SSLWantReadError:
                    sock.sendall(outgoing.read())
                    data = sock.recv(1 << 16)
                    incoming.write(data) if data else incoming.write_eof()
                else:
                    sock.sendall(outgoing.read())
                    return done

        drive(tls.do_handshake)
        drive(lambda: tls.write(b"all of it"))
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.unwrap()  # sends close_notify
        sock.sendall(outgoing.read())
        sock.shutdown(socket.SHUT_WR)
        raw = b"".join(iter(lambda: sock.recv(1 << 16), b""))
        incoming.write(raw)
        incoming.write_eof()
        replied = b""
        with contextlib.suppress(ssl.SSLZeroReturnError):
            while data := tls.read(100):
                replied += data
        assert replied == b"the whole reply"

    place.run(client)
    assert origin.failures == []
