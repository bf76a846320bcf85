"""What a peer may ask of a yamux session."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class YamuxLimits:
    """What a peer may ask of a session."""

    streams_max: int = 4096
    """Streams at a time, from both ends together."""
    accepts_max: int = 4096
    """Streams at a time that the peer has opened; 0 refuses all."""
    unacknowledged_max: int = 256
    """Opens that the peer has not answered; hashicorp/yamux refuses more than 256."""
    opens_per_s_max: int = 50_000
    """Streams that the peer opens a second: five times what a busy link of 1 ms round trip sees."""
    resets_per_s_max: int = 50_000
    """Resets a second, for the same reason."""
    pings_per_s_max: int = 200
    """Pings a second; real peers send one every few seconds."""
    empties_per_s_max: int = 10_000
    """Frames a second that do nothing: empty Data, updates by zero."""
    strays_per_s_max: int = 200_000
    """Frames a second of unknown streams. After a reset a whole window of tiny frames may still be under way, for every
    visitor who broke off: they must not cost the others their link, so this is more than a busy link carries at all."""
    growth_bytes_max: int = 64 * 1024 * 1024
    """What all windows together may grow beyond their first 256 KiB."""
