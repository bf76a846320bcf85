"""A lease: one identity's right to one public address, which outlives a dropped session for a grace time."""

from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

from portway.engine.accounts import Account
from portway.engine.channel import Channel
from portway.engine.limits import Scopes
from portway.errors import UnavailableError
from portway.protocol.control.messages import HeadRewrite
from portway.protocol.stream_status import StreamStatus


class NoLinkError(UnavailableError):
    """The session has no link on which its agent can be reached: it is lost, or silent and about to be."""


Kind = Literal["http", "tcp"]
"""What a tunnel carries, and so which listener brings its visitors."""

OnStatus = Callable[[StreamStatus | None], None]
"""Called once, from the reactor: the agent's status for a stream, or None when the stream broke or stayed silent."""


class LeaseKey(NamedTuple):
    """A public address: a hostname (`app.localhost`, normalised) for http, a port in digits (`20001`) for tcp."""

    kind: Kind
    address: str


class Owner(NamedTuple):
    """Who may have a lease back: an agent's identity is worth something only together with its token."""

    token_id: str
    identity: bytes

    def __repr__(self) -> str:
        return f"<Owner of token {self.token_id}>"  # the identity is a secret: whoever knows it may have the names back


class Holder(Protocol):
    """A live session, as a listener and the registry see it. Every method is synchronous and never blocks."""

    account: Account
    """Who is charged for what is done for its tunnels."""

    @property
    def session_id(self) -> str:
        """Return the id that no other session of this server ever has."""

    def open(self, tunnel_id: int, header: bytes, on_status: OnStatus) -> Channel:
        """Open a stream to the tunnel's origin: `header` (PROXY v2) goes first, then `on_status` is called once.

        What is sent meanwhile follows the header. The status byte is taken off before `on_status`; the origin's bytes
        stay in the channel.

        Raises:
            NoLinkError: the agent cannot be reached.
            UnavailableError: too many streams.
        """

    def record_request(self, tunnel_id: int, method: str, path: str, status: int, seconds: float, cut: str = "") -> None:
        """Tell the agent of a finished request, for its console; bounded and batched, may be dropped and counted.

        `cut` says how an answer broke off.
        """


class Lease:
    """One address, its owner, and who serves it now. Only the registry changes it, `waiters`, `on_gone`, `on_holder_lost`,
    `origin_timeout_s`, `rewrite` and `scopes` excepted.
    """

    __slots__ = (
        "epoch",
        "gone",
        "held_until",
        "holder",
        "key",
        "on_gone",
        "on_holder_lost",
        "origin_timeout_s",
        "owner",
        "remote_worker",
        "rewrite",
        "scopes",
        "tunnel_id",
        "waiters",
        "yields",
    )

    def __init__(self, key: LeaseKey, owner: Owner) -> None:
        """Start without a holder; the registry fills in the rest at once."""
        self.key = key
        self.owner = owner
        self.tunnel_id = 0
        """What stream preambles carry; new at every grant, so that no two sessions share one."""
        self.epoch = 0
        """Grows with every grant: a message about an older epoch is late and means nothing."""
        self.holder: Holder | None = None
        """Who serves visitors now; None while the agent is away, or served by another worker."""
        self.remote_worker = 0
        """The worker whose session serves visitors now, where that is another one than this process; else 0."""
        self.held_until: float | None = None
        """When a lease without holder ends, by the clock whose `now` the registry was given."""
        self.gone = False
        """True once the address is free again; whoever still has this object must let go of it."""
        self.waiters: dict[object, Callable[[], None]] = {}
        """Visitors who wait for an agent that is away: called once when it is back or the lease is gone.

        Whoever waits adds itself under a key of its own and takes itself out when its patience ends. The registry
        empties this before it hands the callbacks to the reactor: look at `holder` and `gone` again when called.
        """
        self.on_gone: Callable[[], None] = _nothing
        """Called at once when the address is free again, to close what belongs to it (a tcp tunnel's listener).

        It runs inside the registry: it must not call back into it.
        """
        self.yields = False
        """True while it is held for an agent that left on purpose: anybody else may claim it, and it does not count as its token's."""
        self.on_holder_lost: Callable[[], None] = _nothing
        """Called once, soon after its holder serves no new visitors any more: what was kept for them is of no use."""
        self.rewrite: HeadRewrite | None = None
        """What its agent asked to be changed in heads; http only."""
        self.origin_timeout_s = 0.0
        """How long its origin may take to begin an answer, as its agent asked; 0: no limit. http only."""
        self.scopes: Scopes = ()
        """What its relays are held to: the limits of its token, which all of the token's leases share."""

    def part(self) -> Callable[[], None]:
        """Have no holder any more; return what is to be called for that, soon."""
        self.holder = None
        on_holder_lost, self.on_holder_lost = self.on_holder_lost, _nothing
        return on_holder_lost

    def end(self) -> None:
        """Be gone, and call `on_gone`, once: it may hold whoever holds this lease."""
        self.gone = True
        on_gone, self.on_gone = self.on_gone, _nothing
        on_gone()

    @property
    def address(self) -> str:
        """Return the hostname, or the port in digits."""
        return self.key.address

    def __repr__(self) -> str:
        state = "gone" if self.gone else f"held until {self.held_until}" if self.holder is None else f"session {self.holder.session_id}"
        if self.remote_worker:
            state = f"on worker {self.remote_worker}"
        return f"<Lease {self.key.kind} {self.key.address} tunnel {self.tunnel_id} epoch {self.epoch}, {state}>"


def _nothing() -> None:
    """Stand in for `on_gone` until somebody sets it."""
