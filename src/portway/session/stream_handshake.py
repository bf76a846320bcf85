"""How a visitor's stream begins, both halves, in the reactor: a preamble there, one status byte back.

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
"""How long the agent may take to reach its origin; it gives up by itself after less (agent/origins.py)."""

PREAMBLE_S_MAX = 5.0
"""How long the server may take for its header, which it sends together with the open."""

OnStatus = Callable[[StreamStatus | None], None]


class StatusWaiter:
    """Waits for the status byte of a stream that was just opened.

    Until then it owns `on_readable` and `on_broken` of the channel; sending on it is free at any time. Whoever closes
    the channel before that lets go of all this at once: scanners leave thousands a second, and a deadline is seconds long.
    """

    __slots__ = ("__weakref__", "_channel", "_on_status", "_timer")

    def __init__(self, reactor: Reactor, channel: Channel, on_status: OnStatus, deadline_s: float) -> None:
        """Wait from now on; `channel` lends (a mux stream does)."""
        self._channel = channel
        self._on_status: OnStatus | None = on_status
        self._timer: Timer = reactor.call_later(deadline_s, partial(_expire, ref(self)))
        channel.on_readable = channel.on_broken = self._look

    def __del__(self) -> None:
        self._timer.cancel()

    def abort(self) -> None:
        """Give up: the agent said nothing in time, or our own callback failed."""
        self._tell(None)

    def _look(self) -> None:
        if self._on_status is None:
            return
        channel = self._channel
        try:
            view = channel.peek()
            if view is None:
                if channel.ended:
                    self._tell(None)
                return
            byte = view[0]
            channel.consume(1)
            status = StreamStatus.of(byte)
        except (BrokenChannel, PeerError):
            self._tell(None)
            return
        self._tell(status)

    def _tell(self, status: StreamStatus | None) -> None:
        on_status, self._on_status = self._on_status, None
        if on_status is None:
            return
        self._timer.cancel()
        self._channel.on_readable = self._channel.on_broken = nothing
        if status is None:
            self._channel.abort()
        on_status(status)


def _expire(opening: ref[StatusWaiter]) -> None:
    """Call `abort` if it is still waited for."""
    alive = opening()
    if alive is not None:
        alive.abort()


class StreamOpener(Protocol):
    """Where streams are opened: a mux."""

    def open(self, first: bytes = b"") -> Channel:
        """Open a stream that begins with `first`; raises UnavailableError."""


def open_visitor_stream(
    reactor: Reactor, link: StreamOpener, header: bytes, on_status: OnStatus, deadline_s: float = STATUS_S_MAX
) -> Channel:
    """Open a visitor's stream that begins with `header`; `on_status` is called once, from the reactor.

    None: the stream broke, ended or stayed silent; it is aborted then. Otherwise the status byte has been taken off,
    the origin's bytes are still in the channel, and its callbacks are free to be set (then try once at once).
    Whoever closes the channel before that is told nothing more.

    Raises:
        UnavailableError: the link is gone, going away or full.
    """
    channel = link.open(header)
    StatusWaiter(reactor, channel, on_status, deadline_s)
    return channel


class PreambleReader:
    """Takes the preamble off a stream that the server opened, then hands both on.

    Holds at most one preamble (512 bytes); what follows it stays in the channel.
    """

    __slots__ = ("_channel", "_deadline_s", "_held", "_on_bad", "_on_visit", "_reactor", "_timer")

    def __init__(
        self,
        reactor: Reactor,
        channel: Channel,
        on_visit: Callable[[ProxyHeader, Channel], None],
        on_bad: Callable[[str], None],
        deadline_s: float = PREAMBLE_S_MAX,
    ) -> None:
        """Read from now on; `on_bad` hears why a stream without a proper preamble was aborted."""
        self._channel = channel
        self._on_visit: Callable[[ProxyHeader, Channel], None] | None = on_visit
        self._on_bad = on_bad
        self._held = b""
        self._timer: Timer | None = None
        self._reactor = reactor
        self._deadline_s = deadline_s
        channel.on_readable = channel.on_broken = self._look
        reactor.call_soon(self._wait)

    def abort(self) -> None:
        """Give up, as the reactor asks after a failed callback."""
        self._fail("a callback failed")

    def _wait(self) -> None:
        """Set the deadline of a preamble that did not come with the stream itself, as nearly all do."""
        if self._on_visit is not None:
            self._timer = self._reactor.call_later(self._deadline_s, self._time_out)
            self._look()

    def _time_out(self) -> None:
        self._fail("no preamble in time")

    def _look(self) -> None:
        try:
            while self._on_visit is not None:
                view = self._channel.peek()
                if view is None:
                    if self._channel.ended:
                        self._fail("the stream ended within its preamble")
                    return
                self._take(view)
        except (BrokenChannel, PeerError) as error:
            self._fail(str(error))

    def _take(self, view: memoryview) -> None:
        before = len(self._held)
        seen = self._held + bytes(view[: HEADER_BYTES_MAX - before])
        found = decode(seen)
        if found is not None:
            header, size = found
            self._channel.consume(size - before)
            self._hand_on(header)
            return
        if len(seen) >= HEADER_BYTES_MAX:
            raise PeerError(f"no end of the preamble within {HEADER_BYTES_MAX} bytes")
        self._channel.consume(len(view))
        self._held = seen

    def _hand_on(self, header: ProxyHeader) -> None:
        on_visit, self._on_visit = self._on_visit, None
        if self._timer is not None:
            self._timer.cancel()
        self._channel.on_readable = self._channel.on_broken = nothing
        if on_visit is not None:
            on_visit(header, self._channel)

    def _fail(self, why: str) -> None:
        if self._on_visit is not None:
            self._on_visit = None
            if self._timer is not None:
                self._timer.cancel()
            self._channel.abort()
            self._on_bad(why)


def send_status(channel: Channel, status: StreamStatus) -> bool:
    """Send the status byte, which is the first thing that goes back; return False when the stream is gone.

    Anything but CONNECTED also closes the stream: no bytes of an origin will follow. On a link so full that it takes not
    even this byte the stream is broken off: what an origin sends would be taken for its status.
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
