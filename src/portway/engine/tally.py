"""What went through a relay, each way, and why it ended."""

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
    ENDED: "the source came to its proper end, and the sink was told",
    READ_BROKE: "the source broke: reset, cut off, or its link was lost",
    WRITE_BROKE: "the sink broke",
    IDLE: "nothing went either way for the policy's idle_timeout",
    TOO_SLOW: "fewer bytes went through in a minute than the policy's min_rate_bpm, both ways together",
    LIFETIME: "the policy's max_lifetime was over",
    PAYLOAD: "the policy's max_total_payload was used up, and more came",
    ABORTED: "this program ended it; Tally.why says what for",
}
"""Why one way of a relay ended. The words are stable; readers of JSON lines count on them."""

BY_POLICY = frozenset({IDLE, TOO_SLOW, LIFETIME, PAYLOAD})


@dataclass(frozen=True, slots=True)
class Flow:
    """One direction of a relay. The names are those of its JSON line."""

    total_bytes: int
    """Payload bytes received from its source; with limits that count bytes, those that its sink took."""
    event_count: int
    """Reads that brought bytes."""
    shutdown_reason: str
    """One of REASONS; empty while it runs."""
    duration: float = 0.0
    """Seconds from the relay's start to the end of this way, or to now."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Both directions of a relay; forward is left to right."""

    forward: Flow
    backward: Flow
    started_at: float
    """Monotonic seconds."""
    ended_at: float | None
    """Monotonic seconds, None while it runs."""
    why: str = ""
    """In words, what an aborted relay was aborted for."""

    @property
    def clean(self) -> bool:
        """True when both sides came to their own, proper end."""
        return self.forward.shutdown_reason == self.backward.shutdown_reason == ENDED

    @property
    def limit(self) -> str:
        """Return the reason of the policy's that ended the relay, or nothing."""
        return next((flow.shutdown_reason for flow in (self.forward, self.backward) if flow.shutdown_reason in BY_POLICY), "")
