"""One visitor connection: its requests arrive in sequence, and each is routed by its own host."""

from collections.abc import Callable

from portway.edge.client_certificate import VerifiedClient
from portway.edge.http.access_control import CHALLENGE_PATH
from portway.edge.http.buffers import ChannelReader, ChannelWriter
from portway.edge.http.exchange.exchange import Exchange
from portway.edge.http.exchange.metered import MeteredExchange
from portway.edge.http.exchange.shaping import ConnectionShaper
from portway.edge.http.head_cache import CachedRequest, RequestHeadCache
from portway.edge.http.interfaces import EdgeServices
from portway.edge.http.origin.pinned_stream import PinnedStream
from portway.edge.http.origin.stream import OriginStream
from portway.edge.http.visitor.own_responses import OwnResponsesMixin
from portway.edge.http.visitor.sheddable import UNCOUNTED_BYTES
from portway.edge.http.visitor.waiting import CLOSED, EXCHANGE, FLUSHING, HEAD, WAITING
from portway.edge.lease import Lease, NoLinkError
from portway.engine.channel import Channel
from portway.errors import BrokenChannel, PeerError, UnavailableError
from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.fields import CRLF, HeadBuffer
from portway.protocol.http1.forwarding import request_start
from portway.protocol.http1.serialise import field_lines
from portway.protocol.http1.trusted_proxies import Hops


class VisitorConnection(OwnResponsesMixin):
    """State machine of one visitor connection.

        HEAD ──request──> EXCHANGE ──response──> (FLUSHING) ──> HEAD or CLOSED
          │                  │  ^
          │                  v  │ agent online again, or stream available
          └─agent offline─> WAITING
                             (or all links full)

    Memory: while idle, this object, its reader and writer, and the channel: no parser, no buffer, well below 4 kB. While a head is
    incomplete: its parts, at most `request_head_bytes_max` and one read. With a request: its head, once, until the response
    begins, and the buffers of one exchange. Between requests only a short head that was repeated (`RequestHeadCache`).
    """

    __slots__ = (
        *("_request_heads", "_head", "_metered", "_edge_lines_hops", "_edge_lines_host", "_edge_lines", "_peer"),
        *("_close_after", "_is_retry", "channel", "handoffs", "pin", "server_name", "shaper"),
    )

    def __init__(
        self, edge: EdgeServices, channel: Channel, address: str, scheme: str, server_name: str = "", client: VerifiedClient | None = None
    ) -> None:
        """Serve `channel` from the next turn on; `address` is the peer's numeric host, `scheme` the one that origins are given.

        `server_name` is the only host that requests may name; empty: any. `client` is the visitor's certificate.
        """
        self._edge = edge
        self._peer = self.address = address
        self.scheme = scheme
        self.server_name = server_name
        self.client = client
        self.channel = channel
        self.reader = ChannelReader(channel, edge.reactor.scratch_body)
        self.writer = ChannelWriter(channel)
        self._state = HEAD
        self._buffer: HeadBuffer | None = None
        self._cached_request: CachedRequest | None = None
        self._request_heads = RequestHeadCache(edge.rules_for(address))
        self._lease: Lease | None = None
        self._exchange: Exchange | None = None
        self._metered: MeteredExchange | None = None
        self.shaper: ConnectionShaper | None = None
        self.pin: PinnedStream | None = None
        self._head, self._host, self.handoffs = b"", "", 0
        self._edge_lines_host = self._edge_lines = b""
        self._hops: Hops | None = None
        self._edge_lines_hops: Hops | None = None
        self._started_at = self._admitted_until = 0.0
        self._admitted_epoch = -1
        self._close_after = self._is_retry = self._close_at_once = self._queued = self.counted = False
        self._waiters: dict[object, Callable[[], None]] = {}
        self._hold = None
        self._wait_code = ""
        self.deadline = edge.reactor.now + edge.settings.head_s
        channel.on_readable = self._on_readable
        channel.on_writable = self._on_writable
        channel.on_broken = self._on_broken
        edge.reactor.call_soon(self._on_readable)

    def __repr__(self) -> str:
        state = ("head", "waiting", "exchange", "flushing", "closed")[self._state]
        return f"<VisitorConnection {self.address} {state}>"

    @property
    def busy(self) -> bool:
        """True while a request is in progress."""
        return self._state in (EXCHANGE, WAITING, FLUSHING)

    # -------------------------------------------------------------------------------------------- called by the reactor

    def _on_readable(self) -> None:
        state = self._state
        if state == HEAD:
            self._head_readable()
        elif state == EXCHANGE:
            exchange = self._exchange
            if exchange is not None:
                if exchange.uploading:
                    exchange.run_upload()
                else:
                    self.read_ahead()

    def _on_writable(self) -> None:
        if self._state == EXCHANGE:
            if self._exchange is not None:
                self._exchange.on_visitor_writable()
        elif self._state == FLUSHING:
            self._flush()

    def _on_broken(self) -> None:
        if self._exchange is not None:
            self._exchange.on_visitor_broken()
        else:
            self.break_connection(499)

    def expire(self) -> None:
        """Act on a deadline that has passed; the connection may be closed or sent an error."""
        if self.deadline > self._edge.reactor.now:
            return
        state = self._state
        if state == EXCHANGE:
            if self._exchange is not None:
                self._exchange.expire()
        elif state == WAITING:
            self._end_hold()
        elif state == HEAD and self._buffer is not None:
            self._cached_request = None
            self.send_error("request_timeout", complete=False)
        elif state == FLUSHING:
            self.abort()
        else:
            self._close()

    def abort(self) -> None:
        """Break the connection visibly, and end its exchange."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.abort()
        self._stop_waiting()
        if self._state != CLOSED:
            self._state = CLOSED
            self.channel.abort()
            self._edge.forget(self)

    # ------------------------------------------------------------------------------------------------------- a request

    def _handle_head(self, head: bytes) -> None:
        """Parse a complete head, and route the request."""
        edge = self._edge
        self._started_at = edge.reactor.now
        try:
            cached = self._cached_request = self._request_heads.parse(head)
        except MessageError as exc:
            self.send_error(exc.code, str(exc), complete=False)
            return
        if cached.request.hops is not None:
            self._apply_hops(cached.request.hops)
        bytes_max = edge.settings.body_bytes_max
        if bytes_max is not None and cached.request.body > bytes_max:
            self.send_error("body_too_large", f"{cached.request.body} bytes, at most {bytes_max} are accepted", complete=False)
            return
        self._is_retry = False
        if edge.hand_off is not None and cached.long is None:
            self._head = head
        if (
            edge.access.https is None
            or self.scheme != "http"
            or not (cached.path.startswith(CHALLENGE_PATH) and self._answer_challenge(cached))
        ):
            self._route(cached)
        if (cached.long is not None or len(self.reader.buffered) > UNCOUNTED_BYTES or self.counted) and self._state != CLOSED:
            self.count_buffered()

    def _apply_hops(self, hops: Hops) -> None:
        """Use the visitor's address that a trusted proxy reported for this request; the next request may be of another visitor."""
        self._hops = hops
        self.address = hops.addresses[0] if hops.addresses else self._peer

    @property
    def shared(self) -> bool:
        """True for the connection of a trusted proxy, which may carry requests of several visitors."""
        return self._hops is not None

    def _route(self, cached: CachedRequest) -> None:
        """Start an exchange with the tunnel of the host, or wait for it."""
        edge = self._edge
        lease = self._lease = self._look_up(cached)
        if lease is None:
            return
        holder = lease.holder
        if holder is None:
            self._hand_off_or_wait(cached, lease)
            return
        admitted = lease.epoch == self._admitted_epoch and self._started_at < self._admitted_until
        if not (admitted or self._admit(cached, lease)):
            return
        pool = edge.pools.for_lease(lease, holder)
        if pool.queue and self not in pool.queue and self.pin is None:
            self._wait("overloaded", cached, pool)
            return
        self._state = EXCHANGE
        if lease.scopes or edge.on_finished is not None or self.shaper is not None:
            self._exchange = self._metered = MeteredExchange(edge.reactor, edge.settings, self, cached, pool)
        else:
            self._exchange = Exchange(edge.reactor, edge.settings, self, cached, pool)
        try:
            self._exchange.start(is_retry=self._is_retry)
        except NoLinkError:
            self._exchange = self._metered = None
            self._wait("agent_offline", cached)
        except UnavailableError:
            self._exchange = self._metered = None
            self._wait("overloaded", cached, pool)
        else:
            if self.channel.readable or self.reader.ended:
                self.read_ahead()  # no event reports what arrived together with the request

    def _look_up(self, cached: CachedRequest) -> Lease | None:
        """Return the lease of the requested host; None if there is none, and an error was sent."""
        try:
            self._host, lease = self._edge.route(cached.request.host)
        except PeerError as exc:
            self.send_error("bad_request", str(exc), complete=False)
            return None
        if self.server_name and self._host != self.server_name:
            self.send_error("misdirected", f"its TLS handshake named {self.server_name}", complete=False)
            return None
        if lease is None:
            self.send_error("unknown_host", complete=cached.bodyless)
        return lease

    def _hand_off_or_wait(self, cached: CachedRequest, lease: Lease) -> None:
        """Pass the connection to the worker that serves `lease`, or wait for the agent."""
        head = self._head if cached.long is None else cached.long.head
        if lease.remote_worker and self._edge.hand_off_visitor(self, lease, self._peer, head + self.reader.buffered):
            self._state = CLOSED
        elif lease.remote_worker and self.server_name:
            self.send_error("misdirected", "the service has moved to another process of the server", complete=False)
        else:
            self._wait("agent_offline", cached)

    # ------------------------------------------------------------------------------------------- called by the exchange

    def edge_header_lines(self, host: bytes) -> bytes:
        """Return the lines that the edge adds to a head, and its end. Except for the start time they are usually the same as before."""
        if host != self._edge_lines_host or self._hops is not self._edge_lines_hops:
            self._edge_lines = field_lines(self._edge.forwarded(self._peer, host, self.scheme, self._hops))
            if self.client is not None:
                self._edge_lines += self.client.field_line()
            self._edge_lines_host, self._edge_lines_hops = host, self._hops
        return self._edge_lines + request_start(self._edge.wall()) + CRLF

    def retry(self) -> None:
        """Route the same request again: the stream broke before the agent responded."""
        self._exchange = None
        self._is_retry = True
        self._reroute()

    def response_done(self, status: int, *, keep_alive: bool) -> None:
        """Continue after an origin's response."""
        self._record(status)
        self._finish_request(keep_alive)

    def upgraded(self, stream: OriginStream) -> None:
        """Hand the connection over to a relay: another protocol follows."""
        scopes = () if self._lease is None else self._lease.scopes
        self._record(101)
        self._exchange = self._cached_request = None
        self._state = CLOSED
        pending = b"" if self.writer.pending is None else bytes(self.writer.pending)
        self.channel.readable = True  # type: ignore[misc]  # the relay must find an end that was found here before
        self._edge.forget(self)
        self._edge.start_relay(self.address, self.effective_scheme, self.channel, (self.reader.buffered, pending), stream, scopes)

    def break_connection(self, status: int, cut: str = "") -> None:
        """Break the connection: its response cannot be completed (`cut` has the reason), or the visitor has closed."""
        self._stop_waiting()
        self._record(status, cut)
        self._exchange = None
        self.abort()

    def close_without_response(self) -> None:
        """Close the connection properly, without a response."""
        self._record(0)
        self._exchange = None
        self._close()

    def close_idle(self) -> None:
        """Close the connection if it is between two requests."""
        if self._state == HEAD and self._buffer is None and not (self.reader.buffered or self.channel.readable):
            self._close()

    def on_pin_lost(self) -> None:
        """Close with the pinned stream, as soon as no request is in progress."""
        self._close_after = True
        if self._state == HEAD:
            self.close_without_response()

    def _record(self, status: int, cut: str = "") -> None:
        """Report the finished request, once: to the agent's console, and as an event if these are enabled."""
        metered, on_finished = self._metered, self._edge.on_finished
        if metered is not None:
            self._metered = None
            if on_finished is not None:
                visitor = self.address if self._edge.settings.log_visitors else None
                on_finished(metered.finished_event(status, visitor, self.effective_scheme))
        lease, cached = self._lease, self._cached_request
        self._lease = None
        if lease is not None and cached is not None and lease.holder is not None:
            seconds = self._edge.reactor.now - self._started_at
            lease.holder.record_request(lease.tunnel_id, cached.method, cached.path, status, seconds, cut)

    # --------------------------------------------------------------------------------------------------- after a request

    def _finish_request(self, keep_alive: bool) -> None:
        """Read the next request, or close, after everything has been sent."""
        self._exchange, self._close_after = None, not keep_alive
        if self.writer.pending is not None:
            self._state = FLUSHING
            self.count_unread()
            self.deadline = self._edge.reactor.now + self._edge.settings.stall_s
        elif keep_alive and not self.finished_sending:
            self._await_request()
        else:
            self._close_lingering()

    def _flush(self) -> None:
        try:
            if not self.writer.flush():
                self.deadline = self._edge.reactor.now + self._edge.settings.stall_s  # the visitor has read some of it
                return
        except BrokenChannel:
            self.break_connection(499)
            return
        if self._close_after or self.finished_sending:
            self._close_lingering()
        else:
            self._await_request()

    def _await_request(self) -> None:
        """Wait for another request; one that has arrived already is queued for a turn."""
        edge = self._edge
        self._state, self._head, self.handoffs = HEAD, b"", 0
        self._cached_request = self._lease = None
        if self.counted:
            self.clear_counts()
        self.deadline = edge.reactor.now + edge.settings.idle_s
        if self.reader.buffered or self.channel.readable:
            self._queue_head()

    def _close_lingering(self) -> None:
        """Close so that the response arrives: bytes that the visitor still sends would turn a plain close into RST."""
        cached, self._cached_request = self._cached_request, None
        expected = cached is not None and cached.bodyless and not cached.request.keep_alive
        if self._close_at_once:
            self.reader.discard()  # unread bytes would turn the close into a reset
        if self._close_at_once or self.reader.ended or (expected and not self.reader.buffered and not self.channel.readable):
            self._close()
            return
        self._state = CLOSED
        self._edge.forget(self)
        self._edge.linger(self.channel, self.address)

    def _close(self) -> None:
        if self._state != CLOSED:
            self._state = CLOSED
            self.channel.close()
            self._edge.forget(self)
