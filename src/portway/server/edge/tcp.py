"""Public ports of tcp tunnels: each visitor becomes a stream to the agent, in the reactor, without a coroutine."""

import socket
from collections.abc import Callable
from dataclasses import dataclass

from portway.engine.channel import nothing
from portway.engine.listener import RESETS_INHERITED, Address, Listener
from portway.engine.reactor import Reactor
from portway.engine.relay import Relay
from portway.engine.socket_channel import SocketChannel
from portway.engine.timers import Timer
from portway.errors import BrokenChannel, UnavailableError
from portway.protocol.proxy_header import UNIQUE_ID_BYTES, ProxyHeader, encode_visitor
from portway.protocol.source_key import source_key
from portway.protocol.stream_status import StreamStatus
from portway.server.edge.admission import TUNNEL_FREE_RATIO, AdmissionControl, CapacityShare, reset_socket
from portway.server.edge.connection_state import ConnectionState
from portway.server.edge.handoff import HOPS_MAX, HandOff, HandoffState
from portway.server.edge.holds import Hold, Holds
from portway.server.edge.proxy_protocol import ProxyProtocolReader
from portway.server.events import RelayDone
from portway.server.tunnels.lease import Holder, Lease, LeaseKey
from portway.telemetry.logs import get_log

log = get_log(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpEdgeSettings:
    """What steers the public ports of tcp tunnels."""

    hold_s: float = 5.0
    """How long a visitor is held while the agent is away; then it is reset."""

    visitors_max: int = 16_000
    """Visitors of one tunnel at a time: as many streams as fit on four links (16,380). More are reset at once."""

    tell_visitors: bool = False
    """Say in each relay's line who the visitor was."""

    held_max: int = 256
    """Visitors of one tunnel that wait for an agent that is away; each pins a descriptor and does nothing."""

    held_all_max: int = 1024
    """The same for all tunnels. When there are as many, tenants with few get room at the cost of those with many."""


class TcpEdge:
    """All public ports, one for each tcp lease, open for as long as the lease lives (its grace time included)."""

    def __init__(  # noqa: PLR0913 - what edges share, and what tests replace
        self,
        reactor: Reactor,
        listen: Callable[[int], socket.socket],
        random_bytes: Callable[[int], bytes],
        settings: TcpEdgeSettings | None = None,
        admission: AdmissionControl | None = None,
        on_relay: Callable[[RelayDone], None] | None = None,
        *,
        hand_off: HandOff | None = None,
        proxy_protocol: ProxyProtocolReader | None = None,
    ) -> None:
        """`listen` returns a listening socket for a port, or raises OSError; `admission` is shared with other edges.

        `on_relay` is told of every relay that ended; None spares the making of what it would be told. `proxy_protocol` reads the
        PROXY headers of trusted proxies.
        """
        self.reactor = reactor
        self.settings = settings or TcpEdgeSettings()
        self.random_bytes = random_bytes
        self.on_relay = on_relay
        self.visitors = 0
        """Visitors now, on all ports, also on those that are closed already."""
        self.admission = admission or AdmissionControl(reactor)
        self.admission.count(lambda: self.visitors)
        self.holds = Holds(self.settings.held_all_max)
        self.hand_off = hand_off
        """Hands a visitor to the worker that has his agent, where there are several."""
        self.proxy_protocol = proxy_protocol
        self._listen = listen
        self._ports: dict[LeaseKey, _Port] = {}

    def open(self, lease: Lease) -> None:
        """Listen on the lease's port; a port that is open stays so.

        Raises:
            OSError: another program has the port, or it may not be used.
        """
        port = self._ports.get(lease.key)
        if port is None:
            self._ports[lease.key] = _Port(self, lease, self._listen(int(lease.address)))
        elif not port.listening:
            port.listen(self._listen(port.number))

    def close(self, lease: Lease) -> None:
        """Stop listening on the lease's port and reset who still waits there; relays go on until their stream ends."""
        port = self._ports.pop(lease.key, None)
        if port is not None:
            port.close()

    def pause(self, lease: Lease) -> None:
        """Take no new visitors on the lease's port until it is opened again; those who are here stay."""
        if lease.key in self._ports:
            self._ports[lease.key].pause()

    def take(self, key: LeaseKey, sock: socket.socket, journey: HandoffState) -> bool:
        """Serve a visitor whom another worker passed on; False, and he is still the caller's, when the port is not open here."""
        port = self._ports.get(key)
        if port is not None:
            port.accept(sock, journey.address, journey.hops)
        return port is not None

    def stop_listening(self) -> None:
        """Take no new visitors on any port; those who are here go on."""
        for port in self._ports.values():
            port.pause()


class _Port:
    """One public port."""

    def __init__(self, edge: TcpEdge, lease: Lease, sock: socket.socket) -> None:
        self.edge = edge
        self.lease = lease
        visits = self.visits = set[_TcpVisitor]()  # the share gets this one and not the port, which has the share
        host, self.number = sock.getsockname()[:2]
        self.listen(sock)
        most = edge.settings.visitors_max
        self._share = CapacityShare(
            edge.admission, f"tcp port {self.number}", lambda: visits, lambda: len(visits), times=TUNNEL_FREE_RATIO, most=most
        )
        self._host = "" if host in ("0.0.0.0", "::") else host  # noqa: S104 - compared with, not bound

    def listen(self, sock: socket.socket) -> None:
        self.listening = True
        reader = self.edge.proxy_protocol
        on_accept = self.accept if reader is None else reader.wrap(self._accept_proxied)
        self._listener = Listener(self.edge.reactor, sock, on_accept)

    def pause(self) -> None:
        self.listening = False
        self._listener.close()

    def close(self) -> None:
        self.pause()
        self._share.close()
        for visit in [visit for visit in self.visits if visit.held]:
            visit.abort()

    def _accept_proxied(self, sock: socket.socket, address: Address, _header: ProxyHeader | None) -> None:
        if self.listening:
            self.accept(sock, address)
        else:
            reset_socket(sock)  # the listener was closed while the header was read

    def accept(self, sock: socket.socket, address: Address, hops: int = 0) -> None:
        if not self._share.admits(sock, address[0]):
            reset_socket(sock)
            return
        visitor = SocketChannel(self.edge.reactor, sock, resets=RESETS_INHERITED)
        try:
            arrived_at: Address = (self._host, self.number) if self._host else sock.getsockname()[:2]
        except OSError:  # gone already
            visitor.abort()
            return
        visit = _TcpVisitor(self, visitor, address, arrived_at, hops)
        self.visits.add(visit)
        self.edge.visitors += 1
        visit.go()


class _TcpVisitor:
    """One visitor: perhaps held for a while, then a stream and a relay."""

    __slots__ = ("_arrived_at", "_from", "_hold", "_hops", "_over", "_port", "_relay", "_timer", "_told", "_visitor", "holder")

    def __init__(self, port: _Port, visitor: SocketChannel, address: Address, arrived_at: Address, hops: int) -> None:
        self._port = port
        self._visitor = visitor
        self._from = address
        self._arrived_at = arrived_at
        self._hops = hops
        self._relay: Relay | None = None
        self._timer: Timer | None = None
        self._hold: Hold | None = None
        self.holder: Holder | None = None
        """The session whose stream it has."""
        self._told: tuple[int, bytes] | None = None
        """Tunnel and random id, where somebody wants to hear of the relay."""
        self._over = False

    @property
    def held(self) -> bool:
        """True while the visitor waits for the agent."""
        return self._relay is None

    @property
    def address(self) -> str:
        """The visitor's numeric host."""
        return self._from[0]

    def standing(self) -> tuple[ConnectionState, float, int]:
        """Return what it is doing (see `standing.SheddableConnection`)."""
        relay = self._relay
        if self._over:
            return ConnectionState.OVER, 0.0, 0
        if relay is None:
            return ConnectionState.WAITING, 0.0, 0
        moved = relay.moved_bytes
        return ConnectionState.QUIET if moved else ConnectionState.SILENT, relay.started_at, moved

    def give_way(self, _standing: ConnectionState) -> None:
        """Reset the visitor, as another one needs the place."""
        if self._relay is not None:
            self._relay.abort("it was quiet, and its place was needed")
        else:
            self.abort()

    def go(self) -> None:
        """Open the stream, or wait for the agent: on arrival, and when the lease's state has changed."""
        lease = self._port.lease
        if self._over:
            return
        if lease.holder is None:
            if lease.remote_worker and self._passed_on():
                self._leave()
            elif lease.gone or not self._may_wait():
                self.abort()
            return
        self._stop_waiting()
        edge = self._port.edge
        unique_id = edge.random_bytes(UNIQUE_ID_BYTES)
        if edge.on_relay is not None:
            self._told = (lease.tunnel_id, unique_id)
        header = encode_visitor(self._from, self._arrived_at, lease.tunnel_id, unique_id)
        try:
            stream = lease.holder.open(lease.tunnel_id, header, self._heard_status)
        except UnavailableError as exc:
            log.debug("no stream for a visitor", port=self._port.number, why=exc)
            self.abort()
            return
        self.holder = lease.holder
        self._relay = Relay(edge.reactor, self._visitor, stream, self._done, lease.scopes)
        # What the visitor says goes out behind the preamble at once; the other way waits for the status byte.
        self._relay.start_forward()

    def abort(self) -> None:
        """Reset the visitor; also what the reactor asks after a failed callback."""
        if self._relay is not None:
            self._relay.abort("no way to the origin")
        else:
            self._visitor.abort()
            self._leave()

    def _passed_on(self) -> bool:
        """Hand the visitor to the worker that has the agent; False when that cannot be done."""
        lease, hand_off = self._port.lease, self._port.edge.hand_off
        if hand_off is None or self._hops >= HOPS_MAX:
            return False
        return hand_off(lease, self._visitor, HandoffState(self._from, hops=self._hops + 1))

    def _may_wait(self) -> bool:
        """Join the waiters, unless there are too many or the time is over."""
        settings, waiters = self._port.edge.settings, self._port.lease.waiters
        if self._timer is None:
            if len(waiters) >= settings.held_max or not settings.hold_s:
                return False
            self._hold = self._port.edge.holds.enter(self._port.lease.owner.token_id, source_key(self._from[0]), self.abort)
            if self._hold is None:
                return False
            self._timer = self._port.edge.reactor.call_later(settings.hold_s, self.abort)
            self._visitor.on_broken = self.abort
        waiters[self] = self.go
        return True

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            if self._hold is not None:
                self._hold.leave()
                self._hold = None
            self._port.lease.waiters.pop(self, None)
            self._visitor.on_broken = nothing

    def _heard_status(self, status: StreamStatus | None) -> None:
        relay = self._relay
        if self._over or relay is None:
            return
        if status is StreamStatus.CONNECTED:
            try:
                relay.start_backward()
            except BrokenChannel:
                relay.abort("the stream broke")
        else:
            relay.abort("the agent's link broke" if status is None else status.description)

    def _done(self, relay: Relay) -> None:
        self._leave()
        edge = self._port.edge
        if edge.on_relay is not None and self._told is not None:
            tunnel_id, unique_id = self._told
            tally = relay.tally
            visitor = self._from[0] if edge.settings.tell_visitors else None
            number = self._port.number
            edge.on_relay(RelayDone(unique_id.hex(), tunnel_id, number, tally.forward, tally.backward, tally.why, visitor))

    def _leave(self) -> None:
        if self._over:
            return
        self._over = True
        self._stop_waiting()
        self._port.visits.discard(self)
        self._port.edge.visitors -= 1
