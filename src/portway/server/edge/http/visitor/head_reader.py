"""Reading requests' heads, a turn at a time."""

from portway.errors import BrokenChannel
from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.fields import END_OF_HEAD, READ_BYTES, HeadBuffer
from portway.server.edge.http.visitor.waiting import HEAD
from portway.server.edge.http.visitor.watched import WatchedConnection

READS_A_TURN = 16
"""Reads of a head that comes in pieces; a sender that is fast enough would else be read for as long as it likes."""
FIELDS_AT_ONCE = 128
"""A head with more lines than this is parsed in a turn of its own: 500 fields take 0.5 ms, ten times what most requests take, which
have 5 to 40."""
_SHORT_BYTES = 4 * FIELDS_AT_ONCE
"""What cannot have that many lines is not counted."""


class HeadReading(WatchedConnection):
    """The HEAD state of a visitor's connection, which `VisitorConnection` extends to the others.

    What an event brings is read at once. A request that was sent in advance, a head in crumbs and one of very many fields queue
    behind other visitors (ADR 0018).
    """

    __slots__ = ("_queued",)

    _queued: bool
    """True while a turn is coming: an event earns no other one."""

    def _take(self, head: bytes) -> None:
        """Understand a whole head, and route what it asks for."""
        raise NotImplementedError

    def gone(self, status: int) -> None:
        """Break the connection."""
        raise NotImplementedError

    def _read_head(self, fields_max: int | None = FIELDS_AT_ONCE) -> None:
        """Read until a head is complete, or nothing is there, unless a turn is coming."""
        if self._state != HEAD or self._queued:
            return
        inlet = self.inlet
        try:
            for _ in range(READS_A_TURN):
                data = inlet.take(READ_BYTES)
                if data is None:
                    break
                if self._buffer is None:
                    at = data.find(END_OF_HEAD)
                    if at >= 0:
                        inlet.held = data[at + 4 :]
                        if at < _SHORT_BYTES:
                            self._take(data[: at + 4])
                        else:
                            self._take_or_queue(data[: at + 4], fields_max)
                        return
                    self._buffer = HeadBuffer(self._edge.rules.limits)
                    self.deadline = min(self.deadline, self._edge.reactor.now + self._edge.settings.head_s)
                found = self._buffer.feed(data)
                if found is not None:
                    self._buffer = None
                    inlet.held = found[1]
                    self._take_or_queue(found[0], fields_max)
                    return
                self.count_kept()
            else:
                self._queue_head()
            if inlet.ended:
                self._close()
        except MessageError as exc:
            self.refuse(exc.code, str(exc), complete=False)
        except BrokenChannel:
            self.gone(499)

    def _take_or_queue(self, head: bytes, fields_max: int | None) -> None:
        if fields_max is not None and head.count(b"\n") > fields_max:
            self.inlet.held = head + self.inlet.held
            self.count_kept()
            self._queue_head()
        else:
            self._take(head)

    def _queue_head(self) -> None:
        """Read on when everybody else had a turn."""
        if not self._queued:
            self._queued = True
            self._edge.reactor.call_soon_charged(self._edge.reactor.unassigned, self._take_turn)

    def _take_turn(self) -> None:
        self._queued = False
        self._read_head(None)
