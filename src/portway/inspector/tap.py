"""Follows the messages on one stream of a tunnel beside its relay: copies what passed, and never delays or changes it."""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from portway.engine.channel import HEADROOM_BYTES
from portway.engine.pumps import Sink
from portway.errors import MisuseError, PeerError
from portway.inspector.exchange import REQUEST, RESPONSE, CapturedBody, EventPiece, Exchange, Item, Message, Opened, TunnelInfo
from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.fields import REQUEST_LIMITS, RESPONSE_LIMITS
from portway.protocol.http1.framing import CHUNKED, Body
from portway.protocol.http1.stream_parser import After, StreamParser, field_value, request_framing, response_framing
from portway.protocol.websocket_frames import FrameReader
from portway.telemetry.logs import get_log

PIPELINE_MAX = 16
"""Requests of one stream without a response; a server sends the next one only after a response."""


log = get_log(__name__)


class TapOwner(Protocol):
    """The recorder, as a tap uses it."""

    body_bytes_max: int

    def reserve(self, count: int, *, always: bool = False) -> bool:
        """Return whether `count` bytes more may be buffered, and count them if so, or `always`."""

    def release_reserved(self, count: int) -> None:
        """Give back reserved bytes, from the reactor's thread."""

    def put(self, item: Item, size: int) -> bool:
        """Queue an item with `size` reserved bytes; drop it if the queue is full."""

    def wall(self) -> float:
        """Return seconds since 1970."""

    def monotonic(self) -> float:
        """Return monotonic seconds."""

    def link_s(self) -> float | None:
        """Return the round trip of the link, if known."""

    def forget(self, tap: "HttpTap") -> None:
        """Drop a tap whose stream has ended."""


class TapSink:
    """A sink that passes on what another sink has accepted to one direction of a tap. Same contract as the sink (`engine/pumps.py`)."""

    __slots__ = ("_parser", "_sink")

    def __init__(self, sink: Sink, parser: StreamParser) -> None:
        """Wrap `sink`."""
        self._sink = sink
        self._parser = parser

    @property
    def wants_headroom(self) -> bool:
        """Whether the sink does."""
        return self._sink.wants_headroom

    def room(self) -> int:
        """Return what the sink allows."""
        return self._sink.room()

    def send(self, data: memoryview | bytes | bytearray) -> int:
        """Send, then parse what was accepted."""
        count = self._sink.send(data)
        if count:
            self._look(memoryview(data) if count == len(data) else memoryview(data)[:count])
        return count

    def send_headroom(self, buffer: memoryview, count: int) -> int:
        """Like `send`, for payload behind its headroom."""
        count = self._sink.send_headroom(buffer, count)
        if count:
            self._look(buffer[HEADROOM_BYTES : HEADROOM_BYTES + count])
        return count

    def splice_from(self, pipe: int, count: int) -> int:  # noqa: ARG002 - as in the contract
        """Refuse: spliced bytes do not pass through this process."""
        raise MisuseError("spliced bytes cannot be captured")

    def shutdown_write(self) -> None:
        """Send the end."""
        self._sink.shutdown_write()
        try:
            self._parser.end()
        except Exception as exc:  # noqa: BLE001 - a fault of the capture must not end the relay
            self._fail(exc)

    def _look(self, view: memoryview) -> None:
        try:
            self._parser.feed(view)
        except Exception as exc:  # noqa: BLE001 - as above
            self._fail(exc)

    def _fail(self, exc: Exception) -> None:
        self._parser.failed = "internal error"
        log.error("capture failed", reason=type(exc).__name__)  # no traceback, which could contain what passed


class HttpTap:
    """Both directions of one stream that carries HTTP/1.1 requests, one after the other."""

    __slots__ = (
        "_connect_s",
        "_frames",
        "_owner",
        "_pending",
        "_replay_of",
        "_request",
        "_response",
        "_tunnel",
        "on_finished",
        "on_stored",
    )

    def __init__(self, owner: TapOwner, tunnel: TunnelInfo, connect_s: float | None, replay_of: int = 0) -> None:
        """Start before the first request; `connect_s` is how long the connection to the origin took."""
        self._owner = owner
        self._tunnel = tunnel
        self._connect_s = connect_s
        self._replay_of = replay_of
        self.on_finished: Callable[[Exchange], None] | None = None
        """Called when an exchange is done, or was upgraded; for a replay."""
        self.on_stored: Callable[[Exchange], None] | None = None
        """See `Exchange.on_stored`."""
        self._pending: deque[Exchange] = deque()
        self._frames: tuple[FrameReader, FrameReader] | None = None
        self._request = StreamParser(_RequestSide(self), REQUEST_LIMITS)
        self._response = StreamParser(_ResponseSide(self), RESPONSE_LIMITS)

    def sinks(self, to_origin: Sink, to_visitor: Sink) -> tuple[Sink, Sink]:
        """Return sinks that wrap those of a relay."""
        return TapSink(to_origin, self._request), TapSink(to_visitor, self._response)

    def close(self, reason: str) -> None:
        """Record what has not completed when the relay ends; `reason` is why it ended."""
        owner = self._owner
        owner.forget(self)
        for exchange in self._pending:
            if exchange.kind == "http":
                exchange.error = exchange.error or self._response.failed or self._request.failed or f"incomplete: {reason}"
            elif reason != "closed":
                exchange.error = reason
            self._finish(exchange)
        self._pending.clear()
        self._release()

    def _release(self) -> None:
        """Drop the references in cycles: an ended relay must not wait for the cycle collector."""
        self.on_finished = self.on_stored = None
        del self._request, self._response

    def fail(self, head: bytes, status: int, reason: str) -> None:
        """Record a request that never reached the origin, whose connection failed for `reason`."""
        exchange = self.begin(head)
        exchange.status, exchange.error = status, reason
        exchange.request_end = exchange.begun
        self._finish(exchange)
        self._pending.clear()
        self._owner.forget(self)
        self._release()

    def announce(self, before: float) -> None:
        """Record exchanges that began before that time and are not done, so that they are shown already."""
        for exchange in self._pending:
            if exchange.begun < before:
                self._open(exchange)

    def begin(self, head: bytes) -> Exchange:
        """Begin an exchange with the head of its request."""
        owner = self._owner
        connect_s, self._connect_s = self._connect_s, None
        now = owner.monotonic()
        early = connect_s or 0.0  # the time of the connection belongs to the request that needed it
        exchange = Exchange(
            self._tunnel,
            owner.wall() - early,
            now - early,
            head,
            method=head[: head.find(b" ")],
            connect_s=connect_s,
            link_s=owner.link_s(),
            replay_of=self._replay_of,
            on_stored=self.on_stored,
        )
        owner.reserve(len(head), always=True)
        self._pending.append(exchange)
        if len(self._pending) > PIPELINE_MAX:
            raise MessageError("too many requests without a response")
        return exchange

    def take(self, body: CapturedBody, piece: memoryview | bytes) -> None:
        """Store a piece of a body, within the limit of a body and of all that is buffered."""
        count = len(piece)
        body.size += count
        room = self._owner.body_bytes_max - body.stored
        if body.dropped or room <= 0:
            return
        count = min(count, room)
        if self._owner.reserve(count):
            body.pieces.append(bytes(piece[:count]))
            body.stored += count
        else:
            body.dropped = True

    def _open(self, exchange: Exchange) -> None:
        if not exchange.announced:
            exchange.announced = self._owner.put(Opened(exchange), 0)

    def _finish(self, exchange: Exchange) -> None:
        exchange.ended = self._owner.monotonic()
        wire = sum(map(len, exchange.request.wire or ()))
        size = len(exchange.request_head) + len(exchange.response_head) + exchange.request.stored + exchange.response.stored + wire
        self._owner.put(exchange, size)
        if self.on_finished is not None:
            self.on_finished(exchange)

    # Called by both sides.

    def on_request(self, head: bytes) -> Body:
        """Handle the head of a request."""
        exchange = self.begin(head)
        body = request_framing(head.lower())
        if body == CHUNKED:
            exchange.request.wire = []
        return body

    def on_request_body(self, piece: memoryview | bytes) -> None:
        """Handle a piece of the last request's body."""
        if self._pending:
            self.take(self._pending[-1].request, piece)

    def on_request_wire(self, piece: memoryview) -> None:
        """Store a chunked body with its framing as well, as long as the body itself is complete."""
        request = self._pending[-1].request if self._pending else None
        if request is None or request.wire is None:
            return
        if request.dropped or request.stored < request.size or not self._owner.reserve(len(piece)):
            self._owner.release_reserved(sum(map(len, request.wire)))
            request.wire = None
        else:
            request.wire.append(bytes(piece))

    def on_request_end(self) -> None:
        """Handle the end of a request; its response may have ended before."""
        if self._pending:
            self._pending[-1].request_end = self._owner.monotonic()

    def on_response(self, head: bytes) -> Body | After:
        """Handle the head of a response, which may be an interim one."""
        if not self._pending:
            raise MessageError("a response without a request")
        exchange, lower = self._pending[0], head.lower()
        digits = head[9:12]
        if not (head.startswith(b"HTTP/1.") and digits.isdigit()):
            raise MessageError("invalid status line")
        status = int(digits)
        body = response_framing(lower, status, exchange.method)
        if exchange.first_byte == 0.0:
            exchange.first_byte = self._owner.monotonic()
        if body == After.ANOTHER_HEAD:
            return body
        exchange.status, exchange.response_head = status, head
        self._owner.reserve(len(head), always=True)
        if body == After.NOT_HTTP:
            self._request.switch()
            if b"websocket" in (field_value(lower, b"upgrade") or b""):
                exchange.kind = "websocket"
                limit = self._owner.body_bytes_max
                self._frames = FrameReader(limit), FrameReader(limit)
            self._open(exchange)
            if self.on_finished is not None:
                self.on_finished(exchange)
        elif b"\r\ncontent-type: text/event-stream" in lower:
            exchange.kind = "sse"
            self._open(exchange)
        return body

    def on_response_body(self, piece: memoryview | bytes) -> None:
        """Handle a piece of a response's body; the events of an event stream are recorded one by one."""
        if not self._pending:
            return
        exchange = self._pending[0]
        self.take(exchange.response, piece)
        if exchange.kind == "sse":
            data = bytes(piece)
            if not (self._owner.reserve(len(data)) and self._owner.put(EventPiece(exchange, self._owner.wall(), data), len(data))):
                exchange.messages_missed += 1

    def on_response_end(self) -> None:
        """Handle the end of a response, which is that of its exchange."""
        if self._pending:
            exchange = self._pending.popleft()
            if self._request.in_message and not self._pending:
                exchange.error = "the response ended before the request"
            self._finish(exchange)

    def on_upgraded(self, side: int, piece: memoryview) -> None:
        """Handle bytes after an upgrade: the frames of a WebSocket, only counted for other protocols."""
        if not self._pending:
            return
        exchange, owner = self._pending[0], self._owner
        body = exchange.request if side == REQUEST else exchange.response
        body.size += len(piece)
        if self._frames is None:
            return
        try:
            frames = self._frames[side].feed(piece)
        except PeerError as exc:
            raise MessageError(str(exc)) from exc
        now = owner.wall() if frames else 0.0
        for frame in frames:
            size = len(frame.payload)
            message = Message(exchange, side, now, frame.opcode, frame.final, frame.compressed, frame.size, frame.payload, frame.key)
            if not (owner.reserve(size) and owner.put(message, size)):
                exchange.messages_missed += 1


class _RequestSide:
    """The direction from the visitor."""

    __slots__ = ("_tap",)

    def __init__(self, tap: HttpTap) -> None:
        self._tap = tap

    def on_head(self, head: bytes) -> Body | After:
        return self._tap.on_request(head)

    def on_body(self, piece: memoryview | bytes) -> None:
        self._tap.on_request_body(piece)

    def on_wire(self, piece: memoryview) -> None:
        self._tap.on_request_wire(piece)

    def on_message_end(self) -> None:
        self._tap.on_request_end()

    def on_other(self, piece: memoryview) -> None:
        self._tap.on_upgraded(REQUEST, piece)


class _ResponseSide:
    """The direction to the visitor."""

    __slots__ = ("_tap",)

    def __init__(self, tap: HttpTap) -> None:
        self._tap = tap

    def on_head(self, head: bytes) -> Body | After:
        return self._tap.on_response(head)

    def on_body(self, piece: memoryview | bytes) -> None:
        self._tap.on_response_body(piece)

    def on_wire(self, piece: memoryview) -> None:
        """Do nothing: only requests are repeated with their framing."""

    def on_message_end(self) -> None:
        self._tap.on_response_end()

    def on_other(self, piece: memoryview) -> None:
        self._tap.on_upgraded(RESPONSE, piece)
