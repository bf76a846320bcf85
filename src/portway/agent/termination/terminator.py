"""Ends visitors' TLS at the agent, and serves their requests by an HTTP edge of its own."""

import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from portway.agent.events import EventSink, Notice
from portway.agent.settings import TunnelRequest
from portway.agent.termination.certificates import Spawn, TunnelCertificates, tunnel_certificates
from portway.agent.termination.local_holder import LocalHolder
from portway.agent.termination.stream_bridge import StreamBridge
from portway.certificates.contexts import VisitorContext
from portway.edge.admission import AdmissionControl
from portway.edge.client_certificate import VerifiedClient
from portway.edge.http.edge import HttpEdge
from portway.edge.http.settings import HttpEdgeSettings
from portway.edge.lease import Kind, Lease, LeaseKey, Owner
from portway.engine.channel import Channel
from portway.engine.limits import scopes_of
from portway.engine.reactor import Reactor
from portway.engine.socket_channel import SocketChannel
from portway.engine.timers import Timer
from portway.engine.tls_channel import TlsChannel
from portway.errors import BrokenChannel
from portway.protocol.http_access import HttpAccess
from portway.protocol.proxy_header import TLV_ALPN, TLV_AUTHORITY, ProxyHeader
from portway.protocol.stream_status import StreamStatus
from portway.session.claims import Claims, TunnelClaim
from portway.session.stream_handshake import send_status
from portway.telemetry.logs import get_log

HANDSHAKE_S_MAX = 10.0
"""From a stream's preamble to the end of its handshake, as at the server."""

HANDSHAKES_MAX = 512
"""Handshakes at the same time; each has 43 kB and two descriptors."""

log = get_log(__name__)

AgentClaim = TunnelClaim[TunnelRequest]


class Terminator:
    """All tunnels of one agent whose TLS ends here."""

    def __init__(
        self,
        reactor: Reactor,
        claims: Claims[TunnelRequest],
        accept_local: Callable[[Channel], None],
        on_event: EventSink,
        data: Path | None,
    ) -> None:
        """`accept_local` takes the edge's own streams to origins."""
        self.spawn: Spawn = _not_running
        self._reactor = reactor
        self._claims = claims
        self._on_event = on_event
        self._data = data
        self._holder = LocalHolder(reactor, accept_local, on_event)
        self._admission: AdmissionControl | None = None
        """Created with the first tunnel: most agents have none."""
        self._tunnels: dict[TunnelRequest, _TerminatedTunnel] = {}
        self._handshakes: dict[TlsChannel, Timer] = {}

    def prepare(self, request: TunnelRequest) -> None:
        """Read the certificates of a tunnel. Blocks.

        Raises:
            ConfigError: they cannot be used.
        """
        if request.termination is not None and request not in self._tunnels:
            certificates = tunnel_certificates(request.termination, self._data, self.spawn, self._on_notice)
            admission = self._admission = self._admission or AdmissionControl(self._reactor)
            self._tunnels[request] = _TerminatedTunnel(self._reactor, request, certificates, self._holder, admission)

    def on_claim_reply(self) -> None:
        """Prepare for the hosts that the server has granted, and forget tunnels that were closed."""
        current = {claim.subject for claim in self._claims}
        for request in [request for request in self._tunnels if request not in current]:
            self._tunnels.pop(request).close()
        for claim in self._claims:
            tunnel = self._tunnels.get(claim.subject)
            if tunnel is not None and claim.granted is not None:
                tunnel.on_granted(urlsplit(claim.granted.url).hostname or "", claim.granted.tunnel)

    def accept(self, claim: AgentClaim, header: ProxyHeader, channel: Channel) -> None:
        """Serve a visitor's stream, which begins with its ClientHello."""
        tunnel = self._tunnels.get(claim.subject)
        name = (header.tlv(TLV_AUTHORITY) or b"").decode("latin-1")
        alpn = header.tlv(TLV_ALPN) or b""
        context = None if tunnel is None else tunnel.certificates.context_for(name, alpn)
        if tunnel is None or context is None:
            log.warning("no certificate for a visitor", name=name)
            send_status(channel, StreamStatus.REFUSED)
            return
        if len(self._handshakes) >= HANDSHAKES_MAX:
            send_status(channel, StreamStatus.OVERLOADED)
            return
        try:
            outer, inner = socket.socketpair()
        except OSError:
            send_status(channel, StreamStatus.OVERLOADED)
            return
        if not send_status(channel, StreamStatus.CONNECTED):
            outer.close()
            inner.close()
            return
        client_ca = tunnel.client_ca
        if client_ca and isinstance(context, VisitorContext):
            context = context.with_client_ca(client_ca)
        for sock in (outer, inner):
            sock.setblocking(False)
        # TLS needs a socket; the kernel's buffers between the two carry ciphertext only.
        StreamBridge(self._reactor, channel, SocketChannel(self._reactor, outer)).start()
        tls = TlsChannel(self._reactor, inner, context, server_side=True, in_slices=True)
        tls.account = channel.account
        self._handshakes[tls] = self._reactor.call_later(HANDSHAKE_S_MAX, tls.abort)
        address = header.source or ("127.0.0.1", 0)

        def done(failure: BrokenChannel | None) -> None:
            self._handshakes.pop(tls).cancel()
            if failure is not None:
                log.debug("TLS handshake of a visitor failed", reason=failure)
                tls.close()
            elif alpn == b"acme-tls/1":
                tls.close()
            else:
                tunnel.serve(tls, address, name, client_ca)

        tls.handshake(done)

    def close_idle(self) -> None:
        """Close connections without a request, because the agent stops."""
        for tunnel in self._tunnels.values():
            tunnel.close_idle()

    def close(self) -> None:
        """Break all connections."""
        for tls, timer in self._handshakes.items():
            timer.cancel()
            tls.abort()
        self._handshakes.clear()
        for tunnel in self._tunnels.values():
            tunnel.close()
        self._tunnels.clear()
        self.spawn = _not_running  # which refers to the agent, as the agent does to this object

    def _on_notice(self, text: str) -> None:
        self._on_event(Notice(text))


class _TerminatedTunnel:
    """One tunnel: its certificates, and its edge once its host is known."""

    def __init__(
        self, reactor: Reactor, request: TunnelRequest, certificates: TunnelCertificates, holder: LocalHolder, admission: AdmissionControl
    ) -> None:
        self.certificates = certificates
        self._reactor = reactor
        self._request = request
        self._holder = holder
        self._admission = admission
        self._lease: Lease | None = None
        self._edge: HttpEdge | None = None

    @property
    def client_ca(self) -> str:
        """PEM certificates of the CAs of visitors, or empty."""
        return "" if self._request.access is None else self._request.access.client_ca

    def lookup(self, _kind: Kind, address: str) -> Lease | None:
        """Return the lease of this tunnel's host (see `edge.http.edge.Routes`)."""
        lease = self._lease
        return lease if lease is not None and lease.address == address else None

    def on_granted(self, host: str, tunnel_id: int) -> None:
        """Serve `host` by the tunnel's id of this session."""
        request, old = self._request, self._lease
        if old is not None and (old.address, old.tunnel_id) == (host, tunnel_id):
            return
        if old is not None:
            old.detach_holder()()
        lease = Lease(LeaseKey("http", host), Owner("", b""))
        lease.tunnel_id, lease.epoch, lease.holder = tunnel_id, 1, self._holder
        lease.rewrite = request.rewrite
        lease.access = None if request.access is None else HttpAccess(request.access)
        lease.origin_timeout_s = request.origin_timeout_s
        lease.scopes = scopes_of(self._reactor, replace(request.policy, bandwidth_bps=None))
        if self._edge is None or old is None or old.address != host:
            domain = host.partition(".")[2] or host
            self.close()
            self._edge = HttpEdge(self._reactor, self, HttpEdgeSettings(domain=domain), self._admission, scheme="https")
        self._lease = lease
        self.certificates.on_host(host)

    def serve(self, tls: TlsChannel, address: tuple[str, int], name: str, client_ca: str) -> None:
        """Serve a visitor after its handshake."""
        if self._edge is None:
            tls.abort()
            return
        client = VerifiedClient(client_ca, tls.peer_certificate_der() or b"") if client_ca else None
        self._edge.serve(tls, address, "https", name, client)

    def close_idle(self) -> None:
        """Close connections without a request."""
        if self._edge is not None and self._lease is not None:
            self._edge.close_idle(self._lease.address)

    def close(self) -> None:
        """Break all connections."""
        edge, self._edge = self._edge, None
        if edge is not None:
            edge.close()


def _not_running(work: object, _name: str) -> None:
    close = getattr(work, "close", None)
    if close is not None:
        close()
