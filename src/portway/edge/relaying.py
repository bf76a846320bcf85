"""Visitors of tcp and tls tunnels: each is held if its agent is offline, then relayed byte for byte by a stream."""

import socket
from collections.abc import Callable
from dataclasses import dataclass

from portway.edge.admission import TUNNEL_FREE_RATIO, AdmissionControl, CapacityShare, reset_socket
from portway.edge.connection_state import ConnectionState
from portway.edge.events import RelayDone
from portway.edge.handoff import HANDOFFS_MAX, HandOff, HandoffState
from portway.edge.holds import Hold, Holds
from portway.edge.lease import Holder, Lease
from portway.engine.channel import nothing
from portway.engine.listener import RESETS_INHERITED, Address
from portway.engine.reactor import Reactor
from portway.engine.relay import Relay
from portway.engine.socket_channel import SocketChannel
from portway.engine.timers import Timer
from portway.errors import BrokenChannel, UnavailableError
from portway.protocol.proxy_header import UNIQUE_ID_BYTES, encode_visitor
from portway.protocol.source_key import source_key
from portway.protocol.stream_status import StreamStatus
from portway.telemetry.logs import get_log

HELD_BYTES_MAX = 16 * 1024 * 1024
"""First bytes of waiting visitors, all together. A ClientHello takes 0.3 to 2 kB, but up to 100 kB are possible."""

log = get_log(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaySettings:
    """Settings for the visitors of tcp and tls tunnels."""

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


class RelayEdge:
    """What the visitors of all tcp and tls tunnels share."""

    def __init__(
        self,
        reactor: Reactor,
        random_bytes: Callable[[int], bytes],
        settings: RelaySettings | None = None,
        admission: AdmissionControl | None = None,
        on_relay: Callable[[RelayDone], None] | None = None,
        *,
        hand_off: HandOff | None = None,
    ) -> None:
        """`admission` is shared with the http edge. `on_relay` gets an event for every relay that ended; with None, none is made."""
        self.reactor = reactor
        self.settings = settings or RelaySettings()
        self.random_bytes = random_bytes
        self.on_relay = on_relay
        self.visitors = 0
        """Number of visitors connected, of all tunnels, closed ones included."""
        self.admission = admission or AdmissionControl(reactor)
        self.admission.add_counter(lambda: self.visitors)
        self.holds = Holds(self.settings.held_all_max)
        self.held_bytes = 0
        """First bytes of visitors that wait."""
        self.hand_off = hand_off
        """Hands a visitor off to the worker that has its agent; None in a single process."""


@dataclass(frozen=True, slots=True)
class TlsStart:
    """What was read of a TLS connection before it is relayed."""

    server_name: str
    alpn: bytes
    """The client's favourite protocol; empty if unknown."""
    first: bytes
    """All bytes read so far, to be relayed untouched."""


class TunnelVisitors:
    """The visitors of one tunnel, with their share of the capacity."""

    def __init__(self, edge: RelayEdge, lease: Lease, where: str, port: int = 0) -> None:
        """`where` names the share in events; `port` is the public port of a tcp tunnel, 0 for others."""
        self.edge = edge
        self.lease = lease
        self.port = port
        visitors = self.visitors = set[RelayedVisitor]()  # the share refers to this set, not to this object: no reference cycle
        limit = edge.settings.visitors_max
        self._share = CapacityShare(
            edge.admission, where, lambda: visitors, lambda: len(visitors), free_ratio=TUNNEL_FREE_RATIO, limit=limit
        )

    def close(self) -> None:
        """Reset waiting visitors; relays continue until their stream ends."""
        self._share.close()
        for visitor in [visitor for visitor in self.visitors if visitor.is_waiting]:
            visitor.abort()

    def serve(
        self, sock: socket.socket, address: Address, local_address: Address | None, handoffs: int, start: TlsStart | None = None
    ) -> None:
        """Serve a connected, non-blocking socket, or reset it if there is no capacity.

        `local_address` is what the visitor connected to; None: the socket's. `start` is what was read of a connection to a tls tunnel.
        """
        if not self._share.admits(sock, address[0]):
            reset_socket(sock)
            return
        channel = SocketChannel(self.edge.reactor, sock, resets=RESETS_INHERITED)
        try:
            local_address = local_address or sock.getsockname()[:2]
        except OSError:  # reset by the visitor meanwhile
            channel.abort()
            return
        visitor = RelayedVisitor(self, channel, address, local_address, handoffs, start)
        self.visitors.add(visitor)
        self.edge.visitors += 1
        visitor.connect()

    def forget(self, visitor: "RelayedVisitor") -> None:
        """Remove a visitor that is gone."""
        self.visitors.discard(visitor)
        self.edge.visitors -= 1


class RelayedVisitor:
    """One visitor: held if its agent is offline, then relayed."""

    __slots__ = (
        "_address",
        "_channel",
        "_closed",
        "_handoffs",
        "_hold",
        "_local_address",
        "_relay",
        "_relay_ids",
        "_start",
        "_timer",
        "_tunnel",
        "holder",
    )

    def __init__(
        self,
        tunnel: TunnelVisitors,
        channel: SocketChannel,
        address: Address,
        local_address: Address,
        handoffs: int,
        start: TlsStart | None,
    ) -> None:
        """Represent a connected visitor; call `connect` next."""
        self._tunnel = tunnel
        self._channel = channel
        self._address = address
        self._local_address = local_address
        self._handoffs = handoffs
        self._start = start
        """What was read already, until the relay starts; None for a tcp tunnel."""
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
        lease, start = self._tunnel.lease, self._start
        if self._closed:
            return
        if lease.passthrough is (start is None):  # while the visitor waited, the name became one of another protocol
            self.abort()
            return
        if lease.holder is None:
            if lease.remote_worker and self._try_handoff():
                self._close()
            elif lease.gone or not self._try_hold():
                self.abort()
            return
        self._release_hold()
        edge = self._tunnel.edge
        unique_id = edge.random_bytes(UNIQUE_ID_BYTES)
        if edge.on_relay is not None:
            self._relay_ids = (lease.tunnel_id, unique_id)
        name, alpn, first = ("", b"", b"") if start is None else (start.server_name, start.alpn, start.first)
        header = encode_visitor(self._address, self._local_address, lease.tunnel_id, unique_id, name, alpn)
        try:
            stream = lease.holder.open(lease.tunnel_id, header, self._on_status)
        except UnavailableError as exc:
            log.debug("no stream for a visitor", tunnel=lease.address, reason=exc)
            self.abort()
            return
        self.holder = lease.holder
        self._start = None
        self._relay = Relay(edge.reactor, self._channel, stream, self._done, lease.scopes)
        # The visitor's bytes follow the preamble at once; the other direction waits for the status byte.
        self._relay.start_forward(first)

    def abort(self) -> None:
        """Reset the visitor; the reactor also calls this after a failed callback."""
        if self._relay is not None:
            self._relay.abort("the origin was not reached")
        else:
            self._channel.abort()
            self._close()

    def _try_handoff(self) -> bool:
        """Hand the visitor off to the worker that has its agent; return whether that was possible."""
        lease, hand_off, start = self._tunnel.lease, self._tunnel.edge.hand_off, self._start
        if hand_off is None or self._handoffs >= HANDOFFS_MAX:
            return False
        first = b"" if start is None else start.first
        return hand_off(lease, self._channel, HandoffState(self._address, first, self._handoffs + 1, tls=start is not None))

    def _try_hold(self) -> bool:
        """Wait for the agent; return False if too many wait already or the time has passed."""
        edge, waiters = self._tunnel.edge, self._tunnel.lease.waiters
        settings = edge.settings
        if self._timer is None:
            size = self._first_bytes
            if len(waiters) >= settings.held_max or not settings.hold_s or edge.held_bytes + size > HELD_BYTES_MAX:
                return False
            self._hold = edge.holds.acquire(self._tunnel.lease.owner.token_id, source_key(self._address[0]), self.abort)
            if self._hold is None:
                return False
            edge.held_bytes += size
            self._timer = edge.reactor.call_later(settings.hold_s, self.abort)
            self._channel.on_broken = self.abort
        waiters[self] = self.connect
        return True

    @property
    def _first_bytes(self) -> int:
        return 0 if self._start is None else len(self._start.first)

    def _release_hold(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._tunnel.edge.held_bytes -= self._first_bytes
            if self._hold is not None:
                self._hold.release()
                self._hold = None
            self._tunnel.lease.waiters.pop(self, None)
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
        edge = self._tunnel.edge
        if edge.on_relay is not None and self._relay_ids is not None:
            tunnel_id, unique_id = self._relay_ids
            tally = relay.tally
            visitor = self._address[0] if edge.settings.log_visitors else None
            port = self._tunnel.port
            edge.on_relay(RelayDone(unique_id.hex(), tunnel_id, port, tally.forward, tally.backward, tally.why, visitor))

    def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._release_hold()
        self._tunnel.forget(self)
