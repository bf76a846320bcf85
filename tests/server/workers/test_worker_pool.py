"""Worker processes: started, watched, replaced, stopped, and never left behind, with misbehaving programs."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from portway.engine.listener import listen
from portway.engine.reactor import Reactor
from portway.errors import UnavailableError
from portway.server.workers import worker_pool as pool_module
from portway.server.workers.ipc import ipc_pair
from portway.server.workers.messages import ChallengeAck, EventReported, LeaseMessage, Listen
from portway.server.workers.worker_pool import WorkerPool, WorkerProcess
from tests.kit.programs import SOURCES

ODD = SOURCES.parent / "tests" / "kit" / "misbehaving_worker.py"
DEADLINE_S = 20.0


class Office:
    """Records worker events."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.workers: dict[int, WorkerProcess] = {}
        self.pids: dict[int, int] = {}

    def on_started(self, worker: WorkerProcess) -> None:
        self.events.append(f"{worker.number} came")

    def on_ready(self, worker: WorkerProcess) -> None:
        self.events.append(f"{worker.number} serves")
        self.workers[worker.number] = worker
        self.pids[worker.number] = worker.pid

    def on_message(self, worker: WorkerProcess, message: EventReported | LeaseMessage | ChallengeAck) -> None:
        self.events.append(f"{worker.number} says {message}")

    def on_lost(self, worker: WorkerProcess) -> None:
        self.events.append(f"{worker.number} lost")

    def on_exited(self, worker: WorkerProcess, how: str) -> None:
        self.events.append(f"{worker.number} ended: {how}")

    async def until(self, what: str) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while what not in self.events:  # noqa: ASYNC110 - processes take their time
                await asyncio.sleep(0.01)


class Stage:
    """A pool with one slot."""

    def __init__(self, reactor: Reactor, *how: str) -> None:
        self.callbacks = Office()
        self.http = listen("127.0.0.1", 0)
        command = ["env", f"PYTHONPATH={SOURCES}", sys.executable, str(ODD), *how]
        self.pool = WorkerPool(reactor, command, self.callbacks, b"settings", [self.http], report_relays=False)
        self.first = 0

    def serves(self) -> None:
        self.first += 1

    def process(self, number: int) -> bool:
        """Return whether a worker's process is there."""
        return Path(f"/proc/{self.callbacks.pids[number]}").exists()


@asynccontextmanager
async def stage(*how: str, places: int = 1) -> AsyncIterator[Stage]:
    reactor = Reactor(asyncio.get_running_loop())
    one = Stage(reactor, *how)
    tasks = [asyncio.ensure_future(one.pool.run_slot(one.serves)) for _ in range(places)]
    try:
        yield one
    finally:
        one.pool.stop("the test is over")
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError, UnavailableError):
                await task
        one.http.close()
        reactor.close()


def test_a_worker_gets_its_configuration_and_serves_until_stopped() -> None:
    async def scene() -> None:
        async with stage("well") as one:
            await one.callbacks.until("1 serves")
            assert list(one.pool.serving()) == list(one.pool.numbers()) == [1]
            async with asyncio.timeout(DEADLINE_S):
                while one.first != 1:  # noqa: ASYNC110 - set by another task
                    await asyncio.sleep(0.01)
            one.pool.stop("enough")
            async with asyncio.timeout(DEADLINE_S):
                while one.process(1):  # noqa: ASYNC110 - a process that ends
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0)
            assert one.callbacks.events == ["1 came", "1 serves", "1 lost"]

    asyncio.run(scene())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_that_dies_is_replaced_under_a_new_number(number: int) -> None:
    async def scene() -> None:
        async with stage("well", places=2) as one:
            await one.callbacks.until("2 serves")
            await one.callbacks.until("1 serves")
            os.kill(one.callbacks.pids[1], number)
            await one.callbacks.until(f"1 ended: signal {number}")
            await one.callbacks.until("3 serves")
            await asyncio.sleep(0.1)
            assert sorted(one.pool.serving()) == [2, 3]
            assert one.first == 2  # not for the one in its place

    asyncio.run(scene())


def test_a_worker_that_stops_responding_gets_nothing_and_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "PING_EVERY_S", 0.1)

    async def scene() -> None:
        async with stage("well", places=2) as one:
            await one.callbacks.until("1 serves")
            await one.callbacks.until("2 serves")
            os.kill(one.callbacks.pids[1], signal.SIGSTOP)
            async with asyncio.timeout(DEADLINE_S):
                while list(one.pool.serving()) != [2]:  # noqa: ASYNC110 - a stopped process
                    await asyncio.sleep(0.01)
            assert 1 in one.pool.numbers()  # it may resume, and gets every message
            await one.callbacks.until("1 ended: silent for 1 s")
            await one.callbacks.until("3 serves")

    asyncio.run(scene())


def test_a_supervisor_that_was_stopped_itself_replaces_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "PING_EVERY_S", 0.1)

    async def scene() -> None:
        async with stage("well") as one:
            await one.callbacks.until("1 serves")
            for _ in range(2):
                await asyncio.sleep(0.15)
                time.sleep(1.2)  # noqa: ASYNC251 - blocks the whole loop on purpose
            await asyncio.sleep(0.3)
            assert one.callbacks.events == ["1 came", "1 serves"]

    asyncio.run(scene())


def test_when_all_workers_are_slow_agents_are_still_assigned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "PING_EVERY_S", 0.1)

    async def scene() -> None:
        async with stage("hangs") as one:
            await one.callbacks.until("1 serves")
            await asyncio.sleep(0.5)
            assert list(one.pool.serving()) == [1]
            await one.callbacks.until("1 ended: silent for 1 s")

    asyncio.run(scene())


def test_one_that_dies_again_and_again_is_replaced_ever_more_slowly() -> None:
    async def scene() -> None:
        async with stage("exits") as one:
            await one.callbacks.until("3 ended: exit code 3")
            begun = len(one.callbacks.events)
            await asyncio.sleep(1.0)
            assert len(one.callbacks.events) - begun <= 8  # two more at most, in a second

    asyncio.run(scene())


def test_a_first_worker_that_cannot_begin_ends_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "READY_S_MAX", 1.0)

    async def scene(*command: str) -> str:
        reactor = Reactor(asyncio.get_running_loop())
        one = Stage(reactor, "never-ready")
        if command:
            one.pool._command = command
        with one.http, pytest.raises(UnavailableError) as failed:
            await one.pool.run_slot(one.serves)
        assert list(one.pool.numbers()) == []
        reactor.close()
        return str(failed.value)

    assert "not ready within 1 s" in asyncio.run(scene())
    assert "exit code 1" in asyncio.run(scene("false"))
    assert "No such file" in asyncio.run(scene("/nowhere/python"))


def test_a_worker_that_cannot_be_replaced_now_is_tried_again_and_costs_no_descriptor() -> None:
    async def scene() -> None:
        async with stage("well") as one:
            await one.callbacks.until("1 serves")
            good, one.pool._command = one.pool._command, ["/nowhere/python"]
            before = len(list(Path("/proc/self/fd").iterdir()))
            os.kill(one.callbacks.pids[1], signal.SIGKILL)
            await one.callbacks.until("1 ended: signal 9")
            await asyncio.sleep(0.5)
            assert list(one.pool.numbers()) == []
            assert len(list(Path("/proc/self/fd").iterdir())) < before
            one.pool._command = good
            await one.callbacks.until("2 serves")

    asyncio.run(scene())


def test_a_worker_that_does_not_exit_is_killed() -> None:
    async def scene() -> None:
        async with stage("ignores-stop") as one:
            await one.callbacks.until("1 serves")
        assert not one.process(1)
        assert one.callbacks.events[-1] == "1 ended: the server is stopping"

    asyncio.run(scene())


def test_the_loop_goes_on_while_a_process_is_waited_for_and_not_for_ever() -> None:
    async def scene(process: "subprocess.Popen[bytes]") -> None:
        waiting, turns = asyncio.ensure_future(pool_module._exited(process)), 0
        async with asyncio.timeout(DEADLINE_S):
            while not waiting.done():
                turns += 1
                await asyncio.sleep(pool_module.EXIT_POLL_S)
        assert turns > 5
        assert process.poll() is None
        process.kill()
        await pool_module._exited(process)
        assert process.returncode == -signal.SIGKILL

    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        try:
            asyncio.run(scene(process))
        finally:
            process.kill()


def test_a_missing_worker_gets_nothing_and_unsent_sockets_stay_open() -> None:
    async def scene() -> None:
        async with stage("well") as one:
            await one.callbacks.until("1 serves")
            mine, other = socket.socketpair()
            with mine, other:
                assert not one.pool.send(77, Listen("20001"), mine)
                assert mine.fileno() >= 0
                assert one.pool.send(1, Listen("20001"), mine)
                async with asyncio.timeout(DEADLINE_S):
                    while mine.fileno() >= 0:  # noqa: ASYNC110 - closed at the end of a batch
                        await asyncio.sleep(0.01)

    asyncio.run(scene())


def test_a_worker_that_misses_a_required_message_is_lost() -> None:
    async def scene() -> None:
        async with stage("well") as one:
            await one.callbacks.until("1 serves")
            worker = one.callbacks.workers[1]
            mine, other = ipc_pair()
            with mine, other:
                worker.channel.close()
                assert not worker.send(Listen("20001"), mine)
                assert not worker.lost.is_set()  # a port can be given to another
                worker.send(Listen("20001"))
                assert worker.lost.is_set()
            await one.callbacks.until("2 serves")

    asyncio.run(scene())
