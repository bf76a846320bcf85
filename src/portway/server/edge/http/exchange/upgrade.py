"""From HTTP to a relay: what was read or not yet written on either side goes first, then both ways are free."""

from collections.abc import Callable

from portway.engine.channel import Channel
from portway.engine.limits import Scopes
from portway.engine.reactor import Reactor
from portway.engine.relay import Relay
from portway.errors import BrokenChannel
from portway.server.edge.http.buffers import ChannelWriter
from portway.server.edge.http.origin.stream import OriginStream


class WebSocketUpgrade:
    """Starts each way of a relay as soon as its beginning has been sent. The beginnings are bounded by what one head's
    read brings, 32 KiB; nearly always there is none, and both ways start at once.
    """

    __slots__ = ("_backward", "_forward", "_over", "relay")

    def __init__(
        self, reactor: Reactor, channel: Channel, stream: OriginStream, on_done: Callable[[Relay], None], scopes: Scopes = ()
    ) -> None:
        """Join a visitor's channel (left) and a stream (right). The limits of `scopes` do not count the beginnings."""
        self.relay = Relay(reactor, channel, stream.channel, on_done, scopes)
        self._backward = ChannelWriter(channel)
        self._forward = ChannelWriter(stream.channel)
        self._forward.rest = stream.outlet.rest
        self._over = False

    def start(self, to_origin: bytes, to_visitor: bytes) -> None:
        """Send the beginnings, then relay."""
        left, right = self.relay.left, self.relay.right
        left.on_readable = right.on_readable = _later
        left.on_broken = right.on_broken = self.abort
        left.on_writable = self._go_backward
        right.on_writable = self._go_forward
        try:
            if to_visitor:
                self._backward.write(to_visitor)
            if to_origin:
                self._forward.write(to_origin)
        except BrokenChannel:
            self.abort()
            return
        self._go_backward()
        self._go_forward()

    def abort(self) -> None:
        """Break both sides."""
        self._over = True
        self.relay.abort("broken while switching to another protocol")

    def _go_backward(self) -> None:
        if not self._over and self._flushed(self._backward):
            self.relay.start_backward()

    def _go_forward(self) -> None:
        if not self._over and self._flushed(self._forward):
            self.relay.start_forward()

    def _flushed(self, outlet: ChannelWriter) -> bool:
        try:
            return outlet.flush()
        except BrokenChannel:
            self.abort()
            return False


def _later() -> None:
    """Leave bytes where they are until the relay reads them."""
