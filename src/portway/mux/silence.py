"""Tells a link on which nobody answers from one that is well, before it is given up."""

from portway.mux.mux import Mux

SILENT_S = 7.0
"""A link that is well is heard every 4 s, when a ping is answered, or 5 with the second between two looks at the clock. One that was
silent for 12 is lost (`heartbeat`)."""


def is_silent(mux: Mux, now: float) -> bool:
    """Return whether a link is lost, or its peer has not answered the last ping: nothing that is sent now is sure to arrive.

    `now` is monotonic seconds.
    """
    return mux.lost or now - mux.received_at > SILENT_S
