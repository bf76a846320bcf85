"""Closes a visitor's connection so that the last response arrives."""

from portway.edge.connection_state import ConnectionState
from portway.engine.channel import BLOCKED, Channel
from portway.engine.reactor import Reactor
from portway.errors import BrokenChannel


class LingeringClose:
    """Sends FIN and reads until the visitor's FIN: unread bytes would turn a plain close into a reset, which overtakes the
    response; a program that writes its whole request before it reads would see nothing else.

    Bounded in time: `total_s` in all, `quiet_s` without a byte (nginx: lingering_time 30 s, lingering_timeout 5 s). Not in
    bytes, as only these distinguish a visitor that still sends from one that has left; they are read in charged turns like
    those of any visitor, and dropped.
    """

    __slots__ = ("_all", "_channel", "_quiet_s", "_reactor", "_received_at", "_timer", "_until", "address")

    def __init__(
        self, reactor: Reactor, channel: Channel, address: str, total_s: float, closing: "dict[LingeringClose, None]", quiet_s: float
    ) -> None:
        """Close `channel`, of a visitor from `address`; registered in `closing` until then."""
        self.address = address
        self._all = closing
        self._channel = channel
        self._reactor = reactor
        self._quiet_s = quiet_s
        self._received_at = reactor.now
        self._until = reactor.now + total_s
        self._timer = reactor.call_later(min(total_s, quiet_s), self._check)
        closing[self] = None
        channel.on_readable = channel.on_broken = self._read
        channel.shutdown_write()
        reactor.call_soon(self._read)

    def abort(self) -> None:
        """Reset at once."""
        self._detach()
        self._channel.abort()

    @property
    def holder(self) -> None:
        """Return None: it has no stream."""

    def state(self) -> tuple[ConnectionState, float, int]:
        """Return its state (see `SheddableConnection`)."""
        return ConnectionState.CLOSING if self in self._all else ConnectionState.EXEMPT, self._received_at, 0

    def shed(self, _state: ConnectionState) -> None:
        """Close at once to free capacity."""
        self._close()

    def _read(self) -> None:
        if self not in self._all:
            return
        try:
            count = self._channel.recv_into(self._reactor.scratch_body) if self._channel.readable else BLOCKED
        except BrokenChannel:
            count = 0
        if count == BLOCKED:
            return
        if count:
            self._received_at = self._reactor.now
            self._reactor.work.done += count
            self._reactor.call_soon_charged(self._reactor.unassigned, self._read)
        else:
            self._close()

    def _check(self) -> None:
        """Close after `quiet_s` without a byte, or `total_s` in all."""
        now = self._reactor.now
        until = min(self._received_at + self._quiet_s, self._until)
        if now >= until:
            self._close()
        else:
            self._timer = self._reactor.call_later(until - now, self._check)

    def _close(self) -> None:
        self._detach()
        self._channel.close()

    def _detach(self) -> None:
        self._timer.cancel()
        self._all.pop(self, None)
