"""Settings of one agent: the server that it joins, and the tunnels that it offers there."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from portway.agent.target import Target
from portway.agent.termination.settings import Termination
from portway.engine.policy import UNLIMITED, Policy
from portway.inspector.settings import InspectorSettings
from portway.protocol.control.messages import AccessRules, ExchangeLimits, HeadRewrite
from portway.protocol.join_string import JoinString
from portway.protocol.proxy_url import ProxyUrl

TunnelKind = Literal["http", "tcp", "tls"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, weakref_slot=True)
class TunnelRequest:
    """One tunnel that the user asked for. Compared by identity: two equal requests are two tunnels with separate limits."""

    kind: TunnelKind
    target: Target
    """The origin of this tunnel."""
    label: str = ""
    """The tunnel's name in a configuration file; empty for the only one of a command."""
    name: str = ""
    """Name under the server's domain; empty lets the server choose."""
    host: str = ""
    """A full host name instead of `name`."""
    port: int = 0
    """The public port of a tcp tunnel; 0 lets the server choose."""
    takeover: bool = False
    """Take over the name or port even from a running session of this agent."""
    rewrite: HeadRewrite | None = None
    """Changes that the server makes to request and response heads of an http tunnel."""
    access: AccessRules | None = None
    """Rules that the server enforces for visitors of an http tunnel; None if there are none."""
    origin_timeout_s: float = 0.0
    """How long an http origin may take to begin a response; 0: no limit."""
    policy: Policy = UNLIMITED
    """Limits of each connection of the tunnel (of http: each request), and of all of them together."""
    termination: Termination | None = None
    """Where visitors' TLS ends: here, with these certificates, or (None) at the server. http only."""
    send_proxy: bool = False
    """Send a PROXY header to the origin of a tcp or tls tunnel."""
    inspect: bool = True
    """Capture the requests or connections of this tunnel, if the agent has an inspector."""

    @property
    def local_policy(self) -> Policy:
        """The limits that the agent enforces itself.

        The agent's connections to an http origin serve requests of many visitors, so that only the server can limit one
        request. The shared bandwidth is always limited here, so that the agent does not read more from the origin.
        """
        return self.policy if self.kind != "http" else Policy(bandwidth_bps=self.policy.bandwidth_bps)

    @property
    def server_limits(self) -> ExchangeLimits | None:
        """The limits of single requests that the server enforces for an http tunnel; None if there are none."""
        if self.kind != "http" or self.termination is not None:
            return None
        limits = ExchangeLimits(
            idle_timeout_s=self.policy.idle_timeout_s or 0.0,
            min_rate_bpm=self.policy.min_rate_bpm or 0,
            max_rate_bps=self.policy.max_rate_bps or 0,
            max_lifetime_s=self.policy.max_lifetime_s or 0.0,
            max_total_payload=self.policy.max_total_payload or 0,
            origin_timeout_s=self.origin_timeout_s,
        )
        return None if limits == ExchangeLimits() else limits


@dataclass(frozen=True, slots=True)
class ServerProxy:
    """A proxy between the agent and its server."""

    url: ProxyUrl
    variable: str = ""
    """The variable that names it, for all programs of this machine; empty if it was set for this agent, which then never connects directly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """All settings of `portway.agent.app.run`."""

    join: JoinString
    """Server, token and secret; its `repr` masks the secret."""
    tunnels: tuple[TunnelRequest, ...]
    data_dir: Path | None
    """Where the agent saves its identity; created with mode 0700 when needed. None: not saved."""
    plaintext_links: bool = False
    """Connect without TLS, for private networks only; the server must use the same option."""
    links_max: int = 4
    """Maximum of links that accept visitors, if the server allows as many."""
    ca_file: Path | None = None
    """CA certificates for a server without a pin in the join string; None means the system's."""
    connect_s_max: float | None = None
    """How long to try to get online for the first time, in seconds; None: without limit, because a machine's programs may start
    before its network."""
    drain_s: float = 10.0
    """How long visitors may finish after the agent was stopped, in seconds; as long as `docker stop` waits."""
    inspector: InspectorSettings | None = None
    """Settings of the inspector; None: without one."""
    proxy: ServerProxy | None = None
    """The proxy that connects to the server; None: directly."""
