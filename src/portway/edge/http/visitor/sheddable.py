"""A visitor connection under load: its state for shedding (`server.edge.shedding`), and its share of the memory budget (`byte_budget`)."""

from portway.edge.connection_state import ConnectionState
from portway.edge.http.buffers import ChannelReader, ChannelWriter
from portway.edge.http.exchange.exchange import Exchange
from portway.edge.http.visitor.waiting import EXCHANGE, FLUSHING, HEAD, WAITING, WaitingMixin
from portway.edge.lease import Holder
from portway.protocol.http1.fields import HeadBuffer

UNCOUNTED_BYTES = 2048
"""Buffered bytes of a request that are not counted: most heads are shorter. 18,000 of them are 37 MB."""


class SheddableMixin(WaitingMixin):
    """Adds shedding, and the counting of buffered bytes, to a visitor connection."""

    __slots__ = ("_buffer", "_close_at_once", "_exchange", "counted", "reader", "writer")

    _buffer: HeadBuffer | None
    _exchange: Exchange | None
    _close_at_once: bool
    """True: close at once, without waiting until the response has arrived."""
    counted: bool
    """True if bytes of it may be counted in a budget."""
    reader: ChannelReader
    writer: ChannelWriter

    def _close(self) -> None:
        """Close the connection properly."""
        raise NotImplementedError

    def abort(self) -> None:
        """Break the connection visibly, and end its exchange."""
        raise NotImplementedError

    @property
    def holder(self) -> Holder | None:
        """The session that carries its request, if any."""
        return self._exchange.holder if self._state == EXCHANGE and self._exchange is not None else None

    def state(self) -> tuple[ConnectionState, float, int]:
        """Return its state (see `SheddableConnection`)."""
        state, settings = self._state, self._edge.settings
        if state == HEAD:
            if self._buffer is None and (self.reader.buffered or self.reader.channel.readable):
                return ConnectionState.EXEMPT, 0.0, 0  # unprocessed input
            if self._buffer is None and self._started_at:
                return ConnectionState.IDLE, self.deadline - settings.idle_s, 0
            return ConnectionState.SILENT, self.deadline - settings.head_s, 0
        if state == EXCHANGE and self._exchange is not None:
            progress, moved = self._exchange.state()
            return progress, self._started_at, moved
        if state == WAITING:
            return ConnectionState.WAITING, self._started_at, 0
        if state == FLUSHING:
            return ConnectionState.SLOW, self._started_at, -len(self.writer.pending or b"")
        return ConnectionState.EXEMPT, 0.0, 0

    def shed(self, state: ConnectionState) -> None:
        """Close to free capacity, after an error response if one is due. It does not linger."""
        self._end("overloaded" if state is ConnectionState.QUIET else "request_timeout")

    def _end(self, code: str) -> None:
        exchange, self._close_at_once = self._exchange, True
        if self._state == WAITING:
            self._stop_waiting()
            self.send_error(self._wait_code, complete=False)
        elif exchange is not None:
            exchange.shed(code)
        elif self._state == HEAD and self._buffer is not None:
            self._cached_request = None
            self.send_error(code, complete=False)
        elif self._state == HEAD:
            self._close()
        if self._state == FLUSHING:
            self.abort()

    # Buffered bytes.

    def count_buffered(self) -> None:
        """Count the buffered bytes of its request: a head or part of one, what follows it, and part of a response's head."""
        cached, exchange = self._cached_request, self._exchange
        buffered = len(self.reader.buffered)
        if self._buffer is not None:
            buffered += len(self._buffer)
        if cached is not None and cached.long is not None:
            buffered += len(cached.long.head)
        if exchange is not None:
            buffered += exchange.buffered_head_bytes
        self.counted = True
        self._edge.heads.count(self, buffered if buffered > UNCOUNTED_BYTES else 0)

    def count_unread(self) -> None:
        """Count the bytes of its response that the visitor has not read."""
        pending = self.writer.pending
        if pending is not None or self.counted:
            self.counted = True
            self._edge.unread.count(self, 0 if pending is None else len(pending))

    def clear_counts(self) -> None:
        """Remove it from both budgets."""
        self.counted = False
        self._edge.heads.count(self, 0)
        self._edge.unread.count(self, 0)

    def drop_optional(self) -> None:
        """Drop the head of a request that was sent, which rules out a retry (see `byte_budget.BufferingConnection`)."""
        if self._state == EXCHANGE and self._exchange is not None:
            self._exchange.forget_request()
            self.count_buffered()

    def evict(self) -> None:
        """Close, so that nothing is buffered (see `byte_budget.BufferingConnection`)."""
        self._end("overloaded")
        if self.counted:
            self.clear_counts()
