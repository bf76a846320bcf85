"""A TLS port on a real listener, whose destinations record what they get."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from portway.certificates.contexts import VisitorContext, visitor_context
from portway.edge.admission import AdmissionControl
from portway.edge.client_certificate import VerifiedClient
from portway.edge.handoff import HandOff
from portway.edge.lease import Kind, Lease, LeaseKey, Owner
from portway.edge.tls.port import HandshakeLimits, TlsPort
from portway.engine.channel import Channel
from portway.engine.listener import Address, Listener, listen
from portway.engine.tls_channel import TlsChannel
from portway.links.source_accounts import SourceAccounts
from portway.protocol.tls_hello import ClientHello
from tests.kit.certificates import Identity
from tests.kit.loops import EngineLoop


@dataclass
class Destinations:
    """Everything that a TLS port routes to, and its certificates."""

    context: VisitorContext
    sources: SourceAccounts
    """Accounts of visitors at the HTTP edge."""
    names: set[str] = field(default_factory=lambda: {"localhost"})
    """Names with a certificate."""
    leases: dict[str, Lease] = field(default_factory=dict)
    challenges: dict[str, ssl.SSLContext] = field(default_factory=dict)
    ordered: set[str] = field(default_factory=set)
    """Names whose first certificate is being ordered."""
    full: bool = False
    served: list[tuple[Channel, str, str]] = field(default_factory=list)
    """Channels at the HTTP edge, with scheme and server name."""
    clients: list[VerifiedClient | None] = field(default_factory=list)
    passed: list[tuple[socket.socket, Lease, ClientHello]] = field(default_factory=list)
    agents: list[tuple[socket.socket, ClientHello]] = field(default_factory=list)

    def tunnel(self, name: str, *, passthrough: bool = False) -> Lease:
        lease = self.leases[name] = Lease(LeaseKey("http", name), Owner("t", b"i"))
        lease.passthrough = passthrough
        return lease

    def lookup(self, kind: Kind, address: str) -> Lease | None:
        assert kind == "http"
        return self.leases.get(address)

    def context_for(self, name: str) -> VisitorContext | None:
        return self.context if name in self.names else None

    def has_trusted(self, name: str) -> bool:
        return name in self.names

    def challenge_context(self, name: str) -> ssl.SSLContext | None:
        return self.challenges.get(name)

    def is_ordered(self, name: str) -> bool:
        return name in self.ordered

    def http_challenge(self, name: str, token: str) -> bytes | None:
        return None

    def admits(self, _sock: socket.socket, _host: str) -> bool:
        return not self.full

    def serve(
        self, channel: Channel, address: Address, scheme: str = "", server_name: str = "", client: VerifiedClient | None = None
    ) -> None:
        self.served.append((channel, scheme, server_name))
        self.clients.append(client)

    def take(self, sock: socket.socket, _address: Address, hello: ClientHello) -> None:
        self.agents.append((sock, hello))


class Passed:
    """Visitors of tls tunnels."""

    def __init__(self, destinations: Destinations) -> None:
        self._destinations = destinations

    def serve(self, sock: socket.socket, _address: Address, lease: Lease, hello: ClientHello, handoffs: int = 0) -> None:
        self._destinations.passed.append((sock, lease, hello))


class OpenPort:
    """A TLS port that accepts connections."""

    def __init__(self, engine: EngineLoop, identity: Identity, limits: HandshakeLimits | None, hand_off: HandOff | None) -> None:
        self.engine = engine
        self.identity = identity
        pem = identity.cert_file.read_bytes() + identity.key_file.read_bytes()
        self.to = Destinations(visitor_context(pem), SourceAccounts(engine.reactor.authenticated))
        admission = AdmissionControl(engine.reactor)
        self.port = TlsPort(
            engine.reactor,
            self.to,
            admission,
            self.to,
            http=self.to,
            passthrough=Passed(self.to),
            on_agent=self.to.take,
            challenges=self.to,
            hand_off=hand_off,
            limits=limits,
        )
        self.listener = Listener(engine.reactor, listen("127.0.0.1", 0), lambda sock, address: self.port.accept(sock, address, None))
        self.visitors: list[socket.socket] = []

    def connect(self, data: bytes = b"", source: str = "") -> socket.socket:
        """Return a connection that has sent `data`."""
        sock = socket.create_connection(self.listener.address, source_address=(source, 0) if source else None)
        sock.setblocking(False)
        self.visitors.append(sock)
        if data:
            sock.sendall(data)
        return sock

    def answer(self, sock: socket.socket) -> bytes:
        """Return all bytes until the end; `b"reset"` at the end of them if it is a reset."""
        received: list[bytes] = []

        def ended() -> bool:
            try:
                received.append(sock.recv(65536))
            except BlockingIOError:
                return False
            except ConnectionResetError:
                received.extend((b"reset", b""))
            return not received[-1]

        self.engine.reactor.watch(sock.fileno(), lambda _mask: None)  # its events wake the loop, which checks the condition
        self.engine.run_until(ended, what="the end of a connection")
        return b"".join(received)

    def dial(self, name: str = "localhost", alpn: tuple[str, ...] = ()) -> tuple[TlsChannel, str]:
        """Return a client's channel after its handshake, and its failure if there was one."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.identity.cert_file)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        channel = TlsChannel(self.engine.reactor, self.connect(), context, server_side=False, server_hostname=name)
        outcomes: list[str] = []
        channel.handshake(lambda failure: outcomes.append("" if failure is None else str(failure)))
        self.engine.run_until(lambda: bool(outcomes), what="the client's handshake")
        return channel, outcomes[0]


@contextmanager
def open_port(
    engine: EngineLoop, identity: Identity, limits: HandshakeLimits | None = None, hand_off: HandOff | None = None
) -> Iterator[OpenPort]:
    """A TLS port with one http tunnel named localhost."""
    opened = OpenPort(engine, identity, limits, hand_off)
    opened.to.tunnel("localhost")
    try:
        yield opened
    finally:
        opened.listener.close()
        opened.port.close()
        for channel, _, _ in opened.to.served:
            channel.abort()
        for sock in (*opened.visitors, *(sock for sock, *_ in opened.to.passed), *(sock for sock, _ in opened.to.agents)):
            if sock.fileno() >= 0:
                engine.reactor.discard(sock)
        engine.settle()
