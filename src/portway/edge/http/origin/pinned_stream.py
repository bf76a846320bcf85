"""A stream reserved for one visitor, because its origin may have authenticated the connection (RFC 4559 section 6)."""

from typing import Protocol

from portway.edge.http.origin.stream import OriginStream
from portway.edge.http.refusal import Refusal
from portway.protocol.stream_status import StreamStatus


class PinOwner(Protocol):
    """A visitor connection with a stream of its own."""

    pin: "PinnedStream | None"

    def on_pin_lost(self) -> None:
        """Called when the stream has ended: the visitor's connection closes, too, as it would without Portway."""


class PinPool(Protocol):
    """The part of the tunnel's pool that a pinned stream uses."""

    pins: "dict[PinnedStream, None]"
    """Pinned streams without a request, the longest idle first."""


class PinnedStream:
    """Keeps a visitor's stream between its requests; if one is closed, so is the other."""

    __slots__ = ("_owner", "_stream", "pool")

    def __init__(self, stream: OriginStream, owner: PinOwner, pool: PinPool) -> None:
        """Keep `stream` for `owner`, replacing the one that it had before."""
        if owner.pin is not None:
            owner.pin.release()
        self._stream = stream
        self._owner = owner
        self.pool = pool
        owner.pin = self
        pool.pins[self] = None
        stream.user = self

    def take(self) -> OriginStream | None:
        """Return the stream for the next request; None if it has ended, or received unexpected bytes."""
        self._detach()
        if self._stream.is_idle():
            return self._stream
        self._stream.abort()
        return None

    def release(self) -> None:
        """Close the stream: its visitor has left."""
        self._detach()
        self._stream.close_gracefully()

    def end(self) -> None:
        """Close the stream, and its visitor's connection."""
        self.release()
        self._owner.on_pin_lost()

    def on_origin_readable(self) -> None:
        """Close both if the origin has ended, or sent unexpected bytes."""
        if not self._stream.is_idle():
            self.end()

    def on_origin_writable(self) -> None:
        """Ignored: nothing waits to be written."""

    def on_origin_refused(self, status: StreamStatus | Refusal | None) -> None:
        """Never called: the status arrived before the first request."""

    def abort(self) -> None:
        """Close both; the reactor calls this after a failed callback."""
        self.end()

    def _detach(self) -> None:
        self.pool.pins.pop(self, None)
        if self._owner.pin is self:
            self._owner.pin = None
        if self._stream.user is self:
            self._stream.user = None
