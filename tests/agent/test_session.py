"""One session of an agent, against a server that a test plays message by message."""

import asyncio
import secrets
import socket
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portway.agent import session as connect_module
from portway.agent.context import SessionContext
from portway.agent.events import Notice, Online, Refused, RequestLine, RequestsOmitted, TunnelUp
from portway.agent.origins import Origins
from portway.agent.session import AgentSession
from portway.agent.settings import AgentSettings, TunnelRequest
from portway.agent.target import Target
from portway.engine.channel import Channel
from portway.engine.listener import Address, Listener, listen
from portway.engine.reactor import Reactor
from portway.engine.socket_channel import SocketChannel
from portway.errors import BrokenChannel, PeerError, RefusedError, UnavailableError
from portway.mux.mux import Mux
from portway.mux.mux_channel import MuxChannel
from portway.protocol.control import messages as control
from portway.protocol.join_string import JoinString
from portway.protocol.proxy_header import encode_local
from portway.protocol.scram import make_verifier
from portway.session.claims import Claims, TunnelClaim
from portway.session.control_stream import ControlStream
from portway.session.login import Authenticated, authenticate
from tests.kit.pair import Events, http_tunnel
from tests.kit.verifiers import any_token

SECRET = "A" * 43
VERIFIER = make_verifier(SECRET, b"s" * 16)


class PlayedServer:
    """A plain-link server played by the test."""

    def __init__(self, reactor: Reactor) -> None:
        self.reactor = reactor
        self.sock = listen("127.0.0.1", 0)
        self.port: int = self.sock.getsockname()[1]
        self.mux: Mux | None = None
        self.control: asyncio.Future[ControlStream] = asyncio.get_running_loop().create_future()
        self._listener = Listener(reactor, self.sock, self._accept)

    def _accept(self, sock: socket.socket, _address: Address) -> None:
        self.mux = Mux(self.reactor, SocketChannel(self.reactor, sock), client=True, on_stream=self._speak, on_lost=lambda _: None)

    def _speak(self, channel: MuxChannel) -> None:
        self.control.set_result(ControlStream(channel, self.reactor))

    def open(self) -> Channel:
        assert self.mux is not None
        return self.mux.open(encode_local(7))

    async def welcome(self, *, before: Callable[[], None] = lambda: None) -> ControlStream:
        stream = await self.control
        admitted = await authenticate(
            stream, find_verifier=any_token(VERIFIER), decoy_seed=b"", binding=None, random_bytes=secrets.token_bytes
        )
        assert isinstance(admitted, Authenticated)
        before()
        stream.send(
            control.Welcome(
                scram=admitted.scram,
                session="s1",
                server="test",
                region="",
                grace_s=60.0,
                limits=control.Limits(links=1, tunnels=8),
            )
        )
        return stream

    def close(self) -> None:
        self._listener.close()
        if self.mux is not None:
            self.mux.close("over")


Part = Callable[[PlayedServer, Events], Coroutine[Any, Any, None]]


def play(tmp_path: Path, part: Part, *tunnels: TunnelRequest, ends: bool = False) -> tuple[Events, BaseException | None]:
    """Run a session against the played part; return its events and the error that ended it.

    `ends`: it has to end by itself, and gets the time for it; otherwise it is looked at soon after the part, and cancelled.
    """

    async def whole() -> tuple[Events, BaseException | None]:
        reactor, events = Reactor(asyncio.get_running_loop()), Events()
        server = PlayedServer(reactor)
        join = JoinString("laptop", SECRET, "127.0.0.1", server.port, None, plaintext=True)
        wanted = tunnels or (http_tunnel(80, name="app"),)
        settings = AgentSettings(join=join, tunnels=wanted, data_dir=tmp_path, plaintext_links=True)
        claims = Claims([TunnelClaim(tunnel.kind, tunnel, name=tunnel.name, access=tunnel.access) for tunnel in wanted])
        context = SessionContext(
            reactor=reactor,
            settings=settings,
            tls=None,
            identity=b"i" * 32,
            claims=claims,
            origins=Origins(reactor, claims, events),
            on_event=events,
            random_bytes=secrets.token_bytes,
        )
        session = asyncio.ensure_future(AgentSession(context).run())
        try:
            async with asyncio.timeout(8):
                await part(server, events)
            await asyncio.wait({session}, timeout=8 if ends else 0.05)
            if not session.done():
                session.cancel()
            await asyncio.wait({session})
            error = None if session.cancelled() else session.exception()
        finally:
            server.close()
            reactor.close()
        return events, error

    return asyncio.run(whole())


async def granted(stream: ControlStream, tunnel: int = 7) -> control.Claim:
    claim = await stream.receive(5.0)
    assert isinstance(claim, control.Claim)
    stream.send(control.Granted(id=claim.id, tunnel=tunnel, epoch=1, url="http://app.localhost", name="app"))
    return claim


def test_a_session_logs_in_claims_and_emits_events(tmp_path: Path) -> None:
    async def part(server: PlayedServer, events: Events) -> None:
        stream = await server.welcome()
        assert (await granted(stream)).name == "app"
        await events.wait(TunnelUp)
        stream.send(control.Activity(tunnel=7, requests=[("GET", "/", 200, 0.5)], missed=3))
        stream.send(control.Activity(tunnel=8, requests=[("GET", "/other", 200, 0.5)]))
        stream.send(control.Drain(reason="soon"))
        stream.send(control.Refused(code="bad_message", reason="something that nobody asked"))
        await events.wait(RequestsOmitted)

    events, error = play(tmp_path, part)
    assert error is None
    assert [type(event) for event in events.emitted] == [Online, TunnelUp, RequestLine, RequestsOmitted]
    assert events.of(TunnelUp)[0].target == "127.0.0.1:80"


def test_an_unknown_message_is_ignored_and_the_session_continues(tmp_path: Path) -> None:
    async def part(server: PlayedServer, events: Events) -> None:
        stream = await server.welcome()
        await granted(stream)
        future = b"\x82\xa1t\xa7Weather\xa3sky\xa4blue"  # {"t": "Weather", "sky": "blue"}
        stream._outbox += len(future).to_bytes(4, "big") + future
        stream.send(control.Activity(tunnel=7, requests=[("GET", "/", 200, 0.5)]))
        await events.wait(RequestLine)

    _, error = play(tmp_path, part)
    assert error is None


def test_a_cancelled_session_releases_its_tunnels_and_closes_gracefully(tmp_path: Path) -> None:
    heard: list[object] = []

    async def part(server: PlayedServer, events: Events) -> None:
        stream = await server.welcome()
        await granted(stream)
        await events.wait(TunnelUp)
        asyncio.get_running_loop().create_task(listen_on(stream))

    async def listen_on(stream: ControlStream) -> None:
        try:
            while True:
                heard.append(await stream.receive(5.0))
        except UnavailableError as end:
            heard.append(str(end))
            stream.close()

    _, error = play(tmp_path, part)
    assert error is None
    assert isinstance(heard[0], control.Release)
    assert heard[0].tunnel == 7
    assert heard[1] == "the peer closed the control stream"


def test_streams_before_the_welcome_are_aborted(tmp_path: Path) -> None:
    early: list[Channel] = []

    async def part(server: PlayedServer, events: Events) -> None:
        await server.welcome(before=lambda: early.append(server.open()))
        await events.wait(Online)
        await asyncio.sleep(0.05)
        with pytest.raises(BrokenChannel):  # and not even a status byte
            early[0].recv_into(memoryview(bytearray(1)))

    _, error = play(tmp_path, part)
    assert error is None


ENDS: list[tuple[control.Message, type[Exception], str]] = [
    (control.Ended(code="replaced", reason="taken over", next_step="x"), RefusedError, "taken over"),
    (control.Ended(code="draining", reason="later", next_step="x"), UnavailableError, "later"),
    (control.Challenge(scram="x"), PeerError, "an unexpected Challenge"),
]


@pytest.mark.parametrize(("message", "kind", "words"), ENDS, ids=["replaced", "draining", "nonsense"])
def test_a_session_ends_with_the_error_that_the_server_sends(
    tmp_path: Path, message: control.Message, kind: type[Exception], words: str
) -> None:
    async def part(server: PlayedServer, events: Events) -> None:
        stream = await server.welcome()
        await granted(stream)
        stream.send(message)

    _, error = play(tmp_path, part, ends=True)
    assert type(error) is kind
    assert words in str(error)


def test_one_refused_tunnel_of_two_is_reported_and_the_other_works(tmp_path: Path) -> None:
    async def part(server: PlayedServer, events: Events) -> None:
        stream = await server.welcome()
        first = await stream.receive(5.0)
        assert isinstance(first, control.Claim)
        stream.send(control.Refused(id=first.id, code="name_taken", reason="not yours", next_step="another"))
        await granted(stream)
        await events.wait(TunnelUp)

    events, error = play(tmp_path, part, http_tunnel(80, name="a"), http_tunnel(81, name="b"))
    assert error is None
    assert events.of(Refused) == [Refused("name_taken", "not yours", "another")]
    assert events.of(TunnelUp)[0].target == "127.0.0.1:81"


def test_a_tunnel_whose_rules_the_server_ignores_is_given_back_and_never_served(tmp_path: Path) -> None:
    released: list[int] = []

    async def part(server: PlayedServer, _events: Events) -> None:
        stream = await server.welcome()
        await granted(stream)
        release = await stream.receive(5.0)
        assert isinstance(release, control.Release)
        released.append(release.tunnel)

    tunnel = replace(http_tunnel(80, name="app"), access=control.AccessRules(plain_http="refuse"))
    events, error = play(tmp_path, part, tunnel, ends=True)
    assert isinstance(error, RefusedError)
    assert (error.code, released) == ("access_unsupported", [7])
    assert not events.of(TunnelUp)


def test_rules_that_restrict_nothing_are_reported_if_the_server_ignores_them(tmp_path: Path) -> None:
    async def part(server: PlayedServer, events: Events) -> None:
        await granted(await server.welcome())
        await events.wait(Notice)

    tunnel = replace(http_tunnel(80, name="app"), access=control.AccessRules(hsts_s=60))
    events, error = play(tmp_path, part, tunnel)
    assert error is None
    assert "--hsts" in events.of(Notice)[0].text


@pytest.mark.parametrize(("code", "kind"), [("name_taken", RefusedError), ("draining", UnavailableError)])
def test_the_only_tunnel_refused_ends_the_session(tmp_path: Path, code: str, kind: type[Exception]) -> None:
    async def part(server: PlayedServer, events: Events) -> None:
        stream = await server.welcome()
        claim = await stream.receive(5.0)
        assert isinstance(claim, control.Claim)
        stream.send(control.Refused(id=claim.id, code=code, reason="no"))

    _, error = play(tmp_path, part, ends=True)
    assert type(error) is kind


def test_waiting_for_the_reply_to_a_claim_has_a_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect_module, "CLAIM_S_MAX", 0.1)

    async def part(server: PlayedServer, events: Events) -> None:
        stream = await server.welcome()
        await stream.receive(5.0)

    _, error = play(tmp_path, part, ends=True)
    assert isinstance(error, UnavailableError)
    assert "no reply within" in str(error)


def test_a_lost_session_is_reported_with_the_reason_of_its_link(tmp_path: Path) -> None:
    async def part(server: PlayedServer, events: Events) -> None:
        stream = await server.welcome()
        await granted(stream)
        await events.wait(TunnelUp)
        assert server.mux is not None
        server.mux.close("over")

    _, error = play(tmp_path, part, ends=True)
    assert isinstance(error, UnavailableError)
    assert "closed the link" in str(error)


def test_a_server_that_cannot_read_a_claim_of_a_tls_tunnel_is_reported_as_older(tmp_path: Path) -> None:
    async def part(server: PlayedServer, events: Events) -> None:
        stream = await server.welcome()
        claim = await stream.receive()
        assert isinstance(claim, control.Claim)
        assert claim.kind == "tls"
        stream.send(control.Refused(id=claim.id, code="bad_message", reason="control message not understood: Invalid enum value 'tls'"))

    _, error = play(tmp_path, part, TunnelRequest(kind="tls", target=Target("127.0.0.1", 443), name="app"), ends=True)
    assert isinstance(error, RefusedError)
    assert error.code == "protocol_not_allowed"
    assert error.reason == "the server is older than this agent: it does not support tls tunnels"
    assert "update it" in error.next_step
