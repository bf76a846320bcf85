"""A yamux stream as a channel."""

import logging
from collections.abc import Callable
from typing import Protocol

from portway.clock import Clock
from portway.engine.accounts import Account
from portway.engine.channel import BLOCKED, CHANNEL_SLOTS, HEADROOM_BYTES, Channel, nothing
from portway.engine.poller import CallLater
from portway.engine.timers import Timer
from portway.errors import BrokenChannel
from portway.mux.buffer_budget import BufferAccount, SessionBufferBudget
from portway.protocol.yamux.session import Session
from portway.protocol.yamux.stream import Stream

SMALL_FRAME_BYTES_MAX = 16 * 1024 - 1
"""Larger data is sent as a separate frame, uncopied; smaller data joins the coalesced output."""
RESET_NOTICE_S = 60.0
"""How long the owner of a stream that the peer ended and then reset may deliver the data, before it is notified."""
FAILED = "callback failed, stream reset: %r"

log = logging.getLogger("portway.mux")


class StreamLink(Protocol):
    """The link of a stream: the part of `Mux` that its streams use."""

    account: Account
    blocked: bool
    buffers: SessionBufferBudget
    call_later: CallLater
    frame_bytes: int
    lost: bool
    precise_now: Clock
    yamux: Session

    @property
    def received_at(self) -> float:
        """Time of the last byte from the peer, in monotonic seconds."""

    def has_room_for_small(self) -> bool:
        """Return whether a small frame may be queued while the link is blocked."""

    def wait(self, stream: "MuxChannel", /) -> None:
        """Queue `stream` for `on_writable`, once the link accepts bytes again."""

    def small_frame_sent(self, stream: "MuxChannel", /) -> None:
        """Called after a small frame was queued."""

    def bulk_frame_sent(self, stream: "MuxChannel", /) -> None:
        """Called before a bulk frame is sent."""

    def send_frame(self, frame: memoryview, /) -> None:
        """Send a large frame at once."""


class MuxChannel(Stream, Channel):
    """A stream of a `Mux`. Data that the link has just decrypted is read in place; only unread data is buffered, bounded by the window.

    Sending: small data is copied behind its header into the link's output, which is sent once per round; large data is
    sent at once behind its headroom. A stream with bulk data waits while the link is blocked; others may still add
    small frames, which overtake the bulk data.
    """

    __slots__ = (
        *CHANNEL_SLOTS,
        "_broken",
        "_bulk",
        "_closed",
        "_reset_after_fin",
        "_notice_timer",
        "_buffered",
        "_lent",
        "_starved",
        "_view",
        "buffer_account",
        "mux",
    )

    can_peek = True
    wants_headroom = True

    def __init__(self, mux: StreamLink, stream_id: int) -> None:
        """Create a stream of `mux`; only its yamux session does so."""
        Stream.__init__(self, mux.yamux, stream_id)
        self.on_readable = self.on_writable = self.on_broken = nothing
        self.readable = False
        self.mux = mux
        self.buffer_account: BufferAccount | None = None
        """The account of buffered bytes, if not that of the link."""
        self._buffered: bytearray | None = None
        self._lent: memoryview | None = None
        self._view: memoryview | None = None
        self._broken = False
        self._closed = False
        self._reset_after_fin = False
        self._notice_timer: Timer | None = None
        self._starved = False
        self._bulk = False

    def __repr__(self) -> str:
        state = "broken" if self._broken else "closed" if self._closed else "gone" if self.gone else "open"
        return f"<MuxChannel {self.stream_id} {state} send_window={self.send_window} buffered={len(self._buffered or b'')}>"

    @property
    def account(self) -> Account:  # type: ignore[override]
        """The account of its link."""
        return self.mux.account

    @property
    def ended(self) -> bool:
        """True when everything was consumed and the peer has sent FIN."""
        return self.peer_ended and not self._buffered and not self._lent and not self._broken

    def peek(self) -> memoryview | None:
        """Return the current frame, or the buffered bytes."""
        if self._lent is not None:
            return self._lent
        if self._buffered:
            self._view = memoryview(self._buffered)
            return self._view
        if self._broken:
            raise BrokenChannel("the stream was reset")
        if self._closed:
            raise BrokenChannel("this end is closed")
        self.readable = False
        if self._reset_after_fin:
            self._start_reset_notice()
        return None

    def consume(self, count: int) -> None:
        """Drop the front, and grant the peer new credit once a quarter of the window is due."""
        lent = self._lent
        if lent is not None:
            self._lent = lent[count:] if count < len(lent) else None
        elif self._view is not None:
            self._view.release()
            self._view = None
            if self._buffered is not None:
                if count >= len(self._buffered):
                    self._buffered = None
                else:
                    del self._buffered[:count]
                (self.buffer_account or self.mux.buffers).consume(self, count)
        if count and self.receive_window.consumed(count):
            self.grant(self.mux.precise_now())

    def recv_into(self, buffer: memoryview) -> int:
        """Copy from the current frame, or from the buffered bytes."""
        view = self.peek()
        if view is None:
            return 0 if self.ended else BLOCKED
        count = min(len(view), len(buffer))
        buffer[:count] = view[:count]
        self.consume(count)
        return count

    def room(self) -> int:
        """Return what window and link allow; a blocked link still accepts small data of streams without bulk data."""
        window = self.send_window
        if not window:
            if self.gone:
                return 1  # no credit will arrive: `send` raises
            self._starved = True
            return 0
        mux = self.mux
        if mux.blocked and not self.gone:
            if self._bulk or not mux.has_room_for_small():
                mux.wait(self)
                return 0
            limit = SMALL_FRAME_BYTES_MAX
        else:
            limit = mux.frame_bytes
        return window if window < limit else limit

    def send(self, data: memoryview | bytes | bytearray) -> int:
        """Copy `data` into the link's output, as far as there is room."""
        if self._broken or self._closed or self.gone:
            raise BrokenChannel("the stream is gone")
        count = min(len(data), self.room())
        if count <= SMALL_FRAME_BYTES_MAX:
            was_bulk, self._bulk = self._bulk, count > SMALL_FRAME_BYTES_MAX // 2
            if count:
                self.write(data if count == len(data) else memoryview(data)[:count])
                if not (was_bulk or self._bulk):  # the small rest of a transfer is not a request
                    self.mux.small_frame_sent(self)
            return count
        frame = memoryview(bytearray(HEADROOM_BYTES + count))
        frame[HEADROOM_BYTES:] = memoryview(data)[:count]
        return self.send_headroom(frame, count)

    def send_headroom(self, buffer: memoryview, count: int) -> int:
        """Write the header in front of the payload, and send both in one piece."""
        if self._broken or self._closed or self.gone:
            raise BrokenChannel("the stream is gone")
        room = self.room()
        if count > room:
            count = room
        if not count:
            return 0
        if self.mux.blocked:
            return self.send(buffer[HEADROOM_BYTES : HEADROOM_BYTES + count])
        self._bulk = True
        buffer[:HEADROOM_BYTES] = self.data_header(count)
        self.mux.bulk_frame_sent(self)
        self.mux.send_frame(buffer[: HEADROOM_BYTES + count])
        return count

    def shutdown_write(self) -> None:
        """Send FIN after all accepted data."""
        self.end()

    def abort(self) -> None:
        """Send RST."""
        if not self._closed:
            self._closed = True
            self._detach()
            self.reset()

    def close(self) -> None:
        """Close: silently when both ends have finished, with RST otherwise."""
        self.abort()

    def fail(self) -> None:
        """Reset the stream: peer and owner both see a break, even if all data has arrived and is unread."""
        self.reset()
        self._break()

    def deliver(self, view: memoryview) -> None:
        """Let the reader consume `view`; buffer the rest."""
        if self._closed:
            return
        if self._buffered is not None:
            self._buffer(view)
            self.readable = True
            self._notify(self.on_readable)
            return
        self._lent = view
        self.readable = True
        try:
            self.on_readable()
        except Exception:
            log.exception(FAILED, self)
            self.fail()
        left = self._lent
        if left is not None:
            self._lent = None
            self._buffer(left)

    def on_credit(self) -> None:
        """Resume the writer."""
        if self._starved:
            self._starved = False
            self._notify(self.on_writable)

    def resume_writer(self) -> None:
        """Resume the writer: the link accepts bytes again."""
        self._notify(self.on_writable)

    def on_peer_fin(self) -> None:
        """Let the reader see the end."""
        self.readable = True
        self._notify(self.on_readable)

    def on_reset(self) -> None:
        """Let reader and writer see the break; buffered bytes are dropped, unless the peer had sent its end before."""
        if not self.peer_ended:
            self._break()
        elif not self._closed:
            # All data of the peer has arrived, properly ended: only the direction to it is broken.
            self._reset_after_fin = True
            self._notify(self.on_writable)
            if not self.readable:
                self._start_reset_notice()

    def _start_reset_notice(self) -> None:
        """Report the break some time after the reader has seen the end, because nothing else may ever wake the writer.

        Not at once: the data may still be on its way to the final recipient.
        """
        if self._reset_after_fin and self._notice_timer is None and not self._closed:
            self._notice_timer = self.mux.call_later(RESET_NOTICE_S, self._report_broken)

    def _report_broken(self) -> None:
        self._notify(self.on_broken)

    def _break(self) -> None:
        if self._closed or self._broken:
            return
        self._broken = True
        self._drop_buffered()
        self.readable = True
        self._notify(self.on_readable)
        self._notify(self.on_broken)

    def _notify(self, callback: Callable[[], None]) -> None:
        """Call back; a bug in the callback ends this stream, not the link that is being decoded."""
        try:
            callback()
        except Exception:
            log.exception(FAILED, self)
            self.fail()

    def _buffer(self, view: memoryview) -> None:
        if self._closed or self._broken:
            return
        if self._buffered is None:
            self._buffered = bytearray(view)
        else:
            self._buffered += view
        (self.buffer_account or self.mux.buffers).add(self, len(view))

    def _drop_buffered(self) -> None:
        self._lent = None
        if self._view is not None:
            self._view.release()
            self._view = None
        if self._buffered is not None:
            self._buffered = None
            (self.buffer_account or self.mux.buffers).release(self)

    def _detach(self) -> None:
        self.on_readable = self.on_writable = self.on_broken = nothing
        self.readable = False
        self._drop_buffered()
        if self._notice_timer is not None:
            self._notice_timer.cancel()
