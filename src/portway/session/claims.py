"""What an agent wants to offer, and what it was granted: asked for again after every reconnect. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from portway.errors import PeerError
from portway.protocol.control.messages import Claim, ExchangeLimits, Granted, HeadRewrite, Refused

W = TypeVar("W")


@dataclass(slots=True)
class TunnelClaim(Generic[W]):
    """One tunnel that the agent wants, and where it stands."""

    kind: Literal["http", "tcp"]
    subject: W
    """What the agent itself knows of the tunnel, such as its origin."""
    name: str = ""
    host: str = ""
    port: int = 0
    takeover: bool = False
    seed: bytes = field(default=b"", repr=False)
    """What the server shall choose a name or port by; empty when the user asked for a certain one."""
    limits: ExchangeLimits | None = None
    """What the server shall hold the tunnel's requests to."""
    rewrite: HeadRewrite | None = None
    """What the server shall change in the tunnel's heads."""
    request_id: int = 0
    """The id of its claim within this session, 0 before it; the same when it is asked again, so that once is enough."""
    granted: Granted | None = None
    """The answer within this session; None before it and after the session was lost."""
    was_granted: bool = False
    """True once any session was granted it."""

    def claim(self) -> Claim:
        """Return the request for it, with the address that was granted before, if there was one."""
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
        )

    def remember(self, granted: Granted) -> None:
        """Keep what was granted, so that the next session asks for the same address.

        Without `takeover` from now on: it was meant for once. Who loses the name to a takeover of another terminal
        and meets it again after a reconnect must not take it back.
        """
        self.granted = granted
        self.was_granted = True
        self.takeover = False
        if self.kind == "tcp":
            self.port = granted.port or self.port
        elif granted.name and (self.seed or not self.host):  # else the user asked for this very host
            hint_complete = "." in granted.name  # a name below the server's domain has no dot
            self.name, self.host = ("", granted.name) if hint_complete else (granted.name, "")


class Claims(Generic[W]):
    """All wishes of one agent, over all its sessions.

    Every method is synchronous, so each call is atomic.
    """

    def __init__(self, wishes: list[TunnelClaim[W]]) -> None:
        """Start with nothing granted."""
        self._wishes = wishes
        self._asked: dict[int, TunnelClaim[W]] = {}
        self._exported: dict[int, TunnelClaim[W]] = {}
        self._next_id = 1

    def __iter__(self) -> Iterator[TunnelClaim[W]]:
        return iter(self._wishes)

    def complete(self) -> bool:
        """True when every wish is granted."""
        return all(wish.granted is not None for wish in self._wishes)

    def open(self) -> list[Claim]:
        """Return a claim for every wish that is not granted; also after the link that carried the last ones died."""
        claims = []
        for wish in self._wishes:
            if wish.granted is None:
                wish.request_id = wish.request_id or self.new_request_id()
                self._asked[wish.request_id] = wish
                claims.append(wish.claim())
        return claims

    @property
    def unanswered(self) -> int:
        """How many claims wait for their answer."""
        return len(self._asked)

    def answered(self, message: Granted | Refused) -> TunnelClaim[W] | None:
        """Note an answer and return the wish that it is about; None when it is late or about something else.

        Raises:
            PeerError: the server granted one tunnel twice, so that its visitors could not be told apart.
        """
        wish = self._asked.pop(message.id, None)
        if wish is None or isinstance(message, Refused):
            return wish
        if message.tunnel in self._exported:
            raise PeerError(f"the server granted tunnel {message.tunnel} twice ({message.url}); are two tunnels asking for one name?")
        wish.remember(message)
        self._exported[message.tunnel] = wish
        return wish

    def exported(self, tunnel_id: int) -> TunnelClaim[W] | None:
        """Return the wish behind a tunnel id of this session: a stream for anything else is refused (threats Y8)."""
        return self._exported.get(tunnel_id)

    def session_lost(self) -> None:
        """Forget what the lost session was granted, but not the addresses."""
        self._asked.clear()
        self._exported.clear()
        for wish in self._wishes:
            wish.granted = None
            wish.request_id = 0

    @property
    def any_was_granted(self) -> bool:
        """True once any session was granted one of those that are still wanted."""
        return any(wish.was_granted for wish in self._wishes)

    @property
    def hopeless(self) -> bool:
        """True when nothing is granted in this session, and no claim waits for its answer."""
        return not self._exported and not self._asked

    def tunnel_ids(self) -> list[int]:
        """Return what is granted now, to release it."""
        return list(self._exported)

    def drop(self, wish: TunnelClaim[W]) -> None:
        """Stop wanting something, because it was refused for good."""
        self._wishes.remove(wish)

    def new_request_id(self) -> int:
        """Return an id for another request of the same session."""
        request_id = self._next_id
        self._next_id = self._next_id % 0xFFFFFFFF + 1
        return request_id
