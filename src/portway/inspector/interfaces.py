"""What the inspector needs from the agent that contains it."""

from concurrent.futures import Future
from typing import NamedTuple, Protocol

from portway.inspector.exchange import TunnelInfo


class ReplayRequest(NamedTuple):
    """A request to send to an origin over a connection of our own."""

    tunnel: TunnelInfo
    data: bytes
    """Head and body as they are sent."""
    replay_of: int
    to: str
    """Another origin than the tunnel's, as `Target.text`; empty for the tunnel's own."""


class ReplayOutcome(NamedTuple):
    """The captured exchange of a replay."""

    id: int
    status: int
    """0 without a response."""
    error: str


class AgentPort(Protocol):
    """The agent. Safe to call from any thread; results come from the agent's own."""

    def status(self) -> "Future[bytes]":
        """Return the agent's status as JSON (`AgentStatus`)."""

    def replay(self, request: ReplayRequest) -> "Future[ReplayOutcome]":
        """Send a request, and capture it like a visitor's.

        Raises:
            ConfigError: `to` is invalid.
            UnavailableError: it was not captured in time.
        """
