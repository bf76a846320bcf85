"""Reads request heads, in bounded turns."""

from portway.edge.http.visitor.read_ahead import ReadAheadMixin
from portway.edge.http.visitor.waiting import HEAD
from portway.errors import BrokenChannel
from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.fields import END_OF_HEAD, READ_BYTES, HeadBuffer

READS_A_TURN = 16
"""Reads per turn of an incomplete head; a fast sender could otherwise occupy the reactor."""
FIELDS_AT_ONCE = 128
"""A head with more lines than this is parsed in a turn of its own: 500 fields take 0.5 ms, ten times as long as usual requests, which
have 5 to 40."""
_SHORT_BYTES = 4 * FIELDS_AT_ONCE
"""Shorter heads cannot have that many lines, and are not counted."""


class HeadReadingMixin(ReadAheadMixin):
    """Adds the HEAD state to a visitor connection.

    Bytes of an event are read at once. A pipelined request, a head in tiny pieces and one with very many fields queue behind
    other visitors (ADR 0018).
    """

    __slots__ = ("_queued",)

    _queued: bool
    """True while a turn is queued: further events do not queue another one."""

    def _handle_head(self, head: bytes) -> None:
        """Parse a complete head, and route the request."""
        raise NotImplementedError

    def break_connection(self, status: int) -> None:
        """Break the connection."""
        raise NotImplementedError

    def _head_readable(self) -> None:
        """Read the head now, or in a charged turn of its source if this round has been long."""
        reactor = self._edge.reactor
        if reactor.work.done > reactor.long_round_at:
            self._queue_head()
        else:
            self._read_head()

    def _read_head(self, fields_max: int | None = FIELDS_AT_ONCE) -> None:
        """Read until a head is complete or nothing is available, unless a turn is queued."""
        if self._state != HEAD or self._queued:
            return
        reader, work = self.reader, self._edge.reactor.work
        try:
            for _ in range(READS_A_TURN):
                data = reader.read(READ_BYTES)
                if data is None:
                    break
                work.done += len(data)
                if self._buffer is None:
                    at = data.find(END_OF_HEAD)
                    if at >= 0:
                        reader.buffered = data[at + 4 :]
                        if at < _SHORT_BYTES:
                            self._handle_head(data[: at + 4])
                        else:
                            self._handle_or_queue(data[: at + 4], fields_max)
                        return
                    self._buffer = HeadBuffer(self._edge.rules.limits)
                    self.deadline = min(self.deadline, self._edge.reactor.now + self._edge.settings.head_s)
                found = self._buffer.feed(data)
                if found is not None:
                    self._buffer = None
                    reader.buffered = found[1]
                    self._handle_or_queue(found[0], fields_max)
                    return
                self.count_buffered()
            else:
                self._queue_head()
            if reader.ended:
                self._close()
        except MessageError as exc:
            self.send_error(exc.code, str(exc), complete=False)
        except BrokenChannel:
            self.break_connection(499)

    def _handle_or_queue(self, head: bytes, fields_max: int | None) -> None:
        if fields_max is not None and head.count(b"\n") > fields_max:
            self.reader.buffered = head + self.reader.buffered
            self.count_buffered()
            self._queue_head()
        else:
            self._handle_head(head)

    def _queue_head(self) -> None:
        """Continue after other sources had a turn."""
        if not self._queued and self._state == HEAD:
            self._queued = True
            self._edge.reactor.call_soon_charged(self._edge.sources.of(self.address), self._next_turn)

    def _next_turn(self) -> None:
        self._queued = False
        self._read_head(None)
