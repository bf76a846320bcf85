"""State of a server behind `portway status`, derived from its events."""

import os
from collections.abc import Callable
from typing import assert_never

import msgspec

from portway import __version__
from portway.certificates.events import CertificateDown, CertificateFailed, CertificateOrdered, CertificateUp
from portway.edge.events import ConnectionsShed, RelayDone, RequestDone, VisitorsTurnedAway
from portway.server.events import (
    HandshakesFailed,
    LeaseDown,
    LeaseUp,
    LinksChanged,
    Listening,
    LoginRefused,
    ServerEvent,
    SessionDown,
    SessionUp,
    SpeedTested,
    Stopping,
    WorkerDown,
    WorkerUp,
)
from portway.server.reporting.certificate_status import CertificateStatus, CertificateTable


class SessionStatus(msgspec.Struct):
    """One agent that is logged in."""

    session: str
    token: str
    agent: str
    peer: str
    since: float
    """Seconds since 1970."""
    links: int = 1


class LeaseStatus(msgspec.Struct):
    """One public address with an owner."""

    url: str
    kind: str
    session: str
    """The session that served it last; it may be lost while the address is held."""


class WorkerStatus(msgspec.Struct):
    """One worker process."""

    worker: int
    pid: int
    since: float
    """Seconds since 1970."""


class ServerStatus(msgspec.Struct, tag_field="program", tag="server"):
    """One running server, as reported by its status socket."""

    pid: int
    version: str
    since: float
    """When it started; seconds since 1970."""
    domain: str = ""
    http: str = ""
    agents: str = ""
    advertised: str = ""
    tcp_ports: str = ""
    sessions: list[SessionStatus] = []
    tunnels: list[LeaseStatus] = []
    logins_refused: int = 0
    handshakes_failed: int = 0
    """Updated at most once a minute."""
    visitors_turned_away: int = 0
    """Rejected at capacity; updated every ten seconds."""
    connections_shed: int = 0
    """Idle or slow ones, closed to admit new ones; updated every ten seconds."""
    workers: list[WorkerStatus] = []
    """Empty where a single process does everything."""
    certificates: list[CertificateStatus] = []


class ServerStatusTracker:
    """Receives every event and returns the current state. Synchronous, and bounded by the limits of the server itself."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` is `clock.wall`."""
        self._clock = clock
        self._status = ServerStatus(os.getpid(), __version__, clock())
        self._sessions: dict[str, SessionStatus] = {}
        self._leases: dict[str, LeaseStatus] = {}
        self._workers: dict[int, WorkerStatus] = {}
        self._certificates = CertificateTable()

    def to_json(self) -> bytes:
        """Return the current state as JSON."""
        self._status.sessions = list(self._sessions.values())
        self._status.tunnels = list(self._leases.values())
        self._status.workers = [self._workers[number] for number in sorted(self._workers)]
        self._status.certificates = self._certificates.rows()
        return msgspec.json.encode(self._status)

    def __call__(self, event: ServerEvent) -> None:
        """Update the state from one event."""
        status = self._status
        match event:
            case Listening():
                status.domain, status.http, status.agents = event.domain, event.http, event.agents
                status.advertised, status.tcp_ports = event.advertised, event.tcp_ports
            case SessionUp():
                self._sessions[event.session] = SessionStatus(event.session, event.token, event.agent, event.peer, self._clock())
            case LinksChanged():
                if event.session in self._sessions:
                    self._sessions[event.session].links = event.links
            case SessionDown():
                self._sessions.pop(event.session, None)
            case LeaseUp():
                self._leases[event.url] = LeaseStatus(event.url, event.kind, event.session)
            case LeaseDown():
                self._leases.pop(event.url, None)
            case LoginRefused() | HandshakesFailed() | VisitorsTurnedAway() | ConnectionsShed():
                self._count(event)
            case WorkerUp() | WorkerDown():
                self._update_worker(event)
            case CertificateUp() | CertificateFailed() | CertificateDown():
                self._certificates.update(event)
            case SpeedTested() | RequestDone() | RelayDone() | CertificateOrdered() | Stopping():
                pass
            case _:
                assert_never(event)

    def _count(self, event: LoginRefused | HandshakesFailed | VisitorsTurnedAway | ConnectionsShed) -> None:
        status = self._status
        match event:
            case LoginRefused():
                status.logins_refused += event.count
            case HandshakesFailed():
                status.handshakes_failed += event.count
            case VisitorsTurnedAway():
                status.visitors_turned_away += event.count
            case ConnectionsShed():
                status.connections_shed += event.count

    def _update_worker(self, event: WorkerUp | WorkerDown) -> None:
        if isinstance(event, WorkerUp):
            self._workers[event.worker] = WorkerStatus(event.worker, event.pid, self._clock())
        else:
            self._workers.pop(event.worker, None)
