"""A stream that belongs to one visitor: its origin may have authenticated the connection (RFC 4559 section 6)."""

from typing import Protocol

from portway.protocol.stream_status import StreamStatus
from portway.server.edge.http.origin.stream import OriginStream


class PinOwner(Protocol):
    """A visitor with a stream of its own."""

    pin: "PinnedStream | None"

    def pin_lost(self) -> None:
        """Called when the stream has ended: the visitor's connection ends, too, as it would without Portway."""


class PinPool(Protocol):
    """The pool of the tunnel that the stream leads to."""

    pins: "dict[PinnedStream, None]"
    """Pinned streams without a request, the one that rests longest first."""


class PinnedStream:
    """Keeps a visitor's stream between its requests; either ends with the other."""

    __slots__ = ("_owner", "_stream", "pool")

    def __init__(self, stream: OriginStream, owner: PinOwner, pool: PinPool) -> None:
        """Keep `stream` for `owner`, in place of the one that it had before."""
        if owner.pin is not None:
            owner.pin.let_go()
        self._stream = stream
        self._owner = owner
        self.pool = pool
        owner.pin = self
        pool.pins[self] = None
        stream.user = self

    def take(self) -> OriginStream | None:
        """Return the stream for the next request; None when it has ended, or got bytes that nobody asked for."""
        self._forget()
        if self._stream.is_dry():
            return self._stream
        self._stream.abort()
        return None

    def let_go(self) -> None:
        """End the stream: its visitor has left."""
        self._forget()
        self._stream.leave()

    def end(self) -> None:
        """End the stream, and its visitor's connection."""
        self.let_go()
        self._owner.pin_lost()

    def origin_readable(self) -> None:
        """End when the origin has ended, or sent what nobody asked for."""
        if not self._stream.is_dry():
            self.end()

    def origin_writable(self) -> None:
        """Nothing waits to be written."""

    def origin_refused(self, status: StreamStatus | None) -> None:
        """The status of a stream that served a request has come before."""

    def abort(self) -> None:
        """End both, as the reactor asks after a failed callback."""
        self.end()

    def _forget(self) -> None:
        self.pool.pins.pop(self, None)
        if self._owner.pin is self:
            self._owner.pin = None
        if self._stream.user is self:
            self._stream.user = None
