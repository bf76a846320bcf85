"""One stream's state in a yamux session, and the frames it sends."""

from collections.abc import Callable
from typing import Protocol

from portway.errors import MisuseError, PeerError
from portway.protocol.yamux.frame import (
    ACK,
    DATA,
    FIN,
    INITIAL_WINDOW_BYTES,
    LENGTH_MAX,
    RST,
    SWITCHED,
    SYN,
    UNTOUCHED,
    WINDOW_UPDATE,
    encode,
)
from portway.protocol.yamux.window import GrowthBudget, ReceiveWindow

STREAM_SLOTS = (
    "_first_flags",
    "_last_flags",
    "gone",
    "local_ended",
    "peer_ended",
    "receive_window",
    "send_window",
    "session",
    "stream_id",
    "switched",
    "untouched",
)


class StreamSession(Protocol):
    """The part of a `Session` that its streams use."""

    growth: GrowthBudget
    on_output: Callable[[], None]
    out: bytearray
    rtt_s: float | None

    def forget(self, stream: "Stream", /) -> None:
        """Remove a stream that has ended."""


class Stream:
    """The state of a stream; subclasses implement the four callbacks at the end.

    The session calls them directly: an event object per Data frame costs three times as much (docs/engine.md).
    """

    __slots__ = STREAM_SLOTS

    def __init__(self, session: StreamSession, stream_id: int) -> None:
        """Create stream `stream_id` of `session`; only `make_stream` of the session does so."""
        self.session = session
        self.stream_id = stream_id
        self.send_window = INITIAL_WINDOW_BYTES
        """Bytes that may be sent before the peer grants more."""
        self.receive_window = ReceiveWindow(session.growth)
        self.local_ended = False
        """True once FIN was sent."""
        self.peer_ended = False
        """True once the peer's FIN was received."""
        self.gone = False
        """True once the session has removed the stream: both ends finished, or it was reset."""
        self.untouched = False
        """True once the peer has ended or reset the stream with UNTOUCHED."""
        self.switched = False
        """True once the peer has sent SWITCHED."""
        self._first_flags = 0
        self._last_flags = 0

    def data_header(self, count: int) -> bytes:
        """Return the header for `count` bytes of Data, and subtract them from the window.

        Raises:
            MisuseError: the window is smaller, or FIN was sent.
        """
        if count > self.send_window or self.local_ended:
            raise MisuseError(f"{count} bytes to send, window {self.send_window}, ended {self.local_ended}")
        self.send_window -= count
        flags = self._first_flags
        self._first_flags = 0
        return encode(0, DATA, flags, self.stream_id, count)

    def write(self, data: memoryview | bytes | bytearray) -> None:
        """Copy `data` behind its header into the session's output."""
        header = self.data_header(len(data))
        session = self.session
        if not session.out:
            session.on_output()
        session.out += header
        session.out += data

    def end(self) -> None:
        """Send FIN, once."""
        if not self.local_ended and not self.gone:
            self.local_ended = True
            self._send(DATA, FIN | self._last_flags, 0)
            if self.peer_ended:
                self.session.forget(self)

    def reset(self) -> None:
        """Send RST, which ends both directions."""
        if not self.gone:
            self._send(DATA, RST | self._last_flags, 0)
            self.session.forget(self)

    def mark_untouched(self) -> None:
        """Send UNTOUCHED with the end or the reset that follows."""
        self._last_flags = UNTOUCHED

    def send_switched(self) -> None:
        """Send SWITCHED."""
        if not self.gone:
            self._send(WINDOW_UPDATE, SWITCHED, 0)

    def grant(self, now: float) -> None:
        """Send the credit that `receive_window` has not granted yet."""
        if not self.gone and not self.peer_ended:
            self._send(WINDOW_UPDATE, 0, self.receive_window.grant(now, self.session.rtt_s))

    def announce(self, *, opened_here: bool) -> None:
        """Send the first frame: SYN of a stream opened here, unless sent with data; ACK of an accepted one."""
        if opened_here:
            if self._first_flags:
                self._send(WINDOW_UPDATE, 0, 0)
        else:
            self._send(WINDOW_UPDATE, ACK, 0)

    def mark_new(self) -> None:
        """Send SYN with the next frame."""
        self._first_flags = SYN

    def credit(self, count: int) -> None:
        """Apply a window update from the peer.

        Raises:
            PeerError: the window would exceed 2^32 - 1.
        """
        if count:
            if self.send_window + count > LENGTH_MAX:
                raise PeerError(f"yamux: window update of {count} on top of {self.send_window} exceeds 2^32 - 1")
            was_empty = not self.send_window
            self.send_window += count
            if was_empty:
                self.on_credit()

    def _send(self, kind: int, flags: int, length: int) -> None:
        session = self.session
        if not session.out:
            session.on_output()
        session.out += encode(0, kind, flags | self._first_flags, self.stream_id, length)
        self._first_flags = 0

    def deliver(self, view: memoryview) -> None:
        """Called with received bytes; `view` is valid only during the call."""
        raise NotImplementedError

    def on_credit(self) -> None:
        """Called when the window is open again after it was empty."""
        raise NotImplementedError

    def on_peer_fin(self) -> None:
        """Called at the peer's FIN; all bytes before it were delivered."""
        raise NotImplementedError

    def on_reset(self) -> None:
        """Called when the stream was reset by the peer, or the session was lost."""
        raise NotImplementedError
