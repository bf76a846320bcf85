"""Public ports of tcp tunnels: connects each visitor to its agent by a stream and a relay, in the reactor."""

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
from portway.server.edge.handoff import HANDOFFS_MAX, HandOff, HandoffState
from portway.server.edge.holds import Hold, Holds
from portway.server.edge.proxy_protocol import ProxyProtocolReader
from portway.server.events import RelayDone
from portway.server.tunnels.lease import Holder, Lease, LeaseKey
from portway.telemetry.logs import get_log

log = get_log(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpEdgeSettings:
    """Settings of the public ports of tcp tunnels."""

    hold_s: float = 5.0
    """How long a visitor is held while the agent is offline; then it is reset."""

    visitors_max: int = 16_000
    """Visitors of one tunnel at a time: as many streams as fit on four links (16,380). More are reset at once."""

    log_visitors: bool = False
    """Include the visitor's address in events of finished relays."""

    held_max: int = 256
    """Visitors of one tunnel that wait for an offline agent; each uses a descriptor and does nothing."""

    held_all_max: int = 1024
    """The same for all tunnels. At this limit, tenants with few are admitted at the expense of those with many."""


class TcpEdge:
    """All public ports, one for each tcp lease, open for as long as the lease exists (its grace time included)."""

    def __init__(  # noqa: PLR0913 - shared by the edges, or replaced by tests
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

        `on_relay` gets an event for every relay that ended; with None, none is made. `proxy_protocol` reads the PROXY headers of
        trusted proxies.
        """
        self.reactor = reactor
        self.settings = settings or TcpEdgeSettings()
        self.random_bytes = random_bytes
        self.on_relay = on_relay
        self.visitors = 0
        """Number of visitors connected, on all ports, closed ones included."""
        self.admission = admission or AdmissionControl(reactor)
        self.admission.add_counter(lambda: self.visitors)
        self.holds = Holds(self.settings.held_all_max)
        self.hand_off = hand_off
        """Hands a visitor off to the worker that has its agent; None in a single process."""
        self.proxy_protocol = proxy_protocol
        self._listen = listen
        self._ports: dict[LeaseKey, _Port] = {}

    def open(self, lease: Lease) -> None:
        """Listen on the lease's port, unless it is open already.

        Raises:
            OSError: the port is in use or not permitted.
        """
        port = self._ports.get(lease.key)
        if port is None:
            self._ports[lease.key] = _Port(self, lease, self._listen(int(lease.address)))
        elif not port.listening:
            port.listen(self._listen(port.number))

    def close(self, lease: Lease) -> None:
        """Stop listening on the lease's port and reset waiting visitors; relays continue until their stream ends."""
        port = self._ports.pop(lease.key, None)
        if port is not None:
            port.close()

    def pause(self, lease: Lease) -> None:
        """Stop accepting visitors on the lease's port until it is opened again; connected ones stay."""
        if lease.key in self._ports:
            self._ports[lease.key].pause()

    def accept_handoff(self, key: LeaseKey, sock: socket.socket, state: HandoffState) -> bool:
        """Serve a visitor handed off by another worker; if the port is not open here, return False and leave `sock` to the caller."""
        port = self._ports.get(key)
        if port is not None:
            port.accept(sock, state.address, state.handoffs)
        return port is not None

    def stop_listening(self) -> None:
        """Stop accepting visitors on all ports; connected ones stay."""
        for port in self._ports.values():
            port.pause()


class _Port:
    """One public port."""

    def __init__(self, edge: TcpEdge, lease: Lease, sock: socket.socket) -> None:
        self.edge = edge
        self.lease = lease
        visitors = self.visitors = set[_TcpVisitor]()  # the share refers to this set, not to the port: no reference cycle
        host, self.number = sock.getsockname()[:2]
        self.listen(sock)
        limit = edge.settings.visitors_max
        self._share = CapacityShare(
            edge.admission, f"tcp port {self.number}", lambda: visitors, lambda: len(visitors), free_ratio=TUNNEL_FREE_RATIO, limit=limit
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
        for visitor in [visitor for visitor in self.visitors if visitor.is_waiting]:
            visitor.abort()

    def _accept_proxied(self, sock: socket.socket, address: Address, _header: ProxyHeader | None) -> None:
        if self.listening:
            self.accept(sock, address)
        else:
            reset_socket(sock)  # the listener was closed while the header was read

    def accept(self, sock: socket.socket, address: Address, handoffs: int = 0) -> None:
        if not self._share.admits(sock, address[0]):
            reset_socket(sock)
            return
        channel = SocketChannel(self.edge.reactor, sock, resets=RESETS_INHERITED)
        try:
            local_address: Address = (self._host, self.number) if self._host else sock.getsockname()[:2]
        except OSError:  # reset by the visitor meanwhile
            channel.abort()
            return
        visitor = _TcpVisitor(self, channel, address, local_address, handoffs)
        self.visitors.add(visitor)
        self.edge.visitors += 1
        visitor.connect()


class _TcpVisitor:
    """One visitor: held if its agent is offline, then relayed."""

    __slots__ = (
        "_address",
        "_channel",
        "_closed",
        "_handoffs",
        "_hold",
        "_local_address",
        "_port",
        "_relay",
        "_relay_ids",
        "_timer",
        "holder",
    )

    def __init__(self, port: _Port, channel: SocketChannel, address: Address, local_address: Address, handoffs: int) -> None:
        self._port = port
        self._channel = channel
        self._address = address
        self._local_address = local_address
        self._handoffs = handoffs
        self._relay: Relay | None = None
        self._timer: Timer | None = None
        self._hold: Hold | None = None
        self.holder: Holder | None = None
        """The session that carries its stream."""
        self._relay_ids: tuple[int, bytes] | None = None
        """Tunnel and random id, for the event at the end; None if no event is needed."""
        self._closed = False

    @property
    def is_waiting(self) -> bool:
        """True while the visitor waits for its agent."""
        return self._relay is None

    @property
    def address(self) -> str:
        """The visitor's numeric host."""
        return self._address[0]

    def state(self) -> tuple[ConnectionState, float, int]:
        """Return its state (see `SheddableConnection`)."""
        relay = self._relay
        if self._closed:
            return ConnectionState.EXEMPT, 0.0, 0
        if relay is None:
            return ConnectionState.WAITING, 0.0, 0
        moved = relay.moved_bytes
        return ConnectionState.QUIET if moved else ConnectionState.SILENT, relay.started_at, moved

    def shed(self, _state: ConnectionState) -> None:
        """Reset the visitor to free capacity."""
        if self._relay is not None:
            self._relay.abort("closed while idle: its capacity was needed")
        else:
            self.abort()

    def connect(self) -> None:
        """Open a stream, or wait for the agent. Called on arrival, and when the state of the lease has changed."""
        lease = self._port.lease
        if self._closed:
            return
        if lease.holder is None:
            if lease.remote_worker and self._try_handoff():
                self._close()
            elif lease.gone or not self._try_hold():
                self.abort()
            return
        self._release_hold()
        edge = self._port.edge
        unique_id = edge.random_bytes(UNIQUE_ID_BYTES)
        if edge.on_relay is not None:
            self._relay_ids = (lease.tunnel_id, unique_id)
        header = encode_visitor(self._address, self._local_address, lease.tunnel_id, unique_id)
        try:
            stream = lease.holder.open(lease.tunnel_id, header, self._on_status)
        except UnavailableError as exc:
            log.debug("no stream for a visitor", port=self._port.number, reason=exc)
            self.abort()
            return
        self.holder = lease.holder
        self._relay = Relay(edge.reactor, self._channel, stream, self._done, lease.scopes)
        # The visitor's bytes follow the preamble at once; the other direction waits for the status byte.
        self._relay.start_forward()

    def abort(self) -> None:
        """Reset the visitor; the reactor also calls this after a failed callback."""
        if self._relay is not None:
            self._relay.abort("the origin was not reached")
        else:
            self._channel.abort()
            self._close()

    def _try_handoff(self) -> bool:
        """Hand the visitor off to the worker that has its agent; return whether that was possible."""
        lease, hand_off = self._port.lease, self._port.edge.hand_off
        if hand_off is None or self._handoffs >= HANDOFFS_MAX:
            return False
        return hand_off(lease, self._channel, HandoffState(self._address, handoffs=self._handoffs + 1))

    def _try_hold(self) -> bool:
        """Wait for the agent; return False if too many wait already or the time has passed."""
        settings, waiters = self._port.edge.settings, self._port.lease.waiters
        if self._timer is None:
            if len(waiters) >= settings.held_max or not settings.hold_s:
                return False
            self._hold = self._port.edge.holds.acquire(self._port.lease.owner.token_id, source_key(self._address[0]), self.abort)
            if self._hold is None:
                return False
            self._timer = self._port.edge.reactor.call_later(settings.hold_s, self.abort)
            self._channel.on_broken = self.abort
        waiters[self] = self.connect
        return True

    def _release_hold(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            if self._hold is not None:
                self._hold.release()
                self._hold = None
            self._port.lease.waiters.pop(self, None)
            self._channel.on_broken = nothing

    def _on_status(self, status: StreamStatus | None) -> None:
        relay = self._relay
        if self._closed or relay is None:
            return
        if status is StreamStatus.CONNECTED:
            try:
                relay.start_backward()
            except BrokenChannel:
                relay.abort("the stream broke")
        else:
            relay.abort("the agent's link broke" if status is None else status.description)

    def _done(self, relay: Relay) -> None:
        self._close()
        edge = self._port.edge
        if edge.on_relay is not None and self._relay_ids is not None:
            tunnel_id, unique_id = self._relay_ids
            tally = relay.tally
            visitor = self._address[0] if edge.settings.log_visitors else None
            number = self._port.number
            edge.on_relay(RelayDone(unique_id.hex(), tunnel_id, number, tally.forward, tally.backward, tally.why, visitor))

    def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._release_hold()
        self._port.visitors.discard(self)
        self._port.edge.visitors -= 1
