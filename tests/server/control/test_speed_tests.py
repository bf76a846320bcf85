"""Speed tests that agents request: run on their links, bounded, reported to the operator, or refused with a reason."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from portway.engine.channel import Channel
from portway.protocol.control.messages import Measure, Measured, Message, Refused, Release, Released
from portway.protocol.proxy_header import ProxyHeader, encode_local
from portway.protocol.stream_status import StreamStatus
from portway.server.control import speed_tests
from portway.server.events import SessionDown, SpeedTested
from portway.session import speed
from portway.session.speed import SpeedRun
from portway.session.stream_handshake import send_status
from tests.kit.pair import RunningServer, running_server
from tests.kit.raw_agent import RawAgent, RawReactor, raw_agent, raw_reactor

Scene = Callable[[RunningServer, RawReactor], Coroutine[Any, Any, None]]
PAYLOAD = memoryview(bytes(100_000))


def play(tmp_path: Path, scene: Scene, **settings: Any) -> RunningServer:
    """Run a scene with a server."""

    async def whole() -> RunningServer:
        async with raw_reactor() as reactor, running_server(tmp_path, **settings) as server:
            await scene(server, reactor)
        return server

    return asyncio.run(whole())


async def logged_in(server: RunningServer, reactor: RawReactor, name: str = "laptop") -> RawAgent:
    join = server.token(name)
    agent = await raw_agent(reactor, join)
    await agent.log_in(join)
    return agent


def take(agent: RawAgent, run: SpeedRun, seen: list[ProxyHeader]) -> None:
    """Accept the streams of a test as a correct agent does."""

    class Visits(list[tuple[ProxyHeader, Channel]]):
        def append(self, visit: tuple[ProxyHeader, Channel]) -> None:
            seen.append(visit[0])
            assert send_status(visit[1], StreamStatus.CONNECTED)
            run.add(visit[1])

    agent.visits = Visits()


def asks(direction: Any = "down", streams: int = 2, seconds: float = 0.3, number: int = 7) -> Measure:
    return Measure(id=number, direction=direction, streams=streams, seconds=seconds)


@pytest.mark.parametrize("plaintext", [False, True], ids=["TLS links", "plain links"])
@pytest.mark.parametrize("direction", ["down", "up"])
def test_a_test_transfers_bytes_on_the_sessions_links_and_is_reported(tmp_path: Path, direction: str, plaintext: bool) -> None:
    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        agent = await logged_in(server, reactor)
        seen: list[ProxyHeader] = []
        run = SpeedRun(reactor, streams=3, seconds=0.3, payload=PAYLOAD if direction == "up" else None)
        take(agent, run, seen)
        measured = await agent.request(asks(direction, streams=3), Measured)
        event = await server.events.wait(SpeedTested)

        assert measured.id == 7
        assert measured.bytes > 100_000
        assert 0.1 < measured.seconds < 0.6
        assert 0 < measured.cpu_s < 0.6
        assert all(header.local and header.tunnel_id == 0 for header in seen)
        assert len(seen) == 3
        assert (event.token, event.direction, event.streams) == ("laptop", direction, 3)
        assert event.bytes >= measured.bytes
        await server.events.until(lambda: run.finished)
        assert run.moved == event.bytes  # nothing was lost at the end
        assert agent.mux.streams_open == 1

    play(tmp_path, scene, plaintext_links=plaintext)


def test_control_messages_are_handled_while_a_test_runs(tmp_path: Path) -> None:
    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        agent = await logged_in(server, reactor)
        take(agent, SpeedRun(reactor, streams=2, seconds=5.0, payload=None), [])
        agent.control.send(asks(seconds=5.0))

        assert await agent.request(Release(id=8, tunnel=1), Released) == Released(id=8)

    play(tmp_path, scene)


@pytest.mark.parametrize(
    ("asked", "code", "words"),
    [
        (asks(seconds=31.0), "speed_test_too_large", "at most 30 s"),
        (asks(seconds=0.0), "speed_test_too_large", "at most 30 s"),
        (asks(streams=65), "speed_test_too_large", "1 to 64 streams"),
        (asks(streams=0), "speed_test_too_large", "1 to 64 streams"),
    ],
)
def test_a_test_that_is_too_large_is_refused(tmp_path: Path, asked: Measure, code: str, words: str) -> None:
    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        agent = await logged_in(server, reactor)
        refused = await agent.request(asked, Refused)

        assert (refused.id, refused.code) == (7, code)
        assert words in refused.reason
        assert agent.streams == []

    play(tmp_path, scene)


def test_the_operator_can_disable_tests(tmp_path: Path) -> None:
    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        agent = await logged_in(server, reactor)

        assert (await agent.request(asks(), Refused)).code == "speed_test_off"

    play(tmp_path, scene, no_speed_test=True)


def test_a_session_has_one_test_at_a_time_and_a_server_a_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed_tests, "TESTS_MAX", 2)

    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        agents = [await logged_in(server, reactor, name) for name in ("one", "two", "three")]
        runs = [SpeedRun(reactor, streams=1, seconds=0.5, payload=None) for _ in agents]
        for agent, run in zip(agents, runs, strict=True):
            take(agent, run, [])
        agents[0].control.send(asks(streams=1, seconds=0.5))
        second = await agents[0].request(asks(number=8), Refused)
        agents[1].control.send(asks(streams=1, seconds=0.5))
        await server.events.until(lambda: runs[1].moved > 0)
        third = await agents[2].request(asks(streams=1), Refused)
        assert (second.id, second.code, third.code) == (8, "speed_test_busy", "speed_test_busy")
        assert isinstance(await agents[0].receive(), Measured)
        assert isinstance(await agents[1].receive(), Measured)

        assert isinstance(await agents[2].request(asks(streams=1, seconds=0.1), Measured), Measured)

    play(tmp_path, scene)


def test_an_agent_that_accepts_no_stream_gets_an_empty_result(tmp_path: Path) -> None:
    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        agent = await logged_in(server, reactor)
        agent.control.send(asks())
        await server.events.until(lambda: len(agent.visits) == 2)
        for _, stream in agent.visits:
            send_status(stream, StreamStatus.UNKNOWN_TUNNEL)
        message: Message = await agent.receive()

        assert isinstance(message, Measured)
        assert message.bytes == 0

    play(tmp_path, scene)


def test_an_agent_that_never_stops_sending_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "FINISH_S_MAX", 0.2)

    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        agent = await logged_in(server, reactor)
        run = SpeedRun(reactor, streams=1, seconds=60.0, payload=PAYLOAD)
        take(agent, run, [])
        assert isinstance(await agent.request(asks("up", streams=1), Measured), Measured)

        await server.events.until(lambda: run.finished)

    play(tmp_path, scene)


def test_an_agent_that_does_not_read_stops_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "FINISH_S_MAX", 0.2)

    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        agent = await logged_in(server, reactor)
        agent.control.send(asks(streams=1))
        await server.events.until(lambda: bool(agent.visits))
        send_status(agent.visits[0][1], StreamStatus.CONNECTED)
        event = await server.events.wait(SpeedTested)

        assert event.bytes == 256 * 1024 - len(encode_local(0))  # the window of a stream whose reader consumes nothing

    play(tmp_path, scene)


def test_a_test_ends_with_its_session(tmp_path: Path) -> None:
    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        agent = await logged_in(server, reactor)
        run = SpeedRun(reactor, streams=2, seconds=20.0, payload=None)
        take(agent, run, [])
        agent.control.send(asks(seconds=20.0))
        await server.events.until(lambda: run.moved > 0)
        agent.mux.close("gone")
        event = await server.events.wait(SpeedTested)
        await server.events.wait(SessionDown)

        assert 0 < event.seconds < 15

    play(tmp_path, scene)
