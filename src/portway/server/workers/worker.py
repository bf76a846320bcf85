"""One worker put together: what serves visitors and agents, and its line to the supervisor."""

import asyncio
import dataclasses
import socket
from contextlib import AsyncExitStack
from dataclasses import dataclass

from portway.engine.reactor import Reactor
from portway.errors import MisuseError, UnavailableError
from portway.server.control.limit_scopes import LimitScopes, requested_scopes
from portway.server.control.session import Session
from portway.server.core import ServerCore
from portway.server.events import RelayDone, RequestDone, ServerEvent
from portway.server.identity import identity_of
from portway.server.settings import ServerSettings
from portway.server.storage.data_directory import open_store
from portway.server.storage.token_reader import TokenReader
from portway.server.tunnels.replica import Replica, Route
from portway.server.workers.ipc import IpcChannel, receive_one
from portway.server.workers.messages import (
    AgentAssigned,
    ClaimResponse,
    Configure,
    EventReported,
    Listen,
    Ping,
    Pong,
    Probe,
    Probed,
    Ready,
    Replace,
    RouteAck,
    RouteChanged,
    RouteRemoved,
    RoutesComplete,
    SessionLost,
    Stop,
    TokenRevoked,
    ToSupervisor,
    Unlisten,
    WorkerJoined,
    WorkerLeft,
    decode_settings,
    encode,
    for_worker,
)
from portway.server.workers.remote_claims import RemoteClaimHandler
from portway.server.workers.visitor_handoff import HandoffRouter
from portway.telemetry.logs import get_log

BEGIN_S_MAX = 10.0
"""How long the supervisor may take to say what there is to do."""

EVENT_BACKLOG_MAX = 10_000
"""While so many messages wait for a supervisor who is slow, finished relays and requests are not told: everything else has to arrive."""


log = get_log(__name__)


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """What a worker begins with."""

    worker: int
    report_relays: bool
    settings: ServerSettings
    server_id: str
    http: socket.socket
    """The listener of HTTP visitors, which all workers share."""
    inbox: socket.socket
    """Where other workers pass visitors on to."""


def receive_config(line: socket.socket) -> WorkerConfig:
    """Wait for the first message; nothing else goes on yet.

    Raises:
        UnavailableError: it did not come; the supervisor may be gone.
    """
    try:
        data, socks = receive_one(line, BEGIN_S_MAX)
        begin = for_worker(memoryview(data))
    except (OSError, MisuseError) as exc:
        raise UnavailableError(f"the supervisor did not say what to do: {exc}") from exc
    if not isinstance(begin, Configure) or len(socks) != 2:
        raise UnavailableError("the supervisor did not say what to do")
    return WorkerConfig(begin.worker, begin.report_relays, decode_settings(begin.settings), begin.server_id, *socks)


async def run_worker(orders: WorkerConfig, line: socket.socket) -> None:
    """Serve until the supervisor says to stop or this is cancelled; then drain, for 3 s at most.

    Raises:
        UnavailableError: the supervisor is gone. Whoever is served is let go of at once: the next server wants the ports.
        ConfigError: the data directory cannot be used.
    """
    reactor = Reactor(asyncio.get_running_loop())
    async with AsyncExitStack() as stack:
        stack.callback(reactor.close)
        stack.callback(orders.http.close)
        tokens = stack.enter_context(TokenReader(open_store(orders.settings.data, "read")))
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        worker = _Worker(reactor, orders, tokens, line, tasks)
        stack.callback(worker.close)
        await worker.serve(orders.http)


class _Worker:
    """A worker: rooms that ask the supervisor, and are asked by it."""

    def __init__(self, reactor: Reactor, orders: WorkerConfig, tokens: TokenReader, line: socket.socket, tasks: asyncio.TaskGroup) -> None:
        self._reactor = reactor
        self._tasks = tasks
        self._told_all = asyncio.Event()
        self._over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """The reason to stop; fails when the supervisor is gone."""
        self._untold = 0
        """Relays and requests in a row that the supervisor was too slow to hear of."""
        self._listeners: dict[int, socket.socket] = {}
        """Listeners of tcp ports, on their way to the edge."""
        self._claim_handler = RemoteClaimHandler(self._tell)
        self._scopes = LimitScopes(reactor)
        self._visitors = HandoffRouter(reactor)
        self._replica = Replica(
            orders.worker,
            reactor.call_soon,
            self._find,
            report_lost=lambda session_id: self._tell(SessionLost(session_id)),
            report_revoked=lambda token_id: self._tell(TokenRevoked(token_id)),
        )
        self._core = ServerCore(
            reactor,
            orders.settings,
            identity_of(orders.settings),
            tokens,
            self._replica,
            listen=self._listeners.pop,
            on_event=self._tell_event,
            report_relays=orders.report_relays,
            worker=orders.worker,
            hand_off=self._visitors.hand_off,
            server_id=orders.server_id,
        )
        self._core.sessions.claim_handler = self._claim_handler
        self._line = IpcChannel(reactor, line, self._hear, self._supervisor_lost)
        self._visitors.open(orders.inbox, self._core.http, self._core.tcp, self._line.drain)

    async def serve(self, http: socket.socket) -> None:
        """Serve, once every route was told."""
        try:
            async with asyncio.timeout(BEGIN_S_MAX):
                await self._told_all.wait()
        except TimeoutError:
            raise UnavailableError(f"the supervisor did not tell every route within {BEGIN_S_MAX:g} s") from None
        async with self._core.serve(http, None):
            self._tell(Ready())
            try:
                reason = await self._over
            except asyncio.CancelledError:
                await self._core.drain("the server is stopping")
                raise
            await self._core.drain(reason)

    def close(self) -> None:
        """Let go of the supervisor and of all other workers."""
        self._line.close()
        self._visitors.close()

    def _tell(self, message: ToSupervisor) -> None:
        if not self._line.send(encode(message)):
            self._supervisor_lost()  # or so slow that the two have lost touch: the next worker begins afresh

    def _tell_event(self, event: ServerEvent) -> None:
        if isinstance(event, RelayDone | RequestDone) and self._line.waiting >= EVENT_BACKLOG_MAX:
            self._untold += 1
            if self._untold == 1:
                log.warning("the supervisor is slow: some finished relays and requests go untold")
            return
        self._untold = 0
        self._tell(EventReported(type(event).__name__, dataclasses.asdict(event)))

    def _find(self, session_id: str) -> Session | None:
        return self._core.sessions.find(session_id)

    def _supervisor_lost(self) -> None:
        self._told_all.set()
        if not self._over.done():
            self._over.set_exception(UnavailableError("the supervisor is gone"))

    def _hear(self, data: memoryview, socks: list[socket.socket]) -> None:
        """Act on one message. Descriptors come with some, as `messages` says."""
        message = for_worker(data)
        match message:
            case RouteChanged() | RouteRemoved():
                self._hear_route(message)
            case Listen() | Unlisten():
                self._hear_port(message, socks)
            case AgentAssigned():
                for sock in socks:
                    self._core.links.take(sock, (message.host, message.port))
            case ClaimResponse():
                self._claim_handler.hear(message)
            case WorkerJoined():
                for sock in socks:
                    self._visitors.meet(message.worker, sock)
            case WorkerLeft():
                self._visitors.part(message.worker)
                self._replica.worker_lost(message.worker)
            case Replace():
                self._core.sessions.replace(message.session, message.address)
            case Probe():
                self._tasks.create_task(self._probe(message), name="a probe")
            case Ping():
                self._tell(Pong())
            case _:
                self._hear_of_all(message)

    def _hear_of_all(self, message: Configure | RoutesComplete | Stop) -> None:
        """Begin and end with everything."""
        if isinstance(message, RoutesComplete):
            self._told_all.set()
        elif isinstance(message, Stop) and not self._over.done():
            self._over.set_result(message.reason)

    def _hear_route(self, message: RouteChanged | RouteRemoved) -> None:
        if isinstance(message, RouteChanged):
            route = Route(message.kind, message.address, message.tunnel_id, message.epoch, message.worker, message.session, message.token)
            lease = self._replica.apply(route)
            session = self._find(message.session)
            lease.scopes = () if session is None else self._scopes.of(session.token) + requested_scopes(self._reactor, message.limits)
            lease.rewrite = message.rewrite
            lease.origin_timeout_s = 0.0 if message.limits is None else message.limits.origin_timeout_s
        else:
            gone = self._replica.lookup(message.kind, message.address)
            if gone is not None:
                self._core.tcp.close(gone)
            self._replica.gone(message.kind, message.address)
        self._tell(RouteAck(message.seq))

    def _hear_port(self, message: Listen | Unlisten, socks: list[socket.socket]) -> None:
        lease = self._replica.lookup("tcp", message.address)
        if isinstance(message, Unlisten):
            if lease is not None:
                self._core.tcp.pause(lease)
            return
        for sock in socks:
            if lease is None:
                sock.close()
            else:
                self._listeners[int(message.address)] = sock
                self._core.tcp.open(lease)

    async def _probe(self, probe: Probe) -> None:
        session = self._core.sessions.find(probe.session)
        alive = session is not None and await session.is_responsive(probe.within_s)
        self._tell(Probed(probe.id, alive))
