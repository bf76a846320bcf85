"""Closes a stream gracefully: sends FIN and waits for the origin's FIN, because a bare close would reach the origin as a reset."""

from portway.edge.http.buffers import ChannelReader
from portway.engine.reactor import Reactor
from portway.errors import BrokenChannel

GRACEFUL_CLOSE_S = 2.0
"""How long an origin may take to send its FIN after ours; then it is reset."""


class GracefulClose:
    """Sends FIN on a channel, and closes it after the origin's FIN.

    Closing a mux stream at once would reach the origin as a reset, which many programs log.
    """

    __slots__ = ("_all", "_reader", "_timer")

    def __init__(self, reactor: Reactor, reader: ChannelReader, closing: "dict[GracefulClose, None]") -> None:
        """Close `reader`'s channel; registered in `closing` until then."""
        self._all = closing
        self._reader = reader
        channel = reader.channel
        self._timer = reactor.call_later(GRACEFUL_CLOSE_S, self.abort)
        closing[self] = None
        channel.on_readable = channel.on_broken = self._check
        channel.shutdown_write()
        self._check()

    def abort(self) -> None:
        """Reset at once."""
        self._detach()
        self._reader.channel.abort()

    def _check(self) -> None:
        try:
            if self._reader.peek(1) is not None:
                self.abort()  # further bytes of the origin have no recipient
            elif self._reader.ended:
                self._detach()
                self._reader.channel.close()
        except BrokenChannel:
            self.abort()

    def _detach(self) -> None:
        self._timer.cancel()
        self._all.pop(self, None)
