"""The supervisor: wires listeners, agent balancer, lease coordinator and worker pool, and runs until stopped."""

import asyncio
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack, closing
from typing import get_args

import msgspec

from portway.certificates.orders import open_orders
from portway.certificates.store import CertificateStore
from portway.clock import wall
from portway.config.reloading import reload_requests
from portway.engine.listener import Address
from portway.engine.reactor import Reactor
from portway.server.advertise import advertised_address, advertised_endpoint, listening_event, public_addresses
from portway.server.events import EventSink, ServerEvent, SessionDown, SessionUp, Stopping, WorkerDown, WorkerUp
from portway.server.identity import record_advertised
from portway.server.listeners import Listeners, open_listeners
from portway.server.settings import ServerSettings
from portway.server.storage.data_directory import locked, open_state
from portway.server.storage.token_reader import TokenReader
from portway.server.tunnels.registry import first_epoch
from portway.server.workers.agent_balancer import AgentBalancer
from portway.server.workers.certificate_publisher import WorkerCertificatePublisher
from portway.server.workers.lease_coordinator import LeaseCoordinator
from portway.server.workers.messages import AgentAssigned, ChallengeAck, EventReported, LeaseMessage, encode_settings
from portway.server.workers.worker_pool import STOP_S_MAX, WorkerPool, WorkerProcess

EVENTS: dict[str, type] = {kind.__name__: kind for kind in get_args(ServerEvent)}
"""By name, as workers send them."""


async def supervise(
    settings: ServerSettings, command: Sequence[str], *, on_event: EventSink, stop: asyncio.Event | None = None, report_relays: bool = False
) -> None:
    """Serve visitors and agents with `settings.workers` processes, until `stop` is set or this is cancelled; then drain.

    `command` starts a worker; the number of a descriptor is appended. `on_event` gets the events of all workers, and
    must not block; with `report_relays`, also one for every finished request, tcp connection and WebSocket.

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
        listeners = stack.enter_context(closing(open_listeners(settings)))
        certificates = await stack.enter_async_context(CertificateStore(settings, on_event).open())
        record_advertised(settings.data, advertised_endpoint(settings, identity, advertised_address(settings, listeners)))
        handler = _WorkerEventHandler(reactor, on_event)
        visitors = [sock for sock in (listeners.http, listeners.https) if sock is not None]
        pool = WorkerPool(reactor, command, handler, encode_settings(settings), visitors, report_relays=report_relays)
        stack.enter_context(reload_requests.received_by(pool.reload))
        handler.certificates = publisher = WorkerCertificatePublisher(pool)
        orders = await stack.enter_async_context(open_orders(settings, certificates, on_event, publisher, https=listeners.https))
        async with asyncio.TaskGroup() as tasks:
            handler.pool = pool
            handler.leases = leases = LeaseCoordinator(
                *(reactor, pool, tokens, settings, tasks),
                addresses=public_addresses(settings, listeners, certificates),
                first_epoch=first_epoch(wall()),
                on_event=on_event,
                certificates=orders,
                clock=wall,
            )
            stack.callback(leases.ports.close_all)
            running = [
                tasks.create_task(leases.watch(), name="expiry of leases, assignment of ports"),
                tasks.create_task(leases.watch_tokens(), name="revocation of tokens"),
            ]
            ready = asyncio.Semaphore(0)
            slots = [tasks.create_task(pool.run_slot(ready.release), name="worker slot") for _ in range(settings.workers)]
            try:
                for _ in slots:
                    await ready.acquire()
                on_event(listening_event(settings, listeners))
                handler.report_workers()
                try:
                    await _balance_agents(reactor, listeners, handler, stop or asyncio.Event())
                finally:
                    on_event(Stopping("stop requested"))
                    listeners.close()
                    leases.ports.close_all()
            finally:
                pool.stop("the server is stopping")
                await asyncio.wait(slots, timeout=STOP_S_MAX)
                for task in (*running, *slots):
                    task.cancel()


async def _balance_agents(reactor: Reactor, listeners: Listeners, handler: "_WorkerEventHandler", stop: asyncio.Event) -> None:
    """Assign agents that arrive at their own listener, if there is one, until the server stops."""
    balancer = None if listeners.agents is None else AgentBalancer(reactor, listeners.agents, handler.sessions, handler.assign)
    try:
        await stop.wait()
    finally:
        if balancer is not None:
            balancer.close()


class _WorkerEventHandler:
    """Processes worker events (see `worker_pool.WorkerCallbacks`): emits reported events, and passes the rest to the coordinator."""

    pool: WorkerPool
    leases: LeaseCoordinator
    certificates: WorkerCertificatePublisher

    def __init__(self, reactor: Reactor, on_event: EventSink) -> None:
        self._reactor = reactor
        self._on_event = on_event
        self._sessions: dict[int, dict[str, str]] = {}
        """Worker → its sessions, with the names of their tokens."""
        self._held_back: list[WorkerUp] | None = []
        """Events of ready workers, until the server's own start was reported; then None."""

    def on_started(self, worker: WorkerProcess) -> None:
        self._sessions[worker.number] = {}
        self.leases.on_started(worker.number)
        self.certificates.on_started(worker.number)

    def on_ready(self, worker: WorkerProcess) -> None:
        up = WorkerUp(worker.number, worker.pid)
        if self._held_back is None:
            self._on_event(up)
        else:
            self._held_back.append(up)
        self.leases.on_ready()

    def report_workers(self) -> None:
        """Emit the events held back until the server's start was reported."""
        for up in self._held_back or ():
            self._on_event(up)
        self._held_back = None

    def on_message(self, worker: WorkerProcess, message: EventReported | LeaseMessage | ChallengeAck) -> None:
        if isinstance(message, EventReported):
            self._emit(worker, msgspec.convert(message.fields, EVENTS[message.name]))
        elif isinstance(message, ChallengeAck):
            self.certificates.on_ack(worker.number, message.seq)
        else:
            self.leases.on_message(worker.number, message)

    def on_lost(self, worker: WorkerProcess) -> None:
        self.leases.on_lost(worker.number)
        self.certificates.on_lost(worker.number)
        for session, token in self._sessions.pop(worker.number, {}).items():
            self._on_event(SessionDown(session, token, f"worker {worker.number} is gone"))

    def on_exited(self, worker: WorkerProcess, how: str) -> None:
        self._on_event(WorkerDown(worker.number, worker.pid, how))

    def sessions(self) -> dict[int, int]:
        """Return the number of sessions of each worker that accepts some."""
        return {number: len(self._sessions.get(number, ())) for number in self.pool.serving()}

    def assign(self, worker: int, sock: socket.socket, address: Address) -> bool:
        """Send an agent's connection to a worker."""
        return self.pool.send(worker, AgentAssigned(*address), sock)

    def _emit(self, worker: WorkerProcess, event: ServerEvent) -> None:
        if isinstance(event, SessionUp):
            self._sessions[worker.number][event.session] = event.token
        elif isinstance(event, SessionDown):
            self._sessions[worker.number].pop(event.session, None)
        self._on_event(event)
