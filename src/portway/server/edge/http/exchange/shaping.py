"""Holds a visitor's connection to the rates of the tunnel that it asks, from one request to the next."""

from portway.engine.bucket import Scheduler
from portway.engine.channel import Channel
from portway.engine.gate import Gate
from portway.engine.limits import Scopes, buckets_of
from portway.engine.policy import strictest
from portway.server.edge.http.buffers import ChannelWriter


class PartialWriteGate(Gate):
    """A gate for those who write without asking for room first, heads and answers: it takes what there is credit for."""

    __slots__ = ()

    def send(self, data: memoryview | bytes | bytearray) -> int:
        """Pass on what may pass now; after less than all of it, `room` says when more may."""
        room = self.room()
        if not room:
            return 0
        return super().send(data if len(data) <= room else memoryview(data)[:room])


class ConnectionShaper:
    """The buckets of one connection, and a gate before its visitor.

    They outlive a request: a visitor who asks a hundred times may not begin a hundred times with what a rate allows at once.
    Each stream that serves it gets a gate for that request alone, because the next one may serve another visitor.
    """

    __slots__ = ("_forward", "_gate", "scopes")

    def __init__(self, clock: Scheduler, channel: Channel, outlet: ChannelWriter, scopes: Scopes) -> None:
        """Stand before a visitor's `channel`, in its `outlet`."""
        self.scopes = scopes
        self._forward, backward = buckets_of(clock, scopes, strictest(scope.policy for scope in scopes))
        self._gate = PartialWriteGate(channel, backward, None) if backward else None
        outlet.channel = self._gate or channel

    def gate(self, channel: Channel) -> Gate | None:
        """Return a gate for what goes to the origin on `channel`, or None where nothing shapes it."""
        return PartialWriteGate(channel, self._forward, None) if self._forward else None

    def let_go(self) -> None:
        """Hold nobody any more."""
        if self._gate is not None:
            self._gate.release()


def shaper_for(
    known: ConnectionShaper | None, clock: Scheduler, channel: Channel, outlet: ChannelWriter, scopes: Scopes
) -> ConnectionShaper:
    """Return what holds a connection to the rates of `scopes`: what it had before, where it asked for the same."""
    if known is not None:
        if known.scopes == scopes:
            return known
        known.let_go()
    return ConnectionShaper(clock, channel, outlet, scopes)
