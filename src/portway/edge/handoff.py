"""Connection handoff between workers: the state that travels with a visitor's descriptor."""

import socket
from collections.abc import Callable
from dataclasses import dataclass

from portway.edge.lease import Lease
from portway.engine.channel import Channel
from portway.engine.listener import Address

HANDOFFS_MAX = 3
"""Handoffs of one visitor for one request: a session that moves meanwhile causes one or two. Afterwards the visitor is held, as if
its agent were offline."""


@dataclass(frozen=True, slots=True)
class HandoffState:
    """What accompanies a visitor's connection."""

    address: Address
    """The visitor's address."""
    buffered: bytes = b""
    """What was already read: the request's head, and the bytes behind it."""
    handoffs: int = 0
    """Handoffs of this request so far."""
    scheme: str = ""
    """Scheme that HTTP origins are given."""
    tls: bool = False
    """Whether `buffered` is a ClientHello that arrived at the TLS port."""


HandOffAgent = Callable[[int, socket.socket, Address, bytes], bool]
"""Hands a link to a worker by its number, with the bytes that were read. False: that is not possible, and the socket is unchanged."""

HandOff = Callable[[Lease, Channel, HandoffState], bool]
"""Hands a visitor off to the worker that serves a lease. True: the channel was given away and is closed here. False: that is not
possible (now), and the channel is unchanged."""
