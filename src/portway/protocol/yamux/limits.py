"""Limits for the peer of a yamux session."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class YamuxLimits:
    """Limits for the peer of a session."""

    streams_max: int = 4096
    """Concurrent streams, opened by either end."""
    accepts_max: int = 4096
    """Concurrent streams opened by the peer; 0 refuses all."""
    unacknowledged_max: int = 256
    """Opened streams that the peer has not acknowledged; hashicorp/yamux refuses more than 256."""
    opens_per_s_max: int = 50_000
    """Streams opened by the peer per second: five times the rate of a busy link with a round trip of 1 ms."""
    resets_per_s_max: int = 50_000
    """Resets per second, for the same reason."""
    pings_per_s_max: int = 200
    """Pings per second; real peers send one every few seconds."""
    empties_per_s_max: int = 10_000
    """Frames per second without effect: empty Data, updates by zero."""
    strays_per_s_max: int = 200_000
    """Frames per second of unknown streams. After each reset a whole window of tiny frames may still arrive, and must not end the link
    of the other streams, so this is more than a busy link carries."""
    growth_bytes_max: int = 64 * 1024 * 1024
    """Growth of all windows together beyond their initial 256 KiB."""
