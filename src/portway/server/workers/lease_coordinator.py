"""Decides for all workers who has which address, and has every worker know before anybody is told."""

import asyncio
import secrets
import socket
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

from portway.config.values import ListenAddress
from portway.engine.reactor import Reactor
from portway.errors import PortwayError, RefusedError
from portway.protocol.control.messages import Granted, Refused
from portway.server.access.tokens import TokenRecord
from portway.server.control.claims import ClaimHandler, ClaimingSession
from portway.server.events import EventSink
from portway.server.listen_sockets import listen_on
from portway.server.settings import ServerSettings
from portway.server.storage.token_reader import TokenReader
from portway.server.storage.token_watch import TokenWatch
from portway.server.tunnels.addresses import PublicAddresses
from portway.server.tunnels.lease import Lease, Owner
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
"""How long a claim waits until every worker knows its route; a worker in the middle of a batch takes 5 ms. A worker that is
slower still gets it, and until then answers this one address as it was before."""

PROBE_MARGIN_S = 0.5
"""For a probe's way to the worker and back."""

LOOK_EVERY_S = 0.25
"""How often held addresses are looked at; a grace time is seconds long."""

log = get_log(__name__)


class WorkerMessenger(Protocol):
    """The workers, as the leases need them."""

    def tell(self, worker: int, message: ToWorker, *socks: socket.socket) -> bool:
        """Tell one worker; False when it is not there. The sockets are given away with it."""

    def numbers(self) -> Iterable[int]:
        """Return the workers that are there."""

    def serving(self) -> Iterable[int]:
        """Return those that take visitors in."""


class LeaseCoordinator:
    """The one registry of a server with workers, and the granter that changes it."""

    def __init__(  # noqa: PLR0913 - all that takes part in a grant, wired in supervisor.py
        self,
        reactor: Reactor,
        staff: WorkerMessenger,
        tokens: TokenReader,
        settings: ServerSettings,
        tasks: asyncio.TaskGroup,
        *,
        addresses: PublicAddresses,
        first_epoch: int,
        on_event: EventSink,
        clock: Callable[[], float],
    ) -> None:
        """`clock` tells when tokens expire."""
        self._reactor = reactor
        self._staff = staff
        self._tokens = TokenWatch(tokens, clock)
        self._tasks = tasks
        self._stand_ins: dict[str, RemoteSession] = {}
        self._seq = 0
        self._seen: dict[int, int] = {}
        """Worker → the last change that it knows of."""
        self._unseen: dict[asyncio.Future[None], int] = {}
        self._probes: dict[int, asyncio.Future[bool]] = {}
        self._probe_id = 0
        self.registry = Registry(reactor.call_soon, grace_s=settings.grace_s, first_epoch=first_epoch, on_change=self._changed)
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
        )

    # Workers come and go.

    def on_started(self, worker: int) -> None:
        """Tell a new worker of every lease."""
        self._seen[worker] = 0
        for lease in self.registry:
            self._staff.tell(worker, self._told(lease))

    def on_ready(self) -> None:
        """Place what had to wait for somebody to serve it."""
        self.ports.place_all()

    def on_lost(self, worker: int) -> None:
        """Hold what the sessions of a dead worker had; their agents come back to another."""
        self._seen.pop(worker, None)
        for stand_in in [one for one in self._stand_ins.values() if one.worker == worker]:
            self._session_lost(stand_in.session_id)
        self.ports.on_lost(worker)
        self._note_seen()

    # What workers say.

    def hear(self, worker: int, message: LeaseMessage) -> None:
        """Act on one message of a worker."""
        match message:
            case ClaimRequest():
                self._asked(worker, message)
            case Released():
                stand_in = self._stand_ins.get(message.session)
                if stand_in is not None:
                    self._claim_handler.release(stand_in, message.tunnel, keep=message.keep)
            case SessionLost():
                self._session_lost(message.session)
            case TokenRevoked():
                self.registry.token_revoked(message.token)
            case RouteAck():
                self._seen[worker] = message.seq
                self._note_seen()
            case Probed():
                self._settle_probe(message.id, alive=message.alive)

    def _session_lost(self, session_id: str) -> None:
        stand_in = self._stand_ins.pop(session_id, None)
        if stand_in is not None:
            stand_in.closed = True
            self.registry.session_lost(session_id, self._reactor.refresh_now())

    def _asked(self, worker: int, asked: ClaimRequest) -> None:
        stand_in = self._stand_in(worker, asked)  # at once: the session's end may be the next message
        self._tasks.create_task(self._decide(stand_in, asked), name=f"a claim on worker {worker}")

    async def _decide(self, stand_in: RemoteSession, asked: ClaimRequest) -> None:
        answer = await self._answer(stand_in, asked)
        if isinstance(answer, Granted):
            await self._await_acks(self._seq)
        self._staff.tell(stand_in.worker, ClaimResponse(asked.id, answer))

    async def _answer(self, stand_in: RemoteSession, asked: ClaimRequest) -> Granted | Refused | None:
        try:
            stand_in.token = await self._tokens.live(asked.token)
            return await self._claim_handler.grant(stand_in, asked.claim)
        except RefusedError as refused:
            return refusal_of(refused, asked.claim.id)
        except PortwayError as exc:
            log.debug("a claim was not decided", why=exc)
        except Exception as exc:  # noqa: BLE001 - a bug in one claim must not end the server
            log.error("a claim failed", exc=exc)  # noqa: TRY400 - our log takes the traceback
        return None

    def _stand_in(self, worker: int, asked: ClaimRequest) -> RemoteSession:
        """Return who stands for the session that asks."""
        stand_in = self._stand_ins.get(asked.session)
        if stand_in is None:
            owner = Owner(asked.token, asked.identity)
            stand_in = RemoteSession(worker, asked.session, owner, lambda session, within_s: self._probe(worker, session, within_s))
            self._stand_ins[asked.session] = stand_in
        return stand_in

    # What the granter asks (see `server.control.claims.Sessions`).

    def find(self, session_id: str) -> ClaimingSession | None:
        """Return who stands for a live session."""
        return self._stand_ins.get(session_id)

    def replace(self, session_id: str, address: str) -> None:
        """End a session whose address was taken over by another one of its identity."""
        stand_in = self._stand_ins.get(session_id)
        if stand_in is not None:
            self._staff.tell(stand_in.worker, Replace(session_id, address))
            self._session_lost(session_id)

    async def _probe(self, worker: int, session_id: str, within_s: float) -> bool:
        self._probe_id += 1
        number, answer = self._probe_id, asyncio.get_running_loop().create_future()
        self._probes[number] = answer
        try:
            if not self._staff.tell(worker, Probe(number, session_id, within_s)):
                return False
            async with asyncio.timeout(within_s + PROBE_MARGIN_S):
                return bool(await answer)
        except TimeoutError:
            return False
        finally:
            del self._probes[number]

    def _settle_probe(self, number: int, *, alive: bool) -> None:
        answer = self._probes.get(number)
        if answer is not None and not answer.done():
            answer.set_result(alive)

    # What workers are told (see `ports.PortAssigner`).

    def _changed(self, lease: Lease) -> None:
        """Tell every worker how a lease stands now: first the one that serves it, as others pass visitors on to it at once."""
        self._seq += 1
        message = RouteRemoved(self._seq, *lease.key) if lease.gone else self._told(lease)
        first = self.worker_of(lease)
        if first:
            self._staff.tell(first, message)
        if not lease.gone:
            self.ports.place(lease)
        for worker in self._staff.numbers():
            if worker != first:
                self._staff.tell(worker, message)

    def _told(self, lease: Lease) -> RouteChanged:
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
            rewrite=None if claim is None else claim.rewrite,
        )

    def worker_of(self, lease: Lease) -> int:
        """Return the worker whose session serves a lease; 0 while it is held."""
        return lease.holder.worker if isinstance(lease.holder, RemoteSession) else 0

    def any_worker(self) -> int:
        """Return a worker that takes visitors in, or 0."""
        return next(iter(self._staff.serving()), 0)

    def give(self, worker: int, lease: Lease, listener: socket.socket) -> bool:
        """Let a worker take a port's visitors in."""
        try:
            copy = listener.dup()
        except OSError as exc:  # tried again by and by
            log.warning("a port could not be handed to its worker", port=lease.address, why=exc)
            return False
        if self._staff.tell(worker, Listen(lease.address), copy):
            return True
        copy.close()
        return False

    def unassign(self, worker: int, lease: Lease) -> None:
        """Let a worker take no more of them in."""
        self._staff.tell(worker, Unlisten(lease.address))

    async def _await_acks(self, seq: int) -> None:
        """Wait until a change counts on every worker, but not for long."""
        if self._all_know(seq):
            return
        known: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unseen[known] = seq
        try:
            async with asyncio.timeout(ACK_S_MAX):
                await known
        except TimeoutError:
            log.warning("a worker is slow to learn of a route", behind=[worker for worker, seen in self._seen.items() if seen < seq])
        finally:
            del self._unseen[known]

    def _all_know(self, seq: int) -> bool:
        return all(self._seen.get(worker, 0) >= seq for worker in self._staff.serving())

    def _note_seen(self) -> None:
        for known, seq in self._unseen.items():
            if not known.done() and self._all_know(seq):
                known.set_result(None)

    async def watch(self) -> None:
        """Free what was held long enough; for ever."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self.registry.expire(self._reactor.refresh_now())
            self.ports.place_all()

    async def watch_tokens(self) -> None:
        """Free what belongs to tokens that were revoked; for ever."""
        await self._tokens.watch(self._tokens_used, self._tokens_changed)

    def _tokens_used(self) -> Collection[str]:
        return {lease.owner.token_id for lease in self.registry}

    def _tokens_changed(self, tokens: Mapping[str, TokenRecord | None]) -> None:
        for token_id, token in tokens.items():
            try:
                self._tokens.check(token)
            except RefusedError:
                self.registry.token_revoked(token_id)
