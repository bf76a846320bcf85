"""Agent and server put together, over real sockets and in one loop: what goes through, and how each end takes losses."""

import asyncio
import shutil
import sqlite3
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portway.agent.app import run
from portway.agent.events import Connecting, Offline, Online, Refused, RelayDone, RequestLine, RoundTrip, TunnelUp
from portway.agent.settings import AgentSettings
from portway.config.values import ListenAddress, PortRange
from portway.errors import ConfigError, RefusedError
from portway.protocol.join_string import JoinString
from portway.server.events import LeaseDown, LoginRefused, SessionDown, SessionUp
from portway.server.settings import ServerSettings
from portway.server.storage.data_directory import STATE_FILE, open_state
from portway.server.storage.token_store import FILE
from tests.kit.certificates import Identity
from tests.kit.http_origin import HttpOrigin
from tests.kit.origins import RawOrigin, echo, report_after_end, send_half_then_reset, send_requested
from tests.kit.pair import Events, RunningServer, http_tunnel, running_agent, running_server, tcp_tunnel
from tests.kit.per_link_proxy import per_link_proxy
from tests.kit.sockets import free_port
from tests.kit.streams import stream_hash

LINKS = pytest.mark.parametrize("plaintext", [False, True], ids=["TLS links", "plain links"])
Scene = Callable[[RunningServer], Coroutine[Any, Any, None]]


def play(tmp_path: Path, scene: Scene, **settings: Any) -> RunningServer:
    """Run a scene beside a server."""

    async def whole() -> RunningServer:
        async with running_server(tmp_path, **settings) as server:
            await scene(server)
        return server

    return asyncio.run(whole())


async def exchange(port: int, data: bytes) -> bytes:
    """Send, end, and return everything that comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        writer.write_eof()
        async with asyncio.timeout(20):
            return await reader.read()
    finally:
        writer.close()


async def get(server: RunningServer, host: str, path: str = "/hello") -> bytes:
    """Return the answer to a request, head and body."""
    return await exchange(server.http_port, f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())


@LINKS
def test_bytes_go_through_a_tcp_tunnel_and_back(tmp_path: Path, plaintext: bool) -> None:
    async def scene(server: RunningServer) -> None:
        async with running_agent(tmp_path, server.token(), tcp_tunnel(origin.port)) as agent:
            up = await agent.events.wait(TunnelUp)
            assert up.url == f"tcp://127.0.0.1:{up.port}"
            assert await exchange(up.port, b"hello through the tunnel") == b"hello through the tunnel"
            done = await agent.events.wait(RelayDone)
            assert (done.bytes_in, done.bytes_out, done.reason) == (24, 24, "closed")

    with RawOrigin(echo) as origin:
        play(tmp_path, scene, plaintext_links=plaintext)


@LINKS
def test_large_streams_arrive_whole_and_the_reply_comes_after_the_half_close(tmp_path: Path, plaintext: bool) -> None:
    size = 12_345_678

    async def scene(server: RunningServer) -> None:
        async with running_agent(tmp_path, server.token(), tcp_tunnel(down.port), tcp_tunnel(up.port)) as agent:
            await agent.events.wait(TunnelUp, 2)
            ports = {told.target: told.port for told in agent.events.of(TunnelUp)}
            poured = await exchange(ports[f"127.0.0.1:{down.port}"], f"{size} 5\n".encode())
            assert len(poured) == size
            reply = await exchange(ports[f"127.0.0.1:{up.port}"], poured)
            assert reply == f"{size} {stream_hash(size, 5)}\n".encode()

    with RawOrigin(send_requested) as down, RawOrigin(report_after_end) as up:
        play(tmp_path, scene, plaintext_links=plaintext)


@LINKS
def test_an_origin_that_dies_during_a_response_is_an_error_to_the_visitor(tmp_path: Path, plaintext: bool) -> None:
    async def scene(server: RunningServer) -> None:
        async with running_agent(tmp_path, server.token(), tcp_tunnel(origin.port)) as agent:
            up = await agent.events.wait(TunnelUp)
            with pytest.raises(ConnectionResetError):
                await exchange(up.port, b"3000000 1\n")

    with RawOrigin(send_half_then_reset) as origin:
        play(tmp_path, scene, plaintext_links=plaintext)


def test_many_visitors_at_once_each_get_their_own_bytes(tmp_path: Path) -> None:
    async def visit(port: int, number: int) -> None:
        mine = f"visitor {number} ".encode() * 500
        assert await exchange(port, mine) == mine

    async def scene(server: RunningServer) -> None:
        async with running_agent(tmp_path, server.token(), tcp_tunnel(origin.port)) as agent:
            up = await agent.events.wait(TunnelUp)
            async with asyncio.TaskGroup() as visitors:
                for number in range(200):
                    visitors.create_task(visit(up.port, number))

    with RawOrigin(echo) as origin:
        play(tmp_path, scene)


@LINKS
def test_requests_go_through_an_http_tunnel_and_are_reported(tmp_path: Path, plaintext: bool) -> None:
    async def scene(server: RunningServer) -> None:
        async with running_agent(tmp_path, server.token(), http_tunnel(origin.port, name="app")) as agent:
            up = await agent.events.wait(TunnelUp)
            assert up.url == f"http://app.localhost:{server.http_port}"
            assert (await get(server, "app.localhost")).startswith(b"HTTP/1.1 200")
            told = await agent.events.wait(RequestLine)
            assert (told.method, told.path, told.status, told.tunnel) == ("GET", "/hello", 200, up.tunnel)

    with HttpOrigin() as origin:
        play(tmp_path, scene, plaintext_links=plaintext)


def test_the_round_trip_is_reported_once_measured(tmp_path: Path) -> None:
    async def scene(server: RunningServer) -> None:
        async with running_agent(tmp_path, server.token(), tcp_tunnel(origin.port)) as agent:
            assert 0 < (await agent.events.wait(RoundTrip)).rtt_s < 1

    with RawOrigin(echo) as origin:
        play(tmp_path, scene)


def test_an_unreachable_origin_is_a_502_and_a_reset(tmp_path: Path) -> None:
    async def scene(server: RunningServer) -> None:
        nobody = free_port()
        async with running_agent(tmp_path, server.token(), http_tunnel(nobody, name="app"), tcp_tunnel(nobody)) as agent:
            await agent.events.wait(TunnelUp, 2)
            assert b"origin_unreachable" in await get(server, "app.localhost")
            port = next(up.port for up in agent.events.of(TunnelUp) if up.port)
            with pytest.raises(ConnectionResetError):
                await exchange(port, b"anybody?")

    play(tmp_path, scene)


async def code_and_refusal(settings: AgentSettings) -> tuple[int, Refused]:
    events = Events()
    async with asyncio.timeout(8):
        code = await run(settings, on_event=events)
    return code, events.of(Refused)[-1]


def altered(join: JoinString, **changes: Any) -> JoinString:
    fields = {name: getattr(join, name) for name in ("token_id", "secret", "host", "port", "pin", "plaintext")}
    return JoinString(**(fields | changes))


def test_a_refused_agent_ends_with_3_and_a_reason(tmp_path: Path) -> None:
    async def scene(server: RunningServer) -> None:
        join = server.token()
        good = AgentSettings(join=join, tunnels=(http_tunnel(80, name="app"),), data_dir=tmp_path / "other")
        async with running_agent(tmp_path, join, http_tunnel(80, name="app")) as agent:
            await agent.events.wait(TunnelUp)
            wrong = {
                "bad_credentials": replace(good, join=altered(join, secret="A" * 43)),
                "wrong_pin": replace(good, join=altered(join, pin=b"p" * 32)),
                "name_taken": good,
                "reserved_name": replace(good, tunnels=(http_tunnel(80, name="www"),)),
                "port_not_allowed": replace(good, tunnels=(tcp_tunnel(80, port=1),)),
            }
            for expected, settings in wrong.items():
                code, refused = await code_and_refusal(settings)
                assert (code, refused.code) == (3, expected)
                assert refused.reason
                assert join.secret not in repr(refused) + repr(settings)

    play(tmp_path, scene)


def test_a_revoked_agent_ends_with_3(tmp_path: Path) -> None:
    async def scene(server: RunningServer) -> None:
        async with running_agent(tmp_path, server.token(), http_tunnel(80, name="app")) as agent:
            await agent.events.wait(TunnelUp)
            server.revoke()
            async with asyncio.timeout(5):
                assert await agent.task == 3
            assert agent.events.of(Refused)[0].code == "token_revoked"
            assert b"unknown_host" in await get(server, "app.localhost")

    play(tmp_path, scene)


def test_a_replaced_agent_ends_with_3_and_does_not_reconnect(tmp_path: Path) -> None:
    async def scene(server: RunningServer) -> None:
        join = server.token()
        async with running_agent(tmp_path, join, http_tunnel(80, name="app")) as first:
            await first.events.wait(TunnelUp)
            code, refused = await code_and_refusal(
                AgentSettings(join=join, tunnels=(http_tunnel(81, name="app"),), data_dir=tmp_path / "agent")
            )
            assert (code, refused.code) == (3, "name_in_use")
            async with running_agent(tmp_path, join, http_tunnel(81, name="app", takeover=True)) as second:
                await second.events.wait(TunnelUp)
                async with asyncio.timeout(5):
                    assert await first.task == 3
                assert first.events.of(Refused)[0].code == "replaced"

    play(tmp_path, scene)


def test_an_agent_that_was_online_outlives_a_server_without_its_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token database was lost and created anew; hours later a backup is restored."""
    monkeypatch.setattr("portway.agent.retrying.REFUSED_S", 0.2)
    data = tmp_path / "server"
    places = {"agents": ListenAddress("127.0.0.1", free_port()), "http": ListenAddress("127.0.0.1", free_port())}

    async def scene() -> None:
        async with running_server(tmp_path, **places) as server:
            agent = await stack.enter_async_context(running_agent(tmp_path, server.token(), http_tunnel(origin.port, name="app")))
            await agent.events.wait(TunnelUp)
        for name in (FILE, STATE_FILE):
            shutil.copy(data / name, tmp_path / f"saved-{name}")
            (data / name).unlink()
        open_state(ServerSettings(data=data), init=True).store.close()
        async with running_server(tmp_path, **places) as server:
            await server.events.wait(LoginRefused, 2)
            assert not agent.task.done()
            assert any("the server does not accept this token (bad_credentials)" in offline.reason for offline in agent.events.of(Offline))
        for name in (FILE, STATE_FILE):
            shutil.copy(tmp_path / f"saved-{name}", data / name)
        async with running_server(tmp_path, **places) as server:
            await agent.events.wait(TunnelUp, 2)
            assert (await get(server, "app.localhost")).startswith(b"HTTP/1.1 200")
            await stack.aclose()

    stack = AsyncExitStack()
    with HttpOrigin() as origin:
        asyncio.run(scene())


def test_a_session_ends_when_its_token_is_deleted_and_resumes_when_it_is_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portway.agent.retrying.REFUSED_S", 0.2)

    async def scene(server: RunningServer) -> None:
        async with running_agent(tmp_path, server.token(), http_tunnel(80, name="app")) as agent:
            await agent.events.wait(TunnelUp)
            db = sqlite3.connect(server.settings.data / FILE, isolation_level=None)
            row = db.execute("SELECT * FROM tokens").fetchone()
            db.execute("DELETE FROM tokens")
            await server.events.wait(LoginRefused)
            assert not agent.task.done()
            db.execute("INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            db.close()
            await agent.events.wait(TunnelUp, 2)
            assert agent.events.of(Refused) == []

    play(tmp_path, scene)


def test_an_agent_retries_while_its_name_is_reserved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portway.agent.retrying.REFUSED_S", 0.2)
    agents = ListenAddress("127.0.0.1", free_port())

    async def scene() -> None:
        async with running_server(tmp_path, agents=agents) as server:
            agent = await stack.enter_async_context(running_agent(tmp_path, server.token(), http_tunnel(80, name="app")))
            await agent.events.wait(TunnelUp)
        async with running_server(tmp_path, agents=agents, advertise=ListenAddress("app.localhost", 1)) as server:
            await server.events.wait(SessionDown, 2)
            assert not agent.task.done()
            assert any("(reserved_name)" in offline.reason for offline in agent.events.of(Offline))
        async with running_server(tmp_path, agents=agents) as server:
            await agent.events.wait(TunnelUp, 2)
            await stack.aclose()

    stack = AsyncExitStack()
    asyncio.run(scene())


def test_a_link_beyond_its_memory_budget_ends_and_the_agent_reconnects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the server has the reason (ADR 17)."""

    async def scene(server: RunningServer) -> None:
        with monkeypatch.context() as patch:
            patch.setattr("portway.server.control.token_budgets.CONTROL_BYTES_MAX", 10)
            agent = await stack.enter_async_context(running_agent(tmp_path, server.token(), http_tunnel(80, name="app")))
            offline = await agent.events.wait(Offline)
        assert offline.reason == "the other end closed the link"
        assert "all links of the token may buffer 10 in total" in server.events.of(SessionDown)[0].reason
        await agent.events.wait(TunnelUp)
        await stack.aclose()

    stack = AsyncExitStack()
    play(tmp_path, scene)


@pytest.mark.parametrize("workers", [1, 2])
def test_assigned_names_and_ports_survive_restarts_of_both(workers: int, tmp_path: Path) -> None:
    agents = ListenAddress("127.0.0.1", free_port())

    async def urls(server: RunningServer, join: JoinString) -> set[str]:
        """Return what two terminals show that publish the same web site, and the same database."""
        async with AsyncExitStack() as terminals:
            shown = [http_tunnel(8000), http_tunnel(8000), tcp_tunnel(5432), tcp_tunnel(5432)]
            running = [await terminals.enter_async_context(running_agent(tmp_path, join, tunnel)) for tunnel in shown]
            found = {(await agent.events.wait(TunnelUp)).url for agent in running}
            assert len(found) == len(shown)
            assert all(agent.events.of(Refused) == [] for agent in running)
        return found

    async def scene() -> None:
        ports = PortRange(first_port := free_port(), min(first_port + 20, 65535))
        async with running_server(
            tmp_path, agents=agents, http=ListenAddress("127.0.0.1", http), tcp_ports=ports, workers=workers
        ) as server:
            join = server.token(hosts=("dev-*",))
            found = await urls(server, join)
            assert sum(url.startswith("http://dev-") for url in found) == 2
            assert await urls(server, join) == found
        async with running_server(
            tmp_path, agents=agents, http=ListenAddress("127.0.0.1", http), tcp_ports=ports, workers=workers
        ) as server:
            assert await urls(server, join) == found

    http = free_port()
    asyncio.run(scene())


def test_two_agents_of_one_machine_run_side_by_side(tmp_path: Path) -> None:
    async def scene(server: RunningServer) -> None:
        join = server.token()
        async with (
            running_agent(tmp_path, join, http_tunnel(one.port, name="one")) as first,
            running_agent(tmp_path, join, http_tunnel(two.port, name="two")) as second,
        ):
            await first.events.wait(TunnelUp)
            await second.events.wait(TunnelUp)
            for name in ("one", "two"):
                assert (await get(server, f"{name}.localhost")).startswith(b"HTTP/1.1 200")
            assert (one.requests, two.requests) == (1, 1)

    with HttpOrigin() as one, HttpOrigin() as two:
        play(tmp_path, scene)


def test_a_stopped_agent_releases_its_names_at_once(tmp_path: Path) -> None:
    async def scene(server: RunningServer) -> None:
        join = server.token()
        async with running_agent(tmp_path, join, http_tunnel(80, name="app"), tcp_tunnel(80)) as agent:
            await agent.events.wait(TunnelUp, 2)
        await server.events.wait(LeaseDown, 2)
        assert agent.task.result() == 0
        async with running_agent(tmp_path / "elsewhere", server.token("other"), http_tunnel(80, name="app")) as other:
            await other.events.wait(TunnelUp)

    play(tmp_path, scene)


def distinct_ports() -> list[int]:
    ports: set[int] = set()
    while len(ports) < 3:
        ports.add(free_port())
    return sorted(ports)


def test_agents_of_a_restarted_server_have_the_same_names_and_ports(tmp_path: Path) -> None:
    http, agents, tcp = distinct_ports()
    fixed: dict[str, Any] = {
        "http": ListenAddress("127.0.0.1", http),
        "agents": ListenAddress("127.0.0.1", agents),
        "tcp_ports": PortRange(tcp, tcp),
    }

    async def whole() -> None:
        async with running_server(tmp_path, **fixed) as server:
            join = server.token()
            stop, events = asyncio.Event(), Events()
            settings = AgentSettings(join=join, tunnels=(http_tunnel(origin.port), tcp_tunnel(origin.port)), data_dir=tmp_path / "agent")
            agent = asyncio.ensure_future(run(settings, on_event=events, stop=stop))
            await events.wait(TunnelUp, 2)
        await events.wait(Offline)
        async with running_server(tmp_path, **fixed) as server:
            await events.wait(TunnelUp, 4)
            ups = [(up.url, up.name, up.port) for up in events.of(TunnelUp)]
            assert sorted(ups[:2]) == sorted(ups[2:])
            name = next(up.name for up in events.of(TunnelUp) if up.name)
            assert (await get(server, f"{name}.localhost")).startswith(b"HTTP/1.1 200")
            stop.set()
            assert await agent == 0

    with HttpOrigin() as origin:
        asyncio.run(whole())


def test_a_cut_link_is_replaced_at_once_and_visitors_are_held_meanwhile(tmp_path: Path) -> None:
    async def scene(server: RunningServer) -> None:
        join = server.token()
        async with (
            per_link_proxy(join.port) as proxy,
            running_agent(tmp_path, proxy.through(join), http_tunnel(origin.port, name="app")) as agent,
        ):
            await agent.events.wait(TunnelUp)
            for turn in range(1, 21):
                proxy.cut_all()
                await server.events.wait(SessionDown, turn)
                assert (await get(server, "app.localhost")).startswith(b"HTTP/1.1 200")
                await agent.events.wait(Online, turn + 1)
            assert len(server.events.of(SessionUp)) == 21
            assert not server.events.of(LeaseDown)
            await proxy.close()
            await agent.events.wait(Offline, 21)
            assert "link" in agent.events.of(Offline)[-1].reason

    with HttpOrigin() as origin:
        play(tmp_path, scene)


def test_an_unavailable_server_is_dialled_at_growing_intervals(tmp_path: Path) -> None:
    async def scene() -> None:
        join = JoinString("laptop", "A" * 43, "127.0.0.1", free_port(), b"p" * 32)
        async with running_agent(tmp_path, join, http_tunnel(80)) as agent:
            await agent.events.wait(Offline, 4)
            delays = [event.retry_in_s for event in agent.events.of(Offline)]
            assert delays[0] == 0.0
            assert 0.05 <= delays[1] <= 0.1
            assert delays[2] <= 0.2
            assert "refused" in agent.events.of(Offline)[0].reason
            assert agent.events.of(Connecting)[0].address == f"127.0.0.1:{join.port}"
        assert agent.task.result() == 0

    asyncio.run(scene())


def test_a_certificate_of_an_unknown_ca_is_refused_at_the_first_contact(tmp_path: Path, identity: Identity) -> None:
    async def scene(server: RunningServer) -> None:
        join = replace(server.token(), host="localhost", pin=None)
        async with running_agent(tmp_path, join, http_tunnel(80), ca_file=identity.cert_file) as agent:
            refused = await agent.events.wait(Refused)
            assert refused.code == "wrong_certificate"
            assert "certificate not accepted" in refused.reason
            assert await agent.task == RefusedError.exit_code
            assert not agent.events.of(Offline)

    play(tmp_path, scene)


@pytest.mark.parametrize("plaintext_join", [True, False])
def test_plain_links_must_be_enabled_at_both_ends(tmp_path: Path, plaintext_join: bool) -> None:
    pin = None if plaintext_join else b"p" * 32
    join = JoinString("laptop", "A" * 43, "127.0.0.1", 4443, pin, plaintext_join)
    settings = AgentSettings(join=join, tunnels=(http_tunnel(80),), data_dir=tmp_path / "agent", plaintext_links=not plaintext_join)
    with pytest.raises(ConfigError, match="plaintext-links"):
        asyncio.run(run(settings, on_event=Events()))


def test_cancelling_closes_the_session_gracefully(tmp_path: Path) -> None:
    async def scene(server: RunningServer) -> None:
        settings = AgentSettings(join=server.token(), tunnels=(http_tunnel(80, name="app"),), data_dir=tmp_path / "agent")
        events = Events()
        agent = asyncio.ensure_future(run(settings, on_event=events))
        await events.wait(TunnelUp)
        agent.cancel()
        with pytest.raises(asyncio.CancelledError):
            await agent
        await server.events.wait(LeaseDown)

    play(tmp_path, scene)
