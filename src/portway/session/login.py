"""Both halves of the login: SCRAM-SHA-256 bound to the server's certificate; nothing else is allowed before `Welcome`.

agent                                    server
Hello{version, token, identity, scram} ─>
                                      <─ Challenge{scram}            or Refused
Proof{scram}                           ─>
                                      <─ Welcome{scram, session, …}  or Refused
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from portway.errors import PeerError, PortwayError, RefusedError, UnavailableError
from portway.protocol.control import codes
from portway.protocol.control.messages import PROTOCOL_VERSION, Attach, Challenge, Ended, Hello, Message, Proof, Refused, Welcome
from portway.protocol.scram import ScramClient, ScramServer, ScramVerifier, decoy_verifier, fresh_nonce
from portway.session.control_stream import ControlStream
from portway.session.tickets import attach_proof

LOGIN_S_MAX = 10.0
"""For the whole login: four messages and one PBKDF2. An unauthenticated peer cannot occupy a link longer (OpenSSH allows 120 s)."""

RandomBytes = Callable[[int], bytes]
M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Credentials:
    """The credentials that an agent logs in with."""

    token_id: str
    secret: str = field(repr=False)
    identity: bytes = field(repr=False)
    """32 bytes; names and ports belong to this identity together with the token."""
    agent: str = ""
    """Program and version, for display."""


@dataclass(frozen=True, slots=True)
class Login:
    """The result of a login, at the agent."""

    welcome: Welcome
    session_key: bytes = field(repr=False)
    """Proves that further links belong to this session."""


@dataclass(frozen=True, slots=True)
class Authenticated:
    """The result of a login, at the server, which replies with a Welcome that carries `scram`."""

    hello: Hello
    scram: str = field(repr=False)
    """The server's own proof."""
    session_key: bytes = field(repr=False)

    @property
    def version(self) -> int:
        """The protocol version that both ends support; Welcome must contain it."""
        return min(self.hello.version, PROTOCOL_VERSION)


async def log_in(stream: ControlStream, credentials: Credentials, *, binding: bytes | None, random_bytes: RandomBytes) -> Login:
    """Authenticate to the server, verify its own proof, and return its welcome. `binding`: None on a plain link.

    Raises:
        RefusedError: the server refuses, or could not prove that it has the token.
        UnavailableError: no reply within 10 s, or the server asks to retry later.
        PeerError: the peer is not a Portway server.
    """
    try:
        async with asyncio.timeout(LOGIN_S_MAX):
            client = ScramClient(credentials.token_id, credentials.secret, fresh_nonce(random_bytes), binding)
            stream.send(
                Hello(
                    version=PROTOCOL_VERSION,
                    token=credentials.token_id,
                    identity=credentials.identity,
                    scram=client.first(),
                    agent=credentials.agent,
                )
            )
            challenge = await _expect(stream, Challenge)
            stream.send(Proof(scram=client.respond(challenge.scram)))
            welcome = await _expect(stream, Welcome)
            client.verify(welcome.scram)
            _check_version(welcome.version)
    except TimeoutError:
        raise UnavailableError(f"the server did not finish the login within {LOGIN_S_MAX:g} s") from None
    stream.allow_large_messages()
    return Login(welcome, client.session_key)


async def attach(stream: ControlStream, ticket: bytes, session_key: bytes, hint: str = "") -> Welcome:
    """Attach a further link to a session, with a ticket that the session requested on another link. `hint`: for plain links only.

    Raises:
        RefusedError: `bad_ticket`.
        UnavailableError, PeerError: as for `log_in`.
    """
    try:
        async with asyncio.timeout(LOGIN_S_MAX):
            stream.send(Attach(ticket=ticket, proof=attach_proof(session_key, ticket), hint=hint))
            welcome = await _expect(stream, Welcome)
    except TimeoutError:
        raise UnavailableError(f"the server did not reply on the new link within {LOGIN_S_MAX:g} s") from None
    stream.allow_large_messages()
    return welcome


async def authenticate(
    stream: ControlStream,
    *,
    find_verifier: Callable[[str], Awaitable[ScramVerifier | None]],
    decoy_seed: bytes,
    binding: bytes | None,
    random_bytes: RandomBytes,
) -> Authenticated | Attach:
    """Return the authenticated peer, or the Attach that arrived instead. Failures are not answered here (see `send_refusal`).

    The caller still decides whether the token may be used, then sends Welcome. `find_verifier` must also find revoked
    and expired tokens: only a peer that proves to have one learns that it was revoked. An unknown token is checked against a
    decoy made from `decoy_seed`, so that it takes the same path as a wrong secret.

    Raises:
        RefusedError: wrong token, secret or certificate (one code for all), or no common version.
        UnavailableError: not finished within 10 s, or the link was lost.
        PeerError: the peer is not an agent.
    """
    try:
        async with asyncio.timeout(LOGIN_S_MAX):
            first = await stream.receive()
            match first:
                case Attach():
                    return first
                case Hello():
                    verifier = await find_verifier(first.token) or decoy_verifier(decoy_seed, first.token)
                    return await _check(stream, first, verifier, binding, random_bytes)
                case _:
                    raise RefusedError(codes.NOT_LOGGED_IN, f"{type(first).__name__} received before the login", "Send Hello first.")
    except TimeoutError:
        raise UnavailableError(f"the login was not finished within {LOGIN_S_MAX:g} s") from None


async def send_refusal(stream: ControlStream, error: PortwayError) -> None:
    """Send the peer the reason for the refusal, where it could use it, and close the stream (1 s at most)."""
    match error:
        case RefusedError():
            await stream.close_gracefully(refusal_of(error))
        case PeerError():
            await stream.close_gracefully(Refused(code=codes.BAD_MESSAGE, reason=str(error)))
        case _:
            stream.abort(str(error))


def refusal_of(error: RefusedError, request_id: int = 0) -> Refused:
    """Return the message that carries `error` to the agent."""
    return Refused(id=request_id, code=error.code, reason=error.reason, next_step=error.next_step)


def error_of(message: Refused | Ended) -> RefusedError | UnavailableError:
    """Return the error for a refusal: RefusedError to stop, UnavailableError to retry later (the server is busy or shutting down)."""
    if message.code in codes.RETRYABLE:
        return UnavailableError(f"{message.reason} ({message.code})")
    return RefusedError(message.code, message.reason or codes.DESCRIPTIONS.get(message.code, "no reason given"), message.next_step)


async def _check(
    stream: ControlStream, hello: Hello, verifier: ScramVerifier, binding: bytes | None, random_bytes: RandomBytes
) -> Authenticated:
    if hello.version < 1:
        raise RefusedError(
            codes.VERSION_UNSUPPORTED,
            f"unsupported protocol version {hello.version}: this server supports 1 to {PROTOCOL_VERSION}",
            "Update the agent.",
        )
    server = ScramServer(fresh_nonce(random_bytes), binding)
    challenge = server.challenge(hello.scram, verifier)
    if server.user_of(hello.scram) != hello.token:
        raise PeerError("the token id and the SCRAM user name differ")
    stream.send(Challenge(scram=challenge))
    proof = await stream.receive()
    if not isinstance(proof, Proof):
        raise RefusedError(codes.NOT_LOGGED_IN, f"{type(proof).__name__} received instead of Proof", "Send Proof after the Challenge.")
    final = server.finish(proof.scram)
    stream.allow_large_messages()
    return Authenticated(hello, final, server.session_key)


def _check_version(version: int) -> None:
    if not 1 <= version <= PROTOCOL_VERSION:
        raise PeerError(f"the server chose protocol version {version}: expected 1 to {PROTOCOL_VERSION}")


async def _expect(stream: ControlStream, kind: type[M]) -> M:
    message = await stream.receive()
    if isinstance(message, kind):
        return message
    if isinstance(message, Refused | Ended):
        raise error_of(message)
    raise PeerError(f"the server sent {type(message).__name__} where {kind.__name__} was expected")
