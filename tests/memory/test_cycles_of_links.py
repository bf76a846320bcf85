"""A lost link leaves no reference cycles in server and agent, at whatever stage it ends."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from portway.errors import RefusedError, UnavailableError
from portway.links.tls import ALPN
from portway.protocol.control.messages import AskTicket, Measure, Refused, Ticket
from portway.protocol.join_string import JoinString
from portway.server.control.session_manager import EXPIRE_EVERY_S
from tests.kit.garbage import all_freed
from tests.kit.pair import RunningServer, running_server
from tests.kit.raw_agent import DEADLINE_S, RawAgent, RawReactor, raw_agent, raw_reactor
from tests.kit.sockets import reset
from tests.kit.yamux_wire import DATA, SYN, Frame, data, update

TIMES = 3
"""Cycles of each stage, after a first one for objects that stay."""


class Scene:
    """A server and clients that dial it."""

    def __init__(self, server: RunningServer, reactor: RawReactor) -> None:
        """Create one token."""
        self.server, self.reactor = server, reactor
        self.join: JoinString = server.token()

    def dial(self) -> socket.socket:
        """Return a blocking connection to the agents' port."""
        return socket.create_connection((self.join.host, self.join.port), timeout=DEADLINE_S)

    def dial_tls(self, alpn: str = ALPN) -> ssl.SSLSocket:
        """Connect over TLS; blocks, so call it in a thread."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols([alpn])
        return context.wrap_socket(self.dial())

    async def agent(self, join: JoinString | None = None) -> RawAgent:
        """Return an agent's link without a login."""
        return await raw_agent(self.reactor, join or self.join)

    async def send(self, data: bytes, *, hang_up: bool = True) -> None:
        """Send bytes over TLS and close once the server has read them; without `hang_up` the server closes."""

        def talk() -> None:
            with self.dial_tls() as sock, contextlib.suppress(OSError):  # the server cuts links that send too much before login
                sock.sendall(data)
                if hang_up:
                    sock.settimeout(0.1)  # the server sends no reply
                while sock.recv(65536):
                    pass

        await asyncio.to_thread(talk)

    def close(self, agent: RawAgent) -> None:
        """Close an agent's link gracefully."""
        agent.mux.close("done")
        agent.control.close()
        self.reactor.agents.remove(agent)


async def silence(scene: Scene) -> None:
    with scene.dial():
        await asyncio.sleep(0.02)


async def a_reset(scene: Scene) -> None:
    sock = scene.dial()
    await asyncio.sleep(0.02)
    reset(sock)


async def half_a_hello(scene: Scene) -> None:
    with scene.dial() as sock:
        sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        await asyncio.sleep(0.02)


async def another_protocol(scene: Scene) -> None:
    with scene.dial() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        await asyncio.to_thread(sock.recv, 100)


async def another_alpn(scene: Scene) -> None:
    def talk() -> None:
        with contextlib.suppress(OSError), scene.dial_tls("h2") as sock:
            sock.recv(1)

    await asyncio.to_thread(talk)


async def no_bytes(scene: Scene) -> None:
    await scene.send(b"")


async def three_bodies_of_an_unknown_stream(scene: Scene) -> None:
    await scene.send(update(2, flags=SYN).wire + 3 * data(9999, bytes(250_000)).wire)


async def half_a_frame(scene: Scene) -> None:
    await scene.send(Frame(DATA, SYN, 2, 5000, bytes(100)).wire)


async def invalid_yamux(scene: Scene) -> None:
    await scene.send(b"\x07" * 12, hang_up=False)


async def a_control_stream(scene: Scene) -> None:
    await scene.send(update(2, flags=SYN).wire)


async def half_a_message(scene: Scene) -> None:
    await scene.send(data(2, b"\x00\x00\x01\x00abcd", SYN).wire)


async def a_broken_message(scene: Scene) -> None:
    await scene.send(data(2, b"\x00\x00\x00\x04abcd", SYN).wire, hang_up=False)


async def a_message_that_is_too_long(scene: Scene) -> None:
    await scene.send(data(2, b"\x00\x01\x00\x00abcd", SYN).wire, hang_up=False)


async def a_wrong_secret(scene: Scene) -> None:
    agent = await scene.agent()
    with pytest.raises(RefusedError):
        await agent.log_in(replace(scene.join, secret="x" * 43))
    scene.close(agent)


async def a_login(scene: Scene) -> None:
    agent = await scene.agent()
    await agent.log_in(scene.join)
    scene.close(agent)


async def a_session_that_is_checked(scene: Scene) -> None:
    agent = await scene.agent()
    await agent.log_in(scene.join)
    await asyncio.sleep(EXPIRE_EVERY_S * 1.1)
    scene.close(agent)


async def a_login_that_is_reset(scene: Scene) -> None:
    agent = await scene.agent()
    await agent.log_in(scene.join)
    agent.mux.abort()
    agent.control.close()
    scene.reactor.agents.remove(agent)


async def claims_and_a_graceful_close(scene: Scene) -> None:
    agent = await scene.agent()
    await agent.log_in(scene.join)
    await agent.claim(1, "app")
    await agent.claim(2, "shop")
    await agent.control.close_gracefully()
    scene.close(agent)


async def several_links(scene: Scene) -> None:
    first = await scene.agent()
    login = await first.log_in(scene.join)
    second = await scene.agent()
    ticket = await first.request(AskTicket(id=1), Ticket)
    await second.attach(ticket.ticket, login.session_key)
    third = await scene.agent()
    with pytest.raises(RefusedError):
        await third.attach(ticket.ticket, login.session_key)
    for agent in (third, first, second):
        scene.close(agent)


async def a_takeover(scene: Scene) -> None:
    first, second = await scene.agent(), await scene.agent()
    await first.log_in(scene.join)
    await first.claim(1, "app")
    await second.log_in(scene.join)
    await second.claim(1, "app", takeover=True)
    await first.until_lost()
    scene.close(first)
    scene.close(second)


async def a_revoked_token(scene: Scene) -> None:
    join = scene.server.token("revoked")
    agent = await scene.agent(join)
    await agent.log_in(join)
    await agent.claim(1, "gone")
    scene.server.revoke("revoked")
    await agent.until_lost()
    scene.close(agent)


async def a_refused_speed_test(scene: Scene) -> None:
    agent = await scene.agent()
    await agent.log_in(scene.join)
    await agent.request(Measure(id=1, direction="up", streams=1, seconds=1e6), Refused)
    scene.close(agent)


async def a_speed_test_that_is_cut_off(scene: Scene) -> None:
    agent = await scene.agent()
    await agent.log_in(scene.join)
    agent.control.send(Measure(id=1, direction="down", streams=2, seconds=1.0))
    async with asyncio.timeout(DEADLINE_S):
        while len(agent.visits) < 2:  # noqa: ASYNC110 - the streams arrive with the link's next reads
            await asyncio.sleep(0.01)
    for stream in agent.streams:
        stream.abort()
    agent.streams.clear()
    agent.visits.clear()
    scene.close(agent)


async def a_dial_to_nowhere(scene: Scene) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(UnavailableError):
            await scene.agent(replace(scene.join, port=closed.getsockname()[1]))


async def a_wrong_pin(scene: Scene) -> None:
    with pytest.raises(RefusedError):
        await scene.agent(replace(scene.join, pin=b"x" * 32))


Stage = Callable[[Scene], Awaitable[None]]

OVER_TLS: list[Stage] = [
    *(silence, a_reset, half_a_hello, another_protocol, another_alpn),
    *(no_bytes, three_bodies_of_an_unknown_stream, half_a_frame, invalid_yamux),
    *(a_control_stream, half_a_message, a_broken_message, a_message_that_is_too_long, a_wrong_secret),
    *(a_login, a_login_that_is_reset, claims_and_a_graceful_close, several_links, a_takeover, a_revoked_token),
    *(a_refused_speed_test, a_speed_test_that_is_cut_off, a_dial_to_nowhere, a_wrong_pin),
]
PLAIN: list[Stage] = [silence, a_reset, another_protocol, a_wrong_secret, a_login, claims_and_a_graceful_close, several_links, a_takeover]


@pytest.mark.parametrize(("stage", "plain"), [*((stage, False) for stage in OVER_TLS), *((stage, True) for stage in PLAIN)])
def test_a_link_is_freed_without_the_collector_when_it_ends_after(stage: Stage, plain: bool, tmp_path: Path) -> None:
    async def whole() -> None:
        async with raw_reactor() as reactor, running_server(tmp_path, plaintext_links=plain) as server:
            scene = Scene(server, reactor)
            await stage(scene)
            server.events.emitted.clear()
            for at in range(TIMES):
                async with all_freed():
                    await stage(scene)
                    server.events.emitted.clear()
                if stage is a_wrong_secret and at == 1:
                    break  # then the source is throttled

    asyncio.run(whole())


def test_a_session_is_freed_after_a_periodic_check(tmp_path: Path) -> None:
    async def whole() -> None:
        async with raw_reactor() as reactor, running_server(tmp_path) as server:
            scene = Scene(server, reactor)
            await a_login(scene)
            await asyncio.sleep(EXPIRE_EVERY_S * 1.1)  # the first check has no session
            async with all_freed():
                await a_session_that_is_checked(scene)
                server.events.emitted.clear()

    asyncio.run(whole())


def test_a_link_that_the_login_throttle_rejects_is_freed_without_the_collector(tmp_path: Path) -> None:
    async def whole() -> None:
        async with raw_reactor() as reactor, running_server(tmp_path) as server:
            scene = Scene(server, reactor)
            wrong = replace(scene.join, secret="x" * 43)

            async def dial_and_read() -> str:
                agent = await scene.agent()
                with pytest.raises((RefusedError, UnavailableError)) as refused:
                    await agent.log_in(wrong)
                scene.close(agent)
                text = str(refused.value)
                del refused
                return text

            for _ in range(5):
                await dial_and_read()
            assert "too_many_logins" in await dial_and_read()
            server.events.emitted.clear()
            async with all_freed():
                assert "too_many_logins" in await dial_and_read()
                server.events.emitted.clear()

    asyncio.run(whole())
