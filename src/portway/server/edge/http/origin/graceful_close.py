"""Ending a stream for its origin's sake: an end that is answered, not a stream that just vanishes."""

from portway.engine.reactor import Reactor
from portway.errors import BrokenChannel
from portway.server.edge.http.buffers import ChannelReader

FAREWELL_S = 2.0
"""How long an origin may take to end after we did; then it is reset."""


class GracefulClose:
    """Says the end on a channel and closes it once the origin has ended, too.

    Closing a mux stream at once would reach the origin as a reset, which many a program writes into its log.
    """

    __slots__ = ("_all", "_inlet", "_timer")

    def __init__(self, reactor: Reactor, inlet: ChannelReader, everybody: "dict[GracefulClose, None]") -> None:
        """End `inlet`'s channel; stands in `everybody` until that is over."""
        self._all = everybody
        self._inlet = inlet
        channel = inlet.channel
        self._timer = reactor.call_later(FAREWELL_S, self.abort)
        everybody[self] = None
        channel.on_readable = channel.on_broken = self._look
        channel.shutdown_write()
        self._look()

    def abort(self) -> None:
        """Wait no longer."""
        self._over()
        self._inlet.channel.abort()

    def _look(self) -> None:
        try:
            if self._inlet.view(1) is not None:
                self.abort()  # whatever the origin still says is nobody's
            elif self._inlet.ended:
                self._over()
                self._inlet.channel.close()
        except BrokenChannel:
            self.abort()

    def _over(self) -> None:
        self._timer.cancel()
        self._all.pop(self, None)
