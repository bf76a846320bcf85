"""Waits until the peer has what was sent, before a reset that would overtake it."""

from collections.abc import Callable

from portway.engine.channel import Channel
from portway.engine.reactor import Reactor
from portway.engine.timers import Timer

LOOK_S = 0.05
"""How often the kernel is asked."""
STUCK_S = 2.0
"""How long a peer may take nothing of it: one that does not read does not miss the rest."""
READ_S = 1.0
"""How long a peer may take to read what its system has: some systems throw that away at a reset, and a program that is busy writing
hears of the reset first."""
DELIVERY_S_MAX = 30.0
"""And how long it may take all of it, in crumbs; what a kernel holds is some megabytes at most."""


class Delivery:
    """Calls `on_done` a second after nothing that `channel` took is unsent; at once where that cannot be known (a mux stream: there
    the reset stays behind the bytes).
    """

    __slots__ = ("_channel", "_moved_at", "_on_done", "_reactor", "_timer", "_unsent", "_until")

    def __init__(self, reactor: Reactor, channel: Channel, on_done: Callable[[], None]) -> None:
        """Begin to wait."""
        self._reactor = reactor
        self._channel = channel
        self._on_done = on_done
        self._unsent: int | None = None
        self._moved_at = reactor.now
        self._until = reactor.now + DELIVERY_S_MAX
        self._timer: Timer | None = None
        channel.on_broken = self._done
        reactor.call_soon(self._look)

    def cancel(self) -> None:
        """Wait no more; `on_done` is not called."""
        self._on_done = _nothing
        if self._timer is not None:
            self._timer.cancel()

    def abort(self) -> None:
        """Wait no more, as the reactor asks after a failed callback."""
        self._done()

    def _look(self) -> None:
        self._timer = None
        now = self._reactor.now
        unsent = self._channel.unsent_bytes()
        if unsent != self._unsent:
            self._unsent, self._moved_at = unsent, now
        patience_s = STUCK_S if unsent else READ_S
        if unsent is None or now - self._moved_at >= patience_s or now >= self._until:
            self._done()
        elif self._on_done is not _nothing:
            self._timer = self._reactor.call_later(LOOK_S, self._look)

    def _done(self) -> None:
        on_done = self._on_done
        self.cancel()
        on_done()


def _nothing() -> None:
    """Stand in for who was told, or does not want to be."""
