"""Two real workers and their supervisor, with agents controlled by the test: leases are the same everywhere."""

import asyncio
import dataclasses
import os
import secrets
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from portway.config.values import ListenAddress
from portway.edge.events import RelayDone
from portway.engine.tally import Flow
from portway.errors import RefusedError, UnavailableError
from portway.protocol.control.messages import AskTicket, Claim, Ended, Granted, Refused, Release, Released, Ticket
from portway.protocol.join_string import JoinString
from portway.server.events import LeaseDown, Listening, LoginRefused, SessionDown, SessionUp, WorkerDown, WorkerUp
from portway.server.identity import read_advertised
from portway.server.workers import messages, supervisor
from portway.server.workers import worker_pool as pool
from portway.server.workers.supervisor import EVENTS, supervise
from tests.kit.pair import RunningServer, running_server, server_settings
from tests.kit.raw_agent import RawAgent, RawReactor, raw_agent, raw_reactor
from tests.kit.sockets import free_port

Scene = Callable[[RunningServer, RawReactor], Coroutine[Any, Any, None]]
FLOW = Flow(100, 2, "ended", 0.5)
IDENTITY = b"i" * 32


def play(tmp_path: Path, scene: Scene, **settings: Any) -> RunningServer:
    """Run a scene beside a server with two workers."""

    async def whole() -> RunningServer:
        async with raw_reactor() as reactor, running_server(tmp_path, workers=2, **settings) as server:
            await scene(server, reactor)
        return server

    return asyncio.run(whole())


async def logged_in(reactor: RawReactor, join: JoinString, identity: bytes = IDENTITY) -> RawAgent:
    """Return an agent with a session; one after the other they are on worker 1, 2, 1, 2 ..."""
    agent = await raw_agent(reactor, join)
    await agent.log_in(join, identity)
    return agent


async def two(server: RunningServer, reactor: RawReactor, *joins: JoinString) -> tuple[RawAgent, RawAgent]:
    """Return agents on two workers: of two tokens, or of one identity."""
    first = await logged_in(reactor, joins[0])
    await server.events.wait(SessionUp)
    second = await logged_in(reactor, joins[-1])
    await server.events.wait(SessionUp, 2)
    return first, second


def test_a_name_never_has_two_owners_whichever_worker_is_asked(tmp_path: Path) -> None:
    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        one, other = await two(server, reactor, server.token(), server.token("second"))
        granted = await one.claim(1, "app")
        refused = await other.request(Claim(id=1, kind="http", name="app"), Refused)
        assert refused.code == "name_taken"
        again = await one.claim(1, "app")
        assert again == granted
        port = await one.request(Claim(id=2, kind="tcp"), Granted)
        taken = await other.request(Claim(id=2, kind="tcp", port=port.port), Refused)
        assert taken.code == "port_taken"
        assert await one.request(Release(id=3, tunnel=granted.tunnel), Released) == Released(id=3)
        later = await other.claim(4, "app")
        assert later.epoch > granted.epoch
        assert later.tunnel not in (granted.tunnel, port.tunnel)

    assert len(play(tmp_path, scene).events.of(LeaseDown)) >= 1


def test_of_many_claims_at_once_one_wins(tmp_path: Path) -> None:
    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        agents = [await logged_in(reactor, server.token(f"t{number}")) for number in range(6)]
        for agent in agents:
            agent.control.send(Claim(id=1, kind="http", name="prize"))
        answers = [await agent.receive() for agent in agents]
        assert sum(isinstance(answer, Granted) for answer in answers) == 1
        assert {answer.code for answer in answers if isinstance(answer, Refused)} == {"name_taken"}

    play(tmp_path, scene)


def test_a_live_holder_on_another_worker_keeps_its_name_until_it_is_taken_over(tmp_path: Path) -> None:
    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        one, other = await two(server, reactor, server.token())
        await one.claim(1, "app")
        assert (await other.request(Claim(id=1, kind="http", name="app"), Refused)).code == "name_in_use"
        await other.claim(2, "app", takeover=True)
        ended = await one.receive()
        assert isinstance(ended, Ended)
        assert ended.code == "replaced"
        await one.until_lost()

    play(tmp_path, scene)


def test_a_silent_holder_on_another_worker_is_replaced(tmp_path: Path) -> None:
    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        one, other = await two(server, reactor, server.token())
        await one.claim(1, "app")
        one.go_silent()
        granted = await other.claim(1, "app")
        assert granted.name == "app"
        await server.events.wait(SessionDown)

    play(tmp_path, scene)


def test_revoking_ends_sessions_on_every_worker_within_a_second(tmp_path: Path) -> None:
    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        join, other = server.token(), server.token("other")
        one, two_ = await two(server, reactor, join)
        await one.claim(1, "one")
        await two_.claim(1, "two")
        bystander = await logged_in(reactor, other)
        loop = asyncio.get_running_loop()
        server.revoke()
        began = loop.time()
        for agent in (one, two_):
            ended = await agent.receive()
            assert isinstance(ended, Ended)
            assert ended.code == "token_revoked"
        assert loop.time() - began < 2.0  # a second, and a slow machine's
        await server.events.wait(LeaseDown, 2)
        await bystander.claim(1, "one")
        await bystander.claim(2, "two")

    play(tmp_path, scene)


def test_a_granted_name_is_valid_on_every_worker_when_the_agent_gets_it(tmp_path: Path) -> None:
    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        one, other = await two(server, reactor, server.token(), server.token("second"))
        for number in range(1, 6):
            for agent in (one, other):
                granted = await agent.claim(number, "")
                async with asyncio.TaskGroup() as visitors_:
                    asked = [visitors_.create_task(known(server, granted.name)) for _ in range(6)]
                assert all(task.result() for task in asked), number

    async def known(server: RunningServer, name: str) -> bool:
        """Send a request that is never answered; return whether its host is known."""
        reader, writer = await asyncio.open_connection("127.0.0.1", server.http_port)
        writer.write(f"GET / HTTP/1.1\r\nHost: {name}.localhost\r\n\r\n".encode())
        try:
            async with asyncio.timeout(0.2):
                return b"unknown_host" not in await reader.read(4096)
        except TimeoutError:
            return True
        finally:
            writer.close()

    play(tmp_path, scene)


@pytest.mark.parametrize("plaintext", [False, True], ids=["TLS links", "plain links"])
def test_a_further_link_finds_its_sessions_worker_by_its_hint(tmp_path: Path, plaintext: bool) -> None:
    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        join = server.token()
        for agent in await two(server, reactor, join):
            assert agent.login is not None
            for number in (1, 2, 3):
                ticket = await agent.request(AskTicket(id=number), Ticket)
                assert ticket.hint
                further = await raw_agent(reactor, join, "" if plaintext else ticket.hint)
                welcome = await further.attach(ticket.ticket, agent.login.session_key, ticket.hint if plaintext else "")
                assert welcome.session == agent.login.welcome.session

    play(tmp_path, scene, plaintext_links=plaintext)


def test_without_its_hint_a_link_may_be_refused_and_no_failure_is_counted(tmp_path: Path) -> None:
    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        join = server.token()
        one, _ = await two(server, reactor, join)
        assert one.login is not None
        outcomes: list[str] = []
        for number in range(1, 17):
            ticket = await one.request(AskTicket(id=number), Ticket)
            further = await raw_agent(reactor, join)
            try:
                await further.attach(ticket.ticket, one.login.session_key)
                outcomes.append("welcome")
            except UnavailableError as refused:
                outcomes.append(str(refused).rpartition("(")[2].rstrip(")"))
            further.mux.abort()
        assert set(outcomes) <= {"welcome", "misdirected"}
        assert "misdirected" in outcomes
        ticket = await one.request(AskTicket(id=99), Ticket)
        forged = await raw_agent(reactor, join, ticket.hint)
        with pytest.raises(RefusedError, match="ticket"):
            await forged.attach(ticket.ticket[:4] + secrets.token_bytes(28), one.login.session_key)
        await logged_in(reactor, join)  # no source was put into the penalty box

    server = play(tmp_path, scene)
    assert {event.code for event in server.events.of(LoginRefused)} == {"misdirected", "bad_ticket"}


def test_a_killed_worker_is_replaced_and_takes_only_its_own_sessions(tmp_path: Path) -> None:
    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        first, second = server.token(), server.token("second")
        one, other = await two(server, reactor, first, second)
        await one.claim(1, "one")
        port = await one.request(Claim(id=2, kind="tcp"), Granted)
        await other.claim(1, "other")
        up = next(event for event in server.events.of(WorkerUp) if event.worker == 1)
        os.kill(up.pid, signal.SIGKILL)
        await one.until_lost()
        down = await server.events.wait(SessionDown)
        assert down.token == "laptop"
        assert not other.lost
        refused = await other.request(Claim(id=3, kind="http", name="one"), Refused)
        assert refused.code == "name_taken"  # held for its owner
        back = await logged_in(reactor, first)
        await back.claim(1, "one")
        assert (await back.request(Claim(id=2, kind="tcp", port=port.port), Granted)).port == port.port
        again = await server.events.wait(WorkerUp, 3)
        assert again.worker == 3
        ended = await server.events.wait(WorkerDown)
        assert (ended.worker, ended.pid, ended.reason) == (up.worker, up.pid, "signal 9")

    play(tmp_path, scene)


def test_a_stopped_worker_that_answers_no_more_is_killed_and_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "MISSED_PINGS_MAX", 10)
    monkeypatch.setattr(pool, "PING_EVERY_S", 0.2)

    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        up = server.events.of(WorkerUp)[0]
        os.kill(up.pid, signal.SIGSTOP)
        ended = await server.events.wait(WorkerDown, deadline_s=15)
        assert (ended.pid, ended.reason) == (up.pid, "silent for 2 s")
        await server.events.wait(WorkerUp, 3, deadline_s=15)

    play(tmp_path, scene)


def test_a_worker_that_cannot_start_ends_the_server_with_a_reason(tmp_path: Path) -> None:
    async def scene() -> None:
        settings = server_settings(tmp_path, workers=2)
        with pytest.raises(BaseExceptionGroup) as failed:
            await supervise(settings, ["false"], on_event=lambda event: None)
        assert "exit code 1" in str(failed.value.exceptions[0])

    asyncio.run(scene())


def test_the_server_is_reported_before_its_workers_and_accepts_agents_from_then_on(tmp_path: Path) -> None:
    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        assert [type(event) for event in server.events.emitted[:3]] == [Listening, WorkerUp, WorkerUp]
        assert {event.worker for event in server.events.of(WorkerUp)} == {1, 2}
        await logged_in(reactor, server.token())

    play(tmp_path, scene)


def test_a_program_that_waits_for_the_agents_port_may_make_a_token_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "STOP_S_MAX", 0.1)
    never = [sys.executable, "-c", "import time; time.sleep(30)"]

    async def scene() -> None:
        agents = ListenAddress("127.0.0.1", free_port())
        settings = server_settings(tmp_path, workers=2, agents=agents)
        serving = asyncio.ensure_future(supervise(settings, never, on_event=lambda event: None))
        while True:
            with suppress(ConnectionRefusedError):
                _, writer = await asyncio.open_connection("127.0.0.1", agents.port)
                break
        writer.close()
        advertised = read_advertised(settings.data)
        assert advertised is not None
        assert advertised.port == agents.port
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving

    asyncio.run(scene())


def test_every_event_can_be_reported_by_a_worker() -> None:
    assert EVENTS["SessionUp"] is SessionUp
    assert len(EVENTS) >= 10
    for event in (WorkerUp(1, 2), RelayDone("ab", 7, 20001, FLOW, FLOW, "", None)):
        told = messages.EventReported(type(event).__name__, dataclasses.asdict(event))
        heard = messages.decode_for_supervisor(memoryview(messages.encode(told)))
        assert isinstance(heard, messages.EventReported)
        assert msgspec.convert(heard.fields, EVENTS[heard.name]) == event
