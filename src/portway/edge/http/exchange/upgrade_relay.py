"""Upgrades an exchange to a WebSocket relay: buffered bytes are sent first, then both directions are relayed."""

from collections.abc import Callable

from portway.edge.http.buffers import ChannelWriter
from portway.edge.http.origin.stream import OriginStream
from portway.engine.channel import Channel
from portway.engine.limits import Scopes
from portway.engine.reactor import Reactor
from portway.engine.relay import Relay
from portway.errors import BrokenChannel


class WebSocketUpgrade:
    """Starts each direction of a relay after its buffered bytes have been sent. These are at most 32 KiB, as much as one read of a
    head brings; usually there are none, and both directions start at once.
    """

    __slots__ = ("_aborted", "_backward", "_forward", "relay")

    def __init__(
        self, reactor: Reactor, channel: Channel, stream: OriginStream, on_finished: Callable[[Relay], None], scopes: Scopes = ()
    ) -> None:
        """Join a visitor's channel (left) and a stream (right). The limits of `scopes` do not count the buffered bytes."""
        self.relay = Relay(reactor, channel, stream.channel, on_finished, scopes)
        self._backward = ChannelWriter(channel)
        self._forward = ChannelWriter(stream.channel)
        self._forward.pending = stream.writer.pending
        self._aborted = False

    def start(self, to_origin: bytes, to_visitor: bytes) -> None:
        """Send the buffered bytes, then relay."""
        left, right = self.relay.left, self.relay.right
        left.on_readable = right.on_readable = _ignore
        left.on_broken = right.on_broken = self.abort
        left.on_writable = self._start_backward
        right.on_writable = self._start_forward
        try:
            if to_visitor:
                self._backward.write(to_visitor)
            if to_origin:
                self._forward.write(to_origin)
        except BrokenChannel:
            self.abort()
            return
        self._start_backward()
        self._start_forward()

    def abort(self) -> None:
        """Break both sides."""
        self._aborted = True
        self.relay.abort("broken during the protocol upgrade")

    def _start_backward(self) -> None:
        if not self._aborted and self._flush(self._backward):
            self.relay.start_backward()

    def _start_forward(self) -> None:
        if not self._aborted and self._flush(self._forward):
            self.relay.start_forward()

    def _flush(self, writer: ChannelWriter) -> bool:
        try:
            return writer.flush()
        except BrokenChannel:
            self.abort()
            return False


def _ignore() -> None:
    """Leave bytes in the channel until the relay reads them."""
