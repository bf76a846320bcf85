"""Byte counts of a relay per direction, and why it ended."""

from dataclasses import dataclass

ENDED = "ended"
READ_BROKE = "read_broke"
WRITE_BROKE = "write_broke"
IDLE = "idle"
TOO_SLOW = "too_slow"
LIFETIME = "lifetime"
PAYLOAD = "payload"
ABORTED = "aborted"

REASONS = {
    ENDED: "the source ended properly, and the end was sent to the sink",
    READ_BROKE: "the source broke: reset, cut off, or its link was lost",
    WRITE_BROKE: "the sink broke",
    IDLE: "no data in either direction for the policy's idle_timeout",
    TOO_SLOW: "fewer bytes per minute than the policy's min_rate_bpm, both directions combined",
    LIFETIME: "the policy's max_lifetime was reached",
    PAYLOAD: "the policy's max_total_payload was exceeded",
    ABORTED: "ended by this program; Tally.why is the reason",
}
"""Why one direction of a relay ended. The keys are stable: they appear in JSON lines."""

BY_POLICY = frozenset({IDLE, TOO_SLOW, LIFETIME, PAYLOAD})


@dataclass(slots=True)  # frozen ones take three times as long to create, and every connection has three of these
class Flow:
    """One direction of a relay. The field names appear in JSON lines."""

    total_bytes: int
    """Payload bytes received from its source; with byte limits, those accepted by its sink."""
    event_count: int
    """Reads that returned bytes."""
    shutdown_reason: str
    """One of REASONS; empty while it is running."""
    duration: float = 0.0
    """Seconds from the relay's start to the end of this direction, or to now."""


@dataclass(slots=True)
class Tally:
    """Both directions of a relay; forward is left to right."""

    forward: Flow
    backward: Flow
    started_at: float
    """Monotonic seconds."""
    ended_at: float | None
    """Monotonic seconds, None while it is running."""
    why: str = ""
    """Why an aborted relay was aborted, as text."""

    @property
    def clean(self) -> bool:
        """True when both sides ended properly."""
        return self.forward.shutdown_reason == self.backward.shutdown_reason == ENDED

    @property
    def limit(self) -> str:
        """The policy limit that ended the relay, or empty."""
        for flow in (self.forward, self.backward):
            if flow.shutdown_reason in BY_POLICY:
                return flow.shutdown_reason
        return ""
