"""Work units: the budget of a turn, and the costs of operations that take longer than their bytes. One unit is one byte copied.

If turns were bounded by bytes alone, a peer could make them 50 times as long by sending the smallest pieces that a protocol
allows. So all costly operations add to one counter, and a turn ends when the counter has grown by TURN_WORK. A unit takes 1
to 4 ns on the machine of the measurements (`python -m bench.parsers`), so a turn takes 0.25 to 1 ms.
"""

TURN_WORK = 256 * 1024
"""Budget of a turn: as much as a bulk transfer may copy."""

SIZEABLE_WORK = TURN_WORK // 4
"""A sizeable turn: no other turn of its tenant runs in the same round without queueing (ADR 0018)."""

READ_WORK = 8 * 1024
"""A read and a send of any size: a source of small pieces uses up its turn as soon as one of large pieces."""
DATA_FRAME_WORK = 4 * 1024
"""A yamux Data frame, because its payload is sent with a separate system call."""
OTHER_FRAME_WORK = 1024
"""A yamux frame without data."""
JOINED_FRAME_WORK = 256
"""A Data frame that is delivered together with the previous one."""
WAKING_FRAME_WORK = 8 * 1024
"""A yamux frame that wakes a writer or the other side of a stream: the first credit, an end, a reset."""
FIELD_WORK = 1024
"""A field of a head."""
RECORD_WORK = 1024
"""A TLS record with data, in addition to its bytes."""
EMPTY_RECORD_WORK = 8 * 1024
"""A TLS record without data; a key update is the most expensive."""


class Work:
    """Counts work; a turn compares the count with its value at the beginning."""

    __slots__ = ("done",)

    def __init__(self) -> None:
        """Start at 0."""
        self.done = 0
        """Never decreases."""
