"""Waits until the peer has received everything, before a reset that could overtake the data."""

from collections.abc import Callable

from portway.engine.channel import Channel
from portway.engine.reactor import Reactor
from portway.engine.timers import Timer

CHECK_S = 0.05
"""Interval between queries of the kernel."""
STUCK_S = 2.0
"""How long the peer may accept nothing: a peer that does not read does not miss the rest."""
READ_S = 1.0
"""Time for the peer to read what its system has buffered: some systems discard that at a reset, and a program that is busy writing
sees the reset first."""
DELIVERY_S_MAX = 30.0
"""Bound for a peer that accepts the data in small pieces; a kernel buffers at most some megabytes."""


class Delivery:
    """Calls `on_done` one second after `channel` has no unsent bytes; at once where that is unknown (a mux stream, on which a reset
    cannot overtake data).
    """

    __slots__ = ("_channel", "_moved_at", "_on_done", "_reactor", "_timer", "_unsent", "_until")

    def __init__(self, reactor: Reactor, channel: Channel, on_done: Callable[[], None]) -> None:
        """Start to wait."""
        self._reactor = reactor
        self._channel = channel
        self._on_done = on_done
        self._unsent: int | None = None
        self._moved_at = reactor.now
        self._until = reactor.now + DELIVERY_S_MAX
        self._timer: Timer | None = None
        channel.on_broken = self._done
        reactor.call_soon(self._check)

    def cancel(self) -> None:
        """Stop waiting; `on_done` is not called."""
        self._on_done = _ignore
        if self._timer is not None:
            self._timer.cancel()

    def abort(self) -> None:
        """Finish at once; called by the reactor after a failed callback."""
        self._done()

    def _check(self) -> None:
        self._timer = None
        now = self._reactor.now
        unsent = self._channel.unsent_bytes()
        if unsent != self._unsent:
            self._unsent, self._moved_at = unsent, now
        patience_s = STUCK_S if unsent else READ_S
        if unsent is None or now - self._moved_at >= patience_s or now >= self._until:
            self._done()
        elif self._on_done is not _ignore:
            self._timer = self._reactor.call_later(CHECK_S, self._check)

    def _done(self) -> None:
        on_done = self._on_done
        self.cancel()
        on_done()


def _ignore() -> None:
    """Do nothing: the callback of a delivery that is done or cancelled."""
