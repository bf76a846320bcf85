"""Streams that wait until their link accepts bytes again."""

from collections import deque

from portway.mux.mux_channel import MuxChannel

STREAMS_A_TURN = 64
"""Streams that resume before other work gets its turn; each sends at least one frame."""


class WaitingStreams:
    """A queue without duplicates: the longest-waiting stream is first; one that has to wait again goes to the back."""

    __slots__ = ("_queue", "_set")

    def __init__(self) -> None:
        """Start empty."""
        self._queue: deque[MuxChannel] = deque()
        self._set: set[MuxChannel] = set()

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, stream: MuxChannel) -> None:
        """Add `stream` at the end, unless it is already queued."""
        if stream not in self._set:
            self._set.add(stream)
            self._queue.append(stream)

    def next(self) -> MuxChannel:
        """Remove and return the first one."""
        stream = self._queue.popleft()
        self._set.discard(stream)
        return stream

    def clear(self) -> None:
        """Remove all."""
        self._queue.clear()
        self._set.clear()
