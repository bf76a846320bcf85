"""A whole speed test against a real server in the same loop, and against servers without speed tests."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from portway.agent.settings import AgentSettings
from portway.agent.speed.events import DelayVerdict, Measurement, Progress, RoundTrips, SpeedTestStarted, Verdict
from portway.agent.speed.runner import SpeedTestOptions, run
from portway.engine.reactor import Reactor
from portway.errors import PeerError, RefusedError, UnavailableError
from portway.protocol.control import messages as control
from portway.protocol.join_string import JoinString
from portway.server.control import speed_tests
from portway.server.events import SessionDown, SessionUp, SpeedTested
from tests.agent.test_session import SECRET, PlayedServer
from tests.kit.pair import Events, RunningServer, running_server

SHORT = SpeedTestOptions(seconds=0.5, streams=3)


def only(group: BaseExceptionGroup[Exception]) -> BaseException:
    """Return the one error in a group of groups."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        (error,) = error.exceptions
    return error


async def speed_test(join: JoinString, data: Path, *, options: SpeedTestOptions = SHORT, links_max: int = 4) -> Events:
    settings = AgentSettings(join=join, tunnels=(), data_dir=data / "agent", plaintext_links=join.plaintext, links_max=links_max)
    events = Events()
    try:
        await run(settings, options, on_event=events)
    except BaseExceptionGroup as group:
        raise only(group) from group
    return events


@pytest.mark.parametrize("plaintext", [False, True], ids=["TLS links", "plain links"])
def test_a_speed_test_measures_both_directions_and_judges_them(tmp_path: Path, plaintext: bool) -> None:
    async def whole() -> None:
        async with running_server(tmp_path, plaintext_links=plaintext) as server:
            events = await speed_test(server.token(), tmp_path)
            begun, trips = events.of(SpeedTestStarted)[0], events.of(RoundTrips)[0]
            found = events.of(Measurement)
            told = server.events.of(SpeedTested)
            down = await server.events.wait(SessionDown)

            assert (begun.encrypted, begun.streams, begun.links_max) == (not plaintext, 3, 4)
            assert 0 < trips.lowest_s <= trips.median_s < 1
            assert [(one.direction, one.streams) for one in found] == [("down", 1), ("up", 1), ("down", 3), ("up", 3)]
            assert all(one.bytes_per_s > 1e6 for one in found)
            assert found[0].links == 1
            assert all(1 <= one.links <= 4 for one in found)
            assert all(0 < one.here_cpu < 3 for one in found)
            assert all(0 < one.server_cpu < 3 for one in found)
            assert [one.direction for one in events.of(Verdict)] == ["down", "up"]
            assert all(one.limit != "unknown" for one in events.of(Verdict))
            assert len(events.of(DelayVerdict)) <= 1
            assert all(0 <= one.done <= 1 for one in events.of(Progress))
            assert {(one.direction, one.streams) for one in told} >= {("down", 1), ("up", 1), ("down", 3), ("up", 3)}
            assert down.reason == "the peer closed the control stream"

    asyncio.run(whole())


def test_a_test_with_one_link_stays_on_it(tmp_path: Path) -> None:
    async def whole() -> None:
        async with running_server(tmp_path) as server:
            events = await speed_test(server.token(), tmp_path, links_max=1)

            assert events.of(SpeedTestStarted)[0].links_max == 1
            assert [one.links for one in events.of(Measurement)] == [1, 1, 1, 1]

    asyncio.run(whole())


def refused(tmp_path: Path, before: Callable[[RunningServer], None] = lambda server: None, **settings: Any) -> BaseException:
    """Return the error of a speed test that comes to nothing."""

    async def whole() -> BaseException:
        async with running_server(tmp_path, **settings) as server:
            join = server.token()
            before(server)
            with pytest.raises((RefusedError, UnavailableError, PeerError)) as caught:
                await speed_test(join, tmp_path)
            return caught.value

    return asyncio.run(whole())


def test_a_server_that_allows_no_tests_refuses(tmp_path: Path) -> None:
    error = refused(tmp_path, no_speed_test=True)

    assert isinstance(error, RefusedError)
    assert (error.exit_code, error.code) == (3, "speed_test_off")


def test_a_server_with_too_many_tests_is_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed_tests, "TESTS_MAX", 0)
    error = refused(tmp_path)

    assert isinstance(error, UnavailableError)
    assert "(speed_test_busy)" in str(error)


def test_a_revoked_token_starts_no_test(tmp_path: Path) -> None:
    error = refused(tmp_path, before=lambda server: server.revoke())

    assert isinstance(error, RefusedError)
    assert error.code == "token_revoked"


def test_a_test_ends_with_the_reason_of_its_lost_session(tmp_path: Path) -> None:
    async def whole() -> None:
        async with running_server(tmp_path) as server:
            test = asyncio.ensure_future(speed_test(server.token(), tmp_path, options=SpeedTestOptions(seconds=20.0)))
            await server.events.wait(SessionUp)
            await asyncio.sleep(0.5)
            server.stop.set()
            # The server's own reason comes unless the test's bytes fill the link just then.
            with pytest.raises(
                UnavailableError, match="the speed test was interrupted: (the server is stopping|the other end closed the link)"
            ):
                await test

    asyncio.run(whole())


# Servers that a test plays.

Part = Callable[[PlayedServer], Coroutine[Any, Any, None]]


def played(tmp_path: Path, part: Part) -> BaseException:
    """Return the error of a speed test against a server played by the test."""

    async def whole() -> BaseException:
        reactor = Reactor(asyncio.get_running_loop())
        server = PlayedServer(reactor)
        join = JoinString("laptop", SECRET, "127.0.0.1", server.port, None, plaintext=True)
        speaking = asyncio.ensure_future(part(server))
        try:
            async with asyncio.timeout(10):
                await speed_test(join, tmp_path)
        except (RefusedError, UnavailableError, PeerError) as error:
            return error
        finally:
            speaking.cancel()
            server.close()
            reactor.close()
        raise AssertionError("the test came to its end")

    return asyncio.run(whole())


async def asked(server: PlayedServer) -> tuple[control.Measure, Any]:
    stream = await server.welcome()
    message = await stream.receive(8.0)
    assert isinstance(message, control.Measure)
    return message, stream


def test_an_older_server_is_reported_as_such(tmp_path: Path) -> None:
    async def part(server: PlayedServer) -> None:
        message, stream = await asked(server)
        reason = "control message not understood: Invalid value 'Measure' - at `$.t`"
        stream.send(control.Refused(id=message.id, code="bad_message", reason=reason))
        await stream.receive(8.0)

    error = played(tmp_path, part)

    assert isinstance(error, RefusedError)
    assert str(error) == "this server does not support speed tests (bad_message). Update Portway on the server; tunnels are not affected."


def test_unrequested_streams_are_refused(tmp_path: Path) -> None:
    statuses: list[bytes] = []

    async def part(server: PlayedServer) -> None:
        _, stream = await asked(server)
        channel = server.open()  # for tunnel 7, as a visitor's would be
        for _ in range(100):
            view = channel.peek()
            if view is not None:
                statuses.append(bytes(view))
                break
            await asyncio.sleep(0.02)
        stream.send(control.Ended(code="replaced", reason="enough", next_step=""))

    error = played(tmp_path, part)

    assert isinstance(error, RefusedError)
    assert statuses == [b"\x05"]


def test_replies_to_other_requests_are_ignored(tmp_path: Path) -> None:
    async def part(server: PlayedServer) -> None:
        message, stream = await asked(server)
        stream.send(control.Refused(id=message.id + 7, code="speed_test_off", reason="not you"))
        stream.send(control.Refused(id=message.id, code="speed_test_off", reason="you"))
        await stream.receive(8.0)

    error = played(tmp_path, part)

    assert isinstance(error, RefusedError)
    assert error.reason == "you"
