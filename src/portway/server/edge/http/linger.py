"""Closing a visitor's connection so that the last answer arrives."""

from portway.engine.channel import BLOCKED, Channel
from portway.engine.reactor import Reactor
from portway.errors import BrokenChannel

LINGER_BYTES_MAX = 16 * 1024 * 1024
"""What is read and thrown away: a visitor in mid-upload has that much under way at most."""


class Linger:
    """Says the end and reads on until the visitor ends, too: unread bytes would turn a plain close into a reset, which
    overtakes the answer. Keeps nothing of what it reads.
    """

    __slots__ = ("_all", "_channel", "_reactor", "_seen_bytes", "_timer")

    def __init__(self, reactor: Reactor, channel: Channel, patience_s: float, everybody: "dict[Linger, None]") -> None:
        """Close `channel` within `patience_s` seconds; stands in `everybody` until that is done."""
        self._all = everybody
        self._channel = channel
        self._reactor = reactor
        self._seen_bytes = 0
        self._timer = reactor.call_later(patience_s, self._close)
        everybody[self] = None
        channel.on_readable = channel.on_broken = self._read
        channel.shutdown_write()
        reactor.soon(self._read)

    def abort(self) -> None:
        """Wait no longer."""
        self._over()
        self._channel.abort()

    def _read(self) -> None:
        if self not in self._all:
            return
        try:
            count = self._channel.recv_into(self._reactor.scratch_body) if self._channel.readable else BLOCKED
        except BrokenChannel:
            count = 0
        if count == BLOCKED:
            return
        self._seen_bytes += count
        if count and self._seen_bytes <= LINGER_BYTES_MAX:
            self._reactor.soon(self._read)
        else:
            self._close()

    def _close(self) -> None:
        self._over()
        self._channel.close()

    def _over(self) -> None:
        self._timer.cancel()
        self._all.pop(self, None)
