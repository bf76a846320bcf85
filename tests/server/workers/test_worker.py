"""One worker in the test's own loop, with the test as its supervisor."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from portway.certificates.store import CertificateStore
from portway.edge.events import RelayDone
from portway.engine.listener import listen
from portway.engine.reactor import Reactor
from portway.engine.tally import Flow
from portway.errors import UnavailableError
from portway.server.events import SessionDown
from portway.server.settings import ServerSettings
from portway.server.storage.data_directory import open_state, open_store
from portway.server.storage.token_reader import TokenReader
from portway.server.workers import ipc as post
from portway.server.workers import messages as m
from portway.server.workers import worker as worker_module
from portway.server.workers.ipc import MESSAGE_BYTES_MAX, ipc_pair
from portway.server.workers.worker import WorkerConfig, receive_config, run_worker

DEADLINE_S = 10.0
DONE = RelayDone("ab", 7, 20001, Flow(1, 1, "ended"), Flow(1, 1, "ended"))


class Supervisor:
    """The far end of a worker's IPC channel."""

    def __init__(self, line: socket.socket, inbox: socket.socket, http: socket.socket, task: "asyncio.Task[None]") -> None:
        self.line, self.inbox, self.task = line, inbox, task
        self.http_address = http.getsockname()[:2]

    def say(self, message: m.ToWorker, *socks: socket.socket) -> None:
        socket.send_fds(self.line, [m.encode(message)], [sock.fileno() for sock in socks])

    async def hear(self) -> m.ToSupervisor:
        async with asyncio.timeout(DEADLINE_S):
            data = await asyncio.get_running_loop().sock_recv(self.line, MESSAGE_BYTES_MAX)
        return m.decode_for_supervisor(memoryview(data))

    async def begin(self) -> None:
        self.say(m.RoutesComplete())
        assert await self.hear() == m.Ready()


@asynccontextmanager
async def supervised(folder: Path) -> AsyncIterator[Supervisor]:
    settings = ServerSettings(data=folder, workers=2, hold_s=0.0)
    open_state(settings).store.close()
    ours, theirs = ipc_pair()
    inbox, way_in = ipc_pair()
    http = listen("127.0.0.1", 0)
    config = WorkerConfig(1, False, settings, "id", inbox, http)
    task = asyncio.ensure_future(run_worker(config, theirs))
    one = Supervisor(ours, way_in, http, task)
    try:
        yield one
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, BaseExceptionGroup):
            await task
        for sock in (ours, way_in):
            sock.close()


async def asked(address: tuple[str, int], host: str) -> str:
    """Return the edge's own code for a request."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    answer = (await reader.read()).decode("latin-1")
    writer.close()
    found = [line.split(": ")[1] for line in answer.split("\r\n") if line.startswith("Portway-Error")]
    return found[0] if found else answer


def test_it_serves_after_all_routes_and_sends_ready(tmp_path: Path) -> None:
    async def scene() -> None:
        async with supervised(tmp_path) as one:
            one.say(m.RouteChanged(1, "http", "app.localhost", 1, 1, 0, ""))
            assert await one.hear() == m.RouteAck(1)
            await one.begin()
            assert await asked(one.http_address, "app.localhost") == "agent_offline"
            assert await asked(one.http_address, "nobody.localhost") == "unknown_host"
            one.say(m.RouteRemoved(2, "http", "app.localhost"))
            assert await one.hear() == m.RouteAck(2)
            assert await asked(one.http_address, "app.localhost") == "unknown_host"

    asyncio.run(scene())


def test_it_answers_pings_and_probes(tmp_path: Path) -> None:
    async def scene() -> None:
        async with supervised(tmp_path) as one:
            await one.begin()
            one.say(m.Ping())
            assert await one.hear() == m.Pong()
            one.say(m.Probe(7, "nobody", 0.1))
            assert await one.hear() == m.Probed(7, False)

    asyncio.run(scene())


def test_it_accepts_handoffs_and_hands_others_off(tmp_path: Path) -> None:
    async def scene() -> None:
        async with supervised(tmp_path) as one:
            one.say(m.RouteChanged(1, "http", "here.localhost", 1, 1, 1, "a session that is gone already"))
            one.say(m.RouteChanged(2, "http", "there.localhost", 2, 2, 2, "s2"))
            for seq in (1, 2):
                assert await one.hear() == m.RouteAck(seq)
            inbox, way_in = ipc_pair()
            one.say(m.WorkerJoined(2), way_in)
            way_in.close()
            await one.begin()

            far, near = socket.socketpair()
            head = b"GET / HTTP/1.1\r\nHost: here.localhost\r\n\r\n"
            passed = m.VisitorHandedOff("http", "here.localhost", "192.0.2.7", 1, head, 1)
            socket.send_fds(one.inbox, [m.encode(passed)], [near.fileno()])
            near.close()
            far.setblocking(False)
            async with asyncio.timeout(DEADLINE_S):
                assert b"agent_offline" in await asyncio.get_running_loop().sock_recv(far, 65536)
            far.close()

            _, writer = await asyncio.open_connection(*one.http_address)
            writer.write(head.replace(b"here", b"there"))
            inbox.settimeout(DEADLINE_S)
            async with asyncio.timeout(DEADLINE_S):
                data, numbers, _, _ = await asyncio.to_thread(socket.recv_fds, inbox, MESSAGE_BYTES_MAX, 2)
            went = m.decode_handoff(memoryview(data))
            assert (went.address, went.buffered, went.handoffs) == ("there.localhost", head.replace(b"here", b"there"), 1)
            assert len(numbers) == 1
            socket.socket(fileno=numbers[0]).close()
            writer.close()
            one.say(m.WorkerLeft(2))
            assert await asked(one.http_address, "there.localhost") == "agent_offline"
            inbox.close()

    asyncio.run(scene())


def test_it_listens_on_ports_that_it_is_given(tmp_path: Path) -> None:
    async def scene() -> None:
        async with supervised(tmp_path) as one:
            await one.begin()
            port = listen("127.0.0.1", 0)
            address = port.getsockname()[:2]
            number = str(address[1])
            one.say(m.RouteChanged(1, "tcp", number, 1, 1, 0, ""))
            one.say(m.Listen(number), port)
            assert await one.hear() == m.RouteAck(1)
            with pytest.raises(ConnectionResetError):  # no agent serves the port, and no visitor is held
                reader, _ = await asyncio.open_connection(*address)
                await reader.read()
            one.say(m.RouteRemoved(2, "tcp", number))
            assert await one.hear() == m.RouteAck(2)
            port.close()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*address)
            stray = listen("127.0.0.1", 0)
            nowhere = stray.getsockname()[:2]
            one.say(m.Listen("1"), stray)  # of no lease: closed, not kept
            stray.close()
            one.say(m.Ping())
            assert await one.hear() == m.Pong()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*nowhere)

    asyncio.run(scene())


def test_it_stops_on_request(tmp_path: Path) -> None:
    async def scene() -> None:
        async with supervised(tmp_path) as one:
            await one.begin()
            one.say(m.Stop("enough"))
            async with asyncio.timeout(DEADLINE_S):
                await one.task

    asyncio.run(scene())


@pytest.mark.parametrize("serving", [True, False])
def test_it_does_not_outlive_its_supervisor(tmp_path: Path, serving: bool) -> None:
    async def scene() -> None:
        async with supervised(tmp_path) as one:
            if serving:
                await one.begin()
            one.line.close()
            with pytest.raises(BaseExceptionGroup) as failed:
                async with asyncio.timeout(DEADLINE_S):
                    await one.task
            assert failed.group_contains(UnavailableError, match="the supervisor is gone")

    asyncio.run(scene())


def test_it_ends_when_the_supervisor_stops_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(post, "QUEUED_MAX", 5)

    async def scene() -> None:
        async with supervised(tmp_path) as one:
            await one.begin()
            one.line.settimeout(DEADLINE_S)
            with suppress(OSError):
                for _ in range(5_000):
                    if not one.task.done():
                        await asyncio.to_thread(one.say, m.Ping())
            with pytest.raises(BaseExceptionGroup) as failed:
                async with asyncio.timeout(DEADLINE_S):
                    await one.task
            assert failed.group_contains(UnavailableError, match="the supervisor is gone")

    asyncio.run(scene())


def test_a_slow_supervisor_is_spared_finished_relays_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        settings = ServerSettings(data=tmp_path, workers=2)
        open_state(settings).store.close()
        ours, theirs = ipc_pair()
        inbox, way_in = ipc_pair()
        reactor = Reactor(asyncio.get_running_loop())
        with TokenReader(open_store(tmp_path, "read")) as tokens, listen("127.0.0.1", 0) as http, ours, way_in:
            async with asyncio.TaskGroup() as tasks:
                worker = worker_module._Worker(
                    reactor, WorkerConfig(1, True, settings, "id", inbox, http), tokens, theirs, tasks, CertificateStore(settings, print)
                )
                worker._emit(DONE)
                monkeypatch.setattr(worker_module, "EVENT_BACKLOG_MAX", 0)
                worker._emit(DONE)
                worker._emit(SessionDown("s", "laptop", "it left"))
                names = [
                    told.name for _ in range(2) if isinstance(told := m.decode_for_supervisor(memoryview(ours.recv(4096))), m.EventReported)
                ]
                assert names == ["RelayDone", "SessionDown"]
                with pytest.raises(BlockingIOError):
                    ours.recv(4096)
                worker.close()
        reactor.close()

    asyncio.run(scene())


def test_it_does_not_wait_for_routes_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "CONFIGURE_S_MAX", 0.1)

    async def scene() -> None:
        async with supervised(tmp_path) as one:
            with pytest.raises(BaseExceptionGroup) as failed:
                async with asyncio.timeout(DEADLINE_S):
                    await one.task
            assert failed.group_contains(UnavailableError, match="routes incomplete")

    asyncio.run(scene())


def test_the_configuration_comes_first_and_with_two_descriptors(tmp_path: Path) -> None:
    settings = ServerSettings(data=tmp_path, workers=2)
    begin = m.encode(m.Configure(3, True, m.encode_settings(settings), "id"))
    ours, theirs = ipc_pair()
    some = socket.socketpair()
    with ours, theirs, some[0], some[1]:
        socket.send_fds(ours, [begin], [sock.fileno() for sock in some])
        config = receive_config(theirs)
        assert (config.worker, config.report_relays, config.settings) == (3, True, settings)
        config.http.close()
        config.inbox.close()
        for nonsense in (begin, m.encode(m.Ping())):
            ours.send(nonsense)
            with pytest.raises(UnavailableError, match="no configuration from the supervisor"):
                receive_config(theirs)
