"""An HTTP edge on a real loop and real sockets, raw visitors in a thread, and origins that record every byte."""

import asyncio
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol, Self, TypeVar

import h11

from portway.agent.origin_relay import OriginRelay
from portway.edge.http.edge import HttpEdge
from portway.edge.http.settings import HttpEdgeSettings
from portway.edge.http.visitor.connection import VisitorConnection
from portway.edge.lease import Holder, Lease, LeaseKey, OnStatus, Owner
from portway.engine.channel import Channel
from portway.engine.listener import Listener, listen
from portway.engine.relay import Relay
from portway.engine.socket_channel import SocketChannel
from portway.errors import UnavailableError
from portway.mux.mux import Mux
from portway.protocol.http1.trusted_proxies import TrustedProxies
from portway.protocol.proxy_header import ProxyHeader, decode
from portway.protocol.stream_status import StreamStatus
from portway.server.tunnels.registry import Acquired, Registry
from portway.session.stream_handshake import PreambleReader, open_visitor_stream, send_status
from tests.kit.loops import EngineLoop
from tests.kit.origins import RawOrigin
from tests.kit.sockets import DEADLINE_S, reset

T = TypeVar("T")

OWNER = Owner("token", b"i" * 32)


# ---------------------------------------------------------------------------------------------------------- the origin


@dataclass
class Request:
    """A request as the origin received it."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    """Names in lower case."""
    body: bytes
    connection: int
    """Number of the connection it came on, from 0."""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    """What stood behind the body, names in lower case."""

    def all(self, name: str) -> list[str]:
        """Return every value of a field."""
        return [value for key, value in self.headers if key == name]


_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_START = re.compile(rb"(" + _TOKEN + rb") ([!\"$-~]+) HTTP/1\.1\Z")
_LINE = re.compile(rb"(" + _TOKEN + rb"): ([!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?\Z")
_LENGTH = re.compile(rb"0|[1-9][0-9]*\Z")
_CHUNK = re.compile(rb"([0-9a-f]+)\r\n")


def judge(wire: bytes, connection: int = 0) -> tuple[list[Request], bytes]:
    """Read requests as strictly as possible; return them and the incomplete rest.

    Raises:
        AssertionError: something that a lenient origin and this reader could parse differently.
    """
    found: list[Request] = []
    while True:
        at = wire.find(b"\r\n\r\n")
        if at < 0:
            return found, wire
        lines = wire[:at].split(b"\r\n")
        start = _START.match(lines[0])
        assert start, f"start line {lines[0]!r}"
        headers = []
        for line in lines[1:]:
            match = _LINE.match(line)
            assert match, f"field line {line!r}"
            headers.append((match[1].decode().lower(), (match[2] or b"").decode("latin-1")))
        names = [name for name, _ in headers]
        assert names.count("host") == 1, names
        assert names.count("content-length") + names.count("transfer-encoding") <= 1, names
        fields = dict(headers)
        body, after = b"", wire[at + 4 :]
        trailers: list[tuple[str, str]] = []
        if "content-length" in fields:
            assert _LENGTH.match(fields["content-length"].encode())
            size = int(fields["content-length"])
            if len(after) < size:
                return found, wire
            body, after = after[:size], after[size:]
        elif "transfer-encoding" in fields:
            assert fields["transfer-encoding"] == "chunked"
            parts, trailers, rest = _chunks(after)
            if rest is None:
                return found, wire
            body, after = parts, rest
        found.append(Request(start[1].decode(), start[2].decode(), headers, body, connection, trailers))
        wire = after


def _chunks(wire: bytes) -> tuple[bytes, list[tuple[str, str]], bytes | None]:
    """Return a chunked body, its trailers and what follows; None while it is incomplete."""
    body = b""
    while True:
        match = _CHUNK.match(wire)
        if match is None:
            assert not wire or re.fullmatch(rb"[0-9a-f]*\r?", wire), f"chunk {wire[:40]!r}"
            return body, [], None
        size, at = int(match[1], 16), match.end()
        if not size:
            return _trailers(body, wire[at:])
        if len(wire) < at + size + 2:
            return body, [], None
        assert wire[at + size : at + size + 2] == b"\r\n"
        body += wire[at : at + size]
        wire = wire[at + size + 2 :]


def _trailers(body: bytes, wire: bytes) -> tuple[bytes, list[tuple[str, str]], bytes | None]:
    found: list[tuple[str, str]] = []
    while b"\r\n" in wire:
        line, wire = wire.split(b"\r\n", 1)
        if not line:
            return body, found, wire
        match = _LINE.match(line)
        assert match, f"trailer {line!r}"
        found.append((match[1].decode().lower(), (match[2] or b"").decode("latin-1")))
    return body, [], None


Answer = Callable[[Request, socket.socket], bytes | None]
"""Returns what to send, or None to close; may use the socket itself, too."""


def say(text: bytes, *fields: bytes, status: bytes = b"200 OK") -> bytes:
    """Return an answer with a length."""
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n%b\r\n%b" % (status, len(text), b"".join(line + b"\r\n" for line in fields), text)


def chunked(parts: Iterable[bytes], *, end: bool = True) -> bytes:
    """Return an answer in chunks."""
    body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body + (b"0\r\n\r\n" if end else b"")


def echo_target(request: Request, _sock: socket.socket) -> bytes:
    """Answer with what was asked for."""
    return say(request.target.encode())


class Origin:
    """A raw service that reads strictly, records all it received, and responds with `answer`."""

    def __init__(self, answer: Answer = echo_target) -> None:
        """Listen and serve at once."""
        self._answer = answer
        self._lock = threading.Lock()
        self.requests: list[Request] = []
        self.wires: list[bytearray] = []
        """What each connection has received."""
        self.faults: list[str] = []
        self.ended = 0
        """How many connections are over."""
        self._raw = RawOrigin(self._serve)
        self.port = self._raw.port

    def _serve(self, sock: socket.socket) -> None:
        wire = bytearray()
        with self._lock:
            connection = len(self.wires)
            self.wires.append(wire)
        try:
            while (request := self._next(sock, wire, connection)) is not None:
                reply = self._answer(request, sock)
                if reply is None:
                    return
                sock.sendall(reply)
        except AssertionError as exc:
            self.faults.append(str(exc))
        finally:
            self.ended += 1

    def _next(self, sock: socket.socket, wire: bytearray, connection: int) -> Request | None:
        known = sum(request.connection == connection for request in self.requests)
        while True:
            found, _ = judge(bytes(wire), connection)
            if len(found) > known:
                self.requests.append(found[known])
                return found[known]
            data = sock.recv(1 << 18)
            if not data:
                return None
            wire += data

    @property
    def live(self) -> int:
        """How many connections are open."""
        return len(self._raw.live)

    def close(self) -> None:
        """Stop."""
        self._raw.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# ----------------------------------------------------------------------------------------------------------- the agent


class Agent:
    """A holder: its streams are a real mux's over a unix socket, answered by a session's other half and relayed to the
    origin; or they are the origin's socket itself, which lends nothing and needs no headroom.
    """

    def __init__(self, engine: EngineLoop, port: int, kind: str = "mux", session_id: str = "session") -> None:
        """Serve an origin on `port`."""
        self._engine = engine
        self.port = port
        self._kind = kind
        self.session_id = session_id
        self.account = engine.reactor.authenticated.child(tenant=True)
        self.opened = 0
        self.status = StreamStatus.CONNECTED
        """What streams are answered."""
        self.silent = False
        """True: streams are never answered."""
        self.rude = False
        """True: streams are reset instead of answered."""
        self.hangs_up = 0
        """Streams that are answered as connected, and ended before a byte is read."""
        self.tells = True
        """Whether these report that their origin was not touched."""
        self.gone = False
        """True: no stream can be opened."""
        self.streams_max = 1 << 31
        """Streams that its links carry at a time."""
        self.notes: list[tuple[str, str, int]] = []
        self.cuts: list[str] = []
        self._tunnels: set[int] = set()
        self._unused: list[socket.socket] = []
        self._connections: list[socket.socket] = []
        self._link: Mux | None = None
        self._far_link: Mux | None = None
        if kind == "mux":
            near, far = socket.socketpair()
            near.setblocking(False)
            far.setblocking(False)
            self._link = Mux(engine.reactor, SocketChannel(engine.reactor, near), client=True, on_stream=_unexpected, on_lost=_nothing)
            self._far_link = Mux(engine.reactor, SocketChannel(engine.reactor, far), client=False, on_stream=self._accept, on_lost=_nothing)

    def open(self, tunnel_id: int, header: bytes, on_status: OnStatus) -> Channel:
        """Open a stream."""
        if self.gone:
            raise UnavailableError("no link")
        if self._link is not None and self._link.streams_open >= self.streams_max:
            raise UnavailableError("no place on any link")
        self.opened += 1
        self._tunnels.add(tunnel_id)
        if self._link is not None:
            return open_visitor_stream(self._engine.reactor, self._link, header, on_status)
        return self._open_socket(tunnel_id, header, on_status)

    def _accept(self, stream: Channel) -> None:
        PreambleReader(self._engine.reactor, stream, self._visit, lambda _why: None)

    def _visit(self, header: ProxyHeader, channel: Channel) -> None:
        assert header.local
        assert header.tunnel_id in self._tunnels
        reactor = self._engine.reactor
        if self.rude:
            channel.abort()
        elif self.hangs_up:
            self.hangs_up -= 1
            send_status(channel, StreamStatus.CONNECTED)
            if self.tells:
                channel.mark_untouched()
            channel.shutdown_write()
            channel.close()
        elif not self.silent:
            sock, status = self._connected()
            send_status(channel, status)
            if sock is not None:
                make = OriginRelay if header.wants_untouched else Relay
                make(reactor, channel, SocketChannel(reactor, sock), lambda _relay: None).start()

    def _open_socket(self, tunnel_id: int, header: bytes, on_status: OnStatus) -> Channel:
        came = decode(header)
        assert came is not None
        assert came[0].tunnel_id == tunnel_id
        sock, status = self._connected()
        if sock is None:
            sock, other_end = socket.socketpair()
            sock.setblocking(False)
            self._unused.append(other_end)
        told = None if self.rude else status
        if not self.silent:
            self._engine.reactor.call_soon(lambda: on_status(told))
        return SocketChannel(self._engine.reactor, sock)

    def _connected(self) -> tuple[socket.socket | None, StreamStatus]:
        if self.status is not StreamStatus.CONNECTED:
            return None, self.status
        try:
            sock = socket.create_connection(("127.0.0.1", self.port))
        except ConnectionRefusedError:
            return None, StreamStatus.REFUSED
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        self._connections.append(sock)
        return sock, StreamStatus.CONNECTED

    def record_request(self, tunnel_id: int, method: str, path: str, status: int, seconds: float, cut: str = "") -> None:
        """Write a finished request down."""
        assert seconds >= 0
        self.notes.append((method, path, status))
        self.cuts += [cut] if cut else []

    def close(self) -> None:
        """Close the link, and what stood in for an origin's connection."""
        if self._link is not None and self._far_link is not None:
            self._link.close("the test is over")
            self._far_link.close("the test is over")
        for sock in self._unused:
            sock.close()

    @property
    def left_open(self) -> int:
        """Connections to the origin that are still open."""
        return sum(sock.fileno() >= 0 for sock in self._connections)

    def die(self) -> None:
        """Lose the link, and with it every stream (a mux's)."""
        if self._far_link is not None:
            self._far_link.abort("killed")


def _unexpected(_stream: Channel) -> None:
    raise AssertionError("the agent opened a stream")


def _nothing(_reason: str) -> None:
    """Ignore the loss of the link."""


# --------------------------------------------------------------------------------------------------------- the visitor


@dataclass
class Heard:
    """An answer as a visitor received it."""

    status: int
    headers: dict[str, str]
    body: bytes
    interim: list[int] = field(default_factory=list)

    @property
    def code(self) -> str:
        """The edge's own code, empty for an origin's answer."""
        return self.headers.get("portway-error", "")


class Caller:
    """A raw visitor: sends any bytes, reads answers with h11 as a second opinion on our framing."""

    def __init__(self, port: int, receive_buffer: int | None = None, source: str = "") -> None:
        """Connect.

        Raises:
            ConnectionResetError: it was accepted and reset before `connect` came back, as a socket with a deadline allows.
        """
        self.sock = socket.socket()
        if receive_buffer is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(DEADLINE_S)
        if source:
            self.sock.bind((source, 0))
        try:
            self.sock.connect(("127.0.0.1", port))
        except OSError:
            self.sock.close()
            raise
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pending = b""

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.sock.sendall(data)

    def get(self, target: str = "/", host: str = "a.localhost", *fields: str, method: str = "GET") -> Heard:
        """Ask and wait for the answer."""
        lines = "".join(f"{line}\r\n" for line in fields)
        self.send(f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n".encode())
        return self.answer(method)

    def answer(self, method: str = "GET") -> Heard:
        """Read one answer.

        Raises:
            ConnectionResetError: the connection was reset.
            h11.RemoteProtocolError: the answer is cut short or no HTTP.
        """
        reader = h11.Connection(h11.CLIENT)
        reader.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
        reader.send(h11.EndOfMessage())
        if self.pending:
            reader.receive_data(self.pending)
        heard: Heard | None = None
        interim: list[int] = []
        body = bytearray()
        while True:
            event = reader.next_event()
            if event is h11.NEED_DATA:
                data = self.sock.recv(1 << 18)
                reader.receive_data(data)
            elif isinstance(event, h11.InformationalResponse):
                interim.append(event.status_code)
            elif isinstance(event, h11.Response):
                heard = Heard(event.status_code, {k.decode(): v.decode("latin-1") for k, v in event.headers}, b"", interim)
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                self.pending = reader.trailing_data[0]
                assert heard is not None
                heard.body = bytes(body)
                return heard
            else:
                raise AssertionError(f"{event!r}")

    def read_head(self) -> bytes:
        """Read to the first empty line; what follows stays pending."""
        while b"\r\n\r\n" not in self.pending:
            data = self.sock.recv(1 << 16)
            assert data, f"ended after {self.pending!r}"
            self.pending += data
        head, self.pending = self.pending.split(b"\r\n\r\n", 1)
        return head + b"\r\n\r\n"

    def read(self, count: int) -> bytes:
        """Read exactly `count` bytes."""
        while len(self.pending) < count:
            data = self.sock.recv(1 << 16)
            assert data, f"ended after {len(self.pending)} of {count} bytes"
            self.pending += data
        data, self.pending = self.pending[:count], self.pending[count:]
        return data

    def rest(self) -> bytes:
        """Read to the proper end; a reset raises ConnectionResetError."""
        data = self.pending
        while piece := self.sock.recv(1 << 18):
            data += piece
        return data

    def end(self) -> None:
        """Half-close: nothing more is sent."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Reset the connection."""
        reset(self.sock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()


# ------------------------------------------------------------------------------------------------------------ the edge


class Stage:
    """An edge that listens, its registry, and the thread that visitors and stories run in."""

    def __init__(self, engine: EngineLoop, kind: str, settings: HttpEdgeSettings, proxies: TrustedProxies | None = None) -> None:
        """Listen at once; `kind` is how agents' streams are made, `proxies` which ones are trusted."""
        self.engine = engine
        self.kind = kind
        self.registry = Registry(engine.reactor.call_soon)
        self.edge = HttpEdge(engine.reactor, self.registry, settings, proxies=proxies)
        self.listener = Listener(engine.reactor, listen("127.0.0.1", 0), self.edge.accept)
        self.port = self.listener.address[1]
        self.agents: list[Agent] = []

    def publish(self, origin: Origin | int, host: str = "a.localhost", owner: Owner = OWNER) -> Agent:
        """Give `host` to a new agent of an origin; call it outside of a story, or on the loop."""
        port = origin if isinstance(origin, int) else origin.port
        agent = Agent(self.engine, port, self.kind, f"session {len(self.agents)}")
        self.agents.append(agent)
        granted = self.registry.claim(LeaseKey("http", host), owner, agent, takeover=True)
        assert isinstance(granted, Acquired)
        return agent

    def lose(self, agent: Agent) -> None:
        """Lose an agent's session: its names are held."""
        self.registry.session_lost(agent.session_id, self.engine.reactor.refresh_now())
        agent.gone = True
        agent.die()

    def lease_and_holder(self, host: str) -> tuple[Lease, Holder]:
        """Return the current lease of a host, and its holder."""
        lease = self.registry.lookup("http", host)
        assert lease is not None
        assert lease.holder is not None
        return lease, lease.holder

    def play(self, story: Callable[[], T], deadline_s: float = 20.0) -> T:
        """Run a story, which may block, in a thread while the loop runs."""
        return self.engine.run(asyncio.to_thread(story), deadline_s)

    def on_loop(self, act: Callable[[], T]) -> T:
        """Act on the loop, from a story."""

        async def acted() -> T:
            return act()

        return asyncio.run_coroutine_threadsafe(acted(), self.engine.loop).result(DEADLINE_S)

    def eventually(self, wanted: Callable[[], bool], what: str = "") -> None:
        """Wait, in a story, for a condition without an event."""
        until = time.monotonic() + DEADLINE_S
        while not self.on_loop(wanted):
            assert time.monotonic() < until, what or "it did not happen"
            time.sleep(0.005)

    def caller(self, receive_buffer: int | None = None, source: str = "") -> Caller:
        """Return a new visitor, from an address of its own if `source` is given."""
        return Caller(self.port, receive_buffer, source)

    @property
    def connections(self) -> list[VisitorConnection]:
        """Connections with a visitor that are neither lingering nor upgraded."""
        return [visitor for visitor in self.edge._visitors if isinstance(visitor, VisitorConnection)]

    @property
    def idle_streams(self) -> int:
        """Streams in pools."""
        return self.edge.pools.idle_streams

    def close(self) -> None:
        """Close the edge; no visitor or stream may be left."""
        self.listener.close()
        self.edge.close()
        for agent in self.agents:
            agent.close()
        self.engine.settle()
        assert self.edge.visitors == 0
        assert self.edge.held == 0
        assert self.idle_streams == 0
        # A relay whose stream had ended before it was reset is notified a little later.
        self.engine.run_until(lambda: not any(agent.left_open for agent in self.agents), what="connections to the origin close")


class MakeStage(Protocol):
    """Makes an edge with settings of the test's own."""

    def __call__(self, settings: HttpEdgeSettings, proxies: TrustedProxies | None = None) -> Stage:
        """Make an edge; `proxies` are the trusted ones."""
