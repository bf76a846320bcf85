"""Streams that wait until their link takes bytes again."""

from collections import deque

from portway.mux.mux_channel import MuxChannel

STREAMS_A_TURN = 64
"""Streams that go on before others get their turn; each sends a frame or more."""


class WaitingStreams:
    """Each once, and those that waited longest first; one that has to wait again goes to the back."""

    __slots__ = ("_queue", "_set")

    def __init__(self) -> None:
        """Start empty."""
        self._queue: deque[MuxChannel] = deque()
        self._set: set[MuxChannel] = set()

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, stream: MuxChannel) -> None:
        """Wait at the end of the queue, unless it waits already."""
        if stream not in self._set:
            self._set.add(stream)
            self._queue.append(stream)

    def next(self) -> MuxChannel:
        """Take out the first one."""
        stream = self._queue.popleft()
        self._set.discard(stream)
        return stream

    def clear(self) -> None:
        """Forget all."""
        self._queue.clear()
        self._set.clear()
