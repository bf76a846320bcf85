"""A yamux stream as a channel."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from portway.engine.accounts import Account
from portway.engine.channel import BLOCKED, CHANNEL_SLOTS, HEADROOM_BYTES, Channel, nothing
from portway.engine.timers import Timer
from portway.errors import BrokenChannel
from portway.mux.buffer_budget import BufferAccount
from portway.protocol.yamux.stream import Stream

if TYPE_CHECKING:
    from portway.mux.mux import Mux

SMALL_FRAME_BYTES_MAX = 16 * 1024 - 1
"""Larger data goes to the link in a frame of its own, uncopied; smaller joins the coalesced output."""
RESET_NOTICE_S = 60.0
"""How long the owner of a stream that the peer has ended and then reset may deliver what came, before it is told."""
FAILED = "a callback failed; its stream is reset: %r"

log = logging.getLogger("portway.mux")


class MuxChannel(Stream, Channel):
    """Lends what the link has just decrypted, in place; only what its reader leaves is kept, bounded by the window.

    Sending: small data is copied behind its header into the link's output, which goes out once a batch; large data goes
    out at once behind its headroom. A stream that sends bulk waits while the link is busy, a quiet one may still add
    small frames, which overtake other streams' bulk.
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

    def __init__(self, mux: "Mux", stream_id: int) -> None:
        """Stand in `mux`; made by its session only."""
        Stream.__init__(self, mux.yamux, stream_id)
        self.on_readable = self.on_writable = self.on_broken = nothing
        self.readable = False
        self.mux = mux
        self.buffer_account: BufferAccount | None = None
        """Where this stream counts what it keeps, if not with all others of its link."""
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
        return f"<MuxChannel {self.stream_id} {state} send_window={self.send_window} kept={len(self._buffered or b'')}>"

    @property
    def account(self) -> Account:  # type: ignore[override]
        """Its link's."""
        return self.mux.account

    @property
    def ended(self) -> bool:
        """True when everything was consumed and the peer has sent FIN."""
        return self.peer_ended and not self._buffered and not self._lent and not self._broken

    def peek(self) -> memoryview | None:
        """Lend the frame in hand, or what was kept."""
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
        """Drop the front, and grant the peer as much again once a quarter of the window is due."""
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
        """Copy out of the frame in hand, or of what was kept."""
        view = self.peek()
        if view is None:
            return 0 if self.ended else BLOCKED
        count = min(len(view), len(buffer))
        buffer[:count] = view[:count]
        self.consume(count)
        return count

    def room(self) -> int:
        """Return what window and link allow; a link in full flow still allows small data of quiet streams."""
        window = self.send_window
        if not window:
            if self.gone:
                return 1  # no window will come: `send` tells
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
        """Copy `data`, as much as there is room for, into the link's output."""
        if self._broken or self._closed or self.gone:
            raise BrokenChannel("the stream is gone")
        count = min(len(data), self.room())
        if count <= SMALL_FRAME_BYTES_MAX:
            was_bulk, self._bulk = self._bulk, count > SMALL_FRAME_BYTES_MAX // 2
            if count:
                self.write(data if count == len(data) else memoryview(data)[:count])
                if not (was_bulk or self._bulk):  # a transfer's crumbs are no request
                    self.mux.small_frame_sent(self)
            return count
        frame = memoryview(bytearray(HEADROOM_BYTES + count))
        frame[HEADROOM_BYTES:] = memoryview(data)[:count]
        return self.send_headroom(frame, count)

    def send_headroom(self, buffer: memoryview, count: int) -> int:
        """Put the header in front of the payload and hand both to the link in one piece."""
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
        """Send FIN behind everything taken."""
        self.end()

    def abort(self) -> None:
        """Send RST."""
        if not self._closed:
            self._closed = True
            self._detach()
            self.reset()

    def close(self) -> None:
        """Leave: silently when both ends have finished, with RST otherwise."""
        self.abort()

    def fail(self) -> None:
        """Reset the stream from within: peer and owner both find the break, also where all has come and is not read."""
        self.reset()
        self._break()

    def deliver(self, view: memoryview) -> None:
        """Lend `view` to the reader; keep what it leaves."""
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
        """Let the writer go on."""
        if self._starved:
            self._starved = False
            self._notify(self.on_writable)

    def resume_writer(self) -> None:
        """Let the writer go on: the link takes bytes again."""
        self._notify(self.on_writable)

    def on_peer_fin(self) -> None:
        """Let the reader find the end."""
        self.readable = True
        self._notify(self.on_readable)

    def on_reset(self) -> None:
        """Let reader and writer find the break; what was kept is lost with the stream, unless the peer had ended before."""
        if not self.peer_ended:
            self._break()
        elif not self._closed:
            # All that the peer had to say is here, properly ended: only the way to it is broken.
            self._reset_after_fin = True
            self._notify(self.on_writable)
            if not self.readable:
                self._start_reset_notice()

    def _start_reset_notice(self) -> None:
        """Tell of the break a while after the reader has seen the end, as nothing else may ever make the writer look.

        Not at once: who sits behind the reader may still be on the way of getting all of it.
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
        """Call back; a bug there ends this stream, not the link that is being decoded."""
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
