"""A worker process: serves visitors and agents, and exchanges messages with the supervisor."""

import asyncio
import dataclasses
import socket
from contextlib import AsyncExitStack
from dataclasses import dataclass

from portway.certificates.store import CertificateStore
from portway.edge.events import RelayDone, RequestDone
from portway.engine.reactor import Reactor
from portway.errors import MisuseError, UnavailableError
from portway.protocol.http_access import HttpAccess
from portway.server.control.limit_scopes import LimitScopes, requested_scopes
from portway.server.control.session import Session
from portway.server.core import ServerCore
from portway.server.events import ServerEvent
from portway.server.identity import identity_of
from portway.server.settings import ServerSettings
from portway.server.storage.data_directory import open_store
from portway.server.storage.token_reader import TokenReader
from portway.server.tunnels.replica import Replica, Route
from portway.server.workers.ipc import IpcChannel, receive_one
from portway.server.workers.messages import (
    AgentAssigned,
    CertificateAwaited,
    CertificateIssued,
    ChallengeAck,
    ChallengeEnded,
    ChallengePending,
    ClaimResponse,
    Configure,
    EventReported,
    Listen,
    Ping,
    Pong,
    Probe,
    Probed,
    Ready,
    Reload,
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
    decode_for_worker,
    decode_settings,
    encode,
)
from portway.server.workers.remote_claims import RemoteClaimHandler
from portway.server.workers.visitor_handoff import HandoffRouter
from portway.telemetry.logs import get_log

CONFIGURE_S_MAX = 10.0
"""How long the supervisor may take to send the configuration, and then all routes."""

EVENT_BACKLOG_MAX = 10_000
"""Number of queued messages to a slow supervisor above which events of finished relays and requests are dropped. All others must arrive."""


log = get_log(__name__)


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """Configuration of a worker."""

    worker: int
    report_relays: bool
    settings: ServerSettings
    server_id: str
    inbox: socket.socket
    """Visitors handed off by other workers arrive here."""
    http: socket.socket
    """The listener of HTTP visitors, shared by all workers."""
    https: socket.socket | None = None
    """The TLS port, shared by all workers."""


def receive_config(supervisor: socket.socket) -> WorkerConfig:
    """Wait for the first message; nothing else runs yet.

    Raises:
        UnavailableError: it did not arrive; the supervisor may be gone.
    """
    try:
        data, socks = receive_one(supervisor, CONFIGURE_S_MAX)
        configure = decode_for_worker(memoryview(data))
    except (OSError, MisuseError) as exc:
        raise UnavailableError(f"no configuration from the supervisor: {exc}") from exc
    if not isinstance(configure, Configure) or not 2 <= len(socks) <= 3:
        raise UnavailableError("no configuration from the supervisor")
    return WorkerConfig(configure.worker, configure.report_relays, decode_settings(configure.settings), configure.server_id, *socks)


async def run_worker(config: WorkerConfig, supervisor: socket.socket) -> None:
    """Serve until the supervisor sends Stop or this is cancelled; then drain, for 3 s at most.

    Raises:
        UnavailableError: the supervisor is gone. All connections are closed at once: the next server needs the ports.
        ConfigError: the data directory cannot be used.
    """
    reactor = Reactor(asyncio.get_running_loop())
    async with AsyncExitStack() as stack:
        stack.callback(reactor.close)
        for listener in (config.http, config.https):
            if listener is not None:
                stack.callback(listener.close)
        tokens = stack.enter_context(TokenReader(open_store(config.settings.data, "read")))
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        certificates = CertificateStore(config.settings, _ignore_event)  # the supervisor has the same, and reports what happens
        await stack.enter_async_context(certificates.open())
        worker = _Worker(reactor, config, tokens, supervisor, tasks, certificates)
        stack.callback(worker.close)
        await worker.serve(config)


def _ignore_event(_event: ServerEvent) -> None:
    """Do nothing."""


class _Worker:
    """A worker process: a `ServerCore` whose claims and leases are managed by the supervisor."""

    def __init__(
        self,
        reactor: Reactor,
        config: WorkerConfig,
        tokens: TokenReader,
        supervisor: socket.socket,
        tasks: asyncio.TaskGroup,
        certificates: CertificateStore,
    ) -> None:
        self._reactor = reactor
        self._tasks = tasks
        self._certificates = certificates
        self._routes_complete = asyncio.Event()
        self._stopped: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """The reason to stop; fails if the supervisor is gone."""
        self._dropped_events = 0
        """Consecutive events dropped because of a slow supervisor."""
        self._listeners: dict[int, socket.socket] = {}
        """Received listeners of tcp ports, until the edge opens them."""
        self._claim_handler = RemoteClaimHandler(self._send)
        self._scopes = LimitScopes(reactor)
        self._handoffs = HandoffRouter(reactor)
        self._replica = Replica(
            config.worker,
            reactor.call_soon,
            self._find,
            report_lost=lambda session_id: self._send(SessionLost(session_id)),
            report_revoked=lambda token_id: self._send(TokenRevoked(token_id)),
            on_moved=self._on_moved,
        )
        self._core = ServerCore(
            reactor,
            config.settings,
            identity_of(config.settings),
            tokens,
            self._replica,
            listen=self._listeners.pop,
            on_event=self._emit,
            report_relays=config.report_relays,
            worker=config.worker,
            hand_off=self._handoffs.hand_off,
            server_id=config.server_id,
            certificates=certificates,
            hand_off_agent=self._handoffs.hand_off_agent,
        )
        self._core.sessions.dispatcher.claim_handler = self._claim_handler
        self._supervisor = IpcChannel(reactor, supervisor, self._on_message, self._supervisor_lost)
        self._handoffs.open(config.inbox, self._core, self._supervisor.drain)

    async def serve(self, config: WorkerConfig) -> None:
        """Serve after all routes have arrived."""
        try:
            async with asyncio.timeout(CONFIGURE_S_MAX):
                await self._routes_complete.wait()
        except TimeoutError:
            raise UnavailableError(f"routes incomplete after {CONFIGURE_S_MAX:g} s") from None
        async with self._core.serve(config.http, config.https, None):
            self._send(Ready())
            try:
                reason = await self._stopped
            except asyncio.CancelledError:
                await self._core.drain("the server is stopping")
                raise
            await self._core.drain(reason)

    def close(self) -> None:
        """Close the connections to the supervisor and to other workers."""
        self._supervisor.close()
        self._handoffs.close()

    def _send(self, message: ToSupervisor) -> None:
        if not self._supervisor.send(encode(message)):
            self._supervisor_lost()  # or too slow to stay in step: the next worker starts afresh

    def _emit(self, event: ServerEvent) -> None:
        if isinstance(event, RelayDone | RequestDone) and self._supervisor.queued >= EVENT_BACKLOG_MAX:
            self._dropped_events += 1
            if self._dropped_events == 1:
                log.warning("events dropped, supervisor backlog full")
            return
        self._dropped_events = 0
        self._send(EventReported(type(event).__name__, dataclasses.asdict(event)))

    def _find(self, session_id: str) -> Session | None:
        return self._core.sessions.find(session_id)

    def _on_moved(self, host: str) -> None:
        self._core.http.close_idle(host)

    def _supervisor_lost(self) -> None:
        self._routes_complete.set()
        if not self._stopped.done():
            self._stopped.set_exception(UnavailableError("the supervisor is gone"))

    def _on_message(self, data: memoryview, socks: list[socket.socket]) -> None:
        """Process one message. Some carry descriptors, see `messages`."""
        message = decode_for_worker(data)
        match message:
            case RouteChanged() | RouteRemoved():
                self._on_route(message)
            case Listen() | Unlisten():
                self._on_port(message, socks)
            case AgentAssigned():
                for sock in socks:
                    self._core.links.take(sock, (message.host, message.port))
            case ClaimResponse():
                self._claim_handler.on_response(message)
            case WorkerJoined():
                for sock in socks:
                    self._handoffs.add_worker(message.worker, sock)
            case WorkerLeft():
                self._handoffs.remove_worker(message.worker)
                self._replica.worker_lost(message.worker)
            case Replace():
                self._core.sessions.replace(message.session, message.address)
            case Probe():
                self._tasks.create_task(self._probe(message), name="probe")
            case Ping():
                self._send(Pong())
            case _:
                self._on_state(message)

    def _on_state(
        self,
        message: Configure | RoutesComplete | Reload | Stop | ChallengePending | ChallengeEnded | CertificateAwaited | CertificateIssued,
    ) -> None:
        if isinstance(message, ChallengePending | ChallengeEnded | CertificateAwaited | CertificateIssued):
            self._on_certificate(message)
        else:
            self._on_lifecycle(message)

    def _on_certificate(self, message: ChallengePending | ChallengeEnded | CertificateAwaited | CertificateIssued) -> None:
        """Answer a CA's challenges, and serve its certificates."""
        source = self._certificates.acme
        if source is None:
            raise MisuseError(f"unexpected {message}: this worker has no source of a CA's certificates")
        match message:
            case ChallengePending():
                if message.token:
                    source.set_http_challenge(message.name, message.token, message.body)
                if message.pem:
                    source.set_alpn_challenge(message.name, message.pem)
                self._send(ChallengeAck(message.seq))
            case ChallengeEnded():
                source.clear_challenges(message.name)
            case CertificateAwaited():
                source.set_ordered(message.name, message.awaited)
            case CertificateIssued():
                source.install_pem(message.pem)

    def _on_lifecycle(self, message: Configure | RoutesComplete | Reload | Stop) -> None:
        """Process the messages about this process as a whole."""
        if isinstance(message, RoutesComplete):
            self._routes_complete.set()
        elif isinstance(message, Reload):
            self._certificates.reload()
        elif isinstance(message, Stop) and not self._stopped.done():
            self._stopped.set_result(message.reason)

    def _on_route(self, message: RouteChanged | RouteRemoved) -> None:
        if isinstance(message, RouteChanged):
            route = Route(
                message.kind,
                message.address,
                message.tunnel_id,
                message.epoch,
                message.worker,
                message.session,
                message.token,
                message.passthrough,
            )
            lease = self._replica.apply(route)
            session = self._find(message.session)
            lease.scopes = () if session is None else self._scopes.of(session.token) + requested_scopes(self._reactor, message.limits)
            lease.rewrite = message.rewrite
            lease.access = None if message.access is None else HttpAccess(message.access)
            lease.origin_timeout_s = 0.0 if message.limits is None else message.limits.origin_timeout_s
        else:
            gone = self._replica.lookup(message.kind, message.address)
            if gone is not None:
                self._core.tcp.close(gone)
            self._replica.remove(message.kind, message.address)
        self._send(RouteAck(message.seq))

    def _on_port(self, message: Listen | Unlisten, socks: list[socket.socket]) -> None:
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
        self._send(Probed(probe.id, alive))
