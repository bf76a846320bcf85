"""What steers one running agent: whom it joins, and what it offers there."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from portway.agent.target import Target
from portway.engine.policy import UNLIMITED, Policy
from portway.protocol.control.messages import HeadRewrite
from portway.protocol.join_string import JoinString


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TunnelRequest:
    """One tunnel that the user asked for. Each is itself alone: who asks for the same twice gets two, with limits of their own."""

    kind: Literal["http", "tcp"]
    target: Target
    """The origin that answers this tunnel's visitors."""
    name: str = ""
    """Name under the server's domain; empty lets the server choose."""
    host: str = ""
    """A full host name instead of `name`."""
    port: int = 0
    """The public port of a tcp tunnel; 0 lets the server choose."""
    takeover: bool = False
    """Take the name or port even from a session of ours that still answers."""
    rewrite: HeadRewrite | None = None
    """What the server shall change in the heads of an http tunnel."""
    origin_timeout_s: float = 0.0
    """How long an http origin may take to begin an answer; 0: no limit."""
    policy: Policy = UNLIMITED
    """What each connection of the tunnel (of http: each request) may do, and what they share; see `agent/limits.py`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """Everything that `portway.agent.app.run` needs to know."""

    join: JoinString
    """Server, token and secret; its `repr` masks the secret."""
    tunnels: tuple[TunnelRequest, ...]
    data_dir: Path | None
    """Where the agent keeps its identity for each token; made with mode 0700 when there is something to keep. None: nowhere."""
    plaintext_links: bool = False
    """Speak without TLS, on a network that is already private; the server must say so too."""
    links_max: int = 4
    """Links to the server that take visitors, as far as it allows them; 1 keeps to a single one."""
    ca_file: Path | None = None
    """CA certificates for a server without a pin in the join string; None means the system's."""
    connect_s_max: float | None = None
    """How long to try to get online for the first time, in seconds; None means for ever: a machine's programs start before its network."""
    drain_s: float = 10.0
    """How long visitors may finish after the agent was told to stop, in seconds; as long as `docker stop` waits."""
