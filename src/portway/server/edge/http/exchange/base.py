"""What an exchange is made of, and how it ends when its answer cannot be completed."""

from portway.engine.reactor import Reactor
from portway.errors import UnavailableError
from portway.protocol.control.messages import CUT_CHARS_MAX
from portway.protocol.http1.fields import HeadBuffer
from portway.protocol.http1.response import ResponseHead
from portway.protocol.stream_status import StreamStatus
from portway.protocol.units import format_size
from portway.server.edge.connection_state import ConnectionState
from portway.server.edge.http.exchange.body_pumps import PumpResult, ReframingPump, SizedPump
from portway.server.edge.http.head_cache import CachedRequest
from portway.server.edge.http.interfaces import ExchangeOwner
from portway.server.edge.http.origin.pool import TunnelPool
from portway.server.edge.http.origin.stream import OriginStream
from portway.server.edge.http.retry_policy import error_code_for
from portway.server.edge.http.settings import HttpEdgeSettings
from portway.server.tunnels.lease import Holder


class ExchangeBase:
    """The state of one exchange, and its failures: before the answer's head they are answered, after it the visitor's connection breaks."""

    __slots__ = (
        *(
            "_asked",
            "_buffer",
            "_download",
            "_ends_visitor",
            "_half_closed",
            "_interims",
            "_keep_alive",
            "_last",
            "_pool",
            "_queued",
            "_reactor",
        ),
        *("_response", "_reused", "_settings", "_shareable", "_stream", "_tried_again", "_upload", "_visitor", "early"),
    )

    def __init__(
        self, reactor: Reactor, settings: HttpEdgeSettings, visitor: ExchangeOwner, asked: CachedRequest, pool: TunnelPool
    ) -> None:
        """Stand ready for `start`."""
        self._reactor = reactor
        self._settings = settings
        self._visitor = visitor
        self._asked = asked
        self._pool = pool
        self._keep_alive = False
        self._shareable = False
        self._ends_visitor = False
        self._half_closed = False
        self._stream: OriginStream | None = None
        self._reused = False
        self._tried_again = False
        self._upload: SizedPump | ReframingPump | None = None
        self._download: SizedPump | ReframingPump | None = None
        self._response: ResponseHead | None = None
        self._buffer: HeadBuffer | None = None
        self._interims = 0
        self._queued = 0
        self._last: tuple[int, PumpResult] | None = None
        self.early = False
        """True once the answer began before the request had ended: neither connection is used again then."""

    @property
    def holder(self) -> Holder:
        """The session that carries it."""
        return self._pool.holder

    def standing(self) -> tuple[ConnectionState, int]:
        """Return whether its visitor is waited for (SLOW) or somebody else (QUIET), and how many bytes of bodies have moved."""
        upload, download, visitor = self._upload, self._download, self._visitor
        if download is not None:
            slow = visitor.outlet.rest is not None or not visitor.channel.room()
            return ConnectionState.SLOW if slow else ConnectionState.QUIET, download.moved
        if upload is not None and self._stream is not None:
            outlet = self._stream.outlet
            slow = outlet.rest is None and outlet.channel.room() > 0
            return ConnectionState.SLOW if slow else ConnectionState.QUIET, upload.moved
        return ConnectionState.QUIET, 0

    def give_way(self, code: str) -> None:
        """End for the sake of others: answered with `code` where the answer has not begun, else broken off."""
        self._end_stream()
        self._refuse(code, complete=False)

    @property
    def head_bytes(self) -> int:
        """What there is of an answer's head that is not whole yet, and of the request's that its stream has not taken."""
        unsent = None if self._stream is None else self._stream.outlet.rest
        return (0 if self._buffer is None else len(self._buffer)) + (0 if unsent is None else len(unsent))

    def forget_request(self) -> None:
        """Keep the request's head no longer, which was sent; so there is no second attempt."""
        if self._asked.long is not None:
            self._asked.long.forget()
            self._tried_again, self._reused = True, False

    def _send(self, stream: OriginStream) -> None:
        """Send the request on `stream`."""
        raise NotImplementedError

    def visitor_broke(self) -> None:
        """The visitor left: what the origin still does for it is in vain."""
        self._end_stream()
        self._visitor.gone(499)

    def visitor_ended(self) -> None:
        """Pass the visitor's end on, behind the request. It may still listen, as a half-close allows, or have left for good:
        that is for the origin to judge, as it is directly. What it answers is delivered; its connection serves nobody else.
        """
        self._half_closed, self._shareable = True, False
        stream = self._stream
        if self._upload is None and stream is not None and stream.outlet.rest is None:
            stream.outlet.channel.shutdown_write()

    def origin_refused(self, status: StreamStatus | None) -> None:
        """Say why there is no origin; a stream that just broke is worth a second try."""
        away = self._stream is not None and self._stream.agent_away
        self._end_stream()
        if status is not None:
            self._refuse(error_code_for(status), complete=self._upload is None)
        elif self._asked.repeatable and not self._tried_again:
            self._visitor.try_again()
        else:
            self._refuse("agent_offline" if away else "origin_closed", complete=self._upload is None)

    def expire(self) -> None:
        """The visitor's deadline has passed: say who was waited for."""
        upload, self._upload = self._upload, None
        self._end_stream()
        if self._response is not None:
            self._visitor.gone(self._response.status, _cut(self._download, "a limit ended it"))
        elif upload is None:
            self._refuse("origin_timeout", complete=True)
        elif self._last is not None and self._last[1] is PumpResult.WAITS_FOR_SINK:
            self._refuse("origin_timeout", complete=False)
        else:
            self._refuse("request_timeout", complete=False)

    def abort(self) -> None:
        """Break off both sides."""
        self._end_stream()
        self._visitor.gone(self._response.status if self._response is not None else 502)

    def _truncate(self, why: str) -> None:
        """The answer cannot be completed, for `why`: the visitor must see that, whatever its framing (threats B1)."""
        download, self._download = self._download, None
        self._end_stream()
        if download is not None and download.holds_head:
            self._response = None  # nothing of it has been sent: a whole answer can still be given
            self._refuse("origin_invalid", why, complete=self._upload is None)
        else:
            self._visitor.gone(self._response.status if self._response is not None else 502, _cut(download, why))

    def _origin_failed(self) -> None:
        """The stream ended or broke before the answer's head was complete."""
        stream, asked = self._stream, self._asked
        untouched = self._buffer is None and not self._interims
        away, again = stream is not None and stream.agent_away, False
        if untouched and stream is not None and not away:
            # The agent tells that nothing of it has reached the origin; or it may be repeated, and its stream had rested.
            again = (stream.channel.untouched and asked.bodyless) or (self._reused and asked.repeatable and not self._half_closed)
            if self._reused and not self._half_closed:
                self._pool.lost(stream)
        self._end_stream()
        if away:
            if untouched and self._asked.repeatable and not (self._tried_again or self._ends_visitor):
                self._visitor.try_again()  # it may wait for the agent
            else:
                self._refuse("agent_offline", complete=self._upload is None)
        elif self._buffer is not None:
            self._refuse("origin_invalid", "its head broke off", complete=self._upload is None)
        elif untouched and self._reused and self._ends_visitor:
            # A pinned one that its origin has given up, for being idle as a rule. Without Portway the visitor would see its
            # own connection end and begin anew, with a handshake.
            self._visitor.hang_up()
        elif not again or self._tried_again:
            self._refuse("origin_closed", complete=self._upload is None)
        else:
            # An end that crossed our request: a new stream tells whether the origin is well.
            self._tried_again = True
            self._reused = False
            try:
                self._send(self._pool.open())
            except UnavailableError:
                self._visitor.try_again()
            else:
                if self._half_closed:
                    self.visitor_ended()

    def _refuse(self, code: str, detail: str = "", *, complete: bool) -> None:
        """Answer in the origin's place, if its own answer has not begun; break the visitor's connection otherwise."""
        self._upload = self._download = None
        if self._response is not None:
            self._visitor.gone(self._response.status)
        else:
            self._visitor.refuse(code, detail, complete=complete and not (self.early or self._ends_visitor))

    def _is_bound(self, stream: OriginStream) -> bool:
        """Return whether stream and visitor's connection end with each other. A trusted proxy's carries other visitors, too: there
        what one of them authenticated ends with the request.
        """
        return stream.pinned and not self._visitor.shared

    def _end_stream(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            self._ends_visitor = self._is_bound(stream)
            stream.abort()


def _cut(download: SizedPump | ReframingPump | None, why: str) -> str:
    """Return how an answer broke off, for the agent's console."""
    moved = 0 if download is None else download.moved
    return f"cut after {format_size(moved)}: {why}"[:CUT_CHARS_MAX]
