"""Every control message, as a typed value and as msgpack.

Wire: a msgpack map with the message's name under "t" and its fields by name; fields at their default are left out.
Unknown fields are ignored and unknown messages refused, so that two versions can differ by one.
Integers are unsigned; a request carries an id from 1 up, and its answer the same id.
"""

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from portway.errors import PeerError
from portway.protocol.control import framing

PROTOCOL_VERSION = 1

REQUEST_LINES_MAX = 64
"""Requests told by one Activity: with PATH_CHARS_MAX it stays below framing.MEMBER_BYTES_MAX in any script."""

SEED_BYTES_MAX = 32
"""Of a claim's seed: as many as an identity has."""

PATH_CHARS_MAX = 200
"""Characters of a path in an Activity: more than a terminal line shows."""

CUT_CHARS_MAX = 120
"""Characters that say how an answer broke off."""

FIELD_CHANGES_MAX = 32
"""Fields that a tunnel may set or remove, each way."""
FIELD_CHARS_MAX = 4096
"""Characters of a value: a long signed token fits."""

U32 = Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)]
U64 = Annotated[int, Meta(ge=0)]
RequestId = Annotated[int, Meta(ge=1, le=0xFFFF_FFFF)]
Port = Annotated[int, Meta(ge=0, le=65535)]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Secret32 = Annotated[bytes, Meta(min_length=32, max_length=32)]
Count = Annotated[int, Meta(ge=0, le=1_000_000)]
# Generous, so that a name too long for DNS is refused with a reason (names.py) and not as a broken message.
Text = Annotated[str, Meta(max_length=1024)]
RequestLine: TypeAlias = tuple[
    Annotated[str, Meta(max_length=32)], Annotated[str, Meta(max_length=PATH_CHARS_MAX)], Annotated[int, Meta(ge=0, le=999)], Seconds
]
"""method, path, status (0 = the visitor got no answer), seconds from head to end."""


class BadMessageError(PeerError):
    """A body that is no message of ours: unknown name, missing field, wrong type, not msgpack."""

    def __init__(self, text: str, request_id: int) -> None:
        """`request_id` is the id in the body if one could be read, else 0: with an id, refusing that request is enough."""
        super().__init__(text)
        self.request_id = request_id


class _Message(Struct, frozen=True, kw_only=True, tag_field="t", omit_defaults=True):
    """What all messages share: tagged, immutable, and silent about secrets when printed."""

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
    """Highest protocol version that the agent speaks."""
    token: Text
    """Token id; the same as the user name in `scram`."""
    identity: Secret32
    """256-bit secret that this agent keeps per token: names belong to it."""
    scram: Text
    """SCRAM client-first-message."""
    agent: Text
    """Program and version, for people: "portway/0.1.0 linux"."""


class Proof(_Message, frozen=True, kw_only=True):
    """The agent's proof that it knows the secret."""

    scram: Text
    """SCRAM client-final-message."""


class Attach(_Message, frozen=True, kw_only=True):
    """First message of a further link of a session; answered by Welcome or Refused."""

    ticket: Secret32
    """From Ticket, at most 30 s old, good for one presentation."""
    proof: Secret32
    """HMAC-SHA256(session key, ticket)."""
    hint: Text = ""
    """The ticket's, on a plain link only: a TLS link shows it in its ClientHello."""


class AskTicket(_Message, frozen=True, kw_only=True):
    """Asks for the right to attach one more link; answered by Ticket or Refused."""

    id: RequestId


class ExchangeLimits(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What each request of an http tunnel, or upgraded connection, is held to at the server, which alone can tell them apart; 0: no limit."""

    idle_timeout_s: Seconds = 0.0
    min_rate_bpm: U64 = 0
    """Bytes a minute, both ways together."""
    max_rate_bps: U64 = 0
    """Bytes a second of one visitor's connection, each way."""
    max_lifetime_s: Seconds = 0.0
    max_total_payload: U64 = 0
    """Bytes of both bodies."""
    origin_timeout_s: Seconds = 0.0
    """How long the origin may take to begin an answer, or to send an interim one."""


FieldChange: TypeAlias = tuple[Annotated[str, Meta(max_length=128)], Annotated[str, Meta(max_length=FIELD_CHARS_MAX)] | None]
"""A field's name and its new value; None removes the field."""


class HeadRewrite(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the server changes in the heads of an http tunnel."""

    host: Text = ""
    """Host value for the origin; empty keeps the visitor's."""
    scheme: Literal["http", "https"] = "http"
    """How the origin is reached directly: with `host`, its own origin in Origin, Referer and Location."""
    request: Annotated[list[FieldChange], Meta(max_length=FIELD_CHANGES_MAX)] = []
    response: Annotated[list[FieldChange], Meta(max_length=FIELD_CHANGES_MAX)] = []

    def __repr__(self) -> str:
        names = [name for name, _ in (*self.request, *self.response)]
        return f"HeadRewrite(host={self.host!r}, scheme={self.scheme!r}, fields={names})"  # a value may be a secret


class Claim(_Message, frozen=True, kw_only=True):
    """Asks for a public address; answered by Granted or Refused. Asking again for what one holds is no error."""

    id: RequestId
    kind: Literal["http", "tcp"]
    name: Text = ""
    """http: one label under the server's domain; empty with an empty `host` = a random one."""
    host: Text = ""
    """http: a whole host name instead of a label."""
    port: Port = 0
    """tcp: the wished public port; 0 = any free one."""
    takeover: bool = False
    """Take the name from another live session of the same identity."""
    seed: Annotated[bytes, Meta(max_length=SEED_BYTES_MAX)] = b""
    """What the server chooses a name or port by, in place of chance: the same one again for the same seed. With it, a `name`, `host` or
    `port` is the one that was granted last, and another one is as good."""
    limits: ExchangeLimits | None = None
    """http: in addition to the token's."""
    rewrite: HeadRewrite | None = None
    """http: changes to heads. A server that does not know it ignores it; see `Granted.rewrites`."""


class Release(_Message, frozen=True, kw_only=True):
    """Gives a tunnel's address back at once, without grace; answered by Released or Refused."""

    id: RequestId
    tunnel: U32
    keep: bool = False
    """The agent may be back: nobody new comes, and the address is held for it, unless somebody else claims it. A server that does not
    know this frees the address."""


class Measure(_Message, frozen=True, kw_only=True):
    """Asks for a speed test on the session's links; answered by Measured when it is over, or by Refused.

    A server that does not know it refuses it under its id, and the session goes on.
    """

    id: RequestId
    direction: Literal["down", "up"]
    """down: the server sends and the agent counts; up: the other way round."""
    streams: Count
    seconds: Seconds


# Server to agent


class Challenge(_Message, frozen=True, kw_only=True):
    """Answer to Hello."""

    scram: Text
    """SCRAM server-first-message."""


class Limits(Struct, frozen=True, kw_only=True):
    """What a session may use."""

    links: Count
    """Links of one session, the first included."""
    tunnels: Count
    """Tunnels of this token at one time."""


class Welcome(_Message, frozen=True, kw_only=True):
    """The link belongs to a session now; before it, nothing else happens on a link."""

    scram: Text
    """SCRAM server-final-message, which proves the server; empty as the answer to Attach."""
    session: Text
    """The session's id, for logs."""
    server: Text
    """Version of the server's program."""
    region: Text
    grace_s: Seconds
    """How long the server keeps the session's names after its last link is gone."""
    limits: Limits
    version: U32 = 1
    """The protocol version that both speak from now on: the lower of Hello's and the server's highest."""


class Ticket(_Message, frozen=True, kw_only=True):
    """Answer to AskTicket."""

    id: RequestId
    ticket: Secret32
    hint: Text = ""
    """What to show in the clear when dialling with it, so that the link comes to the right process of the server; see links/worker_hint.py."""


class Granted(_Message, frozen=True, kw_only=True):
    """Answer to Claim: the address is live when this arrives."""

    id: RequestId
    tunnel: U32
    """Comes with every visitor's stream (PROXY TLV 0xE0); never used twice in a session."""
    epoch: U64
    """Grows with every change of holder; a message with a lower epoch is about a lease that was lost."""
    url: Text
    """What to give to people: "http://app.localhost:8080", "tcp://127.0.0.1:20001"."""
    port: Port = 0
    """tcp: the public port."""
    name: Text = ""
    """http: the label or host name that was granted."""
    rewrites: bool = False
    """http: whether the claim's `rewrite` is in force."""


class Refused(_Message, frozen=True, kw_only=True):
    """A request, or with id 0 the login, is denied; asking again unchanged gives the same answer."""

    id: U32 = 0
    code: Text
    """One of codes.py, or a newer one."""
    reason: Text
    next_step: Text = ""


class Released(_Message, frozen=True, kw_only=True):
    """Answer to Release."""

    id: RequestId
    kept: bool = False
    """The address is held, as the agent asked, and what the server kept open for the tunnel and nobody uses is being closed."""


class Drain(_Message, frozen=True, kw_only=True):
    """The server takes nothing new: what runs may end, new sessions should go elsewhere or come back later."""

    reason: Text


class Ended(_Message, frozen=True, kw_only=True):
    """The session is over for good (replaced, revoked): the agent stops and does not come back by itself."""

    code: Text
    reason: Text
    next_step: Text


class Activity(_Message, frozen=True, kw_only=True):
    """Requests that a tunnel served lately, for the agent's console; best effort."""

    tunnel: U32
    requests: Annotated[list[RequestLine], Meta(max_length=REQUEST_LINES_MAX)]
    missed: Count = 0
    """Requests left out because there were too many to tell."""
    cuts: Annotated[list[tuple[Count, Annotated[str, Meta(max_length=CUT_CHARS_MAX)]]], Meta(max_length=REQUEST_LINES_MAX)] = []
    """Of requests whose answer broke off: the place in `requests`, and how."""


class Measured(_Message, frozen=True, kw_only=True):
    """Answer to Measure: what the server counted in the steady stretch of the test (session/speed.py)."""

    id: RequestId
    bytes: U64
    """Of all streams: sent with `down`, received with `up`."""
    seconds: Seconds
    """How long the stretch was."""
    cpu_s: Seconds
    """CPU time of the server's process in it."""
    wait_s: Seconds = 0.0
    """How long that process was ready to run and waited for a core; 0 where the system does not tell."""


FromAgent: TypeAlias = Hello | Proof | Attach | AskTicket | Claim | Release | Measure
FromServer: TypeAlias = Challenge | Welcome | Ticket | Granted | Refused | Released | Drain | Ended | Activity | Measured
Message: TypeAlias = FromAgent | FromServer


class _Request(Struct):
    """As much of an unreadable message as is needed to refuse it."""

    id: RequestId = 0


_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)
_request_decoder = msgspec.msgpack.Decoder(_Request)


def encode_message(message: Message) -> bytes:
    """Return the message framed for the control stream.

    Raises:
        MisuseError: it is larger than a control message may be.
    """
    return framing.encode(_encoder.encode(message))


def decode_message(body: bytes | memoryview) -> Message:
    """Return the message in `body` (one of MessageReader's).

    Raises:
        BadMessageError: a PeerError; says what is wrong with it.
    """
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # ascii() and the cut: msgspec repeats an unknown message's name, which is the peer's text.
        raise BadMessageError(f"control message not understood: {ascii(str(error))[1:-1][:160]}", _request_id(body)) from None


def request_line(method: str, path: str, status: int, seconds: float) -> RequestLine:
    """Return one line of an Activity, cut to what may travel."""
    return method[:32], path if len(path) <= PATH_CHARS_MAX else path[: PATH_CHARS_MAX - 1] + "…", status, seconds


def _request_id(body: bytes | memoryview) -> int:
    try:
        return _request_decoder.decode(body).id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0
