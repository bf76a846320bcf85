"""Settings of the control plane, and the protocols that it depends on: claims and leases."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Protocol

from portway.protocol.control.messages import Claim, Granted
from portway.server.control.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlSettings:
    """Settings of the control plane."""

    binding: bytes | None
    """SHA-256 of the certificate that links are encrypted with; None for links without TLS."""
    decoy_seed: bytes = field(repr=False)
    """Seed of the verifiers for unknown tokens."""
    grace_s: float
    """Sent to agents; the registry applies it."""
    region: str = ""
    speed_tests: bool = True
    worker: int = 0
    """Number of this worker process; 0 when it is the only process."""


class LeaseLifecycle(Protocol):
    """Changes of leases that the control plane causes: the registry, or a worker's replica, which notifies the supervisor.

    Every method is synchronous.
    """

    def session_lost(self, session_id: str, now: float) -> object:
        """Hold the addresses of a lost session."""

    def token_revoked(self, token_id: str) -> object:
        """Free all addresses of a token."""

    def expire(self, now: float) -> object:
        """Free addresses whose grace time is over."""

    def held_tokens(self) -> Collection[str]:
        """Return the tokens with held addresses."""


class ClaimService(Protocol):
    """Grants and releases addresses (see `server.control.claims.ClaimHandler`)."""

    async def grant(self, session: Session, claim: Claim) -> Granted:
        """Grant a claim and return the reply; raises RefusedError or UnavailableError."""

    def release(self, session: Session, tunnel_id: int, *, keep: bool = False) -> None:
        """Free a tunnel's address; with `keep`, hold it for its agent."""
