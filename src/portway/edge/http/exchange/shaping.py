"""Limits a visitor's connection to the rates of its tunnel, across requests."""

from portway.edge.http.buffers import ChannelWriter
from portway.engine.bucket import Scheduler
from portway.engine.channel import Channel
from portway.engine.gate import Gate
from portway.engine.limits import Scopes, buckets_of
from portway.engine.policy import strictest


class PartialWriteGate(Gate):
    """A gate for writers that do not ask for room first (heads, error responses): it accepts as much as there is credit for."""

    __slots__ = ()

    def send(self, data: memoryview | bytes | bytearray) -> int:
        """Send what the credit allows; if that is not all, `room` arms the notification for more."""
        room = self.room()
        if not room:
            return 0
        return super().send(data if len(data) <= room else memoryview(data)[:room])


class ConnectionShaper:
    """The buckets of one connection, and a gate before its visitor.

    They outlive a request: a visitor with a hundred requests must not get the burst that a rate allows a hundred times.
    Each stream that serves it gets a gate for that request only, because the next one may serve another visitor.
    """

    __slots__ = ("_forward", "_gate", "scopes")

    def __init__(self, clock: Scheduler, channel: Channel, writer: ChannelWriter, scopes: Scopes) -> None:
        """Insert a gate between `writer` and the visitor's `channel`."""
        self.scopes = scopes
        self._forward, backward = buckets_of(clock, scopes, strictest(scope.policy for scope in scopes))
        self._gate = PartialWriteGate(channel, backward, None) if backward else None
        writer.channel = self._gate or channel

    def gate(self, channel: Channel) -> Gate | None:
        """Return a gate for bytes to the origin on `channel`, or None if they are not limited."""
        return PartialWriteGate(channel, self._forward, None) if self._forward else None

    def release(self) -> None:
        """Remove the gate."""
        if self._gate is not None:
            self._gate.release()


def shaper_for(
    known: ConnectionShaper | None, clock: Scheduler, channel: Channel, writer: ChannelWriter, scopes: Scopes
) -> ConnectionShaper:
    """Return the shaper for `scopes`: the one that the connection has, if its scopes are the same."""
    if known is not None:
        if known.scopes == scopes:
            return known
        known.release()
    return ConnectionShaper(clock, channel, writer, scopes)
