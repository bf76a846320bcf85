"""Load shedding: closes connections for new visitors when capacity, descriptors or streams run short (ADR 0020)."""

from collections import Counter
from collections.abc import Callable, Iterable

from portway.edge.connection_state import FEW, RATE_WINDOW_S, SheddableConnection
from portway.edge.shedding_candidates import CandidateScan
from portway.engine.reactor import Reactor
from portway.protocol.source_key import source_key

SCAN_VALID_S = 1.0
"""How long the result of a scan is used."""
SCAN_STEP = 500
"""Connections scanned in one turn: 1 ms of work, as each takes up to 2 µs."""
PAUSE_S_EACH = 20e-6
"""Pause before the next scan, per scanned connection: scans take at most a tenth of the time."""
FORGET_S = 2 * RATE_WINDOW_S
"""Time after the last scan at which its result is dropped."""


class Shedder:
    """Closes connections of one kind in favour of new connections.

    Costs nothing until it is called: connections are scanned then, all at once, and the result is used for a second.
    """

    def __init__(self, reactor: Reactor, connections: Callable[[], Iterable[SheddableConnection]]) -> None:
        """Choose among `connections()`."""
        self._reactor = reactor
        self._connections = connections
        self._scanned_at = float("-inf")
        self._pause_s = 0.0
        self._admitted: Counter[str] = Counter()
        self._last_scan = CandidateScan((), {}, 0.0, critical=False)
        self._scan: CandidateScan | None = None
        self._forget_pending = False
        self._rejected = False
        """True if the last scan had no connection for a new connection: the next new connection starts another one as soon as that is allowed."""

    def shed_one(self, host: str, *, critical: bool) -> bool:
        """Close one connection for a new connection from `host`; return whether one was closed.

        The source with the most sheddable connections loses one, unless the new connection's source has as many: then it loses one itself.
        With `critical`, connections that are idle through no fault of the visitor are closed too, for sources that have fewer by
        more than FEW.
        """
        source = source_key(host)
        if self._is_stale(critical=critical):
            self._start_scan(critical=critical)
        eligible, last_resort = self._last_scan.eligible, self._last_scan.last_resort
        own_count = eligible.count(source) + self._admitted[source]
        while True:
            found = eligible.take(source, own_count, 1, own=True)
            if found is None and critical:
                found = last_resort.take(source, last_resort.count(source) + own_count, FEW, own=False)
            if found is None:
                self._rejected = True
                return False
            state, connection = found
            if connection.state()[0] is state:  # unchanged since the scan
                connection.shed(state)
                return True

    def count_admitted(self, host: str) -> None:
        """Count a new connection that was admitted; it is silent until the next scan."""
        self._admitted[source_key(host)] += 1

    def connections_of(self, host: str) -> int:
        """Return how many connections the source of `host` has, as of the last scan."""
        source = source_key(host)
        return self._last_scan.by_source[source] + self._admitted[source]

    def abort(self) -> None:
        """Cancel a scan; the reactor calls this after a failed callback."""
        self._scan = None

    def _is_stale(self, *, critical: bool) -> bool:
        age_s = self._reactor.now - self._scanned_at
        insufficient = critical > self._last_scan.critical or self._rejected or not self._last_scan.eligible.remaining
        return self._scan is None and (age_s >= SCAN_VALID_S or (insufficient and age_s >= self._pause_s))

    def _start_scan(self, *, critical: bool) -> None:
        """Scan all connections: the first ones at once, the others in further turns."""
        self._scanned_at = self._reactor.now
        self._scan = CandidateScan(self._connections(), self._last_scan.rates, self._scanned_at, critical=critical)
        self._continue_scan()

    def _continue_scan(self) -> None:
        scan = self._scan
        if scan is None:
            return
        if not scan.step(SCAN_STEP):
            self._reactor.call_soon(self._continue_scan)
            return
        self._scan, self._last_scan, self._rejected = None, scan, False
        self._admitted.clear()
        self._pause_s = PAUSE_S_EACH * scan.by_source.total()
        if not self._forget_pending:
            self._forget_pending = True
            self._reactor.call_later(FORGET_S, self._forget)

    def _forget(self) -> None:
        """Drop the last scan after a while: it would keep closed connections in memory."""
        self._forget_pending = self._reactor.now - self._scanned_at < FORGET_S
        if self._forget_pending:
            self._reactor.call_later(FORGET_S, self._forget)
        else:
            self._last_scan = CandidateScan((), {}, 0.0, critical=False)
            self._admitted.clear()
