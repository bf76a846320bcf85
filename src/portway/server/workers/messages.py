"""What the supervisor and its workers tell each other, as typed values and as msgpack. Both are always the same version."""

from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import Struct

from portway.errors import MisuseError
from portway.protocol.control.messages import Claim, ExchangeLimits, Granted, HeadRewrite, Refused
from portway.server.settings import ServerSettings
from portway.server.tunnels.lease import Kind


class _Message(Struct, frozen=True, tag_field="m"):
    """What all messages share. Beside some of them a descriptor travels, as each says."""


# Supervisor to worker


class Configure(_Message, frozen=True):
    """First message. Descriptors: the listener of HTTP visitors, and this worker's inbox for visitors of other workers."""

    worker: int
    """Its number, from 1 up, which no other worker of this server ever has."""
    report_relays: bool
    """Whether requests, tcp connections and WebSockets that are over are to be told."""
    settings: bytes
    """The server's, as `encode_settings` makes them."""
    server_id: str
    """Random, one for all workers: how a request that comes back is known."""


class RoutesComplete(_Message, frozen=True):
    """Every route was told: take visitors in, and answer Ready."""


class RouteChanged(_Message, frozen=True):
    """How a lease stands now; answered by Seen."""

    seq: int
    kind: Kind
    address: str
    tunnel_id: int
    epoch: int
    worker: int
    """Whose session serves it; 0: held."""
    session: str
    limits: ExchangeLimits | None = None
    """What the agent asked for, beside its token's; told with the grant, to whoever serves it."""
    token: str = ""
    """The id of the token that has it."""
    rewrite: HeadRewrite | None = None
    """As `limits`: what changes in heads."""


class RouteRemoved(_Message, frozen=True):
    """An address is free again; answered by Seen."""

    seq: int
    kind: Kind
    address: str


class Listen(_Message, frozen=True):
    """Take the visitors of a tcp tunnel's port in. Descriptor: its listener."""

    address: str


class Unlisten(_Message, frozen=True):
    """Another worker takes them in from now on."""

    address: str


class WorkerJoined(_Message, frozen=True):
    """Another worker is there. Descriptor: the way into its inbox."""

    worker: int


class WorkerLeft(_Message, frozen=True):
    """Another worker is no more."""

    worker: int


class AgentAssigned(_Message, frozen=True):
    """A connection from an agent, of which nothing was read. Descriptor: it."""

    host: str
    port: int


class ClaimResponse(_Message, frozen=True):
    """Answer to Asked; neither: the session was lost meanwhile."""

    id: int
    answer: Granted | Refused | None


class Replace(_Message, frozen=True):
    """Another session of the same identity took an address over: end this one."""

    session: str
    address: str


class Probe(_Message, frozen=True):
    """Does anybody answer in this session? Answered by Probed."""

    id: int
    session: str
    within_s: float


class Ping(_Message, frozen=True):
    """Answered by Pong: a worker that does not is replaced."""


class Stop(_Message, frozen=True):
    """Take nothing new, let visitors finish, and end."""

    reason: str


# Worker to supervisor


class Ready(_Message, frozen=True):
    """Visitors and agents may come."""


class RouteAck(_Message, frozen=True):
    """A route counts here from now on."""

    seq: int


class EventReported(_Message, frozen=True):
    """An event, for the console and the board."""

    name: str
    fields: dict[str, Any]


class ClaimRequest(_Message, frozen=True):
    """A session claims an address; answered by Answered."""

    id: int
    session: str
    token: str
    identity: bytes
    claim: Claim

    def __repr__(self) -> str:
        return f"Asked(id={self.id}, session={self.session!r}, claim={self.claim!r})"  # the identity is a secret


class Released(_Message, frozen=True):
    """A session gives a tunnel's address back."""

    session: str
    tunnel: int
    keep: bool = False
    """Hold it for its agent, unless somebody else claims it."""


class SessionLost(_Message, frozen=True):
    """A session is over; what it had is held."""

    session: str


class TokenRevoked(_Message, frozen=True):
    """A token may do nothing any more."""

    token: str


class Probed(_Message, frozen=True):
    """Answer to Probe."""

    id: int
    alive: bool


class Pong(_Message, frozen=True):
    """Answer to Ping."""


# Worker to worker, into the inbox


class VisitorHandedOff(_Message, frozen=True):
    """A visitor whose route is the receiver's. Descriptor: his connection."""

    kind: Literal["http", "tcp"]
    address: str
    """The lease's, for tcp."""
    host: str
    port: int
    """Where he comes from."""
    read: bytes
    """What was read of his request already."""
    hops: int
    scheme: str = ""
    """What origins are told, for http."""


ToWorker: TypeAlias = (
    Configure
    | RoutesComplete
    | RouteChanged
    | RouteRemoved
    | Listen
    | Unlisten
    | WorkerJoined
    | WorkerLeft
    | AgentAssigned
    | ClaimResponse
    | Replace
    | Probe
    | Ping
    | Stop
)
LeaseMessage: TypeAlias = RouteAck | ClaimRequest | Released | SessionLost | TokenRevoked | Probed
ToSupervisor: TypeAlias = Ready | EventReported | LeaseMessage | Pong

_encoder = msgspec.msgpack.Encoder()
_to_worker: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
_to_supervisor: msgspec.msgpack.Decoder[ToSupervisor] = msgspec.msgpack.Decoder(ToSupervisor)
_passed: msgspec.msgpack.Decoder[VisitorHandedOff] = msgspec.msgpack.Decoder(VisitorHandedOff)


def encode(message: ToWorker | ToSupervisor | VisitorHandedOff) -> bytes:
    """Return a message as one datagram."""
    return _encoder.encode(message)


def for_worker(data: memoryview) -> ToWorker:
    """Return what the supervisor said."""
    try:
        return _to_worker.decode(data)
    except msgspec.DecodeError as exc:
        raise MisuseError(f"the supervisor said what no worker understands: {exc}") from exc


def for_supervisor(data: memoryview) -> ToSupervisor:
    """Return what a worker said."""
    try:
        return _to_supervisor.decode(data)
    except msgspec.DecodeError as exc:
        raise MisuseError(f"a worker said what no supervisor understands: {exc}") from exc


def for_inbox(data: memoryview) -> VisitorHandedOff:
    """Return the visitor that another worker passed on."""
    try:
        return _passed.decode(data)
    except msgspec.DecodeError as exc:
        raise MisuseError(f"a worker passed something on that is no visitor: {exc}") from exc


def encode_settings(settings: ServerSettings) -> bytes:
    """Return a server's settings for its workers."""
    return msgspec.msgpack.encode(settings, enc_hook=str)


def decode_settings(data: bytes) -> ServerSettings:
    """Return the settings that `encode_settings` wrote."""
    return msgspec.msgpack.decode(data, type=ServerSettings, dec_hook=_from_text)


def _from_text(kind: type, text: Any) -> Any:
    if kind is Path:
        return Path(text)
    raise NotImplementedError(f"no way to read {kind}")
