"""The single-process server (portway.server.core, portway.server.control.interfaces): its events, what it saves, and how it stops."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from portway.agent.events import TunnelUp
from portway.config.values import ListenAddress
from portway.errors import PortwayError, UnavailableError
from portway.server import core as core_module
from portway.server.app import serve
from portway.server.events import SessionUp, Stopping
from portway.server.identity import read_advertised
from tests.kit.certificates import Identity
from tests.kit.origins import RawOrigin, echo
from tests.kit.pair import Events, http_tunnel, running_agent, running_server, server_settings, tcp_tunnel


def test_the_start_up_event_has_the_listeners_and_the_advertised_address(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running_server(tmp_path) as server:
            listening = server.listening
            assert listening.http.startswith("127.0.0.1:")
            assert listening.advertised == listening.agents
            advertised = read_advertised(server.settings.data)
            assert advertised is not None
            assert f"{advertised.host}:{advertised.port}" == listening.agents
            assert len(advertised.pin) == 64
        assert server.events.of(Stopping)

    asyncio.run(scene())


def test_a_server_with_a_certificate_of_a_ca_needs_no_pin(tmp_path: Path, identity: Identity) -> None:
    async def scene() -> None:
        changes: dict[str, Any] = {
            "agents_certificate": identity.cert_file,
            "agents_key": identity.key_file,
            "agents": ListenAddress("localhost", 0),
        }
        async with running_server(tmp_path, **changes) as server:
            join = server.token()
            assert join.pin is None
            async with running_agent(tmp_path, join, http_tunnel(80), ca_file=identity.cert_file) as agent:
                await agent.events.wait(TunnelUp)

    identity.key_file.chmod(0o600)
    asyncio.run(scene())


def test_an_address_in_use_is_an_error_before_any_event(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for setting in ("http", "agents"):
            settings = server_settings(tmp_path, **{setting: ListenAddress("127.0.0.1", taken.getsockname()[1])})
            events = Events()
            with pytest.raises(UnavailableError, match="in use"):
                asyncio.run(serve(settings, on_event=events))
            assert events.emitted == []


def test_the_identity_outlives_a_restart(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running_server(tmp_path) as first:
            before = read_advertised(first.settings.data)
        async with running_server(tmp_path) as second:
            after = read_advertised(second.settings.data)
        assert before is not None
        assert after is not None
        assert before.pin == after.pin

    asyncio.run(scene())


def test_a_server_that_stops_lets_relays_finish_and_accepts_no_visitors(tmp_path: Path) -> None:
    async def scene(origin: RawOrigin) -> None:
        async with running_server(tmp_path) as server:
            stop = asyncio.Event()
            async with running_agent(tmp_path, server.token(), tcp_tunnel(origin.port)) as agent:
                up = await agent.events.wait(TunnelUp)
                reader, writer = await asyncio.open_connection("127.0.0.1", up.port)
                writer.write(b"one")
                assert await reader.readexactly(3) == b"one"
                server.stop.set()
                await server.events.wait(Stopping)
                await asyncio.sleep(0.1)
                with pytest.raises(ConnectionRefusedError):
                    await asyncio.open_connection("127.0.0.1", up.port)
                writer.write(b"two")
                assert await reader.readexactly(3) == b"two"
                writer.close()
                async with asyncio.timeout(core_module.DRAIN_S_MAX):
                    await asyncio.wait({server.task})
            stop.set()

    with RawOrigin(echo) as origin:
        asyncio.run(scene(origin))


def test_draining_ends_after_a_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_module, "DRAIN_S_MAX", 0.2)

    async def scene(origin: RawOrigin) -> None:
        async with running_server(tmp_path) as server, running_agent(tmp_path, server.token(), tcp_tunnel(origin.port)) as agent:
            up = await agent.events.wait(TunnelUp)
            reader, writer = await asyncio.open_connection("127.0.0.1", up.port)
            writer.write(b"one")
            await reader.readexactly(3)
            server.stop.set()
            with pytest.raises(ConnectionError):
                while await reader.read(100):
                    pass
            writer.close()

    with RawOrigin(echo) as origin:
        asyncio.run(scene(origin))


def test_cancelling_drains_too(tmp_path: Path) -> None:
    async def scene() -> None:
        events = Events()
        server = asyncio.ensure_future(serve(server_settings(tmp_path), on_event=events))
        await events.until(lambda: bool(events.emitted))
        server.cancel()
        with pytest.raises(asyncio.CancelledError):
            await server
        assert events.of(Stopping)

    asyncio.run(scene())


def test_events_and_settings_contain_no_secret(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running_server(tmp_path) as server:
            join = server.token()
            async with running_agent(tmp_path, join, http_tunnel(80)) as agent:
                await agent.events.wait(TunnelUp)
                await server.events.wait(SessionUp)
                identity = (tmp_path / "agent" / "agent-identity").read_bytes()
                for told in (*server.events.emitted, *agent.events.emitted, agent.settings, server.settings):
                    assert join.secret not in repr(told)
                    assert identity.hex() not in repr(told)
                    assert not isinstance(told, PortwayError)

    asyncio.run(scene())
