"""The worker processes of one server: started, watched, replaced when they die, stopped at the end."""

import asyncio
import random
import secrets
import socket
import subprocess
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from typing import Protocol

from portway.engine.reactor import Reactor
from portway.errors import UnavailableError
from portway.links.backoff import STABLE_S_MIN, Backoff
from portway.server.workers.ipc import IpcChannel, ipc_pair
from portway.server.workers.messages import (
    Configure,
    EventReported,
    LeaseMessage,
    Ping,
    Pong,
    Ready,
    RoutesComplete,
    Stop,
    ToSupervisor,
    ToWorker,
    WorkerJoined,
    WorkerLeft,
    encode,
    for_supervisor,
)
from portway.telemetry.logs import get_log

READY_S_MAX = 20.0
"""From its start until a worker takes visitors in; it takes 0.3 s where nothing else is going on."""

PING_EVERY_S = 1.0
MISSED_MAX = 10
"""A worker that said nothing between so many pings is killed and replaced: the longest batch takes milliseconds. Pings are
counted, not seconds, so that a supervisor that was itself stopped for a while does not take it for their silence."""

MISSED_FEW = 2
"""After so many it gets no agents and no ports, and nobody waits until it knows of a route."""

EXIT_S_MAX = 1.0
"""How long a worker that let go of its supervisor, or was killed, may take to be gone."""

EXIT_LOOK_S = 0.02

END_S_MAX = 4.0
"""How long a worker may take to end after Stop: 3 s of visitors, and a moment. The command line gives 5 s in all."""

log = get_log(__name__)


class WorkerCallbacks(Protocol):
    """Whom the crew tells what happens."""

    def on_started(self, worker: "WorkerProcess") -> None:
        """Hear of a worker that has begun, to tell it all it must know before it serves."""

    def on_ready(self, worker: "WorkerProcess") -> None:
        """Hear that it takes visitors in now."""

    def on_message(self, worker: "WorkerProcess", message: EventReported | LeaseMessage) -> None:
        """Hear anything else that it says."""

    def on_lost(self, worker: "WorkerProcess") -> None:
        """Hear, once, that it is no more."""

    def on_exited(self, worker: "WorkerProcess", how: str) -> None:
        """Hear, a moment later, how its process ended."""


class WorkerProcess:
    """One worker process, as the supervisor sees it."""

    def __init__(self, number: int, inbox: socket.socket) -> None:
        """Start without a process; `inbox` is the way into its inbox, kept to be copied for others."""
        self.number = number
        self.inbox = inbox
        self.pid = 0
        self.serving = asyncio.Event()
        self.lost = asyncio.Event()
        self.missed = 0
        """Pings in a row after which nothing was heard."""
        self.post: IpcChannel

    def __repr__(self) -> str:
        return f"<Worker {self.number}, process {self.pid}>"

    def tell(self, message: ToWorker, *socks: socket.socket) -> bool:
        """Send it a message; the sockets are given away, unless this returns False: too many wait already, or it is gone."""
        sent = self.post.send(encode(message), socks)
        if not sent and not socks:
            self.lost.set()  # it has missed something that it must know
        return sent

    def give(self, message: ToWorker, *socks: socket.socket) -> None:
        """Send it a message with sockets that it cannot do without."""
        if not self.tell(message, *socks):
            self.lost.set()
            for sock in socks:
                sock.close()


class WorkerPool:
    """All workers (see `leases.WorkerMessenger`). Each place is filled again as long as the server runs."""

    def __init__(
        self,
        reactor: Reactor,
        command: Sequence[str],
        boss: WorkerCallbacks,
        settings: bytes,
        http: socket.socket,
        *,
        report_relays: bool,
    ) -> None:
        """`command` starts a worker; the number of its descriptor is appended. `http` is the listener that all share."""
        self._report_relays = report_relays
        self._reactor = reactor
        self._command = command
        self._boss = boss
        self._settings = settings
        self._server_id = secrets.token_hex(8)
        self._http = http
        self._workers: dict[int, WorkerProcess] = {}
        self._last_number = 0
        self._stopping = asyncio.Event()

    def tell(self, worker: int, message: ToWorker, *socks: socket.socket) -> bool:
        """Tell one worker; False when it is not there."""
        known = self._workers.get(worker)
        return known is not None and known.tell(message, *socks)

    def numbers(self) -> Iterable[int]:
        """Return the workers that are there."""
        return list(self._workers)

    def serving(self) -> Iterable[int]:
        """Return those that take visitors in; of these, those that answer, if any does."""
        there = [worker for worker in self._workers.values() if worker.serving.is_set()]
        lively = [worker for worker in there if worker.missed < MISSED_FEW]
        return [worker.number for worker in lively or there]

    async def run_slot(self, first: Callable[[], None]) -> None:
        """Keep one place filled, for ever; `first` is called when its first worker serves.

        Raises:
            UnavailableError: its very first worker ended before it served. What ends the first ends all others, too.
        """
        backoff = Backoff(random.random)
        called = False

        def serves() -> None:
            nonlocal called
            if not called:
                first()
            called = True

        while True:
            began = self._reactor.refresh_now()
            how = await self._run_worker(serves)
            if self._stopping.is_set():
                return
            if not called:
                raise UnavailableError(f"a worker did not start ({how}); what it says itself stands above")
            lived_s = self._reactor.refresh_now() - began
            if lived_s >= STABLE_S_MIN:
                backoff.session_ended(lived_s)
            with suppress(TimeoutError):
                async with asyncio.timeout(backoff.next_delay_s()):
                    await self._stopping.wait()
                    return

    async def _run_worker(self, serves: Callable[[], None]) -> str:
        """Run one worker to its end, and return how it came; `serves` is called when it takes visitors in."""
        try:
            worker, process = self._start()
        except OSError as exc:
            log.warning("a worker could not be started", why=exc)
            return str(exc)
        fault = "the server stops"
        try:
            fault = await self._until_lost(worker, serves)
        finally:
            how = await self._end(worker, process, fault)
        return how

    def stop(self, reason: str) -> None:
        """Let all workers drain and end; none is replaced from now on."""
        self._stopping.set()
        for worker in self._workers.values():
            worker.tell(Stop(reason))

    def _start(self) -> tuple[WorkerProcess, subprocess.Popen[bytes]]:
        """Start a process, and tell it what it must know before it serves. Takes a few milliseconds, once in a worker's life.

        Raises:
            OSError: no process or no descriptor is free, or this system lacks what workers need. Nothing is left of the try.
        """
        others = list(self._workers.values())
        with ExitStack() as failed:
            ours, theirs = (failed.enter_context(sock) for sock in ipc_pair())
            inbox, way_in = (failed.enter_context(sock) for sock in ipc_pair())
            http = failed.enter_context(self._http.dup())
            ways = [(other, failed.enter_context(other.inbox.dup()), failed.enter_context(way_in.dup())) for other in others]
            process = subprocess.Popen(  # noqa: S603 - our own program
                [*self._command, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
            failed.pop_all()
        theirs.close()
        self._last_number += 1
        worker = WorkerProcess(self._last_number, way_in)
        worker.pid = process.pid

        def hear(data: memoryview, _socks: list[socket.socket]) -> None:
            self._hear(worker, for_supervisor(data))

        worker.post = IpcChannel(self._reactor, ours, hear, worker.lost.set)
        worker.give(Configure(worker.number, self._report_relays, self._settings, self._server_id), http, inbox)
        for other, to_other, to_new in ways:
            worker.give(WorkerJoined(other.number), to_other)
            other.give(WorkerJoined(worker.number), to_new)
        self._workers[worker.number] = worker
        self._boss.on_started(worker)
        worker.tell(RoutesComplete())
        return worker, process

    def _hear(self, worker: WorkerProcess, message: ToSupervisor) -> None:
        worker.missed = 0
        match message:
            case Ready():
                worker.serving.set()
                self._boss.on_ready(worker)
            case Pong():
                pass
            case _:
                self._boss.on_message(worker, message)

    async def _until_lost(self, worker: WorkerProcess, serves: Callable[[], None]) -> str:
        """Watch a worker until it is gone; return what is wrong with it if it has to be ended."""
        try:
            async with asyncio.timeout(READY_S_MAX):
                await _either(worker.serving, worker.lost)
        except TimeoutError:
            return f"not ready within {READY_S_MAX:g} s"
        if worker.serving.is_set():
            serves()
        while not worker.lost.is_set():
            worker.missed += 1
            worker.tell(Ping())
            with suppress(TimeoutError):
                async with asyncio.timeout(PING_EVERY_S):
                    await worker.lost.wait()
            if worker.missed >= MISSED_MAX:
                return f"silent for {MISSED_MAX * PING_EVERY_S:g} s"
        return ""

    async def _end(self, worker: WorkerProcess, process: subprocess.Popen[bytes], fault: str) -> str:
        """Tell everybody that a worker is gone, see that it really is, and return how it ended."""
        self._workers.pop(worker.number, None)
        worker.post.close()
        worker.inbox.close()
        worker.lost.set()
        for other in self._workers.values():
            other.tell(WorkerLeft(worker.number))
        self._boss.on_lost(worker)
        try:
            if not fault:
                await _exited(process)
        finally:
            process.kill()
            # The kernel takes a moment, and longer when the process waits for a disk: whoever it is, agents are dealt meanwhile.
            await _exited(process)
        code = process.returncode or 0
        how = fault or (f"signal {-code}" if code < 0 else f"exit code {code}")
        if code or not self._stopping.is_set():  # that all end with the server is no news
            self._boss.on_exited(worker, how)
        return how


async def _exited(process: subprocess.Popen[bytes]) -> None:
    """Wait until a process is gone, EXIT_S_MAX at most; a zombie that is left is reaped with the next one that is started."""
    left_s = EXIT_S_MAX
    while process.poll() is None and left_s > 0:
        left_s -= EXIT_LOOK_S
        await asyncio.sleep(EXIT_LOOK_S)


async def _either(one: asyncio.Event, other: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as both:
        waiting = [both.create_task(event.wait(), name="either") for event in (one, other)]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
