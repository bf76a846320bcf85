"""A relay joins two channels until both ways are done."""

from collections.abc import Callable
from functools import partial

from portway.engine.accounts import Account
from portway.engine.channel import Channel
from portway.engine.delivery import Delivery
from portway.engine.limits import LimitEnforcer, Scopes
from portway.engine.pumps import Pump, Sink, choose_pump
from portway.engine.reactor import Reactor
from portway.engine.tally import ABORTED, ENDED, READ_BROKE, WRITE_BROKE, Tally


class Relay:
    """Two channels and a pump each way.

    The end of one side, once everything before it is delivered, becomes the end of the other, and the opposite way
    lives on. A break of one side is a break of the other, never an end: whoever sits there must be able to tell
    truncation from completion. When both ways have ended, both channels are closed and `on_done` is called, once.

    A side that takes no more bytes may have said why, and hung up: what it sent before is read to its end and delivered
    before both break.
    """

    __slots__ = (
        "_backward",
        "_delivers",
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
        self._limits: LimitEnforcer | None = None
        to_right: Sink = right
        to_left: Sink = left
        if scopes:
            self._limits = LimitEnforcer(reactor, self, scopes)
            to_right, to_left = self._limits.gates(left, right)
        self._forward = choose_pump(left)(reactor, left, to_right, self)
        self._backward = choose_pump(right)(reactor, right, to_left, self)
        self._forward.opposite, self._backward.opposite = self._backward, self._forward
        self._delivers: Delivery | None = None

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

    @property
    def account(self) -> Account:
        """Who is charged for its turns: whoever one of the channels belongs to."""
        for channel in (self.left, self.right):
            if channel.account is not None:
                return channel.account
        return self._reactor.unassigned

    def outgoing_channels(self) -> tuple[Channel, Channel]:
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
            if self._delivers is not None:
                self._delivers.cancel()
            self.left.abort()
            self.right.abort()
            self._end()

    def pump_ends(self, pump: Pump) -> None:
        """Nothing is to be done before the end goes on."""

    def pump_ended(self) -> None:
        """Note that one way has ended; close when both have, break when the other broke."""
        forward, backward = self._forward.reason, self._backward.reason
        if self._done or not (forward and backward):
            return
        if WRITE_BROKE in (forward, backward):
            self._break_after_delivery()
        else:
            self.left.close()
            self.right.close()
            self._end()

    def pump_broke(self) -> None:
        """Break both sides, because one broke; first deliver what one that only takes no more bytes had sent."""
        forward, backward = self._forward, self._backward
        if ABORTED in (forward.reason, backward.reason):
            self.abort()
        elif forward.reason == READ_BROKE:
            self._left_broke()
        elif backward.reason == READ_BROKE:
            self._right_broke()
        elif forward.reason and backward.reason:
            self._break_after_delivery()
        elif forward.reason:
            backward.drain()
        else:
            forward.drain()

    def _left_broke(self) -> None:
        self._broke(self._forward, self._backward)

    def _right_broke(self) -> None:
        self._broke(self._backward, self._forward)

    def _broke(self, from_it: Pump, to_it: Pump) -> None:
        """Break both sides after one has broken: `from_it` reads from that one, `to_it` writes to it."""
        if self._done:
            return
        drained = to_it.reason == WRITE_BROKE
        if not from_it.reason:
            from_it.run()  # what came before the break goes first, as far as the other side takes it
            if from_it.queued:
                self._reactor.call_soon(partial(self._broke, from_it, to_it))
            if from_it.queued or (drained and not from_it.ended_at):
                return
        from_it.stop(READ_BROKE)
        to_it.stop(WRITE_BROKE)
        if drained or from_it.reason == ENDED:
            self._break_after_delivery()
        else:
            self.end(WRITE_BROKE)

    def _break_after_delivery(self) -> None:
        """Break both sides; the one that still takes bytes as soon as it has them, because a reset overtakes them."""
        if self._done or self._delivers is not None:
            return
        to_left = self._forward.reason == WRITE_BROKE
        if to_left and self._backward.reason == WRITE_BROKE:
            self.end(WRITE_BROKE)
            return
        (self.right if to_left else self.left).abort()
        self._delivers = Delivery(self._reactor, self.left if to_left else self.right, self._delivered)

    def _delivered(self) -> None:
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
