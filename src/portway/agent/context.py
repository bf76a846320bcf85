"""The dependencies of an agent's sessions."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from portway.agent.events import EventSink
from portway.agent.host_check import HostCheck
from portway.agent.server_path import ServerPath
from portway.agent.settings import AgentSettings, TunnelRequest
from portway.clock import Clock, monotonic
from portway.engine.channel import Channel
from portway.engine.reactor import Reactor
from portway.links.tls import AgentTls
from portway.mux.settings import MuxSettings
from portway.protocol.control.messages import Message
from portway.session.claims import Claims


class StreamAcceptor(Protocol):
    """Accepts the streams that the server opens: the origins, or a speed test."""

    def accept(self, channel: Channel) -> None:
        """Accept a stream, which begins with a preamble."""

    def on_claim_reply(self) -> None:
        """Handle the reply to a claim; also called when none can arrive any more."""


def _not_handled(_message: Message) -> bool:
    return False


@dataclass(slots=True)
class SessionContext:
    """The dependencies that all sessions of one agent share."""

    reactor: Reactor
    settings: AgentSettings
    tls: AgentTls | None
    """How to verify the server; None for plain links."""
    identity: bytes = field(repr=False)
    claims: Claims[TunnelRequest]
    origins: StreamAcceptor
    on_event: EventSink
    random_bytes: Callable[[int], bytes]
    on_reply: Callable[[Message], bool] = _not_handled
    """Called first with every message; returns whether it handled the message, as a reply to neither a claim nor a ticket request."""
    clock: Clock = monotonic
    host_check: HostCheck = field(default_factory=lambda: HostCheck(rewritten=True))
    """Checks the very first response only, so that an agent with several tunnels gives the hint once."""
    mux: MuxSettings = field(default_factory=MuxSettings)
    path: ServerPath = field(default_factory=ServerPath)
    """How the server was reached the last time."""
