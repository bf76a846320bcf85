"""Every control message, as a typed value and as msgpack.

Wire: a msgpack map with the message's name under "t" and its fields by name; fields at their default are omitted.
Unknown fields are ignored and unknown messages refused, so that adjacent versions are compatible.
Integers are unsigned; a request has an id from 1 up, and its reply the same id.
"""

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from portway.errors import PeerError
from portway.protocol.control import framing

PROTOCOL_VERSION = 1

REQUEST_LINES_MAX = 64
"""Request lines per Activity: with PATH_CHARS_MAX it stays below framing.POST_LOGIN_BYTES_MAX in any script."""

SEED_BYTES_MAX = 32
"""Bytes of a claim's seed, as many as of an identity."""

PATH_CHARS_MAX = 200
"""Characters of a path in an Activity: more than a terminal line shows."""

CUT_CHARS_MAX = 120
"""Characters of the reason why a response was cut off."""

FIELD_CHANGES_MAX = 32
"""Fields that a tunnel may set or remove, per direction."""
FIELD_CHARS_MAX = 4096
"""Characters of a value: a long signed token fits."""

USERS_MAX = 128
"""Users of a tunnel with passwords: their hashes fit into a claim, and a directory service suits more."""
NETWORKS_MAX = 64
"""Networks that a tunnel allows or denies, each: a new address is compared with all of them."""
CLIENT_CA_CHARS_MAX = 24_000
"""A dozen certificates; the message with them has to fit into POST_LOGIN_BYTES_MAX."""

HSTS_S_MAX = 10 * 365 * 86_400
"""Seconds of Strict-Transport-Security: browsers cap it at one or two years."""

U32 = Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)]
U64 = Annotated[int, Meta(ge=0)]
RequestId = Annotated[int, Meta(ge=1, le=0xFFFF_FFFF)]
Port = Annotated[int, Meta(ge=0, le=65535)]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Secret32 = Annotated[bytes, Meta(min_length=32, max_length=32)]
Count = Annotated[int, Meta(ge=0, le=1_000_000)]
# Generous, so that a name too long for DNS is refused with a reason (names.py) and not as an invalid message.
Text = Annotated[str, Meta(max_length=1024)]
RequestLine: TypeAlias = tuple[
    Annotated[str, Meta(max_length=32)], Annotated[str, Meta(max_length=PATH_CHARS_MAX)], Annotated[int, Meta(ge=0, le=999)], Seconds
]
"""method, path, status (0: no response was sent), seconds from head to end."""


class BadMessageError(PeerError):
    """An invalid message: unknown name, missing field, wrong type, not msgpack."""

    def __init__(self, text: str, request_id: int) -> None:
        """`request_id` is the id in the body if it can be read, else 0: with an id it is enough to refuse that request."""
        super().__init__(text)
        self.request_id = request_id


class _Message(Struct, frozen=True, kw_only=True, tag_field="t", omit_defaults=True):
    """Base of all messages: tagged, immutable, and without secrets in its repr."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={self._shown(name)}' for name in self.__struct_fields__)})"

    def _shown(self, name: str) -> str:
        value: object = getattr(self, name)
        # Every secret on the control stream is a bytes field or a SCRAM message.
        return "•••" if name == "scram" or isinstance(value, bytes) else repr(value)


# Agent to server


class Hello(_Message, frozen=True, kw_only=True):
    """First message of a session's first link."""

    version: U32
    """Highest protocol version of the agent."""
    token: Text
    """Token id; the same as the user name in `scram`."""
    identity: Secret32
    """256-bit secret that this agent stores per token; names belong to it."""
    scram: Text
    """SCRAM client-first-message."""
    agent: Text
    """Program and version, for people: "portway/0.1.0 linux"."""


class Proof(_Message, frozen=True, kw_only=True):
    """The agent's proof that it has the secret."""

    scram: Text
    """SCRAM client-final-message."""


class Attach(_Message, frozen=True, kw_only=True):
    """First message of a further link of a session; the reply is Welcome or Refused."""

    ticket: Secret32
    """From Ticket, at most 30 s old, valid once."""
    proof: Secret32
    """HMAC-SHA256(session key, ticket)."""
    hint: Text = ""
    """The hint of the ticket, on a plain link only: a TLS link sends it in its ClientHello."""


class AskTicket(_Message, frozen=True, kw_only=True):
    """Requests a ticket for one more link; the reply is Ticket or Refused."""

    id: RequestId


class ExchangeLimits(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Limits of each request of an http tunnel, or upgraded connection, which only the server can distinguish; 0: no limit."""

    idle_timeout_s: Seconds = 0.0
    min_rate_bpm: U64 = 0
    """Bytes per minute, both directions combined."""
    max_rate_bps: U64 = 0
    """Bytes per second of one visitor's connection, in each direction."""
    max_lifetime_s: Seconds = 0.0
    max_total_payload: U64 = 0
    """Bytes of both bodies together."""
    origin_timeout_s: Seconds = 0.0
    """How long the origin may take to start a response, or to send an interim one."""


FieldChange: TypeAlias = tuple[Annotated[str, Meta(max_length=128)], Annotated[str, Meta(max_length=FIELD_CHARS_MAX)] | None]
"""A field's name and its new value; None removes the field."""


class HeadRewrite(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Changes that the server makes to the heads of an http tunnel."""

    host: Text = ""
    """Host value for the origin; empty: that of the visitor."""
    scheme: Literal["http", "https"] = "http"
    """Scheme of the origin; with `host` the origin in Origin, Referer and Location."""
    request: Annotated[list[FieldChange], Meta(max_length=FIELD_CHANGES_MAX)] = []
    response: Annotated[list[FieldChange], Meta(max_length=FIELD_CHANGES_MAX)] = []

    def __repr__(self) -> str:
        names = [name for name, _ in (*self.request, *self.response)]
        return f"HeadRewrite(host={self.host!r}, scheme={self.scheme!r}, fields={names})"  # a value may be a secret


class AccessRules(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who may use an http tunnel, and over what; the server enforces it."""

    plain_http: Literal["redirect", "serve", "refuse"] = "redirect"
    """What happens to requests over plain HTTP, once the name has HTTPS (`redirect`) or always."""
    hsts_s: Annotated[int, Meta(ge=0, le=HSTS_S_MAX)] | None = None
    """`max-age` of Strict-Transport-Security in responses over https; nil: the field is left to the origin."""
    users: Annotated[
        list[tuple[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=256)]]], Meta(max_length=USERS_MAX)
    ] = []
    """Names and password hashes (protocol/password_hash.py); without any, no password is asked for."""
    allow_ip: Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(max_length=NETWORKS_MAX)] = []
    """Networks of visitors that may use the tunnel; without any, all may."""
    deny_ip: Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(max_length=NETWORKS_MAX)] = []
    """Networks of visitors that may not. The smallest network that contains an address decides."""
    client_ca: Annotated[str, Meta(max_length=CLIENT_CA_CHARS_MAX)] = ""
    """PEM certificates of the CAs that sign visitors' certificates; empty: no certificate is asked for."""

    def __repr__(self) -> str:
        users = [name for name, _ in self.users]
        return (
            f"AccessRules(plain_http={self.plain_http!r}, hsts_s={self.hsts_s}, users={users}, "
            f"allow_ip={self.allow_ip}, deny_ip={self.deny_ip}, client_ca={len(self.client_ca)} characters)"  # a hash is a secret: passwords can be guessed from it
        )


class Claim(_Message, frozen=True, kw_only=True):
    """Requests a public address; the reply is Granted or Refused. Claiming an address again is not an error."""

    id: RequestId
    kind: Literal["http", "tcp", "tls"]
    """tls: a host name whose TLS connections the server relays without decrypting them. Older servers refuse it as a bad message."""
    name: Text = ""
    """http, tls: one label under the server's domain; empty with an empty `host` = a random one."""
    host: Text = ""
    """http, tls: a whole host name instead of a label."""
    port: Port = 0
    """tcp: the requested public port; 0: any free one."""
    takeover: bool = False
    """Take over the name from another live session of the same identity."""
    seed: Annotated[bytes, Meta(max_length=SEED_BYTES_MAX)] = b""
    """Seed from which the server derives a name or port instead of a random one: the same seed yields the same one. With a seed, `name`,
    `host` or `port` is the one that was granted last, and the server may grant another one."""
    limits: ExchangeLimits | None = None
    """http: in addition to the token's."""
    rewrite: HeadRewrite | None = None
    """http: changes to heads. Older servers ignore it; see `Granted.rewrites`."""
    access: AccessRules | None = None
    """http: rules that the server enforces. Older servers ignore it; see `Granted.access`."""


class Release(_Message, frozen=True, kw_only=True):
    """Releases a tunnel's address at once, without grace; the reply is Released or Refused."""

    id: RequestId
    tunnel: U32
    keep: bool = False
    """The agent may return: no new visitors are accepted, and the address is held for it, unless another agent claims it. Older servers
    free the address."""


class Measure(_Message, frozen=True, kw_only=True):
    """Requests a speed test on the session's links; the reply is Measured at its end, or Refused.

    Older servers refuse it by its id, and the session continues.
    """

    id: RequestId
    direction: Literal["down", "up"]
    """down: the server sends and the agent counts; up: the reverse."""
    streams: Count
    seconds: Seconds


# Server to agent


class Challenge(_Message, frozen=True, kw_only=True):
    """Reply to Hello."""

    scram: Text
    """SCRAM server-first-message."""


class Limits(Struct, frozen=True, kw_only=True):
    """Limits of a session."""

    links: Count
    """Links of one session, including the first."""
    tunnels: Count
    """Concurrent tunnels of this token."""


class Welcome(_Message, frozen=True, kw_only=True):
    """Confirms that the link belongs to a session; until then a link is used for nothing else."""

    scram: Text
    """SCRAM server-final-message, which authenticates the server; empty as the reply to Attach."""
    session: Text
    """The session's id, for logs."""
    server: Text
    """Version of the server's program."""
    region: Text
    grace_s: Seconds
    """How long the server holds the session's names after its last link is lost."""
    limits: Limits
    version: U32 = 1
    """The protocol version of both ends from now on: the lower of Hello's and the server's highest."""


class Ticket(_Message, frozen=True, kw_only=True):
    """Reply to AskTicket."""

    id: RequestId
    ticket: Secret32
    hint: Text = ""
    """Routing hint to send unencrypted when dialling, so that the link reaches the right process of the server; see links/worker_hint.py."""


class Granted(_Message, frozen=True, kw_only=True):
    """Reply to Claim: the address is live when this arrives."""

    id: RequestId
    tunnel: U32
    """Sent with every visitor's stream (PROXY TLV 0xE0); never reused in a session."""
    epoch: U64
    """Grows with every change of holder; a message with a lower epoch is about a lease that was lost."""
    url: Text
    """URL for users: "http://app.localhost:8080", "tcp://127.0.0.1:20001", "https://app.localhost:8443"."""
    port: Port = 0
    """tcp: the public port."""
    name: Text = ""
    """http, tls: the label or host name that was granted."""
    rewrites: bool = False
    """http: whether the claim's `rewrite` is in force."""
    access: bool = False
    """http: whether the claim's `access` is in force."""


class Refused(_Message, frozen=True, kw_only=True):
    """A request, or with id 0 the login, is refused; repeating it unchanged has the same result."""

    id: U32 = 0
    code: Text
    """One of codes.py, or a newer one."""
    reason: Text
    next_step: Text = ""


class Released(_Message, frozen=True, kw_only=True):
    """Reply to Release."""

    id: RequestId
    kept: bool = False
    """The address is held, as requested, and the server closes its idle streams of the tunnel."""


class Drain(_Message, frozen=True, kw_only=True):
    """The server accepts nothing new: open streams may finish, new sessions should go elsewhere or retry later."""

    reason: Text


class Ended(_Message, frozen=True, kw_only=True):
    """The session has ended permanently (replaced, revoked): the agent stops and does not reconnect."""

    code: Text
    reason: Text
    next_step: Text


class Activity(_Message, frozen=True, kw_only=True):
    """Recent requests of a tunnel, for the agent's console; best effort."""

    tunnel: U32
    requests: Annotated[list[RequestLine], Meta(max_length=REQUEST_LINES_MAX)]
    missed: Count = 0
    """Number of omitted requests, when there were too many."""
    cuts: Annotated[list[tuple[Count, Annotated[str, Meta(max_length=CUT_CHARS_MAX)]]], Meta(max_length=REQUEST_LINES_MAX)] = []
    """Requests whose response was cut off: the index in `requests`, and the reason."""


class Measured(_Message, frozen=True, kw_only=True):
    """Reply to Measure: the server's counts in the steady interval of the test (session/speed.py)."""

    id: RequestId
    bytes: U64
    """Of all streams: sent with `down`, received with `up`."""
    seconds: Seconds
    """Length of the interval."""
    cpu_s: Seconds
    """CPU time of the server process in it."""
    wait_s: Seconds = 0.0
    """Time in which that process was ready but waited for a core; 0 if unknown."""


FromAgent: TypeAlias = Hello | Proof | Attach | AskTicket | Claim | Release | Measure
FromServer: TypeAlias = Challenge | Welcome | Ticket | Granted | Refused | Released | Drain | Ended | Activity | Measured
Message: TypeAlias = FromAgent | FromServer


class _Request(Struct):
    """The part of an invalid message that is needed to refuse it."""

    id: RequestId = 0


_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)
_request_decoder = msgspec.msgpack.Decoder(_Request)


def encode_message(message: Message) -> bytes:
    """Return the message framed for the control stream.

    Raises:
        MisuseError: it is too large.
    """
    return framing.encode(_encoder.encode(message))


def decode_message(body: bytes | memoryview) -> Message:
    """Return the message in `body` (one of MessageReader's).

    Raises:
        BadMessageError: invalid message.
    """
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # ascii() and the cut: msgspec repeats the name of an unknown message, which is text from the peer.
        raise BadMessageError(f"control message not understood: {ascii(str(error))[1:-1][:160]}", _request_id(body)) from None


def request_line(method: str, path: str, status: int, seconds: float) -> RequestLine:
    """Return one line of an Activity, cut to the limits."""
    return method[:32], path if len(path) <= PATH_CHARS_MAX else path[: PATH_CHARS_MAX - 1] + "…", status, seconds


def _request_id(body: bytes | memoryview) -> int:
    try:
        return _request_decoder.decode(body).id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0
