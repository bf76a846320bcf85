"""Where the stages of the forward proxy meet: negotiation, policy, users, connectors."""

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol

from portway.engine.accounts import Account
from portway.engine.channel import Channel
from portway.engine.policy import UNLIMITED, Policy
from portway.forward.outcomes import Failure
from portway.links.resolver import Address


@dataclass(frozen=True, slots=True)
class Target:
    """What a client asked for."""

    host: str
    """A normalised name (lower case, IDNA, without a final dot), or an address in canonical form without brackets."""
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class User:
    """An authenticated user."""

    name: str
    policy: Policy = UNLIMITED
    """Limits of each of the user's tunnels, and their bandwidth together."""
    tunnels_max: int = 0
    """Concurrent tunnels of the user; 0: only the proxy's own limit."""


@dataclass(slots=True)  # frozen ones take three times as long to create
class ConnectRequest:
    """A target that a client may have, and who asks."""

    target: Target
    user: User | None
    """None on a proxy without users."""
    source: str
    """The client's address."""
    deadline: float
    """When to give up, on the reactor's clock."""
    account: Account | None = field(default=None, compare=False)


OnConnected = Callable[[Channel | Failure], None]
"""Called once, at once or from the reactor."""

Cancel = Callable[[], None]
"""Stops an attempt, which then does not call back; harmless afterwards."""


class TargetPolicy(Protocol):
    """Decides which targets are allowed. Pure lookups, which never block."""

    def judge_target(self, user: User | None, target: Target) -> Failure | None:
        """Judge a target by its name and port, before it is resolved; None: allowed so far."""

    def judge_remote_target(self, user: User | None, target: Target) -> Failure | None:
        """Judge a target that another proxy or an agent will resolve: `judge_address` is not called for it, so this decides finally."""

    def judge_address(self, user: User | None, target: Target, address: IPv4Address | IPv6Address) -> Failure | None:
        """Judge one address of a target; only an address for which this returned None is connected to."""


class Connector(Protocol):
    """One way out: direct, through another proxy, or through an agent."""

    def connect(self, request: ConnectRequest, on_connected: OnConnected) -> Cancel:
        """Connect to the target; the caller gets a channel that it owns, or the reason why not."""


Resolve = Callable[[ConnectRequest, Callable[[list[Address] | Failure], None]], None]
"""Resolves a target that `judge_target` has allowed, and calls back with the addresses that `judge_address` allows, or why there is none."""


class UserDirectory(Protocol):
    """The users of a proxy."""

    @property
    def required(self) -> bool:
        """Whether clients must authenticate."""

    def check(self, name: str, password: bytes, source: str, on_checked: Callable[[User | Failure], None]) -> None:
        """Check a password: at once if it is known, otherwise in a bounded pool. `on_checked` is called in the loop's thread."""
