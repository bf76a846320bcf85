"""The one byte an agent answers on a visitor's stream: connected, or why not."""

from enum import IntEnum

from portway.errors import PeerError


class StreamStatus(IntEnum):
    """What became of a visitor's stream at the agent; the first byte from agent to server on it.

    A yamux reset carries no reason, and 502 against 504, retries and holds need one.
    """

    CONNECTED = 0
    """The origin accepted; its bytes follow."""
    REFUSED = 1
    """Nothing listens at the origin's address, or it reset the connection at once."""
    TIMED_OUT = 2
    """The origin did not answer the connection in time."""
    UNRESOLVABLE = 3
    """The origin's name has no address."""
    FORBIDDEN = 4
    """The agent's own rules deny this visitor."""
    UNKNOWN_TUNNEL = 5
    """This session exports no tunnel of that id."""
    OVERLOADED = 6
    """The agent is out of descriptors, memory or connections."""

    @property
    def description(self) -> str:
        """What happened, as half a sentence for logs, pages and terminals."""
        return _DESCRIPTIONS[self]

    @classmethod
    def of(cls, byte: int) -> "StreamStatus":
        """Return the status that `byte` stands for.

        Raises:
            PeerError: the byte is none of the table.
        """
        if byte < len(_BY_NUMBER):
            return _BY_NUMBER[byte]
        raise PeerError(f"stream status {byte} is unknown, expected 0 to {max(cls):d}: the agent speaks another version of the protocol")


_BY_NUMBER = tuple(StreamStatus)
"""By their numbers; the enumeration's own way from a number costs a visitor ten times as much."""

_DESCRIPTIONS = {
    StreamStatus.CONNECTED: "connected to the origin",
    StreamStatus.REFUSED: "the origin refused the connection",
    StreamStatus.TIMED_OUT: "the origin did not answer in time",
    StreamStatus.UNRESOLVABLE: "the origin's name could not be resolved",
    StreamStatus.FORBIDDEN: "the agent's rules forbid this visitor",
    StreamStatus.UNKNOWN_TUNNEL: "the agent does not export this tunnel",
    StreamStatus.OVERLOADED: "the agent is overloaded",
}
