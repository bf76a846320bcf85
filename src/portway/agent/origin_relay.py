"""A relay of an http tunnel that tells the server when its origin has ended before it got a byte of a request."""

from portway.engine.pumps import Pump
from portway.engine.relay import Relay
from portway.engine.tally import ENDED, READ_BROKE
from portway.errors import BrokenChannel


class OriginRelay(Relay):
    """Joins a stream that carries one request after the other (left) with a connection to the origin (right).

    When the origin ends and nothing was written to it since it spoke last, the stream's end or reset says so (UNTOUCHED), and
    nothing is written any more: the server sends the next request only when it has the last answer, so that no byte of one that
    it waits for has reached the origin, or ever will. It may send that one again on another stream, whatever it is.
    """

    __slots__ = ()

    @property
    def _untouched(self) -> bool:
        forward = self._forward
        quiet = not forward.events or forward.sent_at_event < self._backward.events
        return quiet and not (forward.queued or forward.reason or self.left.switched)

    def pump_ends(self, pump: Pump) -> None:
        """Write nothing more to an origin that ended in quiet."""
        if pump is self._backward and self._untouched:
            self.left.mark_untouched()
            self._forward.queued = True  # holds it
            self.left.on_readable = self._look_behind_the_end
            self.right.on_writable = _nothing

    def _right_broke(self) -> None:
        if self._untouched:
            self.left.mark_untouched()
        super()._right_broke()

    def _left_broke(self) -> None:
        if self.left.on_readable == self._look_behind_the_end:
            self._forward.stop(READ_BROKE)  # it is held, and would wait for ever
        super()._left_broke()

    def _look_behind_the_end(self) -> None:
        """Go on for a stream that was upgraded just before, or that ends, too; what comes otherwise is a request that crossed the end."""
        try:
            request = not self.left.switched and self.left.peek() is not None
        except BrokenChannel:
            self._left_broke()
            return
        if request:
            self.left.consume(0)
            self._forward.stop(ENDED)
            self.pump_ended()
        elif self.left.switched or self.left.ended:
            self.left.on_readable = self.right.on_writable = self._forward.run
            self._forward.queued = False
            self._forward.drain()


def _nothing() -> None:
    """Stand in for a pump that is held."""
