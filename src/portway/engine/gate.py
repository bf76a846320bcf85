"""Stands before a channel and lets no more bytes into it than a relay's limits allow."""

from collections.abc import Callable

from portway.engine.bucket import Bucket, Share
from portway.engine.channel import Channel


class Quota:
    """Bytes that may still pass, shared by both directions of a relay."""

    __slots__ = ("left", "on_spent")

    def __init__(self, total_bytes: int, on_spent: Callable[[], None]) -> None:
        """`on_spent` is called when there is one byte more than that."""
        self.left = total_bytes
        self.on_spent = on_spent


class Gate:
    """What a pump sends to instead of the sink itself: the same promises, fewer bytes.

    A rate is kept by `room`, so that what has to wait is not even read, and the source feels it. When the buckets have
    credit again, the sink's own `on_writable` is called, as if the sink had got room.

    A used-up quota still shows room for one byte: an end that follows is a proper end, a byte is one too many.
    """

    __slots__ = ("_quota", "_shares", "_shut", "_sink", "bytes", "wants_headroom")

    def __init__(self, sink: Channel, buckets: tuple[Bucket, ...], quota: Quota | None) -> None:
        """Stand before `sink`."""
        self._sink = sink
        self._shares = tuple(Share(bucket, self._wake) for bucket in buckets)
        self._quota = quota
        self._shut = False
        self.wants_headroom = sink.wants_headroom
        self.bytes = 0
        """Bytes that the sink has taken."""

    def room(self) -> int:
        """Return what sink and limits allow; 0 is a promise to call the sink's `on_writable`."""
        if self._shut:
            return 0
        room = self._sink.room()
        if not room:
            return 0
        quota = self._quota
        if quota is not None and quota.left < room:
            room = quota.left
            if not room:
                return 1
        for share in self._shares:
            credit = share.credit or share.ask()
            if not credit:
                return 0
            if credit < room:
                room = credit
        return room

    def send(self, data: memoryview | bytes | bytearray) -> int:
        """Pass on what may pass; never more than `room` said."""
        count = self._passing(len(data))
        return self._passed(self._sink.send(data if count == len(data) else memoryview(data)[:count])) if count else 0

    def send_headroom(self, buffer: memoryview, count: int) -> int:
        """Do the same for payload behind its headroom."""
        count = self._passing(count)
        return self._passed(self._sink.send_headroom(buffer, count)) if count else 0

    def shutdown_write(self) -> None:
        """Pass on the end."""
        self._sink.shutdown_write()

    def shut(self) -> None:
        """Let nothing pass any more, and free what is shared."""
        if not self._shut:
            self._shut = True
            for share in self._shares:
                share.leave()

    def let_go(self) -> None:
        """Shut, and hold nobody: the count alone stays."""
        self.shut()
        self._shares = ()
        self._quota = None

    def abort(self) -> None:
        """Break the sink, as the reactor asks after a failed callback; the relay hears of it there."""
        self._sink.on_broken()

    def _passing(self, count: int) -> int:
        """Return how many of `count` bytes may pass: what there was room for may be used up, by the other direction, or taken back."""
        quota = self._quota
        if quota is not None and quota.left < count and not self._shut:
            count = quota.left
            if not count:
                quota.on_spent()
        for share in self._shares:
            if share.credit < count:
                count = share.credit
        return 0 if self._shut else count

    def _passed(self, count: int) -> int:
        self.bytes += count
        for share in self._shares:
            share.credit -= count
        if self._quota is not None:
            self._quota.left -= count
        return count

    def _wake(self) -> None:
        if not self._shut:
            self._sink.on_writable()
