"""A visitor's connection as one that may have to give way to newcomers (`server.edge.shedding`), or to give up what it keeps (`byte_budget`)."""

from portway.protocol.http1.fields import HeadBuffer
from portway.server.edge.connection_state import ConnectionState
from portway.server.edge.http.buffers import ChannelReader, ChannelWriter
from portway.server.edge.http.exchange.exchange import Exchange
from portway.server.edge.http.visitor.waiting import DRAIN, EXCHANGE, HEAD, HELD, WaitingRequest
from portway.server.tunnels.lease import Holder

KEPT_FREE_BYTES = 2048
"""What each request may keep without being counted: the heads of most. 18,000 of them are 37 MB."""


class SheddableVisitor(WaitingRequest):
    """What a connection is doing, and how it ends when another one needs its place; `VisitorConnection` extends it."""

    __slots__ = ("_buffer", "_exchange", "_hurried", "counted", "inlet", "outlet")

    _buffer: HeadBuffer | None
    _exchange: Exchange | None
    _hurried: bool
    """True when it is to close at once, without waiting until its answer is known to have arrived."""
    counted: bool
    """True while what it keeps may be counted."""
    inlet: ChannelReader
    outlet: ChannelWriter

    def _close(self) -> None:
        """End the connection properly."""
        raise NotImplementedError

    def abort(self) -> None:
        """Break the connection, visibly, and end whatever it was at."""
        raise NotImplementedError

    @property
    def holder(self) -> Holder | None:
        """The session that carries its request now, if any does."""
        return self._exchange.holder if self._state == EXCHANGE and self._exchange is not None else None

    def standing(self) -> tuple[ConnectionState, float, int]:
        """Return what it is doing, since when, and how many bytes of bodies it has moved."""
        state, settings = self._state, self._edge.settings
        if state == HEAD:
            if self._buffer is None and (self.inlet.held or self.inlet.channel.readable):
                return ConnectionState.OVER, 0.0, 0  # it has something to say that was not looked at yet
            if self._buffer is None and self._started_at:
                return ConnectionState.IDLE, self.deadline - settings.idle_s, 0
            return ConnectionState.SILENT, self.deadline - settings.head_s, 0
        if state == EXCHANGE and self._exchange is not None:
            standing, moved = self._exchange.standing()
            return standing, self._started_at, moved
        if state == HELD:
            return ConnectionState.WAITING, self._started_at, 0
        if state == DRAIN:
            return ConnectionState.SLOW, self._started_at, -len(self.outlet.rest or b"")
        return ConnectionState.OVER, 0.0, 0

    def give_way(self, standing: ConnectionState) -> None:
        """End, with an answer where one is due. Its place is free then: it does not linger."""
        self._end("overloaded" if standing is ConnectionState.QUIET else "request_timeout")

    def _end(self, code: str) -> None:
        exchange, self._hurried = self._exchange, True
        if self._state == HELD:
            self._stop_waiting()
            self.refuse(self._why_held, complete=False)
        elif exchange is not None:
            exchange.give_way(code)
        elif self._state == HEAD and self._buffer is not None:
            self._asked = None
            self.refuse(code, complete=False)
        elif self._state == HEAD:
            self._close()
        if self._state == DRAIN:
            self.abort()

    # What it keeps.

    def count_kept(self) -> None:
        """Count what is kept of its request: a head, whole or in part, what follows it, and an answer's head in part."""
        asked, exchange = self._asked, self._exchange
        kept = len(self.inlet.held)
        if self._buffer is not None:
            kept += len(self._buffer)
        if asked is not None and asked.long is not None:
            kept += len(asked.long.head)
        if exchange is not None:
            kept += exchange.head_bytes
        self.counted = True
        self._edge.heads.count(self, kept if kept > KEPT_FREE_BYTES else 0)

    def count_unread(self) -> None:
        """Count what its visitor has not taken of its answer."""
        rest = self.outlet.rest
        if rest is not None or self.counted:
            self.counted = True
            self._edge.unread.count(self, 0 if rest is None else len(rest))

    def uncount(self) -> None:
        """Count nothing any more."""
        self.counted = False
        self._edge.heads.count(self, 0)
        self._edge.unread.count(self, 0)

    def spare(self) -> None:
        """Forget a request that was sent: it is not sent again if its stream breaks (see `byte_budget.Keeper`)."""
        if self._state == EXCHANGE and self._exchange is not None:
            self._exchange.forget_request()
            self.count_kept()

    def give_up(self) -> None:
        """End, so that nothing is kept (see `byte_budget.Keeper`)."""
        self._end("overloaded")
        if self.counted:
            self.uncount()
