"""A test user of one channel: reads, sends, and fails when the channel violates its contract."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from portway.engine.channel import BLOCKED, HEADROOM_BYTES, Channel
from portway.errors import BrokenChannel


class Probe:
    """A channel user that follows the contract and checks that the channel does so, too."""

    def __init__(self, channel: Channel) -> None:
        """Take over the channel's callbacks."""
        self.channel = channel
        self.received = bytearray()
        self.received_bytes = 0
        self.sent_bytes = 0
        self.ended = False
        self.broken: BrokenChannel | None = None
        """The error that reading or writing raised."""
        self.on_broken_calls = 0
        """Number of calls of `on_broken`."""
        self.callbacks = 0
        self.keep_received = True
        """False: only count received bytes."""
        self.sink: Callable[[memoryview | bytearray], None] = lambda piece: None
        """Called with every received piece, for example to hash long streams."""
        self.read_bytes = 64 * 1024
        """Buffer size of one `recv_into`."""
        self.piece_bytes = 64 * 1024
        """Largest piece of one `send`."""
        self.use_peek = channel.can_peek
        """Read with `peek` and `consume`."""
        self.use_headroom = channel.wants_headroom
        """Send with `send_headroom`."""
        self.reading = False
        self.on_data: Callable[[], None] = lambda: None
        self._inside = False
        self._gone = False
        self._outbox = memoryview(b"")
        self._more: Iterator[bytes] = iter(())
        self._then_end = False
        self._shut = False
        channel.on_readable = self._on_readable
        channel.on_writable = self._on_writable
        channel.on_broken = self._on_broken

    # Called by the test.

    def read(self) -> "Probe":
        """Start reading."""
        self.reading = True
        self._read()
        return self

    def pause(self) -> "Probe":
        """Stop reading."""
        self.reading = False
        return self

    def feed(self, data: bytes | Iterator[bytes], *, end: bool = False) -> "Probe":
        """Send `data` as the channel accepts it, then half-close if `end`."""
        assert self.idle, "one feed at a time"
        if isinstance(data, bytes):
            self._outbox = memoryview(data)
        else:
            self._more = data
        self._then_end = end
        self._feed()
        return self

    def end(self) -> "Probe":
        """Half-close now."""
        with self._call():
            self.channel.shutdown_write()
        self._shut = True
        return self

    def abort(self) -> "Probe":
        """Abort the channel."""
        self._gone = True
        self.channel.abort()
        return self

    def close(self) -> "Probe":
        """Close the channel."""
        self._gone = True
        self.channel.close()
        return self

    @property
    def idle(self) -> bool:
        """True when all of `data` was sent."""
        return not self._outbox and not self._then_end

    # Called by the channel.

    def _called(self) -> None:
        assert not self._inside, "a callback came from inside a call on the same channel"
        assert not self._gone, "a callback came after close or abort"
        self.callbacks += 1

    def _on_readable(self) -> None:
        self._called()
        self._read()
        self.on_data()

    def _on_writable(self) -> None:
        self._called()
        self._feed()

    def _on_broken(self) -> None:
        self._called()
        self.on_broken_calls += 1

    @contextmanager
    def _call(self) -> Iterator[None]:
        assert not self._inside
        self._inside = True
        try:
            yield
        finally:
            self._inside = False

    def _read(self) -> None:
        while self.reading and self.channel.readable and not self.ended and self.broken is None and not self._gone:
            try:
                with self._call():
                    more = self._read_lent() if self.use_peek else self._read_copied()
            except BrokenChannel as exc:
                self.broken = exc
                return
            if not more:
                return

    def _read_copied(self) -> bool:
        buffer = bytearray(self.read_bytes)
        count = self.channel.recv_into(memoryview(buffer))
        assert -1 <= count <= len(buffer)
        if count == BLOCKED:
            assert not self.channel.readable, "blocked, but still readable"
            return False
        if count == 0:
            self.ended = True
            return False
        self._take(buffer[:count])
        return True

    def _read_lent(self) -> bool:
        view = self.channel.peek()
        if view is None:
            self.ended = self.channel.ended
            return False
        assert len(view) > 0, "peek returned an empty view"
        assert not self.channel.ended
        count = min(len(view), self.read_bytes)
        self._take(view[:count])
        self.channel.consume(count)
        return True

    def _take(self, data: bytearray | memoryview) -> None:
        self.received_bytes += len(data)
        self.sink(data)
        if self.keep_received:
            self.received += data

    def _feed(self) -> None:
        while not self._gone and self.broken is None:
            if not self._outbox:
                self._outbox = memoryview(next(self._more, b""))
            if not self._outbox:
                if self._then_end:
                    self._then_end = False
                    self.end()
                return
            try:
                with self._call():
                    room = self.channel.room()
                    assert room >= 0
                    if not room:
                        return
                    sent = self._send(self._outbox[: self.piece_bytes], room)
                    if not sent:
                        assert self.channel.room() == 0, "sent nothing, but room() is not 0"
                        return
            except BrokenChannel as exc:
                self.broken = exc
                return
            self.sent_bytes += sent
            self._outbox = self._outbox[sent:]

    def _send(self, piece: memoryview, room: int) -> int:
        if not self.use_headroom:
            copy = bytearray(piece)
            sent = self.channel.send(memoryview(copy))
            copy[:] = b"\xee" * len(copy)  # the channel must not keep a view: it would send this
        else:
            copy = bytearray(HEADROOM_BYTES) + piece
            sent = self.channel.send_headroom(memoryview(copy), len(piece))
            copy[:] = b"\xee" * len(copy)
            if len(piece) <= room:
                assert sent == len(piece), "send_headroom must send all that fits"
        assert 0 <= sent <= len(piece)
        return sent
