"""The supervisor put together: it opens the listeners, deals agents out, decides about addresses, and keeps its workers alive."""

import asyncio
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import get_args

import msgspec

from portway.clock import wall
from portway.engine.listener import Address
from portway.engine.reactor import Reactor
from portway.server.advertise import advertised_address, advertised_endpoint, listening_event, public_addresses
from portway.server.events import EventSink, ServerEvent, SessionDown, SessionUp, Stopping, WorkerDown, WorkerUp
from portway.server.identity import record_advertised
from portway.server.listen_sockets import listen_for_setting
from portway.server.settings import ServerSettings
from portway.server.storage.data_directory import locked, open_state
from portway.server.storage.token_reader import TokenReader
from portway.server.tunnels.registry import first_epoch
from portway.server.workers.agent_balancer import AgentBalancer
from portway.server.workers.lease_coordinator import LeaseCoordinator
from portway.server.workers.messages import AgentAssigned, EventReported, LeaseMessage, encode_settings
from portway.server.workers.worker_pool import END_S_MAX, WorkerPool, WorkerProcess

EVENTS: dict[str, type] = {kind.__name__: kind for kind in get_args(ServerEvent)}
"""By name, as workers tell them."""


async def supervise(
    settings: ServerSettings, command: Sequence[str], *, on_event: EventSink, stop: asyncio.Event | None = None, report_relays: bool = False
) -> None:
    """Serve visitors and agents with `settings.workers` processes, until `stop` is set or this is cancelled; then drain.

    `command` starts a worker, with one more argument, the number of a descriptor. `on_event` hears of all of them, and
    must not block; with `report_relays`, it hears of every request, tcp connection and WebSocket that is over, too.

    Raises:
        ConfigError: the settings, the data directory or a file in it cannot be used.
        UnavailableError: an address is in use, or a worker could not be started at all.
    """
    reactor = Reactor(asyncio.get_running_loop())
    async with AsyncExitStack() as stack:
        stack.callback(reactor.close)
        stack.enter_context(locked(settings.data))
        store, identity = open_state(settings)
        tokens = stack.enter_context(TokenReader(store))
        http = stack.enter_context(listen_for_setting(settings.http, "http"))
        agents = stack.enter_context(listen_for_setting(settings.agents, "agents"))
        http_address, agents_address = http.getsockname()[:2], agents.getsockname()[:2]
        advertised = advertised_address(settings, agents_address[1])
        addresses = public_addresses(settings, advertised, http_address[1])
        record_advertised(settings.data, advertised_endpoint(settings, identity, advertised))
        office = _WorkerEventHandler(reactor, on_event)
        crew = WorkerPool(reactor, command, office, encode_settings(settings), http, report_relays=report_relays)
        async with asyncio.TaskGroup() as tasks:
            office.crew = crew
            office.leases = leases = LeaseCoordinator(
                reactor, crew, tokens, settings, tasks, addresses=addresses, first_epoch=first_epoch(wall()), on_event=on_event, clock=wall
            )
            stack.callback(leases.ports.close_all)
            running = [
                tasks.create_task(leases.watch(), name="held addresses and ports"),
                tasks.create_task(leases.watch_tokens(), name="revoked tokens lose addresses"),
            ]
            all_serve = asyncio.Semaphore(0)
            places = [tasks.create_task(crew.run_slot(all_serve.release), name="keeps a worker") for _ in range(settings.workers)]
            try:
                for _ in places:
                    await all_serve.acquire()
                dealer = AgentBalancer(reactor, agents, office.sessions, office.assign)
                on_event(listening_event(settings, http_address, agents_address, advertised))
                office.tell_of_workers()
                try:
                    await (stop or asyncio.Event()).wait()
                finally:
                    on_event(Stopping("stop requested"))
                    dealer.close()
                    http.close()
                    leases.ports.close_all()
            finally:
                crew.stop("the server is stopping")
                await asyncio.wait(places, timeout=END_S_MAX)
                for task in (*running, *places):
                    task.cancel()


class _WorkerEventHandler:
    """Where what workers say arrives (see `crew.WorkerCallbacks`): events go on, everything else is the leases'."""

    crew: WorkerPool
    leases: LeaseCoordinator

    def __init__(self, reactor: Reactor, on_event: EventSink) -> None:
        self._reactor = reactor
        self._on_event = on_event
        self._sessions: dict[int, dict[str, str]] = {}
        """Worker → its sessions, with the names of their tokens."""
        self._first: list[WorkerUp] | None = []
        """Workers that serve, until it was told that the server does."""

    def on_started(self, worker: WorkerProcess) -> None:
        self._sessions[worker.number] = {}
        self.leases.on_started(worker.number)

    def on_ready(self, worker: WorkerProcess) -> None:
        up = WorkerUp(worker.number, worker.pid)
        if self._first is None:
            self._on_event(up)
        else:
            self._first.append(up)
        self.leases.on_ready()

    def tell_of_workers(self) -> None:
        """Tell who serves, now that it is known that the server does."""
        for up in self._first or ():
            self._on_event(up)
        self._first = None

    def on_message(self, worker: WorkerProcess, message: EventReported | LeaseMessage) -> None:
        if isinstance(message, EventReported):
            self._tell(worker, msgspec.convert(message.fields, EVENTS[message.name]))
        else:
            self.leases.hear(worker.number, message)

    def on_lost(self, worker: WorkerProcess) -> None:
        self.leases.on_lost(worker.number)
        for session, token in self._sessions.pop(worker.number, {}).items():
            self._on_event(SessionDown(session, token, f"worker {worker.number} is gone"))

    def on_exited(self, worker: WorkerProcess, how: str) -> None:
        self._on_event(WorkerDown(worker.number, worker.pid, how))

    def sessions(self) -> dict[int, int]:
        """Return how many sessions each worker has that takes some."""
        return {number: len(self._sessions.get(number, ())) for number in self.crew.serving()}

    def assign(self, worker: int, sock: socket.socket, address: Address) -> bool:
        """Give an agent's connection to a worker."""
        return self.crew.tell(worker, AgentAssigned(*address), sock)

    def _tell(self, worker: WorkerProcess, event: ServerEvent) -> None:
        if isinstance(event, SessionUp):
            self._sessions[worker.number][event.session] = event.token
        elif isinstance(event, SessionDown):
            self._sessions[worker.number].pop(event.session, None)
        self._on_event(event)
