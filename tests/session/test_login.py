"""The login: both halves against each other through a tiny pipe, and everything that must not get in."""

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from portway.engine.memory_channel import memory_pair
from portway.errors import PeerError, PortwayError, RefusedError, UnavailableError
from portway.protocol.control.messages import (
    PROTOCOL_VERSION,
    Attach,
    Challenge,
    Claim,
    Drain,
    Ended,
    Hello,
    Limits,
    Message,
    Proof,
    Refused,
    Welcome,
)
from portway.protocol.scram import ScramClient, ScramVerifier, make_verifier
from portway.session import login
from portway.session.control_stream import ControlStream
from portway.session.login import Authenticated, Credentials, Login, attach, authenticate, error_of, log_in, send_refusal
from portway.session.tickets import attach_proof
from tests.kit.loops import EngineLoop
from tests.kit.verifiers import any_token

SECRET = "s3cret-of-the-laptop"
BINDING = b"c" * 32
VERIFIER = make_verifier(SECRET, b"0123456789abcdef")
LAPTOP = Credentials("laptop", SECRET, b"i" * 32, "portway/test")


@dataclass
class LoginServer:
    """The server's half as the shell runs it: admit, then Welcome."""

    binding: bytes | None = BINDING
    known: dict[str, ScramVerifier] = field(default_factory=lambda: {"laptop": VERIFIER})
    seed: bytes = b"seed"

    async def find(self, token_id: str) -> ScramVerifier | None:
        return self.known.get(token_id)

    async def authenticate(self, stream: ControlStream) -> Authenticated | Attach:
        try:
            authenticated = await authenticate(
                stream, find_verifier=self.find, decoy_seed=self.seed, binding=self.binding, random_bytes=secrets.token_bytes
            )
        except PortwayError as error:
            await send_refusal(stream, error)
            raise
        if isinstance(authenticated, Authenticated):
            stream.send(welcome(authenticated.scram))
        return authenticated


def welcome(scram: str) -> Welcome:
    return Welcome(scram=scram, session="s1", server="test", region="", grace_s=60.0, limits=Limits(links=1, tunnels=8))


def streams(engine: EngineLoop, capacity_bytes: int = 65536) -> tuple[ControlStream, ControlStream]:
    left, right = memory_pair(engine.reactor, capacity_bytes)
    return ControlStream(left, engine.reactor), ControlStream(right, engine.reactor)


def both(engine: EngineLoop, agent: Coroutine[Any, Any, Any], server: Coroutine[Any, Any, Any]) -> tuple[Any, Any]:
    """Run both halves; return what each returned or raised."""

    async def talk() -> tuple[Any, Any]:
        return tuple(await asyncio.gather(agent, server, return_exceptions=True))  # type: ignore[return-value]

    return engine.run(talk())


async def agent_login(stream: ControlStream, credentials: Credentials = LAPTOP, binding: bytes | None = BINDING) -> Login:
    try:
        return await log_in(stream, credentials, binding=binding, random_bytes=secrets.token_bytes)
    except Exception:
        stream.close()
        raise


@pytest.mark.parametrize("capacity_bytes", [1, 3, 100, 65536])
@pytest.mark.parametrize("binding", [BINDING, None], ids=["TLS", "plain"])
def test_both_halves_agree_through_any_pipe(engine: EngineLoop, capacity_bytes: int, binding: bytes | None) -> None:
    agent, server = streams(engine, capacity_bytes)
    login_result, authenticated = both(engine, agent_login(agent, binding=binding), LoginServer(binding).authenticate(server))
    assert isinstance(login_result, Login)
    assert isinstance(authenticated, Authenticated)
    assert login_result.session_key == authenticated.session_key
    assert len(login_result.session_key) == 32
    assert authenticated.hello.token == "laptop"
    assert authenticated.hello.identity == b"i" * 32
    assert login_result.welcome.session == "s1"


def test_no_two_logins_share_a_session_key(engine: EngineLoop) -> None:
    keys = set()
    for _ in range(3):
        agent, server = streams(engine)
        login_result, _admitted = both(engine, agent_login(agent), LoginServer().authenticate(server))
        keys.add(login_result.session_key)
    assert len(keys) == 3


WRONG = {
    "a wrong secret": (Credentials("laptop", "guess", b"i" * 32), BINDING),
    "an unknown token": (Credentials("nobody", SECRET, b"i" * 32), BINDING),
    "a man in the middle with another certificate": (LAPTOP, b"x" * 32),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_credentials_are_refused_at_both_ends_with_the_same_text(engine: EngineLoop, case: str) -> None:
    credentials, binding = WRONG[case]
    agent, server = streams(engine, 16)
    login_result, authenticated = both(engine, agent_login(agent, credentials, binding), LoginServer().authenticate(server))
    assert isinstance(login_result, RefusedError)
    assert isinstance(authenticated, RefusedError)
    assert login_result.code == authenticated.code == "bad_credentials"
    assert login_result.exit_code == 3
    assert login_result.reason == "the server does not accept this token"
    assert SECRET not in str(login_result) + repr(login_result) + repr(credentials)


def test_a_plain_login_on_a_tls_link_is_refused(engine: EngineLoop) -> None:
    agent, server = streams(engine)
    login_result, _ = both(engine, agent_login(agent, binding=None), LoginServer().authenticate(server))
    assert isinstance(login_result, RefusedError)
    assert "plain link" in login_result.reason


class Recorder(ControlStream):
    """A control stream that keeps what was sent on it."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.sent: list[Message] = []

    def send(self, message: Message) -> None:
        self.sent.append(message)
        super().send(message)


def test_a_replayed_login_is_refused(engine: EngineLoop) -> None:
    left, right = memory_pair(engine.reactor)
    agent = Recorder(left, engine.reactor)
    both(engine, agent_login(agent), LoginServer().authenticate(ControlStream(right, engine.reactor)))
    assert [type(message) for message in agent.sent] == [Hello, Proof]
    replay, server = streams(engine)

    async def play() -> Message:
        replay.send(agent.sent[0])
        assert isinstance(await replay.receive(5.0), Challenge)
        replay.send(agent.sent[1])
        return await replay.receive(5.0)

    reply, authenticated = both(engine, play(), LoginServer().authenticate(server))
    assert isinstance(reply, Refused)
    assert reply.code == "bad_credentials"
    assert isinstance(authenticated, RefusedError)


def test_an_unknown_token_gets_a_challenge_like_a_known_one_and_the_same_salt_twice(engine: EngineLoop) -> None:
    def challenge_for(token: str) -> str:
        agent, server = streams(engine)

        async def ask() -> str:
            agent.send(Hello(version=1, token=token, identity=b"i" * 32, scram=ScramClient(token, "x", "n0nce", BINDING).first(), agent=""))
            reply = await agent.receive(5.0)
            agent.abort()
            assert isinstance(reply, Challenge)
            return reply.scram

        text, _ = both(engine, ask(), LoginServer().authenticate(server))
        assert isinstance(text, str)
        return text.partition(",s=")[2]

    assert challenge_for("nobody") == challenge_for("nobody")
    assert challenge_for("nobody") != challenge_for("another")
    assert len(challenge_for("nobody")) == len(challenge_for("laptop"))


def test_a_server_without_the_secret_is_refused(engine: EngineLoop) -> None:
    agent, server = streams(engine)

    async def impostor() -> None:
        hello = await server.receive(5.0)
        assert isinstance(hello, Hello)
        nonce = hello.scram.rpartition("r=")[2]
        server.send(Challenge(scram=f"r={nonce}more,s=MDEyMzQ1Njc4OWFiY2RlZg==,i=4096"))
        await server.receive(5.0)
        server.send(welcome("v=" + "A" * 43 + "="))

    login_result, _ = both(engine, agent_login(agent), impostor())
    assert isinstance(login_result, RefusedError)
    assert "could not prove" in login_result.reason


@pytest.mark.parametrize(
    ("first", "code"),
    [
        (Claim(id=1, kind="http"), "not_logged_in"),
        (Proof(scram="x"), "not_logged_in"),
        (Hello(version=0, token="laptop", identity=b"i" * 32, scram="n,,n=laptop,r=x", agent=""), "version_unsupported"),
        (Hello(version=1, token="laptop", identity=b"i" * 32, scram="nonsense", agent=""), "bad_message"),
        (
            Hello(version=1, token="other", identity=b"i" * 32, scram="p=tls-server-end-point,,n=laptop,r=abc", agent=""),
            "bad_message",
        ),
    ],
    ids=["a claim", "a proof", "an ancient version", "no SCRAM", "two user names"],
)
def test_anything_but_a_valid_hello_is_refused(engine: EngineLoop, first: Message, code: str) -> None:
    agent, server = streams(engine)

    async def barge_in() -> Message:
        agent.send(first)
        reply = await agent.receive(5.0)
        agent.close()
        return reply

    reply, authenticated = both(engine, barge_in(), LoginServer().authenticate(server))
    assert isinstance(reply, Refused)
    assert reply.code == code
    assert isinstance(authenticated, RefusedError | PeerError)


def test_a_newer_agent_gets_the_lower_version(engine: EngineLoop) -> None:
    agent, server = streams(engine)

    async def newer() -> Message:
        scram = ScramClient("laptop", SECRET, "n0nce", BINDING)
        agent.send(Hello(version=PROTOCOL_VERSION + 7, token="laptop", identity=b"i" * 32, scram=scram.first(), agent=""))
        challenge = await agent.receive(5.0)
        assert isinstance(challenge, Challenge)
        agent.send(Proof(scram=scram.respond(challenge.scram)))
        return await agent.receive(5.0)

    login_result, authenticated = both(engine, newer(), LoginServer().authenticate(server))
    assert isinstance(login_result, Welcome)
    assert isinstance(authenticated, Authenticated)
    assert authenticated.version == PROTOCOL_VERSION


@pytest.mark.parametrize("version", [0, PROTOCOL_VERSION + 1])
def test_an_unsupported_version_of_the_server_is_a_protocol_error(
    engine: EngineLoop, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    agent, server = streams(engine)

    async def newer() -> None:
        authenticated = await authenticate(
            server, find_verifier=any_token(VERIFIER), decoy_seed=b"", binding=BINDING, random_bytes=secrets.token_bytes
        )
        assert isinstance(authenticated, Authenticated)
        server.send(msgspec.structs.replace(welcome(authenticated.scram), version=version))

    login_result, _ = both(engine, agent_login(agent), newer())
    assert isinstance(login_result, PeerError)
    assert f"version {version}" in str(login_result)


def test_a_claim_instead_of_the_proof_is_refused(engine: EngineLoop) -> None:
    agent, server = streams(engine)

    async def hurry() -> Message:
        agent.send(Hello(version=1, token="laptop", identity=b"i" * 32, scram=ScramClient("laptop", "x", "n", BINDING).first(), agent=""))
        await agent.receive(5.0)
        agent.send(Claim(id=1, kind="http"))
        reply = await agent.receive(5.0)
        agent.close()
        return reply

    reply, _ = both(engine, hurry(), LoginServer().authenticate(server))
    assert isinstance(reply, Refused)
    assert reply.code == "not_logged_in"


@pytest.mark.parametrize(
    "say", [None, Hello(version=1, token="laptop", identity=b"i" * 32, scram="p=tls-server-end-point,,n=laptop,r=n", agent="")]
)
def test_a_slow_login_is_ended(engine: EngineLoop, monkeypatch: pytest.MonkeyPatch, say: Message | None) -> None:
    monkeypatch.setattr(login, "LOGIN_S_MAX", 0.1)
    agent, server = streams(engine)
    if say is not None:
        agent.send(say)
    with pytest.raises(UnavailableError, match=r"not finished within 0\.1 s"):
        engine.run(LoginServer().authenticate(server))
    with pytest.raises(UnavailableError):
        engine.run(read_everything(agent))


async def read_everything(stream: ControlStream) -> None:
    while True:
        await stream.receive(5.0)


def test_the_login_has_a_deadline(engine: EngineLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "LOGIN_S_MAX", 0.1)
    agent, _server = streams(engine)
    with pytest.raises(UnavailableError, match="did not finish the login"):
        engine.run(agent_login(agent))


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Refused(code="too_many_logins", reason="wait"), UnavailableError),
        (Refused(code="draining", reason="bye"), UnavailableError),
        (Refused(code="token_revoked", reason="gone"), RefusedError),
        (Refused(code="something_new", reason=""), RefusedError),
        (Ended(code="replaced", reason="x", next_step=""), RefusedError),
        (Drain(reason="x"), PeerError),
    ],
)
def test_permanent_and_temporary_refusals_are_different_errors(
    engine: EngineLoop, reply: Refused | Ended | Drain, error: type[Exception]
) -> None:
    agent, server = streams(engine)

    async def send_reply() -> None:
        await server.receive(5.0)
        server.send(reply)

    login_result, _ = both(engine, agent_login(agent), send_reply())
    assert type(login_result) is error
    if isinstance(reply, Refused | Ended):
        assert type(error_of(reply)) is error


def test_a_further_link_sends_its_ticket_and_a_proof_of_the_session_key(engine: EngineLoop) -> None:
    agent, server = streams(engine, 5)
    key, ticket = b"k" * 32, b"t" * 32

    async def accept() -> Attach:
        attaching = await LoginServer().authenticate(server)
        assert isinstance(attaching, Attach)
        server.send(welcome(""))
        return attaching

    login_result, shown = both(engine, attach(agent, ticket, key), accept())
    assert isinstance(login_result, Welcome)
    assert shown == Attach(ticket=ticket, proof=attach_proof(key, ticket))


CUTS: list[Callable[[ControlStream], None]] = [ControlStream.abort, ControlStream.close]


@pytest.mark.parametrize("cut", CUTS)
def test_a_lost_link_is_unavailable_to_both(engine: EngineLoop, cut: Callable[[ControlStream], None]) -> None:
    agent, server = streams(engine)
    cut(server)
    with pytest.raises(UnavailableError):
        engine.run(agent_login(agent))
    agent, server = streams(engine)
    cut(agent)
    with pytest.raises(UnavailableError):
        engine.run(LoginServer().authenticate(server))
