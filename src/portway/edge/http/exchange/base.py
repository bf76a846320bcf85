"""State of an exchange, and how it ends if its response cannot be completed."""

from portway.edge.connection_state import ConnectionState
from portway.edge.http.exchange.body_pumps import PumpResult, ReframingPump, SizedPump
from portway.edge.http.head_cache import CachedRequest
from portway.edge.http.interfaces import ExchangeOwner
from portway.edge.http.origin.pool import TunnelPool
from portway.edge.http.origin.stream import OriginStream
from portway.edge.http.refusal import Refusal
from portway.edge.http.retry_policy import error_code_for
from portway.edge.http.settings import HttpEdgeSettings
from portway.edge.lease import Holder
from portway.engine.reactor import Reactor
from portway.errors import UnavailableError
from portway.protocol.control.messages import CUT_CHARS_MAX
from portway.protocol.http1.fields import HeadBuffer
from portway.protocol.http1.response import ResponseHead
from portway.protocol.stream_status import StreamStatus
from portway.protocol.units import format_size


class ExchangeBase:
    """State and failures of one exchange: before the response's head an error is sent, afterwards the visitor's connection is broken."""

    __slots__ = (
        *(
            "_cached_request",
            "_buffer",
            "_download",
            "_close_visitor",
            "_half_closed",
            "_interim_bytes",
            "_keep_alive",
            "_last_progress",
            "_pool",
            "_queued",
            "_reactor",
        ),
        *("_response", "_reused", "_settings", "_shareable", "_stream", "_retried", "_upload", "_visitor", "early"),
    )

    def __init__(
        self, reactor: Reactor, settings: HttpEdgeSettings, visitor: ExchangeOwner, cached: CachedRequest, pool: TunnelPool
    ) -> None:
        """Prepare for `start`."""
        self._reactor = reactor
        self._settings = settings
        self._visitor = visitor
        self._cached_request = cached
        self._pool = pool
        self._keep_alive = False
        self._shareable = False
        self._close_visitor = False
        self._half_closed = False
        self._stream: OriginStream | None = None
        self._reused = False
        self._retried = False
        self._upload: SizedPump | ReframingPump | None = None
        self._download: SizedPump | ReframingPump | None = None
        self._response: ResponseHead | None = None
        self._buffer: HeadBuffer | None = None
        self._interim_bytes = 0
        self._queued = 0
        self._last_progress: tuple[int, PumpResult] | None = None
        self.early = False
        """True once the response began before the request had ended: neither connection is used again then."""

    @property
    def holder(self) -> Holder:
        """The session that carries it."""
        return self._pool.holder

    def state(self) -> tuple[ConnectionState, int]:
        """Return SLOW if the visitor limits the progress, otherwise QUIET, and the number of body bytes moved."""
        upload, download, visitor = self._upload, self._download, self._visitor
        if download is not None:
            slow = visitor.writer.pending is not None or not visitor.channel.room()
            return ConnectionState.SLOW if slow else ConnectionState.QUIET, download.moved
        if upload is not None and self._stream is not None:
            writer = self._stream.writer
            slow = writer.pending is None and writer.channel.room() > 0
            return ConnectionState.SLOW if slow else ConnectionState.QUIET, upload.moved
        return ConnectionState.QUIET, 0

    def shed(self, code: str) -> None:
        """End to free capacity: send `code` if the response has not begun, otherwise break the connection."""
        self._end_stream()
        self._send_error(code, complete=False)

    @property
    def buffered_head_bytes(self) -> int:
        """Bytes of an incomplete response head, and of the request's head that the stream has not accepted."""
        unsent = None if self._stream is None else self._stream.writer.pending
        return (0 if self._buffer is None else len(self._buffer)) + (0 if unsent is None else len(unsent))

    def forget_request(self) -> None:
        """Drop the head of a request that was sent, which rules out a retry."""
        if self._cached_request.long is not None:
            self._cached_request.long.forget()
            self._retried, self._reused = True, False

    def _send_request(self, stream: OriginStream) -> None:
        """Send the request on `stream`."""
        raise NotImplementedError

    def on_visitor_broken(self) -> None:
        """End the stream: the visitor's connection broke."""
        self._end_stream()
        self._visitor.break_connection(499)

    def on_visitor_ended(self) -> None:
        """Forward the visitor's half-close, behind the request. The visitor may still read, or may have closed: the origin decides, as
        it would directly. Its response is delivered; the stream serves no other visitor.
        """
        self._half_closed, self._shareable = True, False
        stream = self._stream
        if self._upload is None and stream is not None and stream.writer.pending is None:
            stream.writer.channel.shutdown_write()

    def on_origin_refused(self, status: StreamStatus | Refusal | None) -> None:
        """Send an error that names the reason; if the stream just broke, retry."""
        away = self._stream is not None and self._stream.agent_away
        self._end_stream()
        if isinstance(status, Refusal):
            self._send_error(status.code, status.detail, complete=self._upload is None)
        elif status is not None:
            self._send_error(error_code_for(status), complete=self._upload is None)
        elif self._cached_request.repeatable and not self._retried:
            self._visitor.retry()
        else:
            self._send_error("agent_offline" if away else "origin_closed", complete=self._upload is None)

    def expire(self) -> None:
        """The visitor's deadline has passed: report the side that was too slow."""
        upload, self._upload = self._upload, None
        self._end_stream()
        if self._response is not None:
            self._visitor.break_connection(self._response.status, _truncation_text(self._download, "a limit ended it"))
        elif upload is None:
            self._send_error("origin_timeout", complete=True)
        elif self._last_progress is not None and self._last_progress[1] is PumpResult.WAITS_FOR_SINK:
            self._send_error("origin_timeout", complete=False)
        else:
            self._send_error("request_timeout", complete=False)

    def abort(self) -> None:
        """Break both sides."""
        self._end_stream()
        self._visitor.break_connection(self._response.status if self._response is not None else 502)

    def _truncate(self, reason: str) -> None:
        """The response cannot be completed, for `reason`: the visitor must see that, whatever its framing (threats B1)."""
        download, self._download = self._download, None
        self._end_stream()
        if download is not None and download.holds_head:
            self._response = None  # nothing of it has been sent: an error response is still possible
            self._send_error("origin_invalid", reason, complete=self._upload is None)
        else:
            self._visitor.break_connection(self._response.status if self._response is not None else 502, _truncation_text(download, reason))

    def _on_origin_failed(self) -> None:
        """The stream ended or broke before the answer's head was complete."""
        stream, cached = self._stream, self._cached_request
        untouched = self._buffer is None and not self._interim_bytes
        away, again = stream is not None and stream.agent_away, False
        if untouched and stream is not None and not away:
            # The agent reports that nothing reached the origin; or the request is repeatable, and the stream had been idle.
            again = (stream.channel.untouched and cached.bodyless) or (self._reused and cached.repeatable and not self._half_closed)
            if self._reused and not self._half_closed:
                self._pool.on_closed_by_origin(stream)
        self._end_stream()
        if away:
            if untouched and self._cached_request.repeatable and not (self._retried or self._close_visitor):
                self._visitor.retry()  # which may hold it for the agent
            else:
                self._send_error("agent_offline", complete=self._upload is None)
        elif self._buffer is not None:
            self._send_error("origin_invalid", "its head broke off", complete=self._upload is None)
        elif untouched and self._reused and self._close_visitor:
            # The origin closed a pinned stream, usually for being idle. Without Portway the visitor would see its own
            # connection close, and begin anew with a handshake.
            self._visitor.close_without_response()
        elif not again or self._retried:
            self._send_error("origin_closed", complete=self._upload is None)
        else:
            # The origin's close crossed our request: a new stream shows whether the origin works.
            self._retried = True
            self._reused = False
            try:
                self._send_request(self._pool.open())
            except UnavailableError:
                self._visitor.retry()
            else:
                if self._half_closed:
                    self.on_visitor_ended()

    def _send_error(self, code: str, detail: str = "", *, complete: bool) -> None:
        """Send an error in the origin's place, if its own response has not begun; otherwise break the visitor's connection."""
        self._upload = self._download = None
        if self._response is not None:
            self._visitor.break_connection(self._response.status)
        else:
            self._visitor.send_error(code, detail, complete=complete and not (self.early or self._close_visitor))

    def _is_bound(self, stream: OriginStream) -> bool:
        """Return whether stream and visitor's connection end with each other. The connection of a trusted proxy also carries other
        visitors: there, what one of them authenticated ends with the request.
        """
        return stream.pinned and not self._visitor.shared

    def _end_stream(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            self._close_visitor = self._is_bound(stream)
            stream.abort()


def _truncation_text(download: SizedPump | ReframingPump | None, reason: str) -> str:
    """Describe how a response was truncated, for the agent's console."""
    moved = 0 if download is None else download.moved
    return f"cut after {format_size(moved)}: {reason}"[:CUT_CHARS_MAX]
