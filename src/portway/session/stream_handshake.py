"""Both halves of the handshake of a visitor's stream, in the reactor: a preamble to the agent, one status byte back.

server                                       agent
PROXY v2 header (≤ 512 bytes, tunnel id) ─>
the visitor's bytes may follow at once   ─>
                                         <─  status byte: 0 connected, otherwise why not
                                         <─  the origin's bytes
"""

from collections.abc import Callable
from functools import partial
from typing import Protocol
from weakref import ref

from portway.engine.channel import Channel, nothing
from portway.engine.reactor import Reactor
from portway.engine.timers import Timer
from portway.errors import BrokenChannel, PeerError
from portway.protocol.proxy_header import HEADER_BYTES_MAX, ProxyHeader, decode
from portway.protocol.stream_status import StreamStatus

STATUS_S_MAX = 10.0
"""How long the agent may take to connect to its origin; its own deadline is shorter (agent/origin_connector.py)."""

PREAMBLE_S_MAX = 5.0
"""How long the server may take for its header, which it sends together with the open."""

OnStatus = Callable[[StreamStatus | None], None]


class StatusWaiter:
    """Waits for the status byte of a stream that was just opened.

    Until then it owns `on_readable` and `on_broken` of the channel; sending is allowed at any time. Closing the channel
    earlier frees all of this at once: scanners leave by the thousand per second, and a deadline takes seconds.
    """

    __slots__ = ("__weakref__", "_channel", "_on_status", "_timer")

    def __init__(self, reactor: Reactor, channel: Channel, on_status: OnStatus, deadline_s: float) -> None:
        """Wait from now on; `channel` supports `peek`, as a mux stream does."""
        self._channel = channel
        self._on_status: OnStatus | None = on_status
        self._timer: Timer = reactor.call_later(deadline_s, partial(_expire, ref(self)))
        channel.on_readable = channel.on_broken = self._poll

    def __del__(self) -> None:
        self._timer.cancel()

    def abort(self) -> None:
        """Give up, because the deadline has passed or our own callback failed."""
        self._report(None)

    def _poll(self) -> None:
        if self._on_status is None:
            return
        channel = self._channel
        try:
            view = channel.peek()
            if view is None:
                if channel.ended:
                    self._report(None)
                return
            byte = view[0]
            channel.consume(1)
            status = StreamStatus.of(byte)
        except (BrokenChannel, PeerError):
            self._report(None)
            return
        self._report(status)

    def _report(self, status: StreamStatus | None) -> None:
        on_status, self._on_status = self._on_status, None
        if on_status is None:
            return
        self._timer.cancel()
        self._channel.on_readable = self._channel.on_broken = nothing
        if status is None:
            self._channel.abort()
        on_status(status)


def _expire(waiter: ref[StatusWaiter]) -> None:
    """Abort a waiter that still exists."""
    alive = waiter()
    if alive is not None:
        alive.abort()


class StreamOpener(Protocol):
    """Opens streams: a mux."""

    def open(self, first: bytes = b"") -> Channel:
        """Open a stream that begins with `first`; raises UnavailableError."""


def open_visitor_stream(
    reactor: Reactor, link: StreamOpener, header: bytes, on_status: OnStatus, deadline_s: float = STATUS_S_MAX
) -> Channel:
    """Open a visitor's stream that begins with `header`; `on_status` is called once, from the reactor.

    It gets None when the stream broke, ended or stayed silent; the stream is aborted then. Otherwise the status byte has been
    consumed, the origin's bytes are still in the channel, and its callbacks can be set (then try to read once).
    `on_status` is not called if the channel is closed before that.

    Raises:
        UnavailableError: the link is lost, draining or full.
    """
    channel = link.open(header)
    StatusWaiter(reactor, channel, on_status, deadline_s)
    return channel


class PreambleReader:
    """Consumes the preamble of a stream that the server opened, then passes on header and stream.

    Buffers at most one preamble (512 bytes); what follows it stays in the channel.
    """

    __slots__ = ("_buffered", "_channel", "_deadline_s", "_on_bad", "_on_preamble", "_reactor", "_timer")

    def __init__(
        self,
        reactor: Reactor,
        channel: Channel,
        on_preamble: Callable[[ProxyHeader, Channel], None],
        on_bad: Callable[[str], None],
        deadline_s: float = PREAMBLE_S_MAX,
    ) -> None:
        """Read from now on; `on_bad` gets the reason when a stream without a valid preamble was aborted."""
        self._channel = channel
        self._on_preamble: Callable[[ProxyHeader, Channel], None] | None = on_preamble
        self._on_bad = on_bad
        self._buffered = b""
        self._timer: Timer | None = None
        self._reactor = reactor
        self._deadline_s = deadline_s
        channel.on_readable = channel.on_broken = self._poll
        reactor.call_soon(self._start_deadline)

    def abort(self) -> None:
        """Abort the stream; the reactor calls this after a failed callback."""
        self._fail("a callback failed")

    def _start_deadline(self) -> None:
        """Set the deadline, unless the preamble came together with the stream, as nearly all do."""
        if self._on_preamble is not None:
            self._timer = self._reactor.call_later(self._deadline_s, self._time_out)
            self._poll()

    def _time_out(self) -> None:
        self._fail("no preamble in time")

    def _poll(self) -> None:
        try:
            while self._on_preamble is not None:
                view = self._channel.peek()
                if view is None:
                    if self._channel.ended:
                        self._fail("the stream ended within its preamble")
                    return
                self._take(view)
        except (BrokenChannel, PeerError) as error:
            self._fail(str(error))

    def _take(self, view: memoryview) -> None:
        before = len(self._buffered)
        received = self._buffered + bytes(view[: HEADER_BYTES_MAX - before])
        found = decode(received)
        if found is not None:
            header, size = found
            self._channel.consume(size - before)
            self._finish(header)
            return
        if len(received) >= HEADER_BYTES_MAX:
            raise PeerError(f"no end of the preamble within {HEADER_BYTES_MAX} bytes")
        self._channel.consume(len(view))
        self._buffered = received

    def _finish(self, header: ProxyHeader) -> None:
        on_preamble, self._on_preamble = self._on_preamble, None
        if self._timer is not None:
            self._timer.cancel()
        self._channel.on_readable = self._channel.on_broken = nothing
        if on_preamble is not None:
            on_preamble(header, self._channel)

    def _fail(self, reason: str) -> None:
        if self._on_preamble is not None:
            self._on_preamble = None
            if self._timer is not None:
                self._timer.cancel()
            self._channel.abort()
            self._on_bad(reason)


def send_status(channel: Channel, status: StreamStatus) -> bool:
    """Send the status byte, which is the first byte back; return False when the stream is lost.

    Any status but CONNECTED also closes the stream, because no bytes of an origin follow. A link too full for this byte
    resets the stream: the origin's first byte would be taken for the status.
    """
    try:
        if not channel.send(bytes((status,))):
            channel.abort()
            return False
        if status is not StreamStatus.CONNECTED:
            channel.shutdown_write()
            channel.close()
    except BrokenChannel:
        channel.abort()
        return False
    return True
