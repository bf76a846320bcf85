"""What every session of one agent uses, in one value."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from portway.agent.events import AgentEvent
from portway.agent.host_check import HostCheck
from portway.agent.settings import AgentSettings, TunnelRequest
from portway.clock import Clock, monotonic
from portway.engine.channel import Channel
from portway.engine.reactor import Reactor
from portway.links.tls import AgentTls
from portway.mux.settings import MuxSettings
from portway.protocol.control.messages import Message
from portway.session.claims import Claims


class StreamAcceptor(Protocol):
    """Where the streams go that the server opens: to the origins, or to a speed test."""

    def accept(self, channel: Channel) -> None:
        """Take a stream: its preamble first."""

    def claims_answered(self) -> None:
        """Hear that a claim was answered, or never will be."""


def _nobody(_message: Message) -> bool:
    return False


@dataclass(slots=True)
class SessionContext:
    """What every session of one agent uses."""

    reactor: Reactor
    settings: AgentSettings
    tls: AgentTls | None
    """How to verify the server; None for plain links."""
    identity: bytes = field(repr=False)
    claims: Claims[TunnelRequest]
    origins: StreamAcceptor
    on_event: Callable[[AgentEvent], None]
    random_bytes: Callable[[int], bytes]
    on_answer: Callable[[Message], bool] = _nobody
    """Gets every message first, and returns whether it was the answer to something else than a claim or a ticket."""
    clock: Clock = monotonic
    host_check: HostCheck = field(default_factory=lambda: HostCheck(rewritten=True))
    """Looks at the first response of all; an agent of several tunnels gives the hint once."""
    mux: MuxSettings = field(default_factory=MuxSettings)
