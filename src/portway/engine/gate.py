"""Limits what a pump may send to a channel, by rates and by a payload quota."""

from collections.abc import Callable

from portway.engine.bucket import Bucket, Share
from portway.engine.channel import Channel


class Quota:
    """Remaining bytes of a payload limit, shared by both directions of a relay."""

    __slots__ = ("left", "on_spent")

    def __init__(self, total_bytes: int, on_spent: Callable[[], None]) -> None:
        """`on_spent` is called when one byte more than that arrives."""
        self.left = total_bytes
        self.on_spent = on_spent


class Gate:
    """A sink that wraps a channel: the same contract, with fewer bytes.

    `room` enforces rates, so bytes over the rate are not even read, and back-pressure reaches the source. When the buckets have
    credit again, the sink's own `on_writable` is called.

    A used-up quota still reports room for one byte: the end may still follow, and another byte exceeds the limit.
    """

    __slots__ = ("_quota", "_shares", "_shut", "_sink", "bytes", "wants_headroom")

    def __init__(self, sink: Channel, buckets: tuple[Bucket, ...], quota: Quota | None) -> None:
        """Wrap `sink`."""
        self._sink = sink
        self._shares = tuple(Share(bucket, self._wake) for bucket in buckets)
        self._quota = quota
        self._shut = False
        self.wants_headroom = sink.wants_headroom
        self.bytes = 0
        """Bytes that the sink has accepted."""

    def room(self) -> int:
        """Return what sink and limits allow; 0 guarantees a later `on_writable` of the sink."""
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
            credit = share.credit or share.request()
            if not credit:
                return 0
            if credit < room:
                room = credit
        return room

    def send(self, data: memoryview | bytes | bytearray) -> int:
        """Send what the limits allow, never more than `room` returned."""
        count = self._passing(len(data))
        return self._passed(self._sink.send(data if count == len(data) else memoryview(data)[:count])) if count else 0

    def send_headroom(self, buffer: memoryview, count: int) -> int:
        """Like `send`, for payload behind its headroom."""
        count = self._passing(count)
        return self._passed(self._sink.send_headroom(buffer, count)) if count else 0

    def splice_from(self, pipe: int, count: int) -> int:
        """Like `send`, for payload in a pipe."""
        count = self._passing(count)
        if not count:
            return 0
        sent = self._sink.splice_from(pipe, count)
        return self._passed(sent) if sent > 0 else sent

    def shutdown_write(self) -> None:
        """Send the end to the sink."""
        self._sink.shutdown_write()

    def shut(self) -> None:
        """Accept nothing from now on, and release the shares."""
        if not self._shut:
            self._shut = True
            for share in self._shares:
                share.release()

    def release(self) -> None:
        """Shut, and drop all references; only the byte count remains."""
        self.shut()
        self._shares = ()
        self._quota = None

    def abort(self) -> None:
        """Report the sink as broken, which ends the relay; called by the reactor after a failed callback."""
        self._sink.on_broken()

    def _passing(self, count: int) -> int:
        """Return how many of `count` bytes may pass; the other direction may have used the room since, or the bucket may have reclaimed it."""
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
