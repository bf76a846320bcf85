"""What the agents' door needs of others: its settings, whom it asks for addresses, and who keeps leases."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Protocol

from portway.protocol.control.messages import Claim, Granted
from portway.server.control.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlSettings:
    """What steers the agents' door."""

    binding: bytes | None
    """SHA-256 of the certificate that links are encrypted with; None for plain links."""
    decoy_seed: bytes = field(repr=False)
    """Makes the verifiers of tokens that do not exist."""
    grace_s: float
    """Told to agents; the registry keeps it."""
    region: str = ""
    speed_tests: bool = True
    worker: int = 0
    """This process among several; 0 when it is the only one."""


class LeaseLifecycle(Protocol):
    """Who keeps leases: the registry, or a worker's replica, which tells the supervisor.

    Every method is synchronous.
    """

    def session_lost(self, session_id: str, now: float) -> object:
        """Hold what a lost session had."""

    def token_revoked(self, token_id: str) -> object:
        """Free everything that a token has."""

    def expire(self, now: float) -> object:
        """Free what was held long enough."""

    def held_tokens(self) -> Collection[str]:
        """Return the tokens for which something is held."""


class ClaimService(Protocol):
    """Who answers claims (see `server.control.claims.ClaimHandler`)."""

    async def grant(self, session: Session, claim: Claim) -> Granted:
        """Return the answer to a claim that holds; raises RefusedError or UnavailableError."""

    def release(self, session: Session, tunnel_id: int, *, keep: bool = False) -> None:
        """Free a tunnel's address, or `keep` it for its agent."""
