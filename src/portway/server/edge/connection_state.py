"""What a visitor's connection is doing, by which it is decided whether it gives way to newcomers (ADR 0020)."""

from enum import IntEnum
from typing import Protocol

from portway.server.tunnels.lease import Holder


class ConnectionState(IntEnum):
    """What a connection is doing. Of one source, the first ones give way first."""

    CLOSING = 0
    """It was answered, and waits for its visitor to close."""
    IDLE = 1
    """Between two requests."""
    SILENT = 2
    """Its visitor has asked for nothing yet."""
    SLOW = 3
    """A body or an answer that moves only as fast as its visitor sends or reads; gives way below SLOW_BYTES_PER_S."""
    WAITING = 4
    """A request that waits for its agent."""
    QUIET = 5
    """All that is left: it gives way below QUIET_BYTES_PER_S, both ways together."""
    OVER = 6
    """It is over, or about to do something: it does not give way."""


CLOSING_S = 0.5
"""How long nothing must have come on a connection that was answered: as long as its visitor sends, it has not read the answer."""
IDLE_S = 2.0
"""How long a connection has to be idle: one that has just served is about to be used again."""
SILENT_S = 1.0
"""How long a connection has to be silent, unless its source has more than LITTLE: a request comes with the connection, or a
round trip later."""
LITTLE = 8
"""Connections of one source that are not many: browsers open six to a host."""
SLOW_BYTES_PER_S = 500.0
"""Apache's mod_reqtimeout takes bodies from 500 bytes a second on."""
SLOW_S, SLOW_S_CRAMPED = 1.0, 0.25
"""How long a body may take to begin to move. Which ones go first is decided by all that they have moved, not by this."""
QUIET_BYTES_PER_S = 10.0
QUIET_S = 10.0
"""Heartbeats are a few bytes every half a minute: a connection with nothing else counts as quiet."""
PACE_S = 5.0
"""Over how long a connection's present rate is measured, one to two times."""


class SheddableConnection(Protocol):
    """One connection of a visitor."""

    @property
    def address(self) -> str:
        """Return the visitor's numeric host."""

    @property
    def holder(self) -> Holder | None:
        """Return the session whose stream it has, if it has one."""

    def standing(self) -> tuple[ConnectionState, float, int]:
        """Return what it is doing, since when, and (where SLOW or QUIET) how many bytes it has moved so far."""

    def give_way(self, standing: ConnectionState) -> None:
        """End, in the way that suits what it is doing."""
