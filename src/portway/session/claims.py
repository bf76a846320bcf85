"""The tunnels that an agent claims, and what it was granted; claimed again after every reconnect. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from portway.errors import PeerError
from portway.protocol.control.messages import AccessRules, Claim, ExchangeLimits, Granted, HeadRewrite, Refused, Release
from portway.protocol.http_access import must_be_enforced

W = TypeVar("W")


@dataclass(slots=True)
class TunnelClaim(Generic[W]):
    """One tunnel that the agent claims, and the state of the claim."""

    kind: Literal["http", "tcp", "tls"]
    subject: W
    """The agent's own data about the tunnel, such as its origin."""
    name: str = ""
    host: str = ""
    port: int = 0
    takeover: bool = False
    seed: bytes = field(default=b"", repr=False)
    """Seed from which the server derives a name or port; empty when the user asked for a specific one."""
    limits: ExchangeLimits | None = None
    """Limits that the server enforces on the tunnel's requests."""
    rewrite: HeadRewrite | None = None
    """Changes that the server makes to the tunnel's request and response heads."""
    access: AccessRules | None = None
    """Rules that the server enforces for the tunnel's visitors."""
    request_id: int = 0
    """The id of the claim within this session; 0 before it is sent. A repeated claim has the same id, so that it counts once."""
    granted: Granted | None = None
    """The reply within this session; None before it and after the session was lost."""
    was_granted: bool = False
    """True once it was granted in any session."""
    withdrawn: bool = False
    """True once the agent closed the tunnel; a grant that arrives later is released."""

    def to_message(self) -> Claim:
        """Return the claim as a message, with the address that was granted before, if any."""
        return Claim(
            id=self.request_id,
            kind=self.kind,
            name=self.name,
            host=self.host,
            port=self.port,
            takeover=self.takeover,
            seed=self.seed,
            limits=self.limits,
            rewrite=self.rewrite,
            access=self.access,
        )

    def remember(self, granted: Granted) -> None:
        """Store what was granted, so that the next session claims the same address.

        `takeover` applies once: an agent that loses its name to a takeover from another terminal must not take it back
        after a reconnect.
        """
        self.granted = granted
        self.was_granted = True
        self.takeover = False
        if self.kind == "tcp":
            self.port = granted.port or self.port
        elif granted.name and (self.seed or not self.host):  # otherwise the user asked for exactly this host
            is_host = "." in granted.name  # a name below the server's domain has no dot
            self.name, self.host = ("", granted.name) if is_host else (granted.name, "")

    def take_address_of(self, other: "TunnelClaim[W]") -> None:
        """Claim the address that the server chose for `other`, which this claim replaces, unless this one asks for its own."""
        if self.seed and other.seed and self.kind == other.kind:
            self.name, self.host, self.port = other.name, other.host, other.port


class Claims(Generic[W]):
    """All claims of one agent, over all its sessions.

    Every method is synchronous, so each call is atomic.
    """

    def __init__(self, claims: list[TunnelClaim[W]]) -> None:
        """Start with nothing granted."""
        self._claims = claims
        self._unanswered: dict[int, TunnelClaim[W]] = {}
        self._exported: dict[int, TunnelClaim[W]] = {}
        self._to_release: dict[int, bool] = {}
        self._releasing: dict[int, int] = {}
        self._next_id = 1

    def __iter__(self) -> Iterator[TunnelClaim[W]]:
        return iter(self._claims)

    def complete(self) -> bool:
        """Return whether every claim is granted."""
        return all(claim.granted is not None for claim in self._claims)

    def pending(self) -> list[Claim]:
        """Return the message for every claim that is not granted; also after the link that carried the last ones was lost."""
        messages = []
        for claim in self._claims:
            if claim.granted is None:
                claim.request_id = claim.request_id or self.new_request_id()
                self._unanswered[claim.request_id] = claim
                messages.append(claim.to_message())
        return messages

    @property
    def unanswered(self) -> int:
        """Number of claims without a reply."""
        return len(self._unanswered)

    def apply_reply(self, message: Granted | Refused) -> TunnelClaim[W] | None:
        """Record a reply and return its claim; None when the reply is late or answers something else.

        Raises:
            PeerError: the server granted one tunnel twice, so that its visitors could not be told apart.
        """
        claim = self._unanswered.pop(message.id, None)
        if claim is None or isinstance(message, Refused):
            return claim
        if message.tunnel in self._exported:
            raise PeerError(f"the server granted tunnel {message.tunnel} twice ({message.url}); do two tunnels claim the same name?")
        claim.remember(message)
        self._exported[message.tunnel] = claim
        if claim.withdrawn:
            self._to_release[message.tunnel] = False
        return claim

    def lacks_protection(self, message: Granted) -> bool:
        """Return whether a grant is of a claim whose rules must be enforced, by a server that ignores them: it must not be served."""
        claim = self._unanswered.get(message.id)
        return claim is not None and must_be_enforced(claim.access) and not message.access

    def exported(self, tunnel_id: int) -> TunnelClaim[W] | None:
        """Return the claim behind a tunnel id of this session; streams for any other id are refused (threats Y8)."""
        return self._exported.get(tunnel_id)

    def session_lost(self) -> None:
        """Discard what the lost session was granted, except for the addresses."""
        self._unanswered.clear()
        self._exported.clear()
        self._to_release.clear()
        self._releasing.clear()
        for claim in self._claims:
            claim.granted = None
            claim.request_id = 0

    @property
    def any_was_granted(self) -> bool:
        """True once any of the remaining claims was granted, in any session."""
        return any(claim.was_granted for claim in self._claims)

    @property
    def all_refused(self) -> bool:
        """True when nothing is granted in this session, and no claim is without a reply."""
        return not self._exported and not self._unanswered

    def tunnel_ids(self) -> list[int]:
        """Return the ids of the tunnels that are granted now."""
        return list(self._exported)

    def add(self, claim: TunnelClaim[W]) -> None:
        """Add a claim, which `pending` returns next."""
        self._claims.append(claim)

    def withdraw(self, claim: TunnelClaim[W], *, keep: bool) -> None:
        """Remove a claim; with `keep` the server is asked to hold the address for this agent (see `releases`)."""
        self._claims.remove(claim)
        claim.withdrawn = True
        if claim.granted is not None:
            self._to_release[claim.granted.tunnel] = keep

    def releases(self) -> list[Release]:
        """Return the message for every granted tunnel that was withdrawn; again until the server has confirmed it, with the same id."""
        for tunnel_id in self._to_release:
            if tunnel_id not in self._releasing.values():
                self._releasing[self.new_request_id()] = tunnel_id
        return [Release(id=number, tunnel=tunnel_id, keep=self._to_release[tunnel_id]) for number, tunnel_id in self._releasing.items()]

    def on_released(self, request_id: int) -> TunnelClaim[W] | None:
        """Record the reply to a `Release`, and return its claim: the server opens no further streams of the tunnel."""
        tunnel_id = self._releasing.pop(request_id, None)
        if tunnel_id is None:
            return None
        del self._to_release[tunnel_id]
        return self._exported.pop(tunnel_id, None)

    def drop(self, claim: TunnelClaim[W]) -> None:
        """Remove a claim that was refused permanently."""
        self._claims.remove(claim)

    def new_request_id(self) -> int:
        """Return an unused id for a request of this session."""
        request_id = self._next_id
        self._next_id = self._next_id % 0xFFFFFFFF + 1
        return request_id
