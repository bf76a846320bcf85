"""A relay joins two channels until both ways are done."""

from collections.abc import Callable

from portway.engine.channel import Channel
from portway.engine.limits import Limits, Scopes
from portway.engine.pumps import Sink, choose_pump
from portway.engine.reactor import Reactor
from portway.engine.tally import ABORTED, READ_BROKE, WRITE_BROKE, Tally


class Relay:
    """Two channels and a pump each way.

    The end of one side, once everything before it is delivered, becomes the end of the other, and the opposite way
    lives on. A break of one side is a break of the other, never an end: whoever sits there must be able to tell
    truncation from completion. When both ways have ended, both channels are closed and `on_done` is called, once.
    """

    __slots__ = (
        "_backward",
        "_done",
        "_ended_at",
        "_forward",
        "_limits",
        "_on_done",
        "_reactor",
        "_why",
        "left",
        "right",
        "started_at",
    )

    def __init__(self, reactor: Reactor, left: Channel, right: Channel, on_done: "Callable[[Relay], None]", scopes: Scopes = ()) -> None:
        """Join `left` and `right`, within the limits of all `scopes`; nothing moves before a `start…`."""
        self._reactor = reactor
        self.left = left
        self.right = right
        self._on_done = on_done
        self._done = False
        self._why = ""
        self.started_at = reactor.now
        self._ended_at: float | None = None
        self._limits: Limits | None = None
        to_right: Sink = right
        to_left: Sink = left
        if scopes:
            self._limits = Limits(reactor, self, scopes)
            to_right, to_left = self._limits.gates(left, right)
        self._forward = choose_pump(left)(reactor, left, to_right, self)
        self._backward = choose_pump(right)(reactor, right, to_left, self)

    @property
    def tally(self) -> Tally:
        """What has gone through so far."""
        forward, backward = self._forward.flow(self.started_at), self._backward.flow(self.started_at)
        if self._limits is not None:
            forward, backward = self._limits.counted(forward, backward)
        return Tally(forward, backward, self.started_at, self._ended_at, self._why)

    @property
    def moved_bytes(self) -> int:
        """Bytes that were received from either side."""
        return self._forward.bytes + self._backward.bytes

    def ways_out(self) -> tuple[Channel, Channel]:
        """Return both channels: on either, bytes may still be on their way."""
        return self.left, self.right

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

    def abort(self, why: str = "internal error") -> None:
        """Break both sides, for `why`, in words."""
        if not self._done:
            self._why = why
            self.end(ABORTED)

    def stop(self, reason: str) -> None:
        """Move nothing more either way, for one of tally.REASONS; a way that ended before keeps its own."""
        self._forward.stop(reason)
        self._backward.stop(reason)

    def end(self, reason: str) -> None:
        """Stop, and break both sides."""
        if not self._done:
            self.stop(reason)
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
        if self._forward.reason == READ_BROKE or self._backward.reason == WRITE_BROKE:
            self._left_broke()
        elif self._forward.reason == WRITE_BROKE or self._backward.reason == READ_BROKE:
            self._right_broke()
        else:
            self.abort()

    def _left_broke(self) -> None:
        self._forward.stop(READ_BROKE)
        self.end(WRITE_BROKE)

    def _right_broke(self) -> None:
        self._backward.stop(READ_BROKE)
        self.end(WRITE_BROKE)

    def _end(self) -> None:
        self._done = True
        self._ended_at = self._reactor.now
        if self._limits is not None:
            self._limits.over()
        # Whoever was told lets go of the relay, and its pumps of it: what is over must not wait for the cycle collector.
        on_done, self._on_done = self._on_done, _told
        self._forward.let_go()
        self._backward.let_go()
        on_done(self)


def _told(_relay: Relay) -> None:
    """Stand in for who has been told already."""
