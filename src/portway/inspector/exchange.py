"""What a tap collects about one HTTP exchange or connection before it is stored."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Kind = Literal["http", "websocket", "sse", "tcp", "tls"]

REQUEST, RESPONSE = 0, 1
"""Sides of an exchange: from the visitor, and to the visitor."""


class TunnelInfo(NamedTuple):
    """The tunnel that an exchange belongs to."""

    name: str
    """Its name in the configuration file, else its public name or address."""
    url: str
    target: str
    """The origin, as `Target.text`."""
    kind: str = "http"


@dataclass(slots=True)
class CapturedBody:
    """The payload of one message, as far as it was captured."""

    pieces: list[bytes] = field(default_factory=list)
    size: int = 0
    """Bytes that passed."""
    stored: int = 0
    """Bytes in `pieces`."""
    dropped: bool = False
    """True if some were left out because the recorder was behind."""
    wire: list[bytes] | None = None
    """A chunked body of a request with its framing, for a replay with the same bytes; None for any other."""


@dataclass(slots=True, eq=False, weakref_slot=True)
class Exchange:
    """One request with its response. Written by the reactor's thread until it is done, then by the recorder's."""

    tunnel: TunnelInfo
    started_at: float
    """Seconds since 1970."""
    begun: float
    """The same on the monotonic clock, as all times below."""
    request_head: bytes
    method: bytes = b""
    kind: Kind = "http"
    connect_s: float | None = None
    """How long the connection to the origin took; None if an earlier request had made it."""
    link_s: float | None = None
    """Round trip of the link to the server."""
    request_end: float = 0.0
    first_byte: float = 0.0
    ended: float = 0.0
    status: int = 0
    response_head: bytes = b""
    request: CapturedBody = field(default_factory=CapturedBody)
    response: CapturedBody = field(default_factory=CapturedBody)
    error: str = ""
    """Why the exchange did not complete, or could not be followed to its end."""
    replay_of: int = 0
    """Id of the exchange that this one repeats; 0 for a visitor's."""
    announced: bool = False
    """True once the recorder has it, before its end."""
    row: int = 0
    """Its id in the store; set by the recorder's thread."""
    messages_missed: int = 0
    """Frames or events that were left out because the recorder was behind."""
    on_stored: "Callable[[Exchange], None] | None" = None
    """Called by the recorder's thread once it is done and has its id; for a replay."""


class Message(NamedTuple):
    """A WebSocket frame of an exchange, or a piece of its event stream."""

    exchange: Exchange
    side: int
    at: float
    """Seconds since 1970."""
    opcode: int
    final: bool
    compressed: bool
    size: int
    payload: bytes
    key: bytes


class EventPiece(NamedTuple):
    """A piece of an event stream, which the recorder splits into events."""

    exchange: Exchange
    at: float
    payload: bytes


class Opened(NamedTuple):
    """An exchange that is not done, to be shown already."""

    exchange: Exchange


class Connection(NamedTuple):
    """A connection of a tcp or tls tunnel that has ended."""

    tunnel: TunnelInfo
    started_at: float
    seconds: float
    bytes_in: int
    bytes_out: int
    reason: str
    client: str


Item = Exchange | Message | EventPiece | Opened | Connection
"""What a recorder receives; an exchange that is done is received as itself."""
