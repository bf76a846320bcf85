"""What every serving process contains: both edges for visitors, and the control plane with its links for agents."""

import asyncio
import contextlib
import hashlib
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Protocol

from portway.certificates.store import CertificateStore
from portway.edge.admission import AdmissionControl
from portway.edge.handoff import HandOff, HandOffAgent
from portway.edge.http.access_control import PublicHttps
from portway.edge.http.edge import HttpEdge
from portway.edge.http.settings import HttpEdgeSettings
from portway.edge.lease import Kind, Lease
from portway.edge.proxy_protocol import ProxyProtocolReader
from portway.edge.random_pool import RandomPool
from portway.edge.relaying import RelaySettings
from portway.edge.tcp import TcpEdge
from portway.edge.tls.passthrough import PassthroughEdge
from portway.edge.tls.port import TlsPort
from portway.engine.listener import Address, Listener, OnAccept
from portway.engine.reactor import Reactor
from portway.links.accept import DEFAULT_LIMITS, LinkListener
from portway.links.tls import server_context
from portway.links.worker_hint import worker_from
from portway.protocol.http1.trusted_proxies import TrustedProxies
from portway.protocol.names import split_authority
from portway.protocol.networks import Networks
from portway.protocol.scram import certificate_binding
from portway.protocol.tls_hello import ClientHello
from portway.server.control import interfaces
from portway.server.control.interfaces import ControlSettings
from portway.server.control.session_manager import SessionManager
from portway.server.events import EventSink
from portway.server.identity import Identity, certificate_der
from portway.server.settings import ServerSettings
from portway.server.storage.token_reader import TokenReader

DRAIN_S_MAX = 3.0
"""How long visitors may finish after a request to stop; the command line allows 5 s in total."""

DRAIN_POLL_S = 0.05


class LeaseTable(interfaces.LeaseLifecycle, Protocol):
    """Leases as the control plane and the edges use them: the registry, or a worker's replica of it."""

    def lookup(self, kind: Kind, address: str) -> Lease | None:
        """Return the lease of a public address, None when it is free."""


class ServerCore:
    """Serves visitors and agents in one process. Set `sessions.dispatcher.claim_handler` before `serve`."""

    def __init__(  # noqa: PLR0913 - everything that a process needs to serve
        self,
        reactor: Reactor,
        settings: ServerSettings,
        identity: Identity,
        tokens: TokenReader,
        leases: LeaseTable,
        *,
        listen: Callable[[int], socket.socket],
        on_event: EventSink,
        report_relays: bool = False,
        worker: int = 0,
        hand_off: HandOff | None = None,
        server_id: str = "",
        certificates: CertificateStore,
        hand_off_agent: HandOffAgent | None = None,
    ) -> None:
        """Create the edges and the session manager; none accepts connections before `serve`.

        `listen` returns the listening socket of a tcp tunnel's port. With `report_relays`, `on_event` also receives every finished
        request, tcp connection and WebSocket. `worker` is this process's number, 0 when it is the only one; `hand_off` hands visitors
        to the other processes, `hand_off_agent` links of sessions that another one has. `server_id` is the same in all processes of the
        server. `certificates` are those for visitors.
        """
        admission = AdmissionControl(reactor, on_event)
        self._reactor = reactor
        self._handshakes_max = admission.unauthenticated_max
        self._context = None if settings.plaintext_links else server_context(str(identity.cert_file), str(identity.key_file))
        self._listeners: list[Listener] = []
        self._worker, self._hand_off_agent, self._certificates = worker, hand_off_agent, certificates
        self._public_url = settings.public_url
        on_done = on_event if report_relays else None
        trusted = Networks(settings.trusted_proxies)
        self._proxy_protocol = ProxyProtocolReader(reactor, trusted, admission) if settings.proxy_protocol else None
        self._proxy_listeners = settings.proxy_protocol
        self.http = HttpEdge(
            *(reactor, leases, _edge_settings(settings), admission),
            random_bytes=RandomPool(secrets.token_bytes),
            hand_off=hand_off,
            on_finished=on_done,
            server_id=server_id,
            proxies=TrustedProxies(trusted, settings.forwarded_fields) if trusted else None,
        )
        relay_settings = RelaySettings(hold_s=settings.hold_s, log_visitors=settings.log_visitors)
        self.tcp = TcpEdge(
            *(reactor, listen, RandomPool(secrets.token_bytes), relay_settings, admission, on_done),
            hand_off=hand_off,
            proxy_protocol=self._proxy_protocol if "tcp" in settings.proxy_protocol else None,
        )
        self.tls = TlsPort(
            *(reactor, leases, admission, certificates),
            http=self.http,
            passthrough=PassthroughEdge(self.tcp),
            on_agent=None if settings.plaintext_links else self._take_agent,
            challenges=certificates,
            hand_off=hand_off,
        )
        control, random_bytes = _control_settings(settings, identity, worker), secrets.token_bytes
        self.sessions = SessionManager(reactor, leases, tokens, control, on_event=on_event, random_bytes=random_bytes, admission=admission)
        self.links: LinkListener

    @asynccontextmanager
    async def serve(self, http: socket.socket, https: socket.socket | None, agents: socket.socket | None) -> AsyncIterator[None]:
        """Accept visitors on `http` and `https`, and agents on `https`, on `agents` or through `links.take`, within this block."""
        async with AsyncExitStack() as stack:
            stack.callback(self.http.close)
            await stack.enter_async_context(self.sessions.open())
            if self._proxy_protocol is not None:
                stack.callback(self._proxy_protocol.close)
            self._listeners = [Listener(self._reactor, http, self._proxied("http", self.http))]
            if https is not None:
                self.http.access.https = _public_https(self._public_url, https, self._certificates)
                self._listeners.append(Listener(self._reactor, https, self._proxied("https", self.tls)))
                stack.callback(self.tls.close)
            for listener in self._listeners:
                stack.callback(listener.close)
            limits = replace(DEFAULT_LIMITS, under_way_max=min(DEFAULT_LIMITS.under_way_max, self._handshakes_max))
            accept, logins = self.sessions.accept, self.sessions.login_admission
            self.links = LinkListener(
                self._reactor, agents, self._context, accept, logins.handshake_failed, limits=limits, sources=logins.sources
            )
            stack.callback(self.links.close)
            yield

    async def drain(self, reason: str) -> None:
        """Stop accepting, and wait until no visitor is served, at most DRAIN_S_MAX."""
        for listener in self._listeners:
            listener.close()
        if self._proxy_protocol is not None:
            self._proxy_protocol.close()
        self.links.close()
        self.tls.close()
        self.tcp.stop_listening()
        self.sessions.drain(reason)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S_MAX):
                while self.tcp.visitors + self.http.busy:  # noqa: ASYNC110 - polled once, at the end; an event would cost every visitor
                    await asyncio.sleep(DRAIN_POLL_S)

    def _proxied(self, listener: str, edge: "HttpEdge | TlsPort") -> OnAccept:
        """Return a listener's callback, which reads the PROXY header first if the settings require one."""
        if self._proxy_protocol is not None and listener in self._proxy_listeners:
            return self._proxy_protocol.wrap(edge.accept)
        return edge.accept

    def _take_agent(self, sock: socket.socket, address: Address, hello: ClientHello) -> None:
        """Serve a link that arrived at the TLS port, in the process that has its session."""
        worker = worker_from(hello.wire)
        if worker in (0, self._worker) or self._hand_off_agent is None or not self._hand_off_agent(worker, sock, address, hello.wire):
            self.links.take(sock, address, hello.wire)


def _public_https(public_url: str, listener: socket.socket, certificates: CertificateStore) -> PublicHttps:
    """Return where plain HTTP is redirected to: the port of the public URL, otherwise the listener's; nowhere if the URL is one of http."""
    scheme, _, authority = public_url.partition("://")
    port = (split_authority(authority)[1] or 443) if scheme == "https" else listener.getsockname()[1]
    return PublicHttps(port, certificates.has_trusted if scheme != "http" else _has_no_certificate, certificates.http_challenge)


def _has_no_certificate(_host: str) -> bool:
    return False


def _edge_settings(settings: ServerSettings) -> HttpEdgeSettings:
    return HttpEdgeSettings(
        hold_s=settings.hold_s,
        log_visitors=settings.log_visitors,
        request_head_bytes_max=settings.max_request_head,
        response_head_bytes_max=settings.max_answer_head,
        fields_max=settings.max_fields,
        trusted_headers=settings.trusted_header,
        domain=settings.domain,
        hsts=not settings.dev_tls,
        proxied_scheme=settings.public_url.partition("://")[0] or "http",
        via=settings.via,
    )


def _control_settings(settings: ServerSettings, identity: Identity, worker: int) -> ControlSettings:
    return ControlSettings(
        binding=None if settings.plaintext_links else certificate_binding(certificate_der(identity.cert_file)),
        # Derived from the server's key, which is secret and outlives restarts: challenges for unknown tokens have to stay the same.
        decoy_seed=hashlib.sha256(b"portway decoy" + identity.key_file.read_bytes()).digest(),
        grace_s=settings.grace_s,
        speed_tests=not settings.no_speed_test,
        worker=worker,
    )
