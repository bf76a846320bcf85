"""Relay of an http tunnel that reports when its origin has ended before a byte of the next request reached it."""

from portway.engine.pumps import Pump
from portway.engine.relay import Relay
from portway.engine.tally import ENDED, READ_BROKE
from portway.errors import BrokenChannel


class OriginRelay(Relay):
    """Joins a stream that carries one request after the other (left) with a connection to the origin (right).

    When the origin ends and nothing was written to it since its last bytes, the stream's end or reset is marked UNTOUCHED, and
    nothing more is written: the server sends a request only after the previous response, so that no byte of the current one
    has reached the origin, or ever will. The server may send it again on another stream, whatever its method.
    """

    __slots__ = ()

    @property
    def _untouched(self) -> bool:
        forward = self._forward
        quiet = not forward.events or forward.sent_at_event < self._backward.events
        return quiet and not (forward.queued or forward.reason or self.left.switched)

    def pump_ends(self, pump: Pump) -> None:
        """Write nothing more to an origin that ended between requests."""
        if pump is self._backward and self._untouched:
            self.left.mark_untouched()
            self._forward.queued = True  # so that it does not run
            self.left.on_readable = self._check_after_end
            self.right.on_writable = _ignore

    def _right_broke(self) -> None:
        if self._untouched:
            self.left.mark_untouched()
        super()._right_broke()

    def _left_broke(self) -> None:
        if self.left.on_readable == self._check_after_end:
            self._forward.stop(READ_BROKE)  # it does not run, and would never end
        super()._left_broke()

    def _check_after_end(self) -> None:
        """Continue if the stream was upgraded just before, or ends too; any other bytes are a request that crossed the end."""
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


def _ignore() -> None:
    """Do nothing, in place of a pump that does not run."""
