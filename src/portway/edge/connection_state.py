"""States of visitor connections, by which load shedding chooses the ones to close (ADR 0020)."""

from enum import IntEnum
from typing import Protocol

from portway.edge.lease import Holder


class ConnectionState(IntEnum):
    """What a connection is doing. Of one source, connections in the first states are closed first."""

    CLOSING = 0
    """The response was sent; the connection waits for the visitor to close."""
    IDLE = 1
    """Between two requests."""
    SILENT = 2
    """No request has arrived yet."""
    SLOW = 3
    """A body limited by how fast the visitor sends or reads; sheddable below SLOW_BYTES_PER_S."""
    WAITING = 4
    """A request held for its agent."""
    QUIET = 5
    """Everything else: sheddable below QUIET_BYTES_PER_S, both directions combined."""
    EXEMPT = 6
    """Closed, or with unprocessed input: never shed."""


CLOSING_S = 0.5
"""Time without input before a closing connection is sheddable: a visitor that still sends has not read the response."""
IDLE_S = 2.0
"""Time before an idle connection is sheddable: one that has just been served is likely to be used again."""
SILENT_S = 1.0
"""Time before a silent connection is sheddable, unless its source has more than FEW: a request arrives with the connection, or one
round trip later."""
FEW = 8
"""Connections of one source that are not many: browsers open six to a host."""
SLOW_BYTES_PER_S = 500.0
"""Minimum rate of Apache's mod_reqtimeout for bodies."""
SLOW_S, SLOW_S_CRITICAL = 1.0, 0.25
"""Time in which a body must begin to move. The order among slow ones follows from their rate, not from this."""
QUIET_BYTES_PER_S = 10.0
QUIET_S = 10.0
"""Heartbeats are a few bytes every half a minute: a connection with nothing else counts as quiet."""
RATE_WINDOW_S = 5.0
"""The recent rate of a connection is measured over one to two times this period."""


class SheddableConnection(Protocol):
    """One connection of a visitor."""

    @property
    def address(self) -> str:
        """Return the visitor's numeric host."""

    @property
    def holder(self) -> Holder | None:
        """Return the session that carries its stream, if any."""

    def state(self) -> tuple[ConnectionState, float, int]:
        """Return the state, its start time, and (for SLOW and QUIET) the number of bytes moved so far."""

    def shed(self, state: ConnectionState) -> None:
        """Close the connection to free capacity, in the way that suits its `state`."""
