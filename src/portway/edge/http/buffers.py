"""Buffered reader and writer for a channel."""

import contextlib

from portway.engine.channel import Channel
from portway.engine.pumps import Sink
from portway.errors import BrokenChannel
from portway.protocol.http1.fields import READ_BYTES


class ChannelReader:
    """The reading side of a channel, with bytes that were read but not consumed.

    Adds `peek` to every channel: bytes that were read from a socket and not consumed stay in `buffered`, at most one read.
    """

    __slots__ = ("_can_peek", "_scratch", "_scratch_bytes", "_view", "buffered", "channel", "ended")

    def __init__(self, channel: Channel, scratch: memoryview) -> None:
        """Read `channel`, through `scratch` if it cannot peek."""
        self.channel = channel
        self.buffered = b""
        """Bytes that come before those of the channel."""
        self.ended = False
        """True once the peer's proper end was found."""
        self._can_peek = channel.can_peek
        self._scratch = scratch
        self._view: memoryview | None = None
        self._scratch_bytes = 0

    def peek(self, bytes_max: int) -> memoryview | None:
        """Return at most `bytes_max` available bytes, or None; `consume` must follow before any other call.

        Raises:
            BrokenChannel: the bytes ended without a proper end.
        """
        if self.buffered:
            return memoryview(self.buffered)[:bytes_max]
        channel = self.channel
        if self._can_peek:
            view = channel.peek()
            if view is None:
                self.ended = channel.ended
                return None
            if len(view) > bytes_max:
                view = self._view = view[:bytes_max]
            return view
        count = channel.recv_into(self._scratch[:bytes_max])
        if count > 0:
            self._scratch_bytes = count
            return self._scratch[:count]
        self.ended = count == 0
        return None

    def consume(self, count: int) -> None:
        """Drop the first `count` bytes of the last view."""
        if self.buffered:
            self.buffered = self.buffered[count:]
        elif self._can_peek:
            if self._view is not None:
                self._view.release()
                self._view = None
            self.channel.consume(count)
        else:
            if count < self._scratch_bytes:
                self.buffered = bytes(self._scratch[count : self._scratch_bytes])
            self._scratch_bytes = 0

    def read(self, bytes_max: int) -> bytes | None:
        """Return the buffered bytes, otherwise at most `bytes_max` available ones, or None; `ended` shows whether more can follow.

        Raises:
            BrokenChannel: the bytes ended without a proper end.
        """
        if self.buffered:
            data, self.buffered = self.buffered, b""
            return data
        channel = self.channel
        if not channel.readable:
            return None
        scratch = self._scratch[:bytes_max]
        count = channel.recv_into(scratch)
        if count > 0:
            return bytes(scratch[:count])
        self.ended = self.ended or count == 0
        return None

    def discard(self) -> None:
        """Drop what is buffered and available, at most one read."""
        self.buffered = b""
        if self.channel.readable:
            with contextlib.suppress(BrokenChannel):
                self.channel.recv_into(self._scratch)

    def read_ahead(self, bytes_max: int) -> None:
        """Append to the buffer until it has `bytes_max` bytes, nothing is available, or `ended`.

        If more is buffered already, one byte is read: only a read shows whether the end is next.

        Raises:
            BrokenChannel: the bytes ended without a proper end.
        """
        channel = self.channel
        while channel.readable and not self.ended:
            room = bytes_max - len(self.buffered)
            if room <= 0:
                if len(self.buffered) >= READ_BYTES:
                    return
                room, bytes_max = 1, 0
            if self._can_peek:
                if channel.peek() is None:
                    self.ended = channel.ended
                else:
                    channel.consume(0)  # the bytes stay in the channel; an end behind them is not noticed
                return
            count = channel.recv_into(self._scratch[:room])
            if count > 0:
                self.buffered += bytes(self._scratch[:count])
                if not bytes_max:
                    return
            else:
                self.ended = count == 0
                return

    @property
    def reads_direct(self) -> bool:
        """True if the next bytes may be read directly into a buffer of the caller's choice."""
        return not self._can_peek and not self.buffered

    def is_idle(self) -> bool:
        """Return True if nothing is available, not even an end. A byte may be lost: call it only on channels without expected input.

        Raises:
            BrokenChannel: the channel broke.
        """
        if self.buffered:
            return False
        if not self.channel.readable:
            return True
        if self.peek(1) is not None:
            self.consume(0)
            return False
        return not self.ended


class ChannelWriter:
    """The writing side of a channel, with bytes that it did not accept at once: at most one head and one piece of a body."""

    __slots__ = ("channel", "pending")

    def __init__(self, channel: Sink) -> None:
        """Write to `channel`, or to a gate before one."""
        self.channel = channel
        self.pending: memoryview | None = None
        """Bytes to be sent before any others."""

    def write(self, data: bytes) -> None:
        """Send all of `data`, buffering what is not accepted; `flush` must then be called from the channel's `on_writable`.

        Raises:
            BrokenChannel: the channel broke.
        """
        if self.pending is None:
            sent = self.channel.send(data)
            if sent == len(data):
                return
            self.pending = memoryview(data)[sent:]
        else:
            self.pending = memoryview(b"".join((self.pending, data)))
        self.flush()

    def flush(self) -> bool:
        """Send buffered bytes; return True if none are left.

        Raises:
            BrokenChannel: the channel broke.
        """
        pending, channel = self.pending, self.channel
        while pending is not None:
            if not channel.room():
                return False
            sent = channel.send(pending)
            pending = self.pending = pending[sent:] if sent < len(pending) else None
        return True
