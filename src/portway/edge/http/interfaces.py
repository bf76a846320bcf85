"""Protocols between an exchange, its visitor connection and the edge."""

from collections.abc import Callable
from typing import Protocol

from portway.clock import Clock
from portway.edge.connection_state import SheddableConnection
from portway.edge.events import RelayDone, RequestDone
from portway.edge.handoff import HandOff
from portway.edge.holds import Holds
from portway.edge.http.access_control import AccessControl
from portway.edge.http.buffers import ChannelReader, ChannelWriter
from portway.edge.http.byte_budget import ByteBudget
from portway.edge.http.deadlines import Expiring
from portway.edge.http.exchange.shaping import ConnectionShaper
from portway.edge.http.origin.pinned_stream import PinnedStream
from portway.edge.http.origin.pool import OriginPools
from portway.edge.http.origin.stream import OriginStream
from portway.edge.http.settings import HttpEdgeSettings
from portway.edge.lease import Lease
from portway.engine.channel import Channel
from portway.engine.limits import Scopes
from portway.engine.reactor import Reactor
from portway.links.source_accounts import SourceAccounts
from portway.protocol.http1.field_rules import FieldRules
from portway.protocol.http1.fields import Field
from portway.protocol.http1.trusted_proxies import Hops


class ExchangeOwner(Protocol):
    """The visitor connection of an exchange: request and response pass through it."""

    reader: ChannelReader
    writer: ChannelWriter
    channel: Channel
    deadline: float
    pin: PinnedStream | None
    """A stream of its own, while it carries no request."""
    shaper: ConnectionShaper | None
    """Enforces the rates of its last request's tunnel on the connection."""

    @property
    def effective_scheme(self) -> str:
        """The scheme of the visitor's request, perhaps as reported by a trusted proxy."""

    @property
    def shared(self) -> bool:
        """True if the connection may carry requests of several visitors: then no stream may be pinned to it."""

    def edge_header_lines(self, host: bytes) -> bytes:
        """Return the lines that the edge adds to a request's head, and the empty one that ends it."""

    def read_ahead(self) -> None:
        """Check whether the visitor has ended, after the whole request was read."""

    def response_done(self, status: int, *, keep_alive: bool) -> None:
        """Called after the whole response was handed to the writer."""

    def send_error(self, code: str, detail: str = "", *, complete: bool) -> None:
        """Send an error response; `complete` means that the whole request was read."""

    def retry(self) -> None:
        """Route the same request again, perhaps after a hold."""

    def upgraded(self, stream: OriginStream) -> None:
        """Switch to another protocol; `stream` changes hands."""

    def close_without_response(self) -> None:
        """Close the visitor's connection properly, without a response: the request did not reach its origin."""

    def on_pin_lost(self) -> None:
        """Called when the pinned stream has ended."""

    def count_buffered(self) -> None:
        """Count buffered heads again, after a change."""

    def count_unread(self) -> None:
        """Count the unread bytes of the response again."""

    def break_connection(self, status: int, cut: str = "") -> None:
        """Break the visitor's connection: its response cannot be completed, or the visitor has closed."""


OnFinished = Callable[[RequestDone | RelayDone], None]


class ServedVisitor(SheddableConnection, Expiring, Protocol):
    """A visitor connection, as the edge uses it."""

    channel: Channel
    scheme: str
    server_name: str
    """Name for which the connection was decrypted, or empty."""
    handoffs: int
    counted: bool
    shaper: ConnectionShaper | None
    pin: PinnedStream | None

    @property
    def busy(self) -> bool:
        """True while a request is in progress."""

    def clear_counts(self) -> None:
        """Remove it from the byte budgets."""

    def close_idle(self) -> None:
        """Close the connection if it is between two requests."""

    def abort(self) -> None:
        """Break the connection."""


class EdgeServices(Protocol):
    """What a visitor connection uses of the edge."""

    reactor: Reactor
    settings: HttpEdgeSettings
    pools: OriginPools
    access: AccessControl
    """Decides which requests may reach their tunnel."""
    rules: FieldRules
    """Field rules of connections from untrusted peers."""
    sources: SourceAccounts
    """Accounts of visitors whose requests are not read yet."""
    heads: ByteBudget
    """Budget of buffered requests without a response."""
    unread: ByteBudget
    """Budget of responses that visitors have not read, as far as they are buffered here."""
    holds: Holds
    """Visitors that wait for an agent."""
    hand_off: HandOff | None
    """Hands a visitor off to the worker that has its agent; None in a single process."""
    wall: Clock
    """Seconds since 1970, for fields that origins get."""
    on_finished: OnFinished | None
    """Called with an event for every finished request and upgraded connection; with None, nothing is counted."""

    def route(self, host: bytes) -> tuple[str, Lease | None]:
        """Return the normalised host of a Host value, and its lease.

        Raises:
            PeerError: invalid host.
        """

    def rules_for(self, peer: str) -> FieldRules:
        """Return the field rules of a connection from `peer`."""

    def forwarded(self, peer: str, host: bytes, scheme: str, hops: Hops | None) -> list[Field]:
        """Return the forwarding fields of a request for `host` from `peer`; `hops` is what a trusted proxy reported."""

    def hand_off_visitor(self, visitor: ServedVisitor, lease: Lease, address: str, buffered: bytes) -> bool:
        """Hand a visitor from `address` off to the worker that serves `lease`, with the buffered bytes of its request, and forget it
        here; return whether that was possible.
        """

    def forget(self, visitor: ServedVisitor) -> None:
        """Called when the connection is closed, or no longer served here."""

    def linger(self, channel: Channel, address: str) -> None:
        """Close the channel of a visitor from `address` so that sent bytes arrive."""

    def start_relay(
        self, address: str, scheme: str, channel: Channel, pending: tuple[bytes, bytes], stream: OriginStream, scopes: Scopes
    ) -> None:
        """Relay between the channel of a visitor from `address` and a stream, within the limits of `scopes`.

        `scheme` is that of the upgraded request; `pending` holds bytes to be sent first: to the origin, and to the visitor.
        """
