"""Events of the forward proxy, each a frozen value."""

from collections.abc import Callable
from dataclasses import dataclass

from portway.engine.tally import Flow
from portway.forward.outcomes import Outcome


@dataclass(frozen=True, slots=True)
class Listening:
    """The proxy accepts clients."""

    address: str
    tls: bool
    users: bool
    """Whether clients must authenticate."""
    destination: str = ""
    """The only target of all clients, if there is one."""


@dataclass(frozen=True, slots=True)
class ClientDone:
    """One client's tunnel ended, or was refused. Names neither client, user nor target unless `log_targets` is set."""

    tunnel_ctx: str
    """Random id in hex."""
    result: Outcome
    protocol: str
    """`http`, `socks5`, `socks4`, `tcp`; empty if the client sent nothing that was understood."""
    seconds: float
    """From accept to the end."""
    upstream_stats: Flow | None
    """From the client to the target; None if it was never relayed."""
    downstream_stats: Flow | None
    """From the target to the client."""
    reason: str
    """The limit that ended it, or why the proxy did; empty otherwise."""
    target: str | None = None
    user: str | None = None
    datagrams_dropped: dict[str, int] | None = None
    """Of an association, by reason; None for other tunnels."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A problem that the operator may want to fix; the proxy continues."""

    text: str


@dataclass(frozen=True, slots=True)
class Stopping:
    """The proxy accepts no further clients."""

    tunnels: int
    """Tunnels that may finish."""


ForwardEvent = Listening | ClientDone | Notice | Stopping

EventSink = Callable[[ForwardEvent], None]
"""Receives events; must not block."""
