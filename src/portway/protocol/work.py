"""Work: what a turn may do, and what things cost that take longer than their bytes. The unit is a byte copied.

A turn that counts bytes alone can be made 50 times as long as it should be, by bytes in the smallest pieces that a protocol
allows. So whatever takes time adds to one counter, and a turn ends when the counter has grown by TURN_WORK. A unit takes 1
to 4 ns on the machine that the costs were measured on (`python -m bench.parsers`), so a turn takes 0.25 to 1 ms.
"""

TURN_WORK = 256 * 1024
"""What a turn may do: as much as a bulk transfer may copy."""

SIZEABLE_WORK = TURN_WORK // 4
"""A turn of this much counts: no other one of its party runs in the same round without queueing (ADR 0018)."""

READ_WORK = 8 * 1024
"""A read and a send, whatever they carry: a source that comes in crumbs ends its turn as soon as a fat one does."""
DATA_FRAME_WORK = 4 * 1024
"""A yamux Data frame, because its payload goes on with a system call of its own."""
OTHER_FRAME_WORK = 1024
"""A yamux frame that moves nothing."""
JOINED_FRAME_WORK = 256
"""A Data frame that is delivered together with the one before it."""
WAKING_FRAME_WORK = 8 * 1024
"""A yamux frame that makes a writer or the other side of a stream act: the first credit, an end, a reset."""
FIELD_WORK = 1024
"""A field of a head."""
RECORD_WORK = 1024
"""A TLS record with data, beside its bytes."""
VAIN_RECORD_WORK = 8 * 1024
"""A TLS record without data, a key update at worst."""


class Work:
    """Counts work; whoever begins a turn compares with what was counted then."""

    __slots__ = ("done",)

    def __init__(self) -> None:
        """Start at nothing."""
        self.done = 0
        """Only grows."""
