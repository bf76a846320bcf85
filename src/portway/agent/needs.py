"""What every session of one agent uses, in one value."""

from collections.abc import Callable
from dataclasses import dataclass, field

from portway.agent.events import AgentEvent
from portway.agent.origins import Origins
from portway.agent.settings import AgentSettings, TunnelRequest
from portway.clock import Clock, monotonic
from portway.engine.reactor import Reactor
from portway.links.tls import AgentTls
from portway.mux.mux import MuxSettings
from portway.session.claims import Claims


@dataclass(slots=True)
class SessionNeeds:
    """What every session of one agent uses."""

    reactor: Reactor
    settings: AgentSettings
    tls: AgentTls | None
    """How to verify the server; None for plain links."""
    identity: bytes = field(repr=False)
    claims: Claims[TunnelRequest]
    origins: Origins
    on_event: Callable[[AgentEvent], None]
    random_bytes: Callable[[int], bytes]
    clock: Clock = monotonic
    mux: MuxSettings = field(default_factory=MuxSettings)
