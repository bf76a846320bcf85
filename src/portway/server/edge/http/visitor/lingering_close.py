"""Closing a visitor's connection so that the last answer arrives."""

from portway.engine.channel import BLOCKED, Channel
from portway.engine.reactor import Reactor
from portway.errors import BrokenChannel
from portway.server.edge.connection_state import ConnectionState


class LingeringClose:
    """Says the end and reads on until the visitor ends, too: unread bytes would turn a plain close into a reset, which
    overtakes the answer, and a program that writes its whole request before it reads would hear of nothing else.

    Bounded in time: `total_s` in all, `quiet_s` without a byte (nginx: lingering_time 30 s, lingering_timeout 5 s). Not in
    bytes, as only these tell a visitor that goes on sending from one that has left; they are read with the turns of any
    other visitor, and none is kept.
    """

    __slots__ = ("_all", "_channel", "_heard_at", "_quiet_s", "_reactor", "_timer", "_until", "address")

    def __init__(
        self, reactor: Reactor, channel: Channel, address: str, total_s: float, everybody: "dict[LingeringClose, None]", quiet_s: float
    ) -> None:
        """Close `channel`, of a visitor from `address`, in the end; stands in `everybody` until that is done."""
        self.address = address
        self._all = everybody
        self._channel = channel
        self._reactor = reactor
        self._quiet_s = quiet_s
        self._heard_at = reactor.now
        self._until = reactor.now + total_s
        self._timer = reactor.call_later(min(total_s, quiet_s), self._look)
        everybody[self] = None
        channel.on_readable = channel.on_broken = self._read
        channel.shutdown_write()
        reactor.call_soon(self._read)

    def abort(self) -> None:
        """Wait no longer."""
        self._over()
        self._channel.abort()

    @property
    def holder(self) -> None:
        """Return None: it has no stream any more."""

    def standing(self) -> tuple[ConnectionState, float, int]:
        """Return what its connection is doing (see `standing.SheddableConnection`)."""
        return ConnectionState.CLOSING if self in self._all else ConnectionState.OVER, self._heard_at, 0

    def give_way(self, _standing: ConnectionState) -> None:
        """Wait no longer, as another one needs the place."""
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
            self._heard_at = self._reactor.now
            self._reactor.work.done += count
            self._reactor.call_soon_charged(self._reactor.unassigned, self._read)
        else:
            self._close()

    def _look(self) -> None:
        """Close when it was quiet for too long, or all the time is over."""
        now = self._reactor.now
        until = min(self._heard_at + self._quiet_s, self._until)
        if now >= until:
            self._close()
        else:
            self._timer = self._reactor.call_later(until - now, self._look)

    def _close(self) -> None:
        self._over()
        self._channel.close()

    def _over(self) -> None:
        self._timer.cancel()
        self._all.pop(self, None)
