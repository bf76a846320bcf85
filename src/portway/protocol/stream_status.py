"""The status byte that an agent sends first on a visitor's stream: connected, or the reason of a failure."""

from enum import IntEnum

from portway.errors import PeerError


class StreamStatus(IntEnum):
    """The outcome of a visitor's stream at the agent; the first byte from agent to server.

    A yamux reset carries no reason, but retries, holds and the choice between 502 and 504 need one.
    """

    CONNECTED = 0
    """The origin accepted the connection; its bytes follow."""
    REFUSED = 1
    """Nothing listens at the origin's address, or the connection was reset at once."""
    TIMED_OUT = 2
    """Connecting to the origin took too long."""
    UNRESOLVABLE = 3
    """The origin's name has no address."""
    FORBIDDEN = 4
    """The agent's rules deny this visitor."""
    UNKNOWN_TUNNEL = 5
    """This session has no tunnel with that id."""
    OVERLOADED = 6
    """The agent is out of descriptors, memory or connections."""

    @property
    def description(self) -> str:
        """What happened, as a phrase for logs, pages and terminals."""
        return _DESCRIPTIONS[self]

    @classmethod
    def of(cls, byte: int) -> "StreamStatus":
        """Return the status for `byte`.

        Raises:
            PeerError: unknown status.
        """
        if byte < len(_BY_NUMBER):
            return _BY_NUMBER[byte]
        raise PeerError(f"unknown stream status {byte}: expected 0 to {max(cls):d}; the agent may have another version")


_BY_NUMBER = tuple(StreamStatus)
"""By number; a lookup in the enumeration takes ten times as long."""

_DESCRIPTIONS = {
    StreamStatus.CONNECTED: "connected to the origin",
    StreamStatus.REFUSED: "the origin refused the connection",
    StreamStatus.TIMED_OUT: "the origin did not answer in time",
    StreamStatus.UNRESOLVABLE: "the origin's name could not be resolved",
    StreamStatus.FORBIDDEN: "the agent's rules forbid this visitor",
    StreamStatus.UNKNOWN_TUNNEL: "the agent does not export this tunnel",
    StreamStatus.OVERLOADED: "the agent is overloaded",
}
