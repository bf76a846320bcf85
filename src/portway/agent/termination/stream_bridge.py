"""Joins a visitor's stream with the socket on which TLS ends."""

from portway.engine.channel import Channel
from portway.engine.reactor import Reactor
from portway.engine.relay import Relay
from portway.engine.tally import WRITE_BROKE
from portway.engine.timers import Timer

LINGER_S = 5.0
"""How long a visitor may take to close after the edge has closed, as nginx's lingering_timeout."""


class StreamBridge(Relay):
    """The stream is on the left. The socket's other end is closed as a whole, never by halves: TLS has close_notify for that."""

    __slots__ = ("_linger",)

    def __init__(self, reactor: Reactor, left: Channel, right: Channel) -> None:
        """Nothing moves before `start`."""
        super().__init__(reactor, left, right, _done)
        self._linger: Timer | None = None

    def pump_ended(self) -> None:
        """When the edge has closed, wait a bounded time for the visitor's own end."""
        if self._backward.reason and not self._forward.reason:
            self._linger = self._reactor.call_later(LINGER_S, self._end_forward)
        else:
            super().pump_ended()

    def _end_forward(self) -> None:
        self._linger = None
        if not self._done:
            self._forward.stop(WRITE_BROKE)
            self._break_after_delivery()

    def _end(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        super()._end()


def _done(_relay: Relay) -> None:
    """Do nothing: the edge reports its requests."""
