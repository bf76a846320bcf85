"""A lease: one identity's right to one public address, which outlives a lost session for a grace time."""

from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

from portway.engine.accounts import Account
from portway.engine.channel import Channel
from portway.engine.limits import Scopes
from portway.errors import UnavailableError
from portway.protocol.control.messages import HeadRewrite
from portway.protocol.http_access import HttpAccess
from portway.protocol.stream_status import StreamStatus


class NoLinkError(UnavailableError):
    """The session has no working link: it is lost, or silent and about to be lost."""


Kind = Literal["http", "tcp"]
"""The address space of a tunnel: host names, which http and tls tunnels share, or ports."""

ProtocolName = Literal["http", "tcp", "tls"]
"""The protocol of a tunnel."""

OnStatus = Callable[[StreamStatus | None], None]
"""Called once, from the reactor, with the agent's status for a stream, or None when the stream broke or timed out."""


class LeaseKey(NamedTuple):
    """A public address: a hostname (`app.localhost`, normalised) for http and tls, a port in digits (`20001`) for tcp."""

    kind: Kind
    address: str


class Owner(NamedTuple):
    """The owner of a lease, who may reclaim it: an agent's identity is valid only together with its token."""

    token_id: str
    identity: bytes

    def __repr__(self) -> str:
        return f"<Owner of token {self.token_id}>"  # the identity is a secret: it allows to reclaim the names


class Holder(Protocol):
    """A live session, as the edges and the registry use it. Every method is synchronous and never blocks."""

    account: Account
    """Account charged for work on its tunnels."""

    @property
    def session_id(self) -> str:
        """Return the id that no other session of this server ever has."""

    def open(self, tunnel_id: int, header: bytes, on_status: OnStatus) -> Channel:
        """Open a stream to the tunnel's origin: send `header` (PROXY v2), then call `on_status` once.

        Data sent meanwhile follows the header. The status byte is consumed before `on_status`; the origin's bytes stay in the
        channel.

        Raises:
            NoLinkError: the agent cannot be reached.
            UnavailableError: too many streams.
        """

    def record_request(self, tunnel_id: int, method: str, path: str, status: int, seconds: float, cut: str = "") -> None:
        """Send a finished request to the agent's console; bounded and batched, it may be dropped and only counted.

        `cut` describes how the response was truncated.
        """


class Lease:
    """One address, its owner, and the session that serves it now. Only the registry changes it, except for `waiters`, `on_gone`,
    `on_holder_lost`, `access`, `origin_timeout_s`, `rewrite` and `scopes`.
    """

    __slots__ = (
        "access",
        "epoch",
        "gone",
        "held_until",
        "holder",
        "key",
        "on_gone",
        "on_holder_lost",
        "origin_timeout_s",
        "owner",
        "passthrough",
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
        """Id in stream preambles; new with every grant, so that no two sessions share one."""
        self.epoch = 0
        """Grows with every grant: messages about an older epoch are late and ignored."""
        self.holder: Holder | None = None
        """The session that serves visitors now; None while the agent is offline, or while another worker serves them."""
        self.remote_worker = 0
        """The worker whose session serves visitors now, if it is not this process; otherwise 0."""
        self.held_until: float | None = None
        """When a lease without holder ends, on the clock of the registry's `now` arguments."""
        self.gone = False
        """True once the address is free again; remaining references to this object must be dropped."""
        self.waiters: dict[object, Callable[[], None]] = {}
        """Held visitors: callbacks that are called once when the agent is back or the lease is gone.

        A waiter adds its callback under a key of its own and removes it when its hold time ends. The registry clears this before it
        passes the callbacks to the reactor: check `holder` and `gone` again when called.
        """
        self.on_gone: Callable[[], None] = _nothing
        """Called at once when the address is free again, to close its resources (a tcp tunnel's listener).

        Called by the registry: it must not call the registry.
        """
        self.yields = False
        """True while it is held for an agent that left on purpose: others may claim it, and it does not count as a tunnel of its token."""
        self.on_holder_lost: Callable[[], None] = _nothing
        """Called once, soon after its holder stopped serving new visitors, to drop what was prepared for them."""
        self.passthrough = False
        """True for a tls tunnel: its visitors' TLS is relayed to the agent as it is. May change with a grant."""
        self.rewrite: HeadRewrite | None = None
        """Changes of heads that its agent requested; http only."""
        self.access: HttpAccess | None = None
        """Who may use it, and over what, as requested by its agent; http only."""
        self.origin_timeout_s = 0.0
        """Deadline for the beginning of the origin's response, as requested by its agent; 0: none. http only."""
        self.scopes: Scopes = ()
        """Limits of its relays: those of its token, which all leases of the token share."""

    def detach_holder(self) -> Callable[[], None]:
        """Remove the holder; return the callback to call soon."""
        self.holder = None
        on_holder_lost, self.on_holder_lost = self.on_holder_lost, _nothing
        return on_holder_lost

    def end(self) -> None:
        """Mark the lease as gone and call `on_gone` once; drop it, as it may refer to an owner of this lease."""
        self.gone = True
        on_gone, self.on_gone = self.on_gone, _nothing
        on_gone()

    @property
    def protocol(self) -> ProtocolName:
        """Return the protocol of its tunnel."""
        return "tls" if self.passthrough else self.key.kind

    @property
    def address(self) -> str:
        """Return the hostname, or the port in digits."""
        return self.key.address

    def __repr__(self) -> str:
        state = "gone" if self.gone else f"held until {self.held_until}" if self.holder is None else f"session {self.holder.session_id}"
        if self.remote_worker:
            state = f"on worker {self.remote_worker}"
        return f"<Lease {self.protocol} {self.key.address} tunnel {self.tunnel_id} epoch {self.epoch}, {state}>"


def _nothing() -> None:
    """Default of `on_gone`."""
