"""The one registry of a server with workers: decides claims, and replicates every lease to all workers before a claim is granted."""

import asyncio
import secrets
import socket
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

from portway.config.values import ListenAddress
from portway.edge.lease import Lease, Owner
from portway.engine.reactor import Reactor
from portway.errors import PortwayError, RefusedError
from portway.links.listen_sockets import listen_on
from portway.protocol.control.messages import Granted, Refused
from portway.server.access.tokens import TokenRecord
from portway.server.control.claims import CertificateOrders, ClaimHandler, ClaimingSession
from portway.server.events import EventSink
from portway.server.settings import ServerSettings
from portway.server.storage.token_reader import TokenReader
from portway.server.storage.token_watch import TokenWatch
from portway.server.tunnels.addresses import PublicAddresses
from portway.server.tunnels.registry import Registry
from portway.server.workers.messages import (
    ClaimRequest,
    ClaimResponse,
    LeaseMessage,
    Listen,
    Probe,
    Probed,
    Released,
    Replace,
    RouteAck,
    RouteChanged,
    RouteRemoved,
    SessionLost,
    TokenRevoked,
    ToWorker,
    Unlisten,
)
from portway.server.workers.port_listeners import PortListeners
from portway.server.workers.remote_session import RemoteSession
from portway.session.login import refusal_of
from portway.telemetry.logs import get_log

ACK_S_MAX = 0.5
"""How long a claim waits until every worker has its route; a worker in the middle of a batch takes 5 ms. A slower worker still
gets it, and until then serves this one address by its previous route."""

PROBE_MARGIN_S = 0.5
"""For the round trip of a probe between supervisor and worker."""

EXPIRE_EVERY_S = 0.25
"""Interval of checks for expired leases; a grace time is seconds long."""

log = get_log(__name__)


class WorkerMessenger(Protocol):
    """Sends messages to workers."""

    def send(self, worker: int, message: ToWorker, *socks: socket.socket) -> bool:
        """Send to one worker and give the sockets away; return False if it does not exist."""

    def numbers(self) -> Iterable[int]:
        """Return the workers that exist."""

    def serving(self) -> Iterable[int]:
        """Return those that accept visitors."""


class LeaseCoordinator:
    """Owns the registry of a server with workers, and handles their claims."""

    def __init__(  # noqa: PLR0913 - everything that takes part in a grant, wired in supervisor.py
        self,
        reactor: Reactor,
        workers: WorkerMessenger,
        tokens: TokenReader,
        settings: ServerSettings,
        tasks: asyncio.TaskGroup,
        *,
        addresses: PublicAddresses,
        first_epoch: int,
        on_event: EventSink,
        certificates: CertificateOrders | None = None,
        clock: Callable[[], float],
    ) -> None:
        """`certificates` orders those of http tunnels; `clock` decides when tokens expire."""
        self._reactor = reactor
        self._workers = workers
        self._tokens = TokenWatch(tokens, clock)
        self._tasks = tasks
        self._sessions: dict[str, RemoteSession] = {}
        self._seq = 0
        self._acked: dict[int, int] = {}
        """Worker → the last change that it acknowledged."""
        self._ack_waiters: dict[asyncio.Future[None], int] = {}
        self._probes: dict[int, asyncio.Future[bool]] = {}
        self._probe_id = 0
        self.registry = Registry(reactor.call_soon, grace_s=settings.grace_s, first_epoch=first_epoch, on_change=self._on_lease_changed)
        self.ports = PortListeners(lambda port: listen_on(ListenAddress(settings.tcp_host, port)), self)
        self._claim_handler = ClaimHandler(
            reactor,
            self.registry,
            self,
            self.ports,
            addresses=addresses,
            tcp_ports=settings.tcp_ports,
            on_event=on_event,
            random_bytes=secrets.token_bytes,
            certificates=certificates,
        )

    # Called when workers start and end.

    def on_started(self, worker: int) -> None:
        """Send all leases to a new worker."""
        self._acked[worker] = 0
        for lease in self.registry:
            self._workers.send(worker, self._route_message(lease))

    def on_ready(self) -> None:
        """Assign the ports that wait for a worker."""
        self.ports.place_all()

    def on_lost(self, worker: int) -> None:
        """Hold the leases of a dead worker's sessions; their agents log in again at another worker."""
        self._acked.pop(worker, None)
        for session in [one for one in self._sessions.values() if one.worker == worker]:
            self._session_lost(session.session_id)
        self.ports.on_lost(worker)
        self._check_acks()

    # Messages from workers.

    def on_message(self, worker: int, message: LeaseMessage) -> None:
        """Process one message of a worker."""
        match message:
            case ClaimRequest():
                self._on_claim(worker, message)
            case Released():
                session = self._sessions.get(message.session)
                if session is not None:
                    self._claim_handler.release(session, message.tunnel, keep=message.keep)
            case SessionLost():
                self._session_lost(message.session)
            case TokenRevoked():
                self.registry.token_revoked(message.token)
            case RouteAck():
                self._acked[worker] = message.seq
                self._check_acks()
            case Probed():
                self._on_probed(message.id, alive=message.alive)

    def _session_lost(self, session_id: str) -> None:
        session = self._sessions.pop(session_id, None)
        if session is not None:
            session.closed = True
            self.registry.session_lost(session_id, self._reactor.refresh_now())

    def _on_claim(self, worker: int, request: ClaimRequest) -> None:
        session = self._session_for(worker, request)  # now: the next message may be the session's end
        self._tasks.create_task(self._handle_claim(session, request), name=f"claim from worker {worker}")

    async def _handle_claim(self, session: RemoteSession, request: ClaimRequest) -> None:
        reply = await self._decide_claim(session, request)
        if isinstance(reply, Granted):
            await self._await_acks(self._seq)
        self._workers.send(session.worker, ClaimResponse(request.id, reply))

    async def _decide_claim(self, session: RemoteSession, request: ClaimRequest) -> Granted | Refused | None:
        try:
            session.token = await self._tokens.live(request.token)
            return await self._claim_handler.grant(session, request.claim)
        except RefusedError as refused:
            return refusal_of(refused, request.claim.id)
        except PortwayError as exc:
            log.debug("claim not decided", reason=exc)
        except Exception as exc:  # noqa: BLE001 - a bug in one claim must not end the server
            log.error("claim failed", exc=exc)  # noqa: TRY400 - our log takes the traceback
        return None

    def _session_for(self, worker: int, request: ClaimRequest) -> RemoteSession:
        """Return the proxy of the session that claims."""
        session = self._sessions.get(request.session)
        if session is None:
            owner = Owner(request.token, request.identity)
            session = RemoteSession(worker, request.session, owner, lambda session, within_s: self._probe(worker, session, within_s))
            self._sessions[request.session] = session
        return session

    # Called by the claim handler (see `server.control.claims.SessionLookup`).

    def find(self, session_id: str) -> ClaimingSession | None:
        """Return the proxy of a live session."""
        return self._sessions.get(session_id)

    def replace(self, session_id: str, address: str) -> None:
        """End a session whose address was taken over by another one of its identity."""
        session = self._sessions.get(session_id)
        if session is not None:
            self._workers.send(session.worker, Replace(session_id, address))
            self._session_lost(session_id)

    async def _probe(self, worker: int, session_id: str, within_s: float) -> bool:
        self._probe_id += 1
        number, reply = self._probe_id, asyncio.get_running_loop().create_future()
        self._probes[number] = reply
        try:
            if not self._workers.send(worker, Probe(number, session_id, within_s)):
                return False
            async with asyncio.timeout(within_s + PROBE_MARGIN_S):
                return bool(await reply)
        except TimeoutError:
            return False
        finally:
            del self._probes[number]

    def _on_probed(self, number: int, *, alive: bool) -> None:
        reply = self._probes.get(number)
        if reply is not None and not reply.done():
            reply.set_result(alive)

    # Messages to workers (see `port_listeners.PortAssigner`).

    def _on_lease_changed(self, lease: Lease) -> None:
        """Send the new state of a lease to every worker, first to the one that serves it, as others hand visitors off to it at once."""
        self._seq += 1
        message = RouteRemoved(self._seq, *lease.key) if lease.gone else self._route_message(lease)
        first = self.worker_of(lease)
        if first:
            self._workers.send(first, message)
        if not lease.gone:
            self.ports.place(lease)
        for worker in self._workers.numbers():
            if worker != first:
                self._workers.send(worker, message)

    def _route_message(self, lease: Lease) -> RouteChanged:
        holder = lease.holder
        claim = holder.claims.get(lease.key) if isinstance(holder, RemoteSession) else None
        return RouteChanged(
            self._seq,
            lease.key.kind,
            lease.address,
            lease.tunnel_id,
            lease.epoch,
            self.worker_of(lease),
            session=holder.session_id if holder is not None else "",
            limits=None if claim is None else claim.limits,
            token=lease.owner.token_id,
            rewrite=None if claim is None or lease.passthrough else claim.rewrite,
            access=None if claim is None or lease.passthrough else claim.access,
            passthrough=lease.passthrough,
        )

    def worker_of(self, lease: Lease) -> int:
        """Return the worker whose session serves a lease; 0 while it is held."""
        return lease.holder.worker if isinstance(lease.holder, RemoteSession) else 0

    def any_worker(self) -> int:
        """Return a worker that accepts visitors, or 0."""
        return next(iter(self._workers.serving()), 0)

    def assign(self, worker: int, lease: Lease, listener: socket.socket) -> bool:
        """Let a worker accept visitors on a port."""
        try:
            copy = listener.dup()
        except OSError as exc:  # retried by `watch`
            log.warning("port assignment failed", port=lease.address, reason=exc)
            return False
        if self._workers.send(worker, Listen(lease.address), copy):
            return True
        copy.close()
        return False

    def unassign(self, worker: int, lease: Lease) -> None:
        """Let a worker stop accepting visitors on a port."""
        self._workers.send(worker, Unlisten(lease.address))

    async def _await_acks(self, seq: int) -> None:
        """Wait until every worker has acknowledged a change, at most ACK_S_MAX."""
        if self._all_acked(seq):
            return
        acked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ack_waiters[acked] = seq
        try:
            async with asyncio.timeout(ACK_S_MAX):
                await acked
        except TimeoutError:
            log.warning("route not acknowledged in time", behind=[worker for worker, last in self._acked.items() if last < seq])
        finally:
            del self._ack_waiters[acked]

    def _all_acked(self, seq: int) -> bool:
        return all(self._acked.get(worker, 0) >= seq for worker in self._workers.serving())

    def _check_acks(self) -> None:
        for acked, seq in self._ack_waiters.items():
            if not acked.done() and self._all_acked(seq):
                acked.set_result(None)

    async def watch(self) -> None:
        """Free expired leases, and assign ports without a worker; runs for ever."""
        while True:
            await asyncio.sleep(EXPIRE_EVERY_S)
            self.registry.expire(self._reactor.refresh_now())
            self.ports.place_all()

    async def watch_tokens(self) -> None:
        """Free the leases of revoked tokens; runs for ever."""
        await self._tokens.watch(self._tokens_used, self._tokens_changed)

    def _tokens_used(self) -> Collection[str]:
        return {lease.owner.token_id for lease in self.registry}

    def _tokens_changed(self, tokens: Mapping[str, TokenRecord | None]) -> None:
        for token_id, token in tokens.items():
            try:
                self._tokens.check(token)
            except RefusedError:
                self.registry.token_revoked(token_id)
