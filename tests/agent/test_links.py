"""Several links a session, over real sockets: what one of them takes along when it goes, and how they come and go."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from portway.agent import app as app_module
from portway.agent import link_policy
from portway.agent.context import SessionContext
from portway.agent.events import LinksChanged, Offline, Online, RequestLine, TunnelUp
from portway.agent.link import AgentLink
from portway.agent.session import AgentSession
from portway.config.values import PortRange
from portway.server.events import LeaseDown, SessionDown
from portway.server.events import LinksChanged as ServerLinksChanged
from tests.kit.http_origin import HttpOrigin
from tests.kit.origins import RawOrigin, send_requested
from tests.kit.pair import RunningAgent, RunningServer, http_tunnel, running_agent, running_server, tcp_tunnel
from tests.kit.per_link_proxy import PerLinkProxy, per_link_proxy
from tests.kit.sockets import free_port
from tests.kit.streams import stream_hash

SIZE = 40_000_000
"""More than all buffers between an origin and a visitor that does not read."""

Visitor = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Scene = Callable[[RunningServer, PerLinkProxy], Coroutine[Any, Any, None]]


class Sessions(list[AgentSession]):
    """Every session that an agent began, to look at its links."""

    @property
    def now(self) -> AgentSession:
        return self[-1]

    @property
    def links(self) -> int:
        return len(self.now.links) if self else 0

    async def until(self, count: int) -> None:
        async with asyncio.timeout(8):
            while self.links != count:  # noqa: ASYNC110 - links come by themselves
                await asyncio.sleep(0.01)


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> Sessions:
    kept = Sessions()

    class Watched(AgentSession):
        def __init__(self, context: SessionContext) -> None:
            super().__init__(context)
            kept.append(self)

    monkeypatch.setattr(app_module, "AgentSession", Watched)
    return kept


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many links as there may be, at once."""
    monkeypatch.setattr(link_policy, "PRESSING_STREAMS", 0)


def play(tmp_path: Path, scene: Scene, **settings: Any) -> RunningServer:
    async def whole() -> RunningServer:
        async with running_server(tmp_path, **settings) as server, per_link_proxy(server.token("unused").port) as proxy:
            await scene(server, proxy)
        return server

    return asyncio.run(whole())


async def visit(port: int, first: bytes) -> Visitor:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(first)
    return reader, writer


async def outcome(visitor: Visitor, seed: int) -> str:
    """Read to the end; return the outcome."""
    import hashlib

    reader, writer = visitor
    digest, count = hashlib.sha256(), 0
    try:
        async with asyncio.timeout(30):
            while data := await reader.read(1 << 18):
                digest.update(data)
                count += len(data)
    except ConnectionError:
        return "broken"
    finally:
        writer.close()
    return "whole" if (count, digest.hexdigest()) == (SIZE, stream_hash(SIZE, seed)) else f"wrong after {count}"


@asynccontextmanager
async def agent_with_links(
    tmp_path: Path, server: RunningServer, proxy: PerLinkProxy, origin: int, token: str = "laptop", **asked: Any
) -> AsyncIterator[RunningAgent]:
    async with running_agent(tmp_path, proxy.through(server.token(token)), tcp_tunnel(origin), **asked) as agent:
        await agent.events.wait(TunnelUp)
        yield agent


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("plaintext", [False, True], ids=["TLS links", "plain links"])
@pytest.mark.parametrize("cut", [0, 1, 2])
def test_one_link_of_three_cut_during_a_transfer_ends_only_its_own_streams(
    tmp_path: Path, sessions: Sessions, plaintext: bool, cut: int
) -> None:
    async def scene(server: RunningServer, proxy: PerLinkProxy) -> None:
        async with agent_with_links(tmp_path, server, proxy, origin.port, links_max=3) as agent:
            await sessions.until(3)
            port = agent.events.of(TunnelUp)[0].port
            visitors: list[Visitor] = []
            for seed in range(6):
                visitors.append(await visit(port, f"{SIZE} {seed}\n".encode()))
                await agent.events.until(lambda: sum(link.visitors for link in sessions.now.links) == len(visitors))
            for reader, _ in visitors:
                await reader.readexactly(0)
            shares = [link.visitors for link in sessions.now.links]
            assert all(shares), shares
            proxy.cut(cut)
            outcomes = await asyncio.gather(*(outcome(visitor, seed) for seed, visitor in enumerate(visitors)))
            assert sorted(outcomes) == ["broken"] * shares[cut] + ["whole"] * (6 - shares[cut])
            await sessions.until(3)  # a replacement: there is need of it still
            assert len(proxy.connections) == 4
            assert len(sessions) == 1
            assert not agent.events.of(Offline)
            assert not server.events.of(SessionDown)
            assert not server.events.of(LeaseDown)
            late = await visit(port, f"{SIZE} 9\n".encode())
            assert await outcome(late, 9) == "whole"

    with RawOrigin(send_requested) as origin:
        server = play(tmp_path, scene, plaintext_links=plaintext)
    assert len(server.events.of(LeaseDown)) == 1, "it said good-bye in the end"


@pytest.mark.usefixtures("eager")
def test_the_control_link_moves_to_the_next_link_each_time(tmp_path: Path, sessions: Sessions) -> None:
    async def scene(server: RunningServer, proxy: PerLinkProxy) -> None:
        async with running_agent(tmp_path, proxy.through(server.token()), http_tunnel(origin.port, name="app")) as agent:
            await agent.events.wait(TunnelUp)
            for turn in range(6):
                await sessions.until(4)
                proxy.cut(turn)
                await sessions.until(3)
                reader, writer = await visit(server.http_port, b"GET /hello HTTP/1.1\r\nHost: app.localhost\r\nConnection: close\r\n\r\n")
                assert (await reader.read()).startswith(b"HTTP/1.1 200")
                writer.close()
                await agent.events.wait(RequestLine, turn + 1)  # sent on the link that is now the oldest
            assert len(agent.events.of(Online)) == 1
        assert len(server.events.of(LeaseDown)) == 1, "good-bye is said on the link that is the oldest now"

    with HttpOrigin() as origin:
        play(tmp_path, scene)


@pytest.mark.usefixtures("eager")
def test_losing_all_links_is_a_lost_session_and_the_agent_reconnects(tmp_path: Path, sessions: Sessions) -> None:
    async def scene(server: RunningServer, proxy: PerLinkProxy) -> None:
        async with agent_with_links(tmp_path, server, proxy, 80, links_max=3) as agent:
            await sessions.until(3)
            for number in range(3):
                proxy.cut(number)
            await agent.events.wait(Offline)
            await agent.events.wait(TunnelUp, 2)
            await sessions.until(3)
            assert len(sessions) == 2
            assert len({up.port for up in agent.events.of(TunnelUp)}) == 1

    play(tmp_path, scene)


def test_many_visitors_cause_a_second_link(tmp_path: Path, sessions: Sessions, descriptors: int) -> None:
    if descriptors < 4_000:
        pytest.skip(f"this machine allows {descriptors} descriptors a process; all four ends of each visitor are in this one")

    async def scene(server: RunningServer, proxy: PerLinkProxy) -> None:
        echo = await echoing()
        async with agent_with_links(tmp_path, server, proxy, port_of(echo)) as agent:
            port = agent.events.of(TunnelUp)[0].port
            crowd = [await visit(port, b"x") for _ in range(link_policy.BUSY_STREAMS - 10)]
            await agent.events.until(lambda: sessions.now.links[0].visitors == len(crowd))
            await asyncio.sleep(2 * link_policy.OPEN_AFTER_S)
            assert sessions.links == 1
            crowd += [await visit(port, b"x") for _ in range(20)]
            await sessions.until(2)
            crowd += [await visit(port, b"x") for _ in range(20)]
            await agent.events.until(lambda: sessions.now.links[1].visitors >= 20)
            assert {await reader.readexactly(1) for reader, _ in crowd} == {b"x"}
            for _, writer in crowd:
                writer.close()
        echo.close()

    play(tmp_path, scene)


def test_the_number_of_links_is_limited_by_agent_and_server(tmp_path: Path, sessions: Sessions, eager: None) -> None:
    async def scene(server: RunningServer, proxy: PerLinkProxy) -> None:
        async with agent_with_links(tmp_path, server, proxy, 80, links_max=1):
            await asyncio.sleep(0.5)
            assert len(proxy.connections) == 1
        async with agent_with_links(tmp_path, server, proxy, 80, "second", links_max=16):
            await sessions.until(4)
            await asyncio.sleep(0.3)
            assert len(proxy.connections) == 1 + 4

    play(tmp_path, scene)


def test_all_idle_links_but_one_are_closed_without_losing_a_visitor(
    tmp_path: Path, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(server: RunningServer, proxy: PerLinkProxy) -> None:
        echo = await echoing()
        with monkeypatch.context() as patch:
            patch.setattr(link_policy, "PRESSING_STREAMS", 0)
            agent_of = agent_with_links(tmp_path, server, proxy, port_of(echo), links_max=3)
            async with agent_of as agent:
                await sessions.until(3)
                port = agent.events.of(TunnelUp)[0].port
                visitors = [await visit(port, b"x") for _ in range(6)]
                await agent.events.until(lambda: sum(link.visitors for link in sessions.now.links) == 6)
                patch.setattr(link_policy, "PRESSING_STREAMS", 1000)
                patch.setattr(link_policy, "CLOSE_AFTER_S", 0.3)
                await agent.events.until(lambda: any(link.drained for link in sessions.now.links))
                (leaving,) = (link for link in sessions.now.links if link.drained)
                assert leaving.visitors == 2
                later = [await visit(port, b"x") for _ in range(10)]
                await agent.events.until(lambda: sum(link.visitors for link in sessions.now.links) == 16)
                assert leaving.visitors == 2, "a link that drains gets no new visitors"
                for number, (reader, writer) in enumerate(visitors + later):
                    writer.write(b"%d." % number)
                    assert await reader.readuntil(b".") == b"x%d." % number
                    writer.close()
                await sessions.until(1)
                assert sessions.now.links[0].number == 1
                again, writer = await visit(port, b"once more.")
                assert await again.readuntil(b".") == b"once more."
                writer.close()
                assert len(proxy.connections) == 3
                assert not agent.events.of(Offline)
        echo.close()

    assert len(play(tmp_path, scene).events.of(SessionDown)) == 1


def test_a_quiet_visitor_on_a_draining_link_does_not_affect_the_others(
    tmp_path: Path, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may stay for days. Other links are opened and closed as if its link were gone, and it is served."""

    async def scene(server: RunningServer, proxy: PerLinkProxy) -> None:
        echo = await echoing()
        with monkeypatch.context() as patch:
            patch.setattr(link_policy, "PRESSING_STREAMS", 0)
            patch.setattr(link_policy, "DRAIN_APART_S", 0.1)
            async with agent_with_links(tmp_path, server, proxy, port_of(echo), links_max=2) as agent:
                await sessions.until(2)
                port = agent.events.of(TunnelUp)[0].port
                quiet = [await visit(port, b"x.") for _ in range(2)]
                await agent.events.until(lambda: [link.visitors for link in sessions.now.links] == [1, 1])
                for taking in (2, 1):  # each turn leaves one more link with a quiet visitor behind
                    patch.setattr(link_policy, "PRESSING_STREAMS", 1000)
                    patch.setattr(link_policy, "CLOSE_AFTER_S", 0.3)
                    await agent.events.until(lambda: len(taking_of(sessions)) == 1)
                    assert agent.events.of(LinksChanged)[-1].draining == 3 - taking
                    patch.setattr(link_policy, "CLOSE_AFTER_S", 1000.0)
                    patch.setattr(link_policy, "PRESSING_STREAMS", 0)
                    await agent.events.until(lambda: len(taking_of(sessions)) == 2)
                    assert len(sessions.now.links) == 5 - taking
                    quiet.append(await visit(port, b"x."))
                assert agent.events.of(LinksChanged)[-1] == LinksChanged(4, 2)
                assert server.events.of(ServerLinksChanged)[-1].links == 4
                for reader, writer in quiet:
                    writer.write(b"still here.")
                    assert await reader.readuntil(b".") == b"x."
                    assert await reader.readuntil(b".") == b"still here."
                    writer.close()
                await sessions.until(2)
                assert not agent.events.of(Offline)
        echo.close()

    play(tmp_path, scene)


def taking_of(sessions: Sessions) -> list[AgentLink]:
    return [link for link in sessions.now.links if not link.draining]


def test_the_last_active_link_is_replaced_before_a_draining_one_closes(
    tmp_path: Path, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(server: RunningServer, proxy: PerLinkProxy) -> None:
        echo = await echoing()
        with monkeypatch.context() as patch:
            patch.setattr(link_policy, "PRESSING_STREAMS", 0)
            async with agent_with_links(tmp_path, server, proxy, port_of(echo), links_max=2) as agent:
                await sessions.until(2)
                port = agent.events.of(TunnelUp)[0].port
                visitors = [await visit(port, b"x.") for _ in range(2)]
                await agent.events.until(lambda: [link.visitors for link in sessions.now.links] == [1, 1])
                patch.setattr(link_policy, "PRESSING_STREAMS", 1000)
                sessions.now.links[1].drain()
                await agent.events.until(lambda: sessions.now.links[1].drained)
                proxy.cut(0)
                await agent.events.until(lambda: [link.number for link in sessions.now.links] == [2, 3])
                late, writer = await visit(port, b"late.")
                assert await late.readuntil(b".") == b"late."
                for _, other in [(late, writer), *visitors]:
                    other.close()
                await agent.events.until(lambda: [link.number for link in sessions.now.links] == [3])
                assert not agent.events.of(Offline)
        echo.close()

    play(tmp_path, scene)


def test_pooled_streams_of_the_edge_do_not_keep_a_link_from_closing(
    tmp_path: Path, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def get(server: RunningServer) -> None:
        reader, writer = await visit(server.http_port, b"GET /hello HTTP/1.1\r\nHost: app.localhost\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()

    async def scene(server: RunningServer, proxy: PerLinkProxy) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(link_policy, "PRESSING_STREAMS", 0)
            async with running_agent(tmp_path, proxy.through(server.token()), http_tunnel(origin.port, name="app"), links_max=2) as agent:
                await sessions.until(2)
                patch.setattr(link_policy, "PRESSING_STREAMS", 1000)
                await agent.events.wait(TunnelUp)
                await get(server)
                (used,) = (link for link in sessions.now.links if link.visitors)
                used.drain()
                await agent.events.until(lambda: used.drained)
                assert used.visitors == 1, "it rests in the edge's pool"
                await get(server)
                await sessions.until(1)
                await get(server)
                assert not agent.events.of(Offline)

    with HttpOrigin() as origin:
        play(tmp_path, scene)


def test_two_thousand_visitors_share_four_links_and_each_gets_its_own_bytes(
    tmp_path: Path, sessions: Sessions, eager: None, descriptors: int
) -> None:
    if descriptors < 12_000:
        pytest.skip(f"this machine allows {descriptors} descriptors a process; all four ends of each visitor are in this one")

    async def one(port: int, number: int) -> Visitor:
        mine = b"visitor %d." % number
        reader, writer = await visit(port, mine)
        assert await reader.readuntil(b".") == mine
        return reader, writer

    async def scene(server: RunningServer, proxy: PerLinkProxy) -> None:
        echo = await echoing()
        async with agent_with_links(tmp_path, server, proxy, port_of(echo)) as agent:
            await sessions.until(4)
            port = agent.events.of(TunnelUp)[0].port
            visitors: list[Visitor] = []
            for start in range(0, 2000, 100):
                visitors += await asyncio.gather(*(one(port, start + number) for number in range(100)))
            shares = [link.visitors for link in sessions.now.links]
            assert sum(shares) == 2000
            assert max(shares) - min(shares) <= 200, shares
            for number, (reader, writer) in enumerate(visitors):
                writer.write(b"again %d." % number)
                assert await reader.readuntil(b".") == b"again %d." % number
                writer.close()
        echo.close()

    play(tmp_path, scene, tcp_ports=PortRange(port := free_port(), port))


async def echoing() -> asyncio.Server:
    """An origin that sends everything back, without a thread for each visitor."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1024)


def port_of(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])
