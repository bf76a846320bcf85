"""Connects visitors' streams to local services: authorises them by tunnel id, sends a status byte, relays in the reactor."""

import ssl
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from portway.agent import capture
from portway.agent.events import EventSink, RelayDone
from portway.agent.origin_connector import OriginConnector, origin_tls
from portway.agent.origin_relay import OriginRelay
from portway.agent.settings import TunnelRequest
from portway.agent.static_origin.static_origins import StaticOrigins
from portway.agent.target import Target
from portway.agent.termination.terminator import Terminator
from portway.engine.channel import Channel, nothing
from portway.engine.limits import Scopes, scopes_of
from portway.engine.reactor import Reactor
from portway.engine.relay import Relay
from portway.engine.tally import IDLE, LIFETIME, PAYLOAD, READ_BROKE, TOO_SLOW, WRITE_BROKE, Tally
from portway.engine.timers import Timer
from portway.errors import BrokenChannel
from portway.links.resolver import Resolver
from portway.protocol.proxy_header import TLV_ALPN, TLV_AUTHORITY, TLV_UNIQUE_ID, ProxyHeader, encode
from portway.protocol.stream_status import StreamStatus
from portway.session.claims import Claims, TunnelClaim
from portway.session.stream_handshake import PreambleReader, send_status
from portway.telemetry.logs import get_log

if TYPE_CHECKING:
    from portway.inspector.recorder import Recorder
    from portway.inspector.tap import HttpTap

STREAMS_MAX = 16_000
"""Concurrent streams to origins, on all links (four have 16,380): each uses a descriptor, of which a process has 20,000."""

PENDING_MAX = 256
"""Streams that wait for the reply to a claim: visitors that were held while the agent was offline arrive all at once."""

_SENT_TLVS = frozenset({TLV_AUTHORITY, TLV_ALPN, TLV_UNIQUE_ID})
"""TLVs of a preamble that an origin gets with `TunnelRequest.send_proxy`; the others are for this agent."""

PENDING_S_MAX = 1.0
"""How long they wait; the reply was sent before them and is in this process already, or on another link."""

log = get_log(__name__)

AgentClaim = TunnelClaim[TunnelRequest]


class Origins:
    """Handles the streams that the server opens, over all sessions; `claims` decides for each stream whether its tunnel is exported."""

    def __init__(self, reactor: Reactor, claims: Claims[TunnelRequest], on_event: EventSink) -> None:
        """Requires a running loop, to resolve names."""
        self.reactor = reactor
        self.on_event = on_event
        self.streams: set[_VisitorStream] = set()
        self.refused = 0
        """Streams for an unknown tunnel or without a valid preamble: a malicious server, or a bug."""
        self.terminator: Terminator | None = None
        """Ends visitors' TLS for the tunnels that ask for it."""
        self.static = StaticOrigins()
        """Origins that this agent is itself."""
        self.recorder: Recorder | None = None
        """Captures what new streams carry; None: nothing is captured."""
        self._claims = claims
        self._pending: dict[Channel, tuple[ProxyHeader, Timer]] = {}
        self._resolver = Resolver(reactor)
        self._scopes: WeakKeyDictionary[TunnelRequest, Scopes] = WeakKeyDictionary()
        self._contexts: WeakKeyDictionary[TunnelRequest, ssl.SSLContext | None] = WeakKeyDictionary()

    def accept(self, channel: Channel) -> None:
        """Accept a stream, which begins with a preamble."""
        PreambleReader(self.reactor, channel, self._on_preamble, self._on_bad_stream)

    def accept_local(self, channel: Channel) -> None:
        """Accept a stream of this agent's own edge, which has ended the visitor's TLS."""
        PreambleReader(self.reactor, channel, self._on_local_preamble, self._on_bad_stream)

    def scopes(self, request: TunnelRequest) -> Scopes:
        """Return the limits of the relays of a tunnel, which they share."""
        found = self._scopes.get(request)
        if found is None:
            found = self._scopes[request] = scopes_of(self.reactor, request.local_policy)
        return found

    def connector(self, claim: AgentClaim, on_connected: Callable[[Channel | StreamStatus], None]) -> OriginConnector:
        """Return a connector to the origin of a tunnel."""
        request = claim.subject
        if request not in self._contexts:
            self._contexts[request] = origin_tls(request.target)
        target = self.static.target_of(request)
        return OriginConnector(self.reactor, self._resolver, target, self._contexts[request], on_connected)

    def connector_to(self, target: Target, on_connected: Callable[[Channel | StreamStatus], None]) -> OriginConnector:
        """Return a connector to an origin of no tunnel, for a replay."""
        return OriginConnector(self.reactor, self._resolver, target, origin_tls(target), on_connected)

    def target_of_tunnel(self, text: str) -> Target | None:
        """Return the target of the tunnel whose origin is `text` (`Target.text`), None if there is none."""
        for claim in self._claims:
            if claim.subject.target.text == text:
                return self.static.target_of(claim.subject)
        return None

    def moved(self) -> dict[int, tuple[int, int]]:
        """Return the bytes of running connections by tunnel id: from visitors, to visitors."""
        found: dict[int, tuple[int, int]] = {}
        for stream in self.streams:
            if stream.relay is not None:
                tally = stream.relay.tally
                inbound, outbound = found.get(stream.tunnel_id, (0, 0))
                found[stream.tunnel_id] = inbound + tally.forward.total_bytes, outbound + tally.backward.total_bytes
        return found

    def on_claim_reply(self) -> None:
        """Retry the streams that arrived before the reply to a claim was handled."""
        if self.terminator is not None:
            self.terminator.on_claim_reply()
        pending, self._pending = self._pending, {}
        for channel, (header, timer) in pending.items():
            timer.cancel()
            self._on_preamble(header, channel)

    def _on_preamble(self, header: ProxyHeader, channel: Channel) -> None:
        tunnel_id = header.tunnel_id
        claim = None if tunnel_id is None else self._claims.exported(tunnel_id)
        if claim is None or tunnel_id is None:
            self._queue_or_refuse(header, channel)
        elif claim.subject.termination is not None and self.terminator is not None:
            self.terminator.accept(claim, header, channel)
        else:
            self._connect(claim, tunnel_id, header, channel)

    def _on_local_preamble(self, header: ProxyHeader, channel: Channel) -> None:
        tunnel_id = header.tunnel_id
        claim = None if tunnel_id is None else self._claims.exported(tunnel_id)
        if claim is None or tunnel_id is None:
            send_status(channel, StreamStatus.UNKNOWN_TUNNEL)  # the session was lost meanwhile
        else:
            self._connect(claim, tunnel_id, header, channel)

    def _connect(self, claim: AgentClaim, tunnel_id: int, header: ProxyHeader, channel: Channel) -> None:
        if len(self.streams) >= STREAMS_MAX:
            send_status(channel, StreamStatus.OVERLOADED)
        else:
            stream = _VisitorStream(self, claim, tunnel_id, header, channel)
            self.streams.add(stream)
            stream.start()

    def _queue_or_refuse(self, header: ProxyHeader, channel: Channel) -> None:
        """Refuse a stream for an unknown tunnel, unless a claim is pending.

        A coroutine handles control messages, the reactor handles streams: a stream may be handled before the reply to its claim.
        """
        if header.tunnel_id is None or not self._claims.unanswered or len(self._pending) >= PENDING_MAX:
            self._refuse(header.tunnel_id, channel)
        else:
            timer = self.reactor.call_later(PENDING_S_MAX, lambda: self._pending_timed_out(channel))
            self._pending[channel] = (header, timer)

    def _pending_timed_out(self, channel: Channel) -> None:
        header, _ = self._pending.pop(channel)
        self._refuse(header.tunnel_id, channel)

    def _refuse(self, tunnel_id: int | None, channel: Channel) -> None:
        self._on_bad_stream(f"unknown tunnel {tunnel_id}")
        send_status(channel, StreamStatus.UNKNOWN_TUNNEL)

    def _on_bad_stream(self, reason: str) -> None:
        self.refused += 1
        # Only the first one is a warning: a thousand more would hide everything else.
        write = log.warning if self.refused == 1 else log.debug
        write("stream refused", reason=reason, refused=self.refused)


class _VisitorStream:
    """One stream: connects to the origin, then relays."""

    __slots__ = (
        "_channel",
        "_claim",
        "_client",
        "_connector",
        "_origin",
        "_origins",
        "_proxy_header",
        "_reports_untouched",
        "_started_at",
        "_tap",
        "_unique_id",
        "relay",
        "tunnel_id",
    )

    def __init__(self, origins: Origins, claim: AgentClaim, tunnel_id: int, header: ProxyHeader, channel: Channel) -> None:
        self._origins = origins
        self._claim = claim
        self.tunnel_id = tunnel_id
        self.relay: Relay | None = None
        """While it runs."""
        self._unique_id = header.unique_id or b""
        self._reports_untouched = header.wants_untouched
        self._proxy_header = _for_origin(header) if claim.subject.send_proxy else b""
        self._channel = channel
        self._client = str(header.source[0]) if header.source is not None else ""
        self._tap: HttpTap | None = None
        self._started_at = origins.reactor.now
        self._connector: OriginConnector | None = None
        self._origin: Channel | None = None

    def start(self) -> None:
        """Connect to the origin; a visitor that leaves meanwhile aborts that."""
        self._channel.on_broken = self.abort
        self._connector = self._origins.connector(self._claim, self._on_connected)
        self._connector.connect()

    def abort(self) -> None:
        """Abort before the relay starts; the reactor also calls this after a failed callback."""
        if self._connector is not None:
            self._connector.abort()
        if self._origin is not None:
            self._origin.abort()
        self._channel.abort()
        self._origins.streams.discard(self)

    def _on_connected(self, outcome: Channel | StreamStatus) -> None:
        reason, self._connector = "" if self._connector is None else self._connector.reason, None
        if isinstance(outcome, StreamStatus):
            self._channel.on_broken = nothing
            self._origins.streams.discard(self)
            capture.record_unreached(self._origins.recorder, self._claim, self._channel, reason or outcome.description)
            send_status(self._channel, outcome)
            self._report(reason or outcome.description, None)
        else:
            self._origin = outcome
            self._channel.on_writable = self._start_relay
            self._start_relay()

    def _start_relay(self) -> None:
        """Send the status byte as soon as the link accepts a byte, then relay."""
        channel, origin, origins = self._channel, self._origin, self._origins
        if origin is None or not channel.room():
            return
        self._origin = None
        channel.on_writable = channel.on_broken = nothing
        if self._proxy_header and not _send_first(origin, self._proxy_header):
            channel.abort()
            origin.abort()
            origins.streams.discard(self)
            self._report("the origin broke the connection", None)
        elif send_status(channel, StreamStatus.CONNECTED):
            make = OriginRelay if self._reports_untouched else Relay
            tap = self._tap = capture.open_tap(origins.recorder, self._claim, origins.reactor.now - self._started_at)
            wrap = None if tap is None else tap.sinks
            self.relay = make(origins.reactor, channel, origin, self._on_relay_done, origins.scopes(self._claim.subject), wrap)
            self.relay.start()
        else:
            origins.streams.discard(self)
            origin.abort()

    def _on_relay_done(self, relay: Relay) -> None:
        self.relay = None
        self._origins.streams.discard(self)
        tally = relay.tally
        reason = end_reason_text(tally)
        if self._tap is not None:
            self._tap.close(reason)
            self._tap = None
        self._report(reason, tally)

    def _report(self, reason: str, tally: Tally | None) -> None:
        seconds = self._origins.reactor.now - self._started_at
        inbound, outbound = (tally.forward, tally.backward) if tally is not None else (None, None)
        bytes_in, bytes_out = (flow.total_bytes if flow is not None else 0 for flow in (inbound, outbound))
        relay_id, kind = self._unique_id.hex(), self._claim.subject.kind
        capture.record_connection(self._origins.recorder, self._claim, seconds, (bytes_in, bytes_out), reason, self._client)
        self._origins.on_event(RelayDone(self.tunnel_id, bytes_in, bytes_out, seconds, reason, relay_id, inbound, outbound, kind))


def _for_origin(header: ProxyHeader) -> bytes:
    """Return the PROXY header for an origin that is to get the addresses and the TLS parameters of the visitor."""
    return encode(replace(header, tlvs=tuple((kind, value) for kind, value in header.tlvs if kind in _SENT_TLVS)))


def _send_first(origin: Channel, data: bytes) -> bool:
    """Send the first bytes to an origin, which fit into the buffer of a new connection; return whether that succeeded."""
    try:
        return origin.send(data) == len(data)
    except BrokenChannel:
        return False


def end_reason_text(tally: Tally) -> str:
    """Return the text for how a relay from a visitor (left) to an origin (right) ended."""
    if tally.clean:
        return "closed"
    if tally.limit:
        return LIMIT_TEXT[tally.limit]
    if tally.why:
        return tally.why
    forward, backward = tally.forward.shutdown_reason, tally.backward.shutdown_reason
    return "the visitor broke the connection" if forward == READ_BROKE or backward == WRITE_BROKE else "the origin broke the connection"


LIMIT_TEXT = {
    IDLE: "idle for too long",
    TOO_SLOW: "too slow",
    LIFETIME: "lifetime limit reached",
    PAYLOAD: "payload limit reached",
}
"""Texts for relays that a limit ended."""
