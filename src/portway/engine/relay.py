"""A relay joins two channels until both ways are done."""

from collections.abc import Callable

from portway.engine.channel import Channel
from portway.engine.pumps import choose_pump
from portway.engine.reactor import Reactor
from portway.engine.tally import Tally


class Relay:
    """Two channels and a pump each way.

    The end of one side, once everything before it is delivered, becomes the end of the other, and the opposite way
    lives on. A break of one side is a break of the other, never an end: whoever sits there must be able to tell
    truncation from completion. When both ways have ended, both channels are closed and `on_done` is called, once.
    """

    __slots__ = ("_backward", "_done", "_ended_at", "_forward", "_on_done", "_reactor", "left", "right", "started_at")

    def __init__(self, reactor: Reactor, left: Channel, right: Channel, on_done: "Callable[[Relay], None]") -> None:
        """Join `left` and `right`; nothing moves before a `start…`."""
        self._reactor = reactor
        self.left = left
        self.right = right
        self._on_done = on_done
        self._done = False
        self.started_at = reactor.now
        self._ended_at: float | None = None
        self._forward = choose_pump(left)(reactor, left, right, self)
        self._backward = choose_pump(right)(reactor, right, left, self)

    @property
    def tally(self) -> Tally:
        """What has gone through so far."""
        return Tally(self._forward.flow, self._backward.flow, self.started_at, self._ended_at)

    def start(self) -> None:
        """Move bytes both ways from now on."""
        self.start_forward()
        if not self._done:
            self.start_backward()

    def start_forward(self) -> None:
        """Move bytes from left to right."""
        self.left.on_readable = self.right.on_writable = self._forward.run
        self.left.on_broken = self._left_broke
        self._forward.run()

    def start_backward(self) -> None:
        """Move bytes from right to left."""
        self.right.on_readable = self.left.on_writable = self._backward.run
        self.right.on_broken = self._right_broke
        self._backward.run()

    def abort(self, reason: str = "internal error") -> None:
        """Break both sides, for `reason`."""
        if not self._done:
            for pump in (self._forward, self._backward):
                pump.reason = pump.reason or f"aborted: {reason}"
            self.left.abort()
            self.right.abort()
            self._end()

    def pump_ended(self) -> None:
        """Note that one way has ended; close when both have."""
        if not self._done and self._forward.reason and self._backward.reason:
            self.left.close()
            self.right.close()
            self._end()

    def pump_broke(self) -> None:
        """Break both sides, because one broke."""
        self.abort("other way broke")

    def _left_broke(self) -> None:
        self._forward.reason = self._forward.reason or "read_broke"
        self.abort("other side broke")

    def _right_broke(self) -> None:
        self._backward.reason = self._backward.reason or "read_broke"
        self.abort("other side broke")

    def _end(self) -> None:
        self._done = True
        self._ended_at = self._reactor.now
        self._on_done(self)
