"""A visitor's connection: requests come in one after the other, each is routed by its own host."""

from collections.abc import Callable

from portway.engine.channel import Channel
from portway.errors import BrokenChannel, PeerError, UnavailableError
from portway.protocol.http1.error_responses import DEFAULT_FORMAT, ERROR_RESPONSES, ResponseFormat, render_error
from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.fields import CRLF, HeadBuffer
from portway.protocol.http1.forwarding import request_start
from portway.protocol.http1.serialise import field_lines
from portway.protocol.http1.trusted_proxies import Hops
from portway.server.edge.http.buffers import ChannelReader, ChannelWriter
from portway.server.edge.http.exchange.exchange import Exchange
from portway.server.edge.http.exchange.metered import MeteredExchange
from portway.server.edge.http.exchange.shaping import ConnectionShaper
from portway.server.edge.http.head_cache import CachedRequest, RequestHeadCache
from portway.server.edge.http.interfaces import EdgeServices
from portway.server.edge.http.origin.pin import PinnedStream
from portway.server.edge.http.origin.stream import OriginStream
from portway.server.edge.http.visitor.head_reader import HeadReading
from portway.server.edge.http.visitor.sheddable import KEPT_FREE_BYTES
from portway.server.edge.http.visitor.waiting import DRAIN, EXCHANGE, HEAD, HELD, OVER
from portway.server.tunnels.lease import Lease, NoLinkError


class VisitorConnection(HeadReading):
    """One connection of a visitor, which is in one state at any time.

        HEAD ──a request──> EXCHANGE ──answered──> (DRAIN) ──> HEAD, or over
          │                   │  ^
          │                   v  │ the agent is back, or there is a stream
          └──agent away──> HELD ─┘   (all links were full)

    Memory: while idle, this object, its two ends and the channel: no parser, no buffer, well below 4 kB. While a head
    comes in pieces: those, at most `request_head_bytes_max` and one read. With a request: its head, once, until the
    answer begins, and what one exchange keeps. Between requests only a short head stays that came twice (`asked`).
    """

    __slots__ = (
        *("_asked_before", "_head", "_host", "_hops", "_measured", "_own_hops", "_own_host", "_own_lines", "_peer"),
        *("_then_close", "_tried_before", "channel", "hops", "pin", "scheme", "shaping"),
    )

    def __init__(self, edge: EdgeServices, channel: Channel, address: str, scheme: str) -> None:
        """Serve `channel` from the next turn on; `address` is the numeric host that it comes from, `scheme` what origins are told."""
        self._edge = edge
        self._peer = self.address = address
        self.scheme = scheme
        self.channel = channel
        self.inlet = ChannelReader(channel, edge.reactor.scratch_body)
        self.outlet = ChannelWriter(channel)
        self._state = HEAD
        self._buffer: HeadBuffer | None = None
        self._asked: CachedRequest | None = None
        self._asked_before = RequestHeadCache(edge.rules_for(address))
        self._lease: Lease | None = None
        self._exchange: Exchange | None = None
        self._measured: MeteredExchange | None = None
        self.shaping: ConnectionShaper | None = None
        self.pin: PinnedStream | None = None
        self._head, self._host, self.hops = b"", "", 0
        self._own_host = self._own_lines = b""
        self._hops: Hops | None = None
        self._own_hops: Hops | None = None
        self._started_at = 0.0
        self._then_close = self._tried_before = self._hurried = self._queued = self.counted = False
        self._held_in: dict[object, Callable[[], None]] = {}
        self._hold = None
        self._why_held = ""
        self.deadline = edge.reactor.now + edge.settings.head_s
        channel.on_readable = self._on_readable
        channel.on_writable = self._on_writable
        channel.on_broken = self._on_broken
        edge.reactor.call_soon(self._on_readable)

    def __repr__(self) -> str:
        state = ("reads a head", "is held", "has an exchange", "drains", "is over")[self._state]
        return f"<Visitor {self.address} {state}>"

    @property
    def busy(self) -> bool:
        """True while it waits for an answer, or for the rest of one."""
        return self._state in (EXCHANGE, HELD, DRAIN)

    # ---------------------------------------------------------------------------------------------- what the reactor says

    def _on_readable(self) -> None:
        state = self._state
        if state == HEAD:
            self._read_head()
        elif state == EXCHANGE:
            exchange = self._exchange
            if exchange is not None:
                if exchange.uploading:
                    exchange.run_upload()
                else:
                    self.look_ahead()

    def _on_writable(self) -> None:
        if self._state == EXCHANGE:
            if self._exchange is not None:
                self._exchange.visitor_writable()
        elif self._state == DRAIN:
            self._drain()

    def _on_broken(self) -> None:
        if self._exchange is not None:
            self._exchange.visitor_broke()
        else:
            self.gone(499)

    def expire(self) -> None:
        """Act on a deadline that has passed."""
        if self.deadline > self._edge.reactor.now:
            return
        state = self._state
        if state == EXCHANGE:
            if self._exchange is not None:
                self._exchange.expire()
        elif state == HELD:
            self._give_way()
        elif state == HEAD and self._buffer is not None:
            self._asked = None
            self.refuse("request_timeout", complete=False)
        elif state == DRAIN:
            self.abort()
        else:
            self._close()

    def abort(self) -> None:
        """Break the connection, visibly, and end whatever it was at."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.abort()
        self._stop_waiting()
        if self._state != OVER:
            self._state = OVER
            self.channel.abort()
            self._edge.left(self)

    # ------------------------------------------------------------------------------------------------------- a request

    def _take(self, head: bytes) -> None:
        """Understand a whole head, and route what it asks for."""
        edge = self._edge
        self._started_at = edge.reactor.now
        try:
            asked = self._asked = self._asked_before.understand(head)
        except MessageError as exc:
            self.refuse(exc.code, str(exc), complete=False)
            return
        if asked.request.hops is not None:
            self._apply_hops(asked.request.hops)
        bytes_max = edge.settings.body_bytes_max
        if bytes_max is not None and asked.request.body > bytes_max:
            self.refuse("body_too_large", f"{asked.request.body} bytes, at most {bytes_max} are taken", complete=False)
            return
        self._tried_before = False
        if edge.hand_off is not None and asked.long is None:
            self._head = head
        self._route(asked)
        if (asked.long is not None or len(self.inlet.held) > KEPT_FREE_BYTES or self.counted) and self._state != OVER:
            self.count_kept()

    def _apply_hops(self, hops: Hops) -> None:
        """Use the visitor's address that a trusted proxy reported for this request; the next request may be another visitor's."""
        self._hops = hops
        self.address = hops.addresses[0] if hops.addresses else self._peer

    @property
    def shared(self) -> bool:
        """True when the connection is a trusted proxy's, which may carry requests of several visitors."""
        return self._hops is not None

    def _route(self, asked: CachedRequest) -> None:
        """Send the request where its host says; hold it while nobody is there."""
        edge = self._edge
        try:
            self._host, lease = edge.route(asked.request.host)
        except PeerError as exc:
            self.refuse("bad_request", str(exc), complete=False)
            return
        self._lease = lease
        if lease is None:
            self.refuse("unknown_host", complete=asked.bodyless)
            return
        holder = lease.holder
        if holder is None:
            head = self._head if asked.long is None else asked.long.head
            if lease.remote_worker and edge.handed_off(self, lease, self._peer, head + self.inlet.held):
                self._state = OVER
                return
            self._wait("agent_offline", asked)
            return
        pool = edge.pools.of(lease, holder)
        if pool.line and self not in pool.line and self.pin is None:
            self._wait("overloaded", asked, pool)
            return
        self._state = EXCHANGE
        if lease.scopes or edge.on_done is not None or self.shaping is not None:
            self._exchange = self._measured = MeteredExchange(edge.reactor, edge.settings, self, asked, pool)
        else:
            self._exchange = Exchange(edge.reactor, edge.settings, self, asked, pool)
        try:
            self._exchange.start(tried_before=self._tried_before)
        except NoLinkError:
            self._exchange = self._measured = None
            self._wait("agent_offline", asked)
        except UnavailableError:
            self._exchange = self._measured = None
            self._wait("overloaded", asked, pool)
        else:
            if self.channel.readable or self.inlet.ended:
                self.look_ahead()  # no event will tell of what has come with the request

    # ---------------------------------------------------------------------------------------- what an exchange asks for

    def own_lines(self, host: bytes) -> bytes:
        """Return what the edge says about this visitor, nearly always what it said the last time, and when; the head's end."""
        if host != self._own_host or self._hops is not self._own_hops:
            self._own_lines = field_lines(self._edge.forwarded(self._peer, host, self.scheme, self._hops))
            self._own_host, self._own_hops = host, self._hops
        return self._own_lines + request_start(self._edge.wall()) + CRLF

    def try_again(self) -> None:
        """Route the same request once more: the stream broke before the agent answered."""
        self._exchange = None
        self._tried_before = True
        self._reroute()

    def answered(self, status: int, *, keep_alive: bool) -> None:
        """Go on after an origin's answer."""
        self._note(status)
        self._over_to_next(keep_alive)

    def refuse(self, code: str, detail: str = "", *, complete: bool) -> None:
        """Answer in the origin's place; the connection stays only when the request was `complete` and wants it to."""
        asked, self._exchange = self._asked, None
        keep_alive, reader = False, DEFAULT_FORMAT
        if asked is not None:
            request = asked.request
            keep_alive = complete and request.keep_alive and request.upgrade is None
            reader = ResponseFormat(asked.accept, request.method != b"HEAD", keep_alive, request.version)
            if asked.long is not None:
                asked.long.forget()
        self._note(ERROR_RESPONSES[code].status)
        try:
            self.outlet.write(render_error(code, self._host, detail, reader))
        except BrokenChannel:
            self.gone(499)
            return
        self._over_to_next(keep_alive)

    def switched(self, stream: OriginStream) -> None:
        """Hand the connection over to a relay: it speaks another protocol now."""
        scopes = () if self._lease is None else self._lease.scopes
        self._note(101)
        self._exchange = self._asked = None
        self._state = OVER
        rest = b"" if self.outlet.rest is None else bytes(self.outlet.rest)
        self.channel.readable = True  # type: ignore[misc]  # the relay has to find an end that was found before
        self._edge.left(self)
        self._edge.join(self.address, self.channel, (self.inlet.held, rest), stream, scopes)

    def gone(self, status: int, cut: str = "") -> None:
        """Break the connection: its answer cannot be completed (`cut` says how it broke off), or the visitor has left."""
        self._stop_waiting()
        self._note(status, cut)
        self._exchange = None
        self.abort()

    def hang_up(self) -> None:
        """End the connection properly, without an answer."""
        self._note(0)
        self._exchange = None
        self._close()

    def pin_lost(self) -> None:
        """End with the pinned stream, as soon as nothing is under way."""
        self._then_close = True
        if self._state == HEAD:
            self.hang_up()

    def _note(self, status: int, cut: str = "") -> None:
        """Tell the agent's console of the request that ends now, once, and whoever wants to hear what went through."""
        measured, on_done = self._measured, self._edge.on_done
        if measured is not None:
            self._measured = None
            if on_done is not None:
                on_done(measured.done(status, self.address if self._edge.settings.tell_visitors else None))
        lease, asked = self._lease, self._asked
        self._lease = None
        if lease is not None and asked is not None and lease.holder is not None:
            seconds = self._edge.reactor.now - self._started_at
            lease.holder.record_request(lease.tunnel_id, asked.method, asked.path, status, seconds, cut)

    # ------------------------------------------------------------------------------------------------ what comes after it

    def _over_to_next(self, keep_alive: bool) -> None:
        """Read the next request, or close, once everything has gone out."""
        self._exchange, self._then_close = None, not keep_alive
        if self.outlet.rest is not None:
            self._state = DRAIN
            self.count_unread()
            self.deadline = self._edge.reactor.now + self._edge.settings.stall_s
        elif keep_alive and not self.said_all:
            self._next()
        else:
            self._finish()

    def _drain(self) -> None:
        try:
            if not self.outlet.flush():
                self.deadline = self._edge.reactor.now + self._edge.settings.stall_s  # some of it was taken
                return
        except BrokenChannel:
            self.gone(499)
            return
        if self._then_close or self.said_all:
            self._finish()
        else:
            self._next()

    def _next(self) -> None:
        """Wait for another request; one that is there already waits for its turn."""
        edge = self._edge
        self._state, self._head, self.hops = HEAD, b"", 0
        self._asked = self._lease = None
        if self.counted:
            self.uncount()
        self.deadline = edge.reactor.now + edge.settings.idle_s
        if self.inlet.held or self.channel.readable:
            self._queue_head()

    def _finish(self) -> None:
        """Close so that the answer arrives: what the visitor still sends would turn a plain close into RST."""
        asked, self._asked = self._asked, None
        expected = asked is not None and asked.bodyless and not asked.request.keep_alive
        if self._hurried:
            self.inlet.throw_away()  # what is left unread makes a reset of the end
        if self._hurried or self.inlet.ended or (expected and not self.inlet.held and not self.channel.readable):
            self._close()
            return
        self._state = OVER
        self._edge.left(self)
        self._edge.linger(self.channel, self.address)

    def _close(self) -> None:
        if self._state != OVER:
            self._state = OVER
            self.channel.close()
            self._edge.left(self)
