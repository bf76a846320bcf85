"""IPC messages between supervisor and workers, as typed values and as msgpack. Both ends are always the same version."""

from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import Struct

from portway.edge.lease import Kind
from portway.errors import MisuseError
from portway.protocol.control.messages import AccessRules, Claim, ExchangeLimits, Granted, HeadRewrite, Refused
from portway.server.settings import ServerSettings


class _Message(Struct, frozen=True, tag_field="m"):
    """Base of all messages. Some carry descriptors; see each class."""


# Supervisor to worker


class Configure(_Message, frozen=True):
    """First message. Descriptors: the listener of HTTP visitors, and this worker's inbox for handed-off visitors."""

    worker: int
    """Its number, from 1 up, never used for another worker of this server."""
    report_relays: bool
    """Whether to report finished requests, tcp connections and WebSockets."""
    settings: bytes
    """The server's settings, from `encode_settings`."""
    server_id: str
    """Random, the same for all workers: identifies requests that loop."""


class RoutesComplete(_Message, frozen=True):
    """All routes have been sent: accept visitors, and reply Ready."""


class RouteChanged(_Message, frozen=True):
    """Current state of a lease; acknowledged by RouteAck."""

    seq: int
    kind: Kind
    address: str
    tunnel_id: int
    epoch: int
    worker: int
    """The worker whose session serves it; 0: held."""
    session: str
    limits: ExchangeLimits | None = None
    """Limits that the agent requested, beside its token's; sent with the grant, to the worker that serves it."""
    token: str = ""
    """Id of the token that has the lease."""
    rewrite: HeadRewrite | None = None
    """Like `limits`: changes to heads."""
    access: AccessRules | None = None
    """Like `limits`: who may use the tunnel."""
    passthrough: bool = False
    """True for a tls tunnel."""


class RouteRemoved(_Message, frozen=True):
    """An address is free again; acknowledged by RouteAck."""

    seq: int
    kind: Kind
    address: str


class Listen(_Message, frozen=True):
    """Accept visitors on the port of a tcp tunnel. Descriptor: its listener."""

    address: str


class Unlisten(_Message, frozen=True):
    """Stop accepting visitors on a port: another worker does."""

    address: str


class WorkerJoined(_Message, frozen=True):
    """Another worker has started. Descriptor: the sending end of its inbox."""

    worker: int


class WorkerLeft(_Message, frozen=True):
    """Another worker has ended."""

    worker: int


class AgentAssigned(_Message, frozen=True):
    """A connection from an agent, of which nothing was read. Descriptor: the connection."""

    host: str
    port: int


class ClaimResponse(_Message, frozen=True):
    """Reply to ClaimRequest; None: the session was lost meanwhile."""

    id: int
    reply: Granted | Refused | None


class Replace(_Message, frozen=True):
    """Another session of the same identity took an address over: end this session."""

    session: str
    address: str


class Probe(_Message, frozen=True):
    """Check whether the agent of a session responds; answered by Probed."""

    id: int
    session: str
    within_s: float


class ChallengePending(_Message, frozen=True):
    """Answer a CA's challenge until ChallengeEnded; acknowledged by ChallengeAck."""

    seq: int
    name: str
    token: str
    """For HTTP-01, otherwise empty."""
    body: str
    pem: bytes
    """Certificate and key for TLS-ALPN-01, otherwise empty."""

    def __repr__(self) -> str:
        return f"ChallengePending(seq={self.seq}, name={self.name!r})"  # the key is a secret


class ChallengeEnded(_Message, frozen=True):
    """Answer no more challenges for a name."""

    name: str


class CertificateAwaited(_Message, frozen=True):
    """Let visitors wait for the first certificate of a name, or no longer."""

    name: str
    awaited: bool


class CertificateIssued(_Message, frozen=True):
    """Serve a new certificate of the CA."""

    pem: bytes
    """Chain and key."""

    def __repr__(self) -> str:
        return "CertificateIssued()"  # the key is a secret


class Ping(_Message, frozen=True):
    """Answered by Pong: a worker that does not reply is replaced."""


class Reload(_Message, frozen=True):
    """Read the operator's files again."""


class Stop(_Message, frozen=True):
    """Accept nothing new, let visitors finish, and exit."""

    reason: str


# Worker to supervisor


class Ready(_Message, frozen=True):
    """The worker accepts visitors and agents."""


class RouteAck(_Message, frozen=True):
    """A route change has been applied."""

    seq: int


class ChallengeAck(_Message, frozen=True):
    """Challenges up to this one are answered."""

    seq: int


class EventReported(_Message, frozen=True):
    """An event, for console and status."""

    name: str
    fields: dict[str, Any]


class ClaimRequest(_Message, frozen=True):
    """A session claims an address; answered by ClaimResponse."""

    id: int
    session: str
    token: str
    identity: bytes
    claim: Claim

    def __repr__(self) -> str:
        return f"ClaimRequest(id={self.id}, session={self.session!r}, claim={self.claim!r})"  # the identity is a secret


class Released(_Message, frozen=True):
    """A session releases a tunnel's address."""

    session: str
    tunnel: int
    keep: bool = False
    """Hold it for its agent, unless another one claims it."""


class SessionLost(_Message, frozen=True):
    """A session has ended; its leases are held."""

    session: str


class TokenRevoked(_Message, frozen=True):
    """A token was revoked."""

    token: str


class Probed(_Message, frozen=True):
    """Reply to Probe."""

    id: int
    alive: bool


class Pong(_Message, frozen=True):
    """Reply to Ping."""


# Worker to worker, into the inbox


class VisitorHandedOff(_Message, frozen=True):
    """A visitor whose route is the receiver's. Descriptor: its connection."""

    kind: Literal["http", "tcp", "tls", "link"]
    """`tls` is a visitor of the TLS port, `link` an agent that connected to it."""
    address: str
    """The lease's address, for tcp."""
    host: str
    port: int
    """The visitor's address."""
    buffered: bytes
    """What was read already: of its request, or its ClientHello."""
    handoffs: int
    scheme: str = ""
    """Scheme that origins are given, for http."""


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
    | ChallengePending
    | ChallengeEnded
    | CertificateAwaited
    | CertificateIssued
    | Ping
    | Reload
    | Stop
)
LeaseMessage: TypeAlias = RouteAck | ClaimRequest | Released | SessionLost | TokenRevoked | Probed
ToSupervisor: TypeAlias = Ready | EventReported | LeaseMessage | ChallengeAck | Pong

_encoder = msgspec.msgpack.Encoder()
_to_worker: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
_to_supervisor: msgspec.msgpack.Decoder[ToSupervisor] = msgspec.msgpack.Decoder(ToSupervisor)
_handoff: msgspec.msgpack.Decoder[VisitorHandedOff] = msgspec.msgpack.Decoder(VisitorHandedOff)


def encode(message: ToWorker | ToSupervisor | VisitorHandedOff) -> bytes:
    """Encode a message as one datagram."""
    return _encoder.encode(message)


def decode_for_worker(data: memoryview) -> ToWorker:
    """Decode a message of the supervisor."""
    try:
        return _to_worker.decode(data)
    except msgspec.DecodeError as exc:
        raise MisuseError(f"invalid message from the supervisor: {exc}") from exc


def decode_for_supervisor(data: memoryview) -> ToSupervisor:
    """Decode a message of a worker."""
    try:
        return _to_supervisor.decode(data)
    except msgspec.DecodeError as exc:
        raise MisuseError(f"invalid message from a worker: {exc}") from exc


def decode_handoff(data: memoryview) -> VisitorHandedOff:
    """Decode a handoff from another worker."""
    try:
        return _handoff.decode(data)
    except msgspec.DecodeError as exc:
        raise MisuseError(f"invalid handoff from another worker: {exc}") from exc


def encode_settings(settings: ServerSettings) -> bytes:
    """Encode a server's settings for its workers."""
    return msgspec.msgpack.encode(settings, enc_hook=str)


def decode_settings(data: bytes) -> ServerSettings:
    """Decode what `encode_settings` wrote."""
    return msgspec.msgpack.decode(data, type=ServerSettings, dec_hook=_from_text)


def _from_text(kind: type, text: Any) -> Any:
    if kind is Path:
        return Path(text)
    raise NotImplementedError(f"cannot decode {kind}")
