"""Further links and links that die, against a server that a test plays message by message."""

import asyncio
import secrets
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from portway.agent import link_policy
from portway.agent import session as connect_module
from portway.agent.context import SessionContext
from portway.agent.events import Refused, TunnelUp
from portway.agent.link import AgentLink
from portway.agent.link_manager import TICKET_S_MAX
from portway.agent.origins import Origins
from portway.agent.session import AgentSession
from portway.agent.settings import AgentSettings
from portway.engine.channel import BLOCKED
from portway.engine.listener import Address, Listener, listen
from portway.engine.reactor import Reactor
from portway.engine.socket_channel import SocketChannel
from portway.errors import UnavailableError
from portway.mux.mux import Mux
from portway.mux.mux_channel import MuxChannel
from portway.protocol.control import messages as control
from portway.protocol.join_string import JoinString
from portway.protocol.proxy_header import encode_local
from portway.protocol.scram import make_verifier
from portway.protocol.stream_status import StreamStatus
from portway.session.claims import Claims, TunnelClaim
from portway.session.control_stream import ControlStream
from portway.session.login import Authenticated, authenticate
from portway.session.tickets import check_proof
from tests.kit.pair import Events, http_tunnel
from tests.kit.sockets import free_port
from tests.kit.verifiers import any_token

SECRET = "A" * 43
VERIFIER = make_verifier(SECRET, b"s" * 16)
TICKET = b"t" * 32
M = TypeVar("M", bound=control.Message)


class PlayedLink:
    """One link, the server's end."""

    def __init__(self, reactor: Reactor, sock: socket.socket) -> None:
        self._reactor = reactor
        self._control: asyncio.Future[ControlStream] = asyncio.get_running_loop().create_future()
        self.mux = Mux(reactor, SocketChannel(reactor, sock), client=True, on_stream=self._speak, on_lost=lambda _: None)

    def _speak(self, channel: MuxChannel) -> None:
        self._control.set_result(ControlStream(channel, self._reactor))

    async def stream(self) -> ControlStream:
        return await self._control

    async def hear(self, kind: type[M], deadline_s: float = 5.0) -> M:
        message = await (await self.stream()).receive(deadline_s)
        assert isinstance(message, kind), message
        return message

    async def say(self, message: control.Message) -> None:
        (await self.stream()).send(message)


@dataclass
class PlayedServer:
    """A plain-link server played by the test."""

    reactor: Reactor
    links: list[PlayedLink] = field(default_factory=list)
    key: bytes = b""
    links_max: int = 2

    def __post_init__(self) -> None:
        sock = listen("127.0.0.1", 0)
        self.port: int = sock.getsockname()[1]
        self._listener = Listener(self.reactor, sock, self._accept)

    def _accept(self, sock: socket.socket, _address: Address) -> None:
        self.links.append(PlayedLink(self.reactor, sock))

    async def link(self, number: int) -> PlayedLink:
        async with asyncio.timeout(5):
            while len(self.links) <= number:  # noqa: ASYNC110 - it comes by itself
                await asyncio.sleep(0.01)
        return self.links[number]

    async def log_in(self) -> PlayedLink:
        """Take the login on the first link, and return it."""
        link = await self.link(0)
        admitted = await authenticate(
            await link.stream(), find_verifier=any_token(VERIFIER), decoy_seed=b"", binding=None, random_bytes=secrets.token_bytes
        )
        assert isinstance(admitted, Authenticated)
        self.key = admitted.session_key
        await link.say(self.welcome(admitted.scram))
        return link

    def welcome(self, scram: str = "", session: str = "s1") -> control.Welcome:
        limits = control.Limits(links=self.links_max, tunnels=8)
        return control.Welcome(scram=scram, session=session, server="test", region="", grace_s=60.0, limits=limits)

    async def further(self, number: int, asked_on: PlayedLink) -> PlayedLink:
        """Give a ticket out and take the Attach on the new link; it is not welcomed yet."""
        request = await asked_on.hear(control.AskTicket)
        await asked_on.say(control.Ticket(id=request.id, ticket=TICKET))
        link = await self.link(number)
        attach = await link.hear(control.Attach)
        assert attach.ticket == TICKET
        check_proof(self.key, TICKET, attach.proof)
        return link

    def close(self) -> None:
        self._listener.close()
        for link in self.links:
            link.mux.close("over")


Part = Callable[[PlayedServer, Events, AgentSession], Coroutine[Any, Any, None]]


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_policy, "PRESSING_STREAMS", 0)


def play(tmp_path: Path, part: Part, links_max: int = 2) -> tuple[Events, BaseException | None]:
    """Run a session with one tunnel against the played part; return its events and the error that ended it."""

    async def whole() -> tuple[Events, BaseException | None]:
        reactor, events = Reactor(asyncio.get_running_loop()), Events()
        server = PlayedServer(reactor, links_max=links_max)
        join = JoinString("laptop", SECRET, "127.0.0.1", server.port, None, plaintext=True)
        tunnel = http_tunnel(free_port(), name="app")
        claims = Claims([TunnelClaim(tunnel.kind, tunnel, name=tunnel.name)])
        context = SessionContext(
            reactor=reactor,
            settings=AgentSettings(join=join, tunnels=(tunnel,), data_dir=tmp_path, plaintext_links=True),
            tls=None,
            identity=b"i" * 32,
            claims=claims,
            origins=Origins(reactor, claims, events),
            on_event=events,
            random_bytes=secrets.token_bytes,
        )
        session = AgentSession(context)
        running = asyncio.ensure_future(session.run())
        try:
            async with asyncio.timeout(10):
                await part(server, events, session)
            running.cancel()
            await asyncio.wait({running})
            error = None if running.cancelled() else running.exception()
        finally:
            server.close()
            reactor.close()
        return events, error

    return asyncio.run(whole())


async def until_links(session: AgentSession, numbers: list[int]) -> None:
    async with asyncio.timeout(5):
        while [link.number for link in session.links] != numbers:  # noqa: ASYNC110 - links come by themselves
            await asyncio.sleep(0.01)


def grant(claim: control.Claim) -> control.Granted:
    return control.Granted(id=claim.id, tunnel=7, epoch=1, url="http://app.localhost", name="app")


def test_a_pending_claim_is_repeated_with_its_id_when_its_link_is_lost(tmp_path: Path) -> None:
    async def part(server: PlayedServer, events: Events, session: AgentSession) -> None:
        first = await server.log_in()
        claim = await first.hear(control.Claim)
        second = await server.further(1, first)
        await second.say(server.welcome())
        await until_links(session, [1, 2])
        first.mux.abort("cut")
        assert await second.hear(control.Claim) == claim
        await second.say(grant(claim))
        assert (await events.wait(TunnelUp)).tunnel == 7
        assert len(session.links) == 1

    assert play(tmp_path, part)[1] is None


def test_a_granted_claim_is_not_repeated(tmp_path: Path) -> None:
    async def part(server: PlayedServer, events: Events, session: AgentSession) -> None:
        first = await server.log_in()
        await first.say(grant(await first.hear(control.Claim)))
        await events.wait(TunnelUp)
        second = await server.further(1, first)
        await second.say(server.welcome())
        await until_links(session, [1, 2])
        first.mux.abort("cut")
        await second.hear(control.AskTicket)  # for the next link, and nothing before it
        await second.say(control.Activity(tunnel=7, requests=[], missed=3))

    events, error = play(tmp_path, part)
    assert error is None
    assert len(events.of(TunnelUp)) == 1


def test_a_ticket_request_is_repeated_with_its_id_when_its_link_is_lost(tmp_path: Path) -> None:
    async def part(server: PlayedServer, events: Events, session: AgentSession) -> None:
        first = await server.log_in()
        await first.say(grant(await first.hear(control.Claim)))
        second = await server.further(1, first)
        await second.say(server.welcome())
        lost = await first.hear(control.AskTicket)
        first.mux.abort("cut")
        assert await second.hear(control.AskTicket) == lost
        await second.say(control.Ticket(id=lost.id, ticket=TICKET))
        third = await server.link(2)
        await third.hear(control.Attach)
        await second.say(control.Ticket(id=lost.id, ticket=b"l" * 32))  # the answer of the dead link, late
        await third.say(server.welcome())
        await until_links(session, [2, 3])

    assert play(tmp_path, part, links_max=3)[1] is None


def test_a_control_link_without_replies_is_replaced_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect_module, "CLAIM_S_MAX", 0.5)

    async def part(server: PlayedServer, events: Events, session: AgentSession) -> None:
        first = await server.log_in()
        claim = await first.hear(control.Claim)
        second = await server.further(1, first)
        await second.say(server.welcome())
        assert await second.hear(control.Claim) == claim
        await until_links(session, [2])
        await second.say(grant(claim))
        await events.wait(TunnelUp)

    assert play(tmp_path, part)[1] is None


def test_a_stream_right_behind_the_welcome_of_a_further_link_is_served(tmp_path: Path) -> None:
    async def part(server: PlayedServer, events: Events, session: AgentSession) -> None:
        first = await server.log_in()
        await first.say(grant(await first.hear(control.Claim)))
        await events.wait(TunnelUp)
        second = await server.further(1, first)
        await second.say(server.welcome())
        visitor = second.mux.open(encode_local(7))  # in the same segment
        status = memoryview(bytearray(1))
        async with asyncio.timeout(5):
            while visitor.recv_into(status) == BLOCKED:  # noqa: ASYNC110 - it comes by itself
                await asyncio.sleep(0.01)
        assert status[0] == StreamStatus.REFUSED, "it got as far as the origin, which is not there"

    assert play(tmp_path, part)[1] is None


def test_a_link_that_was_attached_to_another_session_is_not_used(tmp_path: Path) -> None:
    async def part(server: PlayedServer, events: Events, session: AgentSession) -> None:
        first = await server.log_in()
        await first.say(grant(await first.hear(control.Claim)))
        second = await server.further(1, first)
        await second.say(server.welcome(session="s2"))
        with pytest.raises(UnavailableError):
            await second.hear(control.Claim)
        assert [link.number for link in session.links] == [1]

    assert play(tmp_path, part)[1] is None


def test_waiting_for_a_ticket_has_a_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0 < TICKET_S_MAX < 30
    monkeypatch.setattr("portway.agent.link_manager.TICKET_S_MAX", 0.2)

    async def part(server: PlayedServer, events: Events, session: AgentSession) -> None:
        first = await server.log_in()
        await first.say(grant(await first.hear(control.Claim)))
        ignored = await first.hear(control.AskTicket)
        assert (await first.hear(control.AskTicket)).id != ignored.id
        assert len(session.links) == 1

    assert play(tmp_path, part)[1] is None


@pytest.mark.parametrize("where", ["ticket", "attach"])
def test_a_refused_further_link_is_not_reported_and_retried_after_a_pause(tmp_path: Path, where: str) -> None:
    async def part(server: PlayedServer, events: Events, session: AgentSession) -> None:
        first = await server.log_in()
        await first.say(grant(await first.hear(control.Claim)))
        if where == "ticket":
            request = await first.hear(control.AskTicket)
            await first.say(control.Refused(id=request.id, code="bad_ticket", reason="no more"))
        else:
            second = await server.further(1, first)
            await second.say(control.Refused(code="bad_ticket", reason="no"))
        with pytest.raises(UnavailableError, match="no message came"):
            await first.hear(control.AskTicket, 0.7)
        await first.hear(control.AskTicket)

    events, error = play(tmp_path, part)
    assert error is None
    assert not events.of(Refused)


def test_every_link_is_closed_gracefully_and_tunnels_are_released_once(tmp_path: Path) -> None:
    heard: list[list[control.Message | str]] = [[], []]

    async def keep(link: PlayedLink, number: int) -> None:
        stream = await link.stream()
        try:
            while True:
                heard[number].append(await stream.receive(5.0))
        except UnavailableError as end:
            heard[number].append(str(end))
            stream.close()

    async def part(server: PlayedServer, events: Events, session: AgentSession) -> None:
        first = await server.log_in()
        await first.say(grant(await first.hear(control.Claim)))
        second = await server.further(1, first)
        await second.say(server.welcome())
        await until_links(session, [1, 2])
        assert all(type(link) is AgentLink and link.binding is None and not link.visitors for link in session.links)
        for number, link in enumerate((first, second)):
            asyncio.get_running_loop().create_task(keep(link, number))

    assert play(tmp_path, part)[1] is None
    assert isinstance(heard[0][0], control.Release)
    assert heard[0][1:] == heard[1] == ["the peer closed the control stream"]


def test_sending_after_the_last_link_is_lost_raises(tmp_path: Path) -> None:
    """A speed test may send at just that moment, and handles only this error."""

    async def part(server: PlayedServer, events: Events, session: AgentSession) -> None:
        first = await server.log_in()
        await first.hear(control.Claim)
        first.mux.abort("cut")
        await until_links(session, [])
        with pytest.raises(UnavailableError, match="no link left"):
            session.send(control.Release(id=1, tunnel=7))

    assert isinstance(play(tmp_path, part)[1], UnavailableError)
