"""Detects links whose peer does not reply, before they count as lost."""

from portway.mux.mux_channel import StreamLink

SILENT_S = 7.0
"""A working link receives a pong every 4 s, or 5 with the second between two checks. One that was silent for 12 s is lost
(`heartbeat`)."""


def is_silent(link: StreamLink, now: float) -> bool:
    """Return whether a link is lost, or its peer has not replied to the last ping, so that data sent now may never arrive.

    `now` is monotonic seconds.
    """
    return link.lost or now - link.received_at > SILENT_S
