"""Visitors' streams to local services: authorised by tunnel id, answered with a status byte, relayed in the reactor."""

import ssl
from collections.abc import Callable

from portway.agent.events import AgentEvent, RelayDone
from portway.agent.limits import split_policy
from portway.agent.origin_connector import OriginConnector, origin_tls
from portway.agent.origin_relay import OriginRelay
from portway.agent.resolver import Resolver
from portway.agent.settings import TunnelRequest
from portway.engine.channel import Channel, nothing
from portway.engine.limits import Scopes, scopes_of
from portway.engine.reactor import Reactor
from portway.engine.relay import Relay
from portway.engine.tally import IDLE, LIFETIME, PAYLOAD, READ_BROKE, TOO_SLOW, WRITE_BROKE, Tally
from portway.engine.timers import Timer
from portway.protocol.proxy_header import ProxyHeader
from portway.protocol.stream_status import StreamStatus
from portway.session.claims import Claims, TunnelClaim
from portway.session.stream_handshake import PreambleReader, send_status
from portway.telemetry.logs import get_log

VISITS_MAX = 16_000
"""Streams to origins at a time, over all links (four hold 16,380): each takes a descriptor, and a process has 20,000."""

PENDING_MAX = 256
"""Streams that wait for the answer to a claim: visitors who were held while the agent was away all come at once."""

PENDING_S_MAX = 1.0
"""How long they wait; the answer was sent before them and is in this process already, or on another link."""

log = get_log(__name__)

TunnelWish = TunnelClaim[TunnelRequest]


class Origins:
    """Takes each stream that the server opens. Survives sessions; what is exported is asked of `claims` every time."""

    def __init__(self, reactor: Reactor, claims: Claims[TunnelRequest], on_event: Callable[[AgentEvent], None]) -> None:
        """Needs a running loop, for names that have to be resolved."""
        self.reactor = reactor
        self.on_event = on_event
        self.visits: set[_VisitorStream] = set()
        self.refused = 0
        """Streams that were not for a tunnel of ours, or had no proper preamble: a server that means no good, or a bug."""
        self._claims = claims
        self._pending: dict[Channel, tuple[ProxyHeader, Timer]] = {}
        self._resolver = Resolver(reactor)
        self.scopes: dict[TunnelRequest, Scopes] = {wish.subject: scopes_of(reactor, split_policy(wish.subject)[0]) for wish in claims}
        """What the relays of each tunnel are held to."""
        self._contexts: dict[TunnelRequest, ssl.SSLContext | None] = {wish.subject: origin_tls(wish.subject.target) for wish in claims}

    def accept(self, channel: Channel) -> None:
        """Take a stream: its preamble first."""
        PreambleReader(self.reactor, channel, self._visit, self._bad)

    def reach(self, wish: TunnelWish, on_reached: Callable[[Channel | StreamStatus], None]) -> OriginConnector:
        """Begin to look for a way to the origin of a tunnel."""
        request = wish.subject
        return OriginConnector(self.reactor, self._resolver, request.target, self._contexts[request], on_reached)

    def moved(self) -> dict[int, tuple[int, int]]:
        """Return the bytes of running connections by tunnel id: from visitors, to visitors."""
        found: dict[int, tuple[int, int]] = {}
        for visit in self.visits:
            if visit.relay is not None:
                tally = visit.relay.tally
                there, back = found.get(visit.tunnel_id, (0, 0))
                found[visit.tunnel_id] = there + tally.forward.total_bytes, back + tally.backward.total_bytes
        return found

    def claims_answered(self) -> None:
        """Look again at the streams that came before the answer to a claim was heard."""
        early, self._pending = self._pending, {}
        for channel, (header, timer) in early.items():
            timer.cancel()
            self._visit(header, channel)

    def _visit(self, header: ProxyHeader, channel: Channel) -> None:
        tunnel_id = header.tunnel_id
        wish = None if tunnel_id is None else self._claims.exported(tunnel_id)
        if wish is None or tunnel_id is None:
            self._wait_or_refuse(header, channel)
        elif len(self.visits) >= VISITS_MAX:
            send_status(channel, StreamStatus.OVERLOADED)
        else:
            visit = _VisitorStream(self, wish, tunnel_id, header, channel)
            self.visits.add(visit)
            visit.start()

    def _wait_or_refuse(self, header: ProxyHeader, channel: Channel) -> None:
        """Refuse a stream for a tunnel that is none of ours, unless it may become one with the next message.

        Control messages are heard by a coroutine, streams by the reactor: a stream may be here first.
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
        self._bad(f"tunnel {tunnel_id} is none of ours")
        send_status(channel, StreamStatus.UNKNOWN_TUNNEL)

    def _bad(self, why: str) -> None:
        self.refused += 1
        # The first is worth a look; a thousand more would only bury it.
        tell = log.warning if self.refused == 1 else log.debug
        tell("stream of the server refused", why=why, refused=self.refused)


class _VisitorStream:
    """One stream: on its way to the origin, then relayed."""

    __slots__ = ("_channel", "_origin", "_origins", "_reach", "_started_at", "_tells", "_unique_id", "_wish", "relay", "tunnel_id")

    def __init__(self, origins: Origins, wish: TunnelWish, tunnel_id: int, header: ProxyHeader, channel: Channel) -> None:
        self._origins = origins
        self._wish = wish
        self.tunnel_id = tunnel_id
        self.relay: Relay | None = None
        """While it runs."""
        self._unique_id = header.unique_id or b""
        self._tells = header.wants_untouched
        self._channel = channel
        self._started_at = origins.reactor.now
        self._reach: OriginConnector | None = None
        self._origin: Channel | None = None

    def start(self) -> None:
        """Look for the origin; a visitor who leaves meanwhile ends it."""
        self._channel.on_broken = self.abort
        self._reach = self._origins.reach(self._wish, self._reached)
        self._reach.start()

    def abort(self) -> None:
        """End it before it is relayed; also what the reactor asks after a failed callback."""
        if self._reach is not None:
            self._reach.abort()
        if self._origin is not None:
            self._origin.abort()
        self._channel.abort()
        self._origins.visits.discard(self)

    def _reached(self, outcome: Channel | StreamStatus) -> None:
        why, self._reach = "" if self._reach is None else self._reach.why, None
        if isinstance(outcome, StreamStatus):
            self._channel.on_broken = nothing
            self._origins.visits.discard(self)
            send_status(self._channel, outcome)
            self._report(why or outcome.description, None)
        else:
            self._origin = outcome
            self._channel.on_writable = self._begin
            self._begin()

    def _begin(self) -> None:
        """Say that the origin is reached, as soon as the link takes a byte, then relay."""
        channel, origin, origins = self._channel, self._origin, self._origins
        if origin is None or not channel.room():
            return
        self._origin = None
        channel.on_writable = channel.on_broken = nothing
        if send_status(channel, StreamStatus.CONNECTED):
            make = OriginRelay if self._tells else Relay
            self.relay = make(origins.reactor, channel, origin, self._done, origins.scopes[self._wish.subject])
            self.relay.start()
        else:
            origins.visits.discard(self)
            origin.abort()

    def _done(self, relay: Relay) -> None:
        self.relay = None
        self._origins.visits.discard(self)
        tally = relay.tally
        self._report(end_reason_text(tally), tally)

    def _report(self, reason: str, tally: Tally | None) -> None:
        seconds = self._origins.reactor.now - self._started_at
        there, back = (tally.forward, tally.backward) if tally is not None else (None, None)
        bytes_in, bytes_out = (flow.total_bytes if flow is not None else 0 for flow in (there, back))
        relay_id, kind = self._unique_id.hex(), self._wish.kind
        self._origins.on_event(RelayDone(self.tunnel_id, bytes_in, bytes_out, seconds, reason, relay_id, there, back, kind))


def end_reason_text(tally: Tally) -> str:
    """Return how a relay from a visitor (left) to an origin (right) ended, in words."""
    if tally.clean:
        return "closed"
    if tally.limit:
        return LIMIT_TEXT[tally.limit]
    if tally.why:
        return tally.why
    forward, backward = tally.forward.shutdown_reason, tally.backward.shutdown_reason
    return "the visitor left" if forward == READ_BROKE or backward == WRITE_BROKE else "the origin broke off"


LIMIT_TEXT = {
    IDLE: "idle for too long",
    TOO_SLOW: "too slow",
    LIFETIME: "its time was over",
    PAYLOAD: "all that it may carry was carried",
}
"""What ended a relay by policy, in words."""
