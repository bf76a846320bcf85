"""Joins two channels until both directions have ended."""

from collections.abc import Callable
from functools import partial

from portway.engine.accounts import Account
from portway.engine.channel import Channel
from portway.engine.delivery import Delivery
from portway.engine.limits import LimitEnforcer, Scopes
from portway.engine.pump_choice import choose_pump
from portway.engine.pumps import Pump, Sink
from portway.engine.reactor import Reactor
from portway.engine.tally import ABORTED, ENDED, READ_BROKE, WRITE_BROKE, Tally

WrapSinks = Callable[[Sink, Sink], tuple[Sink, Sink]]


class Relay:
    """Two channels and one pump per direction.

    The end of one side, once everything before it is delivered, becomes the end of the other, and the opposite direction
    continues. A break of one side becomes a break of the other, never an end: the peer must be able to distinguish
    truncation from completion. When both directions have ended, both channels are closed and `on_done` is called, once.

    A side that accepts no more bytes may have sent an explanation before it closed: what it sent is read to its end and
    delivered before both sides are reset.
    """

    __slots__ = (
        "_backward",
        "_delivery",
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

    def __init__(
        self,
        reactor: Reactor,
        left: Channel,
        right: Channel,
        on_done: "Callable[[Relay], None]",
        scopes: Scopes = (),
        wrap: WrapSinks | None = None,
    ) -> None:
        """Join `left` and `right` under the limits of all `scopes`; nothing moves before `start`.

        `wrap` may replace the sinks of both directions (to right, to left) by others that pass everything on.
        """
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
        if wrap is not None:
            to_right, to_left = wrap(to_right, to_left)
        self._forward = choose_pump(reactor, left, right, may_splice=wrap is None)(reactor, left, to_right, self)
        self._backward = choose_pump(reactor, right, left, may_splice=wrap is None)(reactor, right, to_left, self)
        self._forward.opposite, self._backward.opposite = self._backward, self._forward
        self._delivery: Delivery | None = None

    @property
    def tally(self) -> Tally:
        """The counts so far."""
        forward, backward = self._forward.flow(self.started_at), self._backward.flow(self.started_at)
        if self._limits is not None:
            forward, backward = self._limits.passed_flows(forward, backward)
        return Tally(forward, backward, self.started_at, self._ended_at, self._why)

    @property
    def moved_bytes(self) -> int:
        """Bytes received from both sides."""
        return self._forward.bytes + self._backward.bytes

    @property
    def account(self) -> Account:
        """The account charged for its turns: that of a stream's tenant, or else of a visitor's source."""
        for channel in (
            self.right,
            self.left,
        ):  # at an edge the visitor is on the left, at an agent the stream is the only one with an account
            if channel.account is not None:
                return channel.account
        return self._reactor.unassigned

    def outgoing_channels(self) -> tuple[Channel, Channel]:
        """Return both channels: each may still have undelivered bytes."""
        return self.left, self.right

    def start(self) -> None:
        """Start both directions."""
        self.start_forward()
        if not self._done:
            self.start_backward()

    def start_forward(self, first: bytes = b"") -> None:
        """Start to move bytes from left to right, beginning with `first`, which was read from `left` before."""
        if first:
            self._forward.preload(first)
        self.left.on_readable = self.right.on_writable = self._forward.run
        self.left.on_broken = self._left_broke
        self._forward.run()

    def start_backward(self) -> None:
        """Start to move bytes from right to left."""
        self.right.on_readable = self.left.on_writable = self._backward.run
        self.right.on_broken = self._right_broke
        self._backward.run()

    def abort(self, why: str = "internal error") -> None:
        """Reset both sides; `why` is the reason as text."""
        if not self._done:
            self._why = why
            self.end(ABORTED)

    def stop(self, reason: str) -> None:
        """Stop both directions with one of tally.REASONS; a direction that has already ended keeps its own reason."""
        self._forward.stop(reason)
        self._backward.stop(reason)

    def end(self, reason: str) -> None:
        """Stop, and reset both sides."""
        if not self._done:
            self.stop(reason)
            if self._delivery is not None:
                self._delivery.cancel()
            self.left.abort()
            self.right.abort()
            self._end()

    def pump_ends(self, pump: Pump) -> None:
        """Do nothing before the end goes to the sink."""

    def pump_ended(self) -> None:
        """Handle the end of one direction: close when both have ended, reset when the other broke."""
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
        """Reset both sides, because one broke; if that side only accepts no more bytes, first deliver what it sent."""
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
        """Reset both sides after one broke: `from_it` reads from that side, `to_it` writes to it."""
        if self._done:
            return
        drained = to_it.reason == WRITE_BROKE
        if not from_it.reason:
            from_it.run()  # bytes from before the break go first, as far as the other side accepts them
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
        """Reset both sides; the one that still accepts bytes only after delivery, because a reset overtakes them."""
        if self._done or self._delivery is not None:
            return
        to_left = self._forward.reason == WRITE_BROKE
        if to_left and self._backward.reason == WRITE_BROKE:
            self.end(WRITE_BROKE)
            return
        (self.right if to_left else self.left).abort()
        self._delivery = Delivery(self._reactor, self.left if to_left else self.right, self._delivered)

    def _delivered(self) -> None:
        self.end(WRITE_BROKE)

    def _end(self) -> None:
        self._done = True
        self._ended_at = self._reactor.now
        if self._limits is not None:
            self._limits.close()
        # Drop all references in cycles: an ended relay must not wait for the cycle collector.
        on_done, self._on_done = self._on_done, _ignore
        self._forward.release()
        self._backward.release()
        on_done(self)


def _ignore(_relay: Relay) -> None:
    """Do nothing: `on_done` was already called."""
