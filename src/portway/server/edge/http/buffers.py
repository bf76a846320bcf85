"""The two ends of a body's way: one that any channel can be read through alike, one that keeps what was not taken."""

import contextlib

from portway.engine.channel import Channel
from portway.engine.pumps import Sink
from portway.errors import BrokenChannel
from portway.protocol.http1.fields import READ_BYTES


class ChannelReader:
    """The reading side of a channel, with what was read already and not used yet.

    Makes every channel lend: bytes that were read off a socket and not used are kept in `held`, at most one read.
    """

    __slots__ = ("_borrowed", "_can_peek", "_scratch", "_view", "channel", "ended", "held")

    def __init__(self, channel: Channel, scratch: memoryview) -> None:
        """Read `channel`, through `scratch` if it does not lend."""
        self.channel = channel
        self.held = b""
        """Bytes to be used before the channel's."""
        self.ended = False
        """True once `view` found the peer's proper end."""
        self._can_peek = channel.can_peek
        self._scratch = scratch
        self._view: memoryview | None = None
        self._borrowed = 0

    def view(self, bytes_max: int) -> memoryview | None:
        """Return at most `bytes_max` bytes that are there, or None; `used` must follow before anything else.

        Raises:
            BrokenChannel: the bytes ended without a proper end.
        """
        if self.held:
            return memoryview(self.held)[:bytes_max]
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
            self._borrowed = count
            return self._scratch[:count]
        self.ended = count == 0
        return None

    def used(self, count: int) -> None:
        """Drop the first `count` bytes of the last view."""
        if self.held:
            self.held = self.held[count:]
        elif self._can_peek:
            if self._view is not None:
                self._view.release()
                self._view = None
            self.channel.consume(count)
        else:
            if count < self._borrowed:
                self.held = bytes(self._scratch[count : self._borrowed])
            self._borrowed = 0

    def take(self, bytes_max: int) -> bytes | None:
        """Return bytes that are held, else at most `bytes_max` that are there, or None; `ended` tells whether more can come.

        Raises:
            BrokenChannel: the bytes ended without a proper end.
        """
        if self.held:
            data, self.held = self.held, b""
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

    def throw_away(self) -> None:
        """Drop what is held and what is there, at most one read."""
        self.held = b""
        if self.channel.readable:
            with contextlib.suppress(BrokenChannel):
                self.channel.recv_into(self._scratch)

    def read_ahead(self, bytes_max: int) -> None:
        """Read on behind what is held, until that is `bytes_max` bytes, nothing is there, or `ended`.

        Where more is held already, one byte is read, as nothing else tells whether the end is next.

        Raises:
            BrokenChannel: the bytes ended without a proper end.
        """
        channel = self.channel
        while channel.readable and not self.ended:
            room = bytes_max - len(self.held)
            if room <= 0:
                if len(self.held) >= READ_BYTES:
                    return
                room, bytes_max = 1, 0
            if self._can_peek:
                if channel.peek() is None:
                    self.ended = channel.ended
                else:
                    channel.consume(0)  # what it lends it keeps; an end behind that is not seen
                return
            count = channel.recv_into(self._scratch[:room])
            if count > 0:
                self.held += bytes(self._scratch[:count])
                if not bytes_max:
                    return
            else:
                self.ended = count == 0
                return

    @property
    def direct(self) -> bool:
        """True when the next bytes may be read straight into a buffer of the reader's choice."""
        return not self._can_peek and not self.held

    def dry(self) -> bool:
        """Return True when nothing is there to read, not even an end. A byte may be lost finding out: ask before closing.

        Raises:
            BrokenChannel: the channel broke.
        """
        if self.held:
            return False
        if not self.channel.readable:
            return True
        if self.view(1) is not None:
            self.used(0)
            return False
        return not self.ended


class ChannelWriter:
    """The writing side of a channel, with what it did not take at once: at most one head and one piece of a body."""

    __slots__ = ("channel", "rest")

    def __init__(self, channel: Sink) -> None:
        """Write to `channel`, or to a gate before one."""
        self.channel = channel
        self.rest: memoryview | None = None
        """What is still to be sent before anything else."""

    def write(self, data: bytes) -> None:
        """Send all of `data`, keeping what there is no room for; the channel's `on_writable` then has to `flush`.

        Raises:
            BrokenChannel: the peer is gone.
        """
        if self.rest is None:
            sent = self.channel.send(data)
            if sent == len(data):
                return
            self.rest = memoryview(data)[sent:]
        else:
            self.rest = memoryview(b"".join((self.rest, data)))
        self.flush()

    def flush(self) -> bool:
        """Send what was kept; return True when nothing is left of it.

        Raises:
            BrokenChannel: the peer is gone.
        """
        rest, channel = self.rest, self.channel
        while rest is not None:
            if not channel.room():
                return False
            sent = channel.send(rest)
            rest = self.rest = rest[sent:] if sent < len(rest) else None
        return True
