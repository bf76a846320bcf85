"""Starts, watches, restarts and stops the worker processes of one server."""

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
    ChallengeAck,
    Configure,
    EventReported,
    LeaseMessage,
    Ping,
    Pong,
    Ready,
    Reload,
    RoutesComplete,
    Stop,
    ToSupervisor,
    ToWorker,
    WorkerJoined,
    WorkerLeft,
    decode_for_supervisor,
    encode,
)
from portway.telemetry.logs import get_log

READY_S_MAX = 20.0
"""From its start until a worker accepts visitors; it takes 0.3 s on an idle machine."""

PING_EVERY_S = 1.0
MISSED_PINGS_MAX = 10
"""A worker without any message during so many pings is killed and replaced: the longest batch takes milliseconds. Pings are
counted, not seconds, so that a supervisor that was itself stopped for a while does not blame its workers."""

MISSED_PINGS_SUSPECT = 2
"""From so many missed pings on, a worker gets no agents and no ports, and claims do not wait for its acknowledgement."""

EXIT_S_MAX = 1.0
"""How long a worker may take to exit after it closed its connection, or was killed."""

EXIT_POLL_S = 0.02

STOP_S_MAX = 4.0
"""How long a worker may take to exit after Stop: 3 s for visitors, and a moment. The command line allows 5 s in all."""

log = get_log(__name__)


class WorkerCallbacks(Protocol):
    """Receives the events of worker processes."""

    def on_started(self, worker: "WorkerProcess") -> None:
        """Called for a new worker, to send everything it must have before it serves."""

    def on_ready(self, worker: "WorkerProcess") -> None:
        """Called when it accepts visitors."""

    def on_message(self, worker: "WorkerProcess", message: EventReported | LeaseMessage | ChallengeAck) -> None:
        """Called for any other message."""

    def on_lost(self, worker: "WorkerProcess") -> None:
        """Called once, when it is lost."""

    def on_exited(self, worker: "WorkerProcess", how: str) -> None:
        """Called a moment later, with how its process ended."""


class WorkerProcess:
    """The supervisor's handle of one worker process."""

    def __init__(self, number: int, inbox: socket.socket) -> None:
        """Begin without a process; `inbox` is the sending end of its inbox, kept to be copied for others."""
        self.number = number
        self.inbox = inbox
        self.pid = 0
        self.serving = asyncio.Event()
        self.lost = asyncio.Event()
        self.missed_pings = 0
        """Consecutive pings without any message since."""
        self.channel: IpcChannel

    def __repr__(self) -> str:
        return f"<WorkerProcess {self.number}, process {self.pid}>"

    def send(self, message: ToWorker, *socks: socket.socket) -> bool:
        """Send a message and give the sockets away; return False, leaving them to the caller, if the queue is full or it is gone."""
        sent = self.channel.send(encode(message), socks)
        if not sent and not socks:
            self.lost.set()  # its state would be incomplete
        return sent

    def send_required(self, message: ToWorker, *socks: socket.socket) -> None:
        """Send a message whose sockets the worker cannot do without."""
        if not self.send(message, *socks):
            self.lost.set()
            for sock in socks:
                sock.close()


class WorkerPool:
    """All worker processes (see `lease_coordinator.WorkerMessenger`). Each slot is refilled while the server runs."""

    def __init__(
        self,
        reactor: Reactor,
        command: Sequence[str],
        callbacks: WorkerCallbacks,
        settings: bytes,
        listeners: Sequence[socket.socket],
        *,
        report_relays: bool,
    ) -> None:
        """`command` starts a worker; the number of its descriptor is appended. All workers share `listeners`: http, and https if any."""
        self._report_relays = report_relays
        self._reactor = reactor
        self._command = command
        self._callbacks = callbacks
        self._settings = settings
        self._server_id = secrets.token_hex(8)
        self._listeners = listeners
        self._workers: dict[int, WorkerProcess] = {}
        self._last_number = 0
        self._stopping = asyncio.Event()

    def send(self, worker: int, message: ToWorker, *socks: socket.socket) -> bool:
        """Send to one worker; return False if it does not exist."""
        known = self._workers.get(worker)
        return known is not None and known.send(message, *socks)

    def numbers(self) -> Iterable[int]:
        """Return the workers that exist."""
        return list(self._workers)

    def serving(self) -> Iterable[int]:
        """Return those that accept visitors; of these only the responsive ones, if there are any."""
        serving = [worker for worker in self._workers.values() if worker.serving.is_set()]
        responsive = [worker for worker in serving if worker.missed_pings < MISSED_PINGS_SUSPECT]
        return [worker.number for worker in responsive or serving]

    async def run_slot(self, on_first_ready: Callable[[], None]) -> None:
        """Keep one slot filled, for ever; `on_first_ready` is called when its first worker serves.

        Raises:
            UnavailableError: the very first worker ended before it served, so any other would as well.
        """
        backoff = Backoff(random.random)
        called = False

        def on_ready() -> None:
            nonlocal called
            if not called:
                on_first_ready()
            called = True

        while True:
            started = self._reactor.refresh_now()
            how = await self._run_worker(on_ready)
            if self._stopping.is_set():
                return
            if not called:
                raise UnavailableError(f"a worker did not start ({how}); see its own messages above")
            lived_s = self._reactor.refresh_now() - started
            if lived_s >= STABLE_S_MIN:
                backoff.session_ended(lived_s)
            with suppress(TimeoutError):
                async with asyncio.timeout(backoff.next_delay_s()):
                    await self._stopping.wait()
                    return

    async def _run_worker(self, on_ready: Callable[[], None]) -> str:
        """Run one worker until it exits, and return how it ended; `on_ready` is called when it accepts visitors."""
        try:
            worker, process = self._start()
        except OSError as exc:
            log.warning("worker start failed", reason=exc)
            return str(exc)
        fault = "the server is stopping"
        try:
            fault = await self._watch(worker, on_ready)
        finally:
            how = await self._end(worker, process, fault)
        return how

    def reload(self) -> None:
        """Let all workers read their files again."""
        for worker in self._workers.values():
            worker.send(Reload())

    def stop(self, reason: str) -> None:
        """Let all workers drain and exit; none is replaced from now on."""
        self._stopping.set()
        for worker in self._workers.values():
            worker.send(Stop(reason))

    def _start(self) -> tuple[WorkerProcess, subprocess.Popen[bytes]]:
        """Start a process, and send everything it must have before it serves. Takes a few milliseconds, once in a worker's life.

        Raises:
            OSError: no process or descriptor is available, or the system lacks what workers need. Everything is undone.
        """
        others = list(self._workers.values())
        with ExitStack() as failed:
            ours, theirs = (failed.enter_context(sock) for sock in ipc_pair())
            inbox, inbox_sender = (failed.enter_context(sock) for sock in ipc_pair())
            listeners = [failed.enter_context(listener.dup()) for listener in self._listeners]
            inboxes = [(other, failed.enter_context(other.inbox.dup()), failed.enter_context(inbox_sender.dup())) for other in others]
            process = subprocess.Popen(  # noqa: S603 - our own program
                [*self._command, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
            failed.pop_all()
        theirs.close()
        self._last_number += 1
        worker = WorkerProcess(self._last_number, inbox_sender)
        worker.pid = process.pid

        def receive(data: memoryview, _socks: list[socket.socket]) -> None:
            self._on_message(worker, decode_for_supervisor(data))

        worker.channel = IpcChannel(self._reactor, ours, receive, worker.lost.set)
        worker.send_required(Configure(worker.number, self._report_relays, self._settings, self._server_id), inbox, *listeners)
        for other, to_other, to_new in inboxes:
            worker.send_required(WorkerJoined(other.number), to_other)
            other.send_required(WorkerJoined(worker.number), to_new)
        self._workers[worker.number] = worker
        self._callbacks.on_started(worker)
        worker.send(RoutesComplete())
        return worker, process

    def _on_message(self, worker: WorkerProcess, message: ToSupervisor) -> None:
        worker.missed_pings = 0
        match message:
            case Ready():
                worker.serving.set()
                self._callbacks.on_ready(worker)
            case Pong():
                pass
            case _:
                self._callbacks.on_message(worker, message)

    async def _watch(self, worker: WorkerProcess, on_ready: Callable[[], None]) -> str:
        """Watch a worker until it is lost; return the fault for which it has to be ended, if any."""
        try:
            async with asyncio.timeout(READY_S_MAX):
                await _either(worker.serving, worker.lost)
        except TimeoutError:
            return f"not ready within {READY_S_MAX:g} s"
        if worker.serving.is_set():
            on_ready()
        while not worker.lost.is_set():
            worker.missed_pings += 1
            worker.send(Ping())
            with suppress(TimeoutError):
                async with asyncio.timeout(PING_EVERY_S):
                    await worker.lost.wait()
            if worker.missed_pings >= MISSED_PINGS_MAX:
                return f"silent for {MISSED_PINGS_MAX * PING_EVERY_S:g} s"
        return ""

    async def _end(self, worker: WorkerProcess, process: subprocess.Popen[bytes], fault: str) -> str:
        """Report a worker as lost, ensure that its process exits, and return how it ended."""
        self._workers.pop(worker.number, None)
        worker.channel.close()
        worker.inbox.close()
        worker.lost.set()
        for other in self._workers.values():
            other.send(WorkerLeft(worker.number))
        self._callbacks.on_lost(worker)
        try:
            if not fault:
                await _exited(process)
        finally:
            process.kill()
            # The kernel takes a moment, and longer if the process waits for a disk; agents are assigned to others meanwhile.
            await _exited(process)
        code = process.returncode or 0
        how = fault or (f"signal {-code}" if code < 0 else f"exit code {code}")
        if code or not self._stopping.is_set():  # a normal exit with the server must not be reported
            self._callbacks.on_exited(worker, how)
        return how


async def _exited(process: subprocess.Popen[bytes]) -> None:
    """Wait for a process to exit, EXIT_S_MAX at most; a zombie that is left is reaped when the next one is started."""
    left_s = EXIT_S_MAX
    while process.poll() is None and left_s > 0:
        left_s -= EXIT_POLL_S
        await asyncio.sleep(EXIT_POLL_S)


async def _either(one: asyncio.Event, other: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as both:
        waiting = [both.create_task(event.wait(), name="either") for event in (one, other)]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
