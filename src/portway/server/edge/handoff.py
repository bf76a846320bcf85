"""Visitors who came to one worker and belong to another: their connection is passed on as it is, by its descriptor."""

from collections.abc import Callable
from dataclasses import dataclass

from portway.engine.channel import Channel
from portway.engine.listener import Address
from portway.server.tunnels.lease import Lease

HOPS_MAX = 3
"""How often a visitor is passed on for one request: a session that moves while he is on his way is seen once or twice.
After that he is held like one whose agent is away."""


@dataclass(frozen=True, slots=True)
class HandoffState:
    """What goes along with a visitor's connection."""

    address: Address
    """Where he comes from."""
    read: bytes = b""
    """What was read of his request already: its head, and what stood behind it."""
    hops: int = 0
    """How often he was passed on for this request."""
    scheme: str = ""
    """What origins are told over HTTP."""


HandOff = Callable[[Lease, Channel, HandoffState], bool]
"""Passes a visitor on to the worker that serves a lease. True: the channel is over here. False: it cannot be done (now), and
nothing has happened to him."""
