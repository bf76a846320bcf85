"""Protocols between an exchange, its visitor connection and the edge."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from portway.clock import Clock
from portway.engine.channel import Channel
from portway.engine.limits import Scopes
from portway.engine.reactor import Reactor
from portway.protocol.http1.field_rules import FieldRules
from portway.protocol.http1.fields import Field
from portway.protocol.http1.trusted_proxies import Hops
from portway.server.edge.handoff import HandOff
from portway.server.edge.holds import Holds
from portway.server.edge.http.buffers import ChannelReader, ChannelWriter
from portway.server.edge.http.byte_budget import ByteBudget
from portway.server.edge.http.exchange.shaping import ConnectionShaper
from portway.server.edge.http.origin.pin import PinnedStream
from portway.server.edge.http.origin.pool import OriginPools
from portway.server.edge.http.origin.stream import OriginStream
from portway.server.edge.http.settings import HttpEdgeSettings
from portway.server.events import RelayDone, RequestDone
from portway.server.tunnels.lease import Lease

if TYPE_CHECKING:
    from portway.server.edge.http.visitor.connection import VisitorConnection


class ExchangeOwner(Protocol):
    """Whoever asked, and gets the answer."""

    inlet: ChannelReader
    outlet: ChannelWriter
    channel: Channel
    deadline: float
    pin: PinnedStream | None
    """A stream that is its own, while no request is on it."""
    shaping: ConnectionShaper | None
    """What the rates of the tunnel that it asked last make of its connection."""

    @property
    def shared(self) -> bool:
        """Whether the connection may carry requests of several visitors: no stream may be pinned to it then."""

    def own_lines(self, host: bytes) -> bytes:
        """Return the lines that the edge adds to a request's head, and the empty one that ends it."""

    def look_ahead(self) -> None:
        """See whether the visitor has ended, as nothing of the request is left to be read."""

    def answered(self, status: int, *, keep_alive: bool) -> None:
        """Hear that the whole answer was handed to the outlet."""

    def refuse(self, code: str, detail: str = "", *, complete: bool) -> None:
        """Answer in the origin's place; `complete` says that the whole request was read."""

    def try_again(self) -> None:
        """Route the same request anew, perhaps after a hold."""

    def switched(self, stream: OriginStream) -> None:
        """Hear that the connection speaks another protocol from now on; `stream` changes hands."""

    def hang_up(self) -> None:
        """End the visitor's connection properly, without an answer: the request did not reach the origin that it was meant for."""

    def pin_lost(self) -> None:
        """Called when the pinned stream has ended."""

    def count_kept(self) -> None:
        """Count anew what is kept of heads: it has changed."""

    def count_unread(self) -> None:
        """Count anew what the visitor has not taken of its answer."""

    def gone(self, status: int, cut: str = "") -> None:
        """Break the visitor's connection: its answer cannot be completed, or it has left."""


OnFinished = Callable[[RequestDone | RelayDone], None]


class EdgeServices(Protocol):
    """What a visitor's connection needs of the edge."""

    reactor: Reactor
    settings: HttpEdgeSettings
    pools: OriginPools
    rules: FieldRules
    """The field rules of connections from untrusted peers."""
    heads: ByteBudget
    """What requests keep that are not answered yet."""
    unread: ByteBudget
    """What visitors have not taken of their answers, as far as it had to be kept here."""
    holds: Holds
    """Visitors that wait for an agent."""
    hand_off: HandOff | None
    """Hands a visitor to the worker that has his agent; None where one process does everything."""
    wall: Clock
    """Seconds since 1970, for what origins are told."""
    on_done: OnFinished | None
    """Is told of every request and upgraded connection that is over; None spares the counting."""

    def route(self, host: bytes) -> tuple[str, Lease | None]:
        """Return the host that a Host value names, normalised, and who has it.

        Raises:
            PeerError: it is no host.
        """

    def rules_for(self, peer: str) -> FieldRules:
        """Return the field rules of a connection from `peer`."""

    def forwarded(self, peer: str, host: bytes, scheme: str, hops: Hops | None) -> list[Field]:
        """Return the forwarding fields of a request for `host` that came from `peer`; `hops` is what that proxy reported."""

    def handed_off(self, visitor: "VisitorConnection", lease: Lease, address: str, read: bytes) -> bool:
        """Hand a visitor whose connection is from `address` to the worker that serves `lease`, with what was read of his request, and forget him here;
        False when that cannot be done.
        """

    def left(self, visitor: "VisitorConnection") -> None:
        """Hear that the connection is over, or is the edge's no more."""

    def linger(self, channel: Channel, address: str) -> None:
        """Close the channel of a visitor from `address` so that what was sent arrives."""

    def join(self, address: str, channel: Channel, pending: tuple[bytes, bytes], stream: OriginStream, scopes: Scopes) -> None:
        """Relay between the channel of a visitor from `address` and a stream from now on, within the limits of `scopes`.

        `pending` was read from the visitor and is still to be sent on; and is still to be sent to it first.
        """
