"""The TLS port: routes each connection by ALPN and server name, to agents' links, the HTTP edge, or a tunnel that passes TLS through."""

import random
import socket
from dataclasses import dataclass

from portway.certificates.interfaces import CertificateSource, ChallengeSource
from portway.edge.admission import UNAUTHENTICATED_MAX, AdmissionControl, reset_socket
from portway.edge.handoff import HANDOFFS_MAX, HandOff, HandoffState
from portway.edge.lease import Lease
from portway.edge.tls.handshake import VisitorHandshake
from portway.edge.tls.interfaces import AgentAcceptor, HttpVisitors, PassthroughVisitors, Routes
from portway.edge.tls.refusals import refuse, send_alert
from portway.engine.listener import RESETS_INHERITED, Address
from portway.engine.reactor import Reactor
from portway.engine.socket_channel import SocketChannel
from portway.errors import UnavailableError
from portway.links.fair_slots import FairSlots
from portway.links.source_accounts import SourceAccounts
from portway.links.sources import Sources
from portway.links.tls import ALPN
from portway.protocol.proxy_header import ProxyHeader
from portway.protocol.tls_alert import Alert, HelloError
from portway.protocol.tls_hello import ClientHello, HelloReader, choose_alpn
from portway.telemetry.logs import get_log

LINK_ALPN = ALPN.encode("ascii")

CHALLENGE_ALPN = b"acme-tls/1"
"""A CA that validates a name (RFC 8737 section 4)."""

HTTP_ALPN = (b"http/1.1", b"http/1.0")
"""What visitors of http tunnels may offer; HTTP/2 is not spoken."""

HANDSHAKE_WEIGHT = 4.0
"""Weight of visitors' handshakes among charged turns; authenticated peers have 8, agents before their login 1."""

log = get_log(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class HandshakeLimits:
    """Limits of visitors before the end of their TLS handshake."""

    seconds_max: float = 10.0
    """From accept to the end of the handshake."""

    under_way_max: int = 2 * UNAUTHENTICATED_MAX
    """Connections before that. One without data uses 1 kB, one in the handshake 43 kB, one with the longest hello 200 kB."""

    waiting_max: int = 256
    """Those of them that wait for a certificate: each is looked at ten times a second, which together takes 1 to 2 % of a core."""


class TlsPort:
    """Accepts connections of agents and visitors, and routes each by its ClientHello.

    Sources share the connections before the end of the handshake, and the time for handshakes, as agents' sources do.
    """

    def __init__(  # noqa: PLR0913 - everything that a connection can be routed to
        self,
        reactor: Reactor,
        routes: Routes,
        admission: AdmissionControl,
        certificates: CertificateSource,
        *,
        http: HttpVisitors,
        passthrough: PassthroughVisitors,
        on_agent: AgentAcceptor | None,
        challenges: ChallengeSource | None = None,
        hand_off: HandOff | None = None,
        limits: HandshakeLimits | None = None,
    ) -> None:
        """Accept nothing before `accept` is called; `hand_off` hands visitors to the worker that has their agent. With `on_agent` None,
        agents are refused.
        """
        self.reactor = reactor
        self.limits = limits or HandshakeLimits(under_way_max=min(2 * UNAUTHENTICATED_MAX, admission.unauthenticated_max))
        self.http = http
        self._routes = routes
        self._certificates = certificates
        self._challenges = challenges
        self._passthrough = passthrough
        self._on_agent = on_agent
        self._hand_off = hand_off
        self._slots: FairSlots[VisitorHandshake] = FairSlots(self.limits.under_way_max, Sources(), random.random)
        self._waiting: FairSlots[VisitorHandshake] = FairSlots(self.limits.waiting_max, Sources(), random.random)
        """Connections that wait for the first certificate of their name."""
        self._under_way: set[VisitorHandshake] = set()
        self.accounts = SourceAccounts(reactor.accounts.child(HANDSHAKE_WEIGHT))
        """Accounts charged for handshakes; all sources get equal shares."""
        admission.add_counter(lambda: len(self._under_way))

    @property
    def under_way(self) -> int:
        """Number of connections before the end of their handshake."""
        return len(self._under_way)

    def accept(self, sock: socket.socket, address: Address, _header: ProxyHeader | None = None) -> None:
        """Read the ClientHello of a connected, non-blocking socket (a listener's `on_accept`)."""
        visitor = self._admit(sock, address)
        if visitor is not None:
            visitor.read_hello()

    def accept_handoff(self, sock: socket.socket, state: HandoffState) -> None:
        """Serve a connection handed off by another worker, with the bytes of its ClientHello."""
        visitor = self._admit(sock, state.address)
        if visitor is None:
            return
        try:
            hello = HelloReader().feed(state.buffered)
        except HelloError as exc:  # it was valid for the other worker
            visitor.release()
            refuse(self.reactor, sock, exc)
            return
        if hello is None:
            visitor.fail("incomplete hello")
        else:
            visitor.handoffs = state.handoffs
            self.route(visitor, hello)

    def close(self) -> None:
        """Reset all connections whose handshake is not complete."""
        for visitor in list(self._under_way):
            visitor.fail("aborted")

    def released(self, visitor: VisitorHandshake) -> None:
        """Free the slot of a connection; called once for each."""
        self._under_way.discard(visitor)
        self._slots.release(visitor.source, visitor)
        self._waiting.release(visitor.source, visitor)

    def route(self, visitor: VisitorHandshake, hello: ClientHello) -> None:
        """Serve a connection by its ClientHello."""
        try:
            self._route(visitor, hello)
        except HelloError as exc:
            visitor.refuse(exc)

    def _admit(self, sock: socket.socket, address: Address) -> VisitorHandshake | None:
        """Return a new connection before its handshake, or None if its source has too many of them."""
        visitor = VisitorHandshake(self, sock, address)
        try:
            loser = self._slots.acquire(visitor.source, visitor, self.reactor.now)
        except UnavailableError:
            reset_socket(sock)
            return None
        self._under_way.add(visitor)
        visitor.start()
        if loser is not None:
            loser.fail("replaced by a connection from another source")
        return visitor

    def _route(self, visitor: VisitorHandshake, hello: ClientHello) -> None:
        if LINK_ALPN in hello.alpn and self._on_agent is not None:
            self._on_agent(visitor.release(), visitor.address, hello)
            return
        name = hello.server_name
        if name is None:
            raise HelloError("no server name: expected the host of a tunnel", Alert.UNRECOGNIZED_NAME)
        lease = self._routes.lookup("http", name)
        if lease is not None and lease.passthrough:
            self._passthrough.serve(visitor.release(), visitor.address, lease, hello, visitor.handoffs)
        elif CHALLENGE_ALPN in hello.alpn:
            context = None if self._challenges is None else self._challenges.challenge_context(name)
            if context is None:
                raise HelloError(f"no pending certificate order for {name}", Alert.UNRECOGNIZED_NAME)
            visitor.begin(context, hello.wire, name, challenge=True)
        elif lease is None:
            raise HelloError(f"no tunnel has the name {name}", Alert.UNRECOGNIZED_NAME)
        elif not (lease.remote_worker and self._try_handoff(visitor, lease, hello)):
            self._terminate(visitor, hello, name, lease)

    def _terminate(self, visitor: VisitorHandshake, hello: ClientHello, name: str, lease: Lease) -> None:
        choose_alpn(hello.alpn, HTTP_ALPN)
        context = self._certificates.context_for(name)
        if context is None:
            self._wait_for_certificate(visitor, hello, name)
            return
        self._waiting.release(visitor.source, visitor)
        client_ca = "" if lease.access is None else lease.access.client_ca
        if self.http.admits(visitor.sock, visitor.address[0]):
            visitor.begin(context.with_client_ca(client_ca) if client_ca else context, hello.wire, name, client_ca=client_ca)
        else:
            send_alert(self.reactor, visitor.release(), Alert.INTERNAL_ERROR)

    def _wait_for_certificate(self, visitor: VisitorHandshake, hello: ClientHello, name: str) -> None:
        """Hold a visitor of a name whose first certificate is being ordered; raises HelloError for others, and if too many wait."""
        if self._challenges is None or not self._challenges.is_ordered(name):
            raise HelloError(f"no certificate for {name} yet", Alert.UNRECOGNIZED_NAME)
        if not visitor.waiting:
            self._add_waiting(visitor, name)
        visitor.wait_for_certificate(hello)

    def _add_waiting(self, visitor: VisitorHandshake, name: str) -> None:
        """Count a visitor that begins to wait, in place of one from the source with the most if there are too many."""
        try:
            loser = self._waiting.acquire(visitor.source, visitor, self.reactor.now)
        except UnavailableError as exc:
            raise HelloError(f"no certificate for {name} yet, and too many visitors wait for one", Alert.UNRECOGNIZED_NAME) from exc
        if loser is not None:
            loser.refuse(HelloError("too many visitors wait for a certificate", Alert.UNRECOGNIZED_NAME))

    def _try_handoff(self, visitor: VisitorHandshake, lease: Lease, hello: ClientHello) -> bool:
        """Hand a connection off to the worker that has its agent; return whether that was possible."""
        if self._hand_off is None or visitor.handoffs >= HANDOFFS_MAX:
            return False
        state = HandoffState(visitor.address, hello.wire, visitor.handoffs + 1, tls=True)
        channel = SocketChannel(self.reactor, visitor.sock, resets=RESETS_INHERITED)
        if self._hand_off(lease, channel, state):
            visitor.release()
            return True
        channel.detach(lambda _sock: True)
        return False
