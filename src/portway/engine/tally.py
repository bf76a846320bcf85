"""What went through a relay, each way, and why it ended."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Flow:
    """One direction of a relay."""

    bytes: int
    """Payload bytes received from its source."""
    events: int
    """Reads that brought bytes."""
    reason: str
    """`ended` (the source finished), `read_broke`, `write_broke`, `aborted: …`; empty while it runs."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Both directions of a relay; forward is left to right."""

    forward: Flow
    backward: Flow
    started_at: float
    """Monotonic seconds."""
    ended_at: float | None
    """Monotonic seconds, None while it runs."""

    @property
    def clean(self) -> bool:
        """True when both sides came to their own, proper end."""
        return self.forward.reason == self.backward.reason == ENDED


ENDED = "ended"
READ_BROKE = "read_broke"
WRITE_BROKE = "write_broke"
