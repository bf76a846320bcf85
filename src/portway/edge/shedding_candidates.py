"""One scan of all connections: which ones may be closed for new visitors, and in which order."""

import heapq
from collections import Counter
from collections.abc import Iterable

from portway.edge.connection_state import (
    CLOSING_S,
    FEW,
    IDLE_S,
    QUIET_BYTES_PER_S,
    QUIET_S,
    RATE_WINDOW_S,
    SILENT_S,
    SLOW_BYTES_PER_S,
    SLOW_S,
    SLOW_S_CRITICAL,
    ConnectionState,
    SheddableConnection,
)
from portway.protocol.source_key import source_key


class TransferRate:
    """Recent transfer rate of one connection, for one request that began at `since`."""

    __slots__ = ("_at", "_at_before", "_moved", "_moved_before", "since")

    def __init__(self, since: float, moved: int, now: float) -> None:
        """Measure from now on."""
        self.since = since
        self._moved = self._moved_before = moved
        self._at = self._at_before = now

    @classmethod
    def of(cls, known: "TransferRate | None", since: float, moved: int, now: float) -> "TransferRate":
        """Return `known` if it measures the request that began at `since`, otherwise a new measurement."""
        return known if known is not None and known.since == since else cls(since, moved, now)

    def recent(self, moved: int, now: float) -> float | None:
        """Return bytes per second over the last RATE_WINDOW_S to twice as much, or None if not measured for that long."""
        if now - self._at >= RATE_WINDOW_S:
            self._moved_before, self._at_before = self._moved, self._at
            self._moved, self._at = moved, now
        passed_s = now - self._at_before
        return (moved - self._moved_before) / passed_s if passed_s >= RATE_WINDOW_S else None


class Candidates:
    """Sheddable connections by source: the source with the most first, and within a source by state and rate."""

    def __init__(self) -> None:
        """Begin without any."""
        self._by_source: dict[str, list[tuple[ConnectionState, float, float, SheddableConnection]]] = {}
        self._sources: list[tuple[int, str]] = []
        self.remaining = 0

    def add(self, source: str, state: ConnectionState, since: float, connection: SheddableConnection, rate: float = 0.0) -> None:
        """Add one, before `sort`."""
        self._by_source.setdefault(source, []).append((state, rate, since, connection))
        self.remaining += 1

    def sort(self) -> None:
        """Order all that were added."""
        for entries in self._by_source.values():
            entries.sort(key=_order, reverse=True)  # `take` pops from the end
        self._sources = [(-len(entries), source) for source, entries in self._by_source.items()]
        heapq.heapify(self._sources)

    def count(self, source: str) -> int:
        """Return how many of a source remain."""
        return len(self._by_source.get(source, ()))

    def take(self, newcomer: str, own_count: int, margin: int, *, own: bool) -> tuple[ConnectionState, SheddableConnection] | None:
        """Return the connection to close for a new connection whose source has `own_count` of them: one of the source with the most, if
        that is more by `margin`, otherwise, with `own`, one of the new connection's source.
        """
        sources = self._sources
        while sources and -sources[0][0] != self.count(sources[0][1]):
            _, source = heapq.heappop(sources)  # outdated: some were taken since
            if self.count(source):
                heapq.heappush(sources, (-self.count(source), source))
        if sources and -sources[0][0] >= own_count + margin and sources[0][1] != newcomer:
            found = sources[0][1]
        elif own and self.count(newcomer):
            found = newcomer
        else:
            return None
        state, _, _, connection = self._by_source[found].pop()
        self.remaining -= 1
        return state, connection


def _order(entry: tuple[ConnectionState, float, float, SheddableConnection]) -> tuple[ConnectionState, float, float]:
    return entry[:3]


class CandidateScan:
    """A scan of all connections, in steps."""

    def __init__(
        self, connections: Iterable[SheddableConnection], rates: dict[SheddableConnection, TransferRate], now: float, *, critical: bool
    ) -> None:
        """Scan `connections`; `rates` come from the previous scan."""
        self.eligible = Candidates()
        """Closed as soon as capacity is scarce."""
        self.last_resort = Candidates()
        """Idle through no fault of the visitor: closed only when capacity is critical."""
        self.by_source: Counter[str] = Counter()
        """All connections, by source."""
        self.rates: dict[SheddableConnection, TransferRate] = {}
        self.critical = critical
        self._previous_rates = rates
        self._now = now
        self._remaining = list(connections)
        self._silent: dict[str, list[tuple[float, SheddableConnection]]] = {}

    def step(self, count: int) -> bool:
        """Scan `count` more; return whether the scan is complete."""
        remaining = self._remaining
        for _ in range(min(count, len(remaining))):
            connection = remaining.pop()
            state, since, moved = connection.state()
            address = connection.address
            source = source_key(address) if ":" in address else address
            self.by_source[source] += 1
            if state is ConnectionState.SILENT:
                self._silent.setdefault(source, []).append((since, connection))
            elif state is ConnectionState.SLOW or state is ConnectionState.QUIET:
                self._measure(source, state, since, moved, connection)
            elif state is ConnectionState.WAITING:
                self.last_resort.add(source, state, since, connection)
            elif state is not ConnectionState.EXEMPT and self._now - since >= (IDLE_S if state is ConnectionState.IDLE else CLOSING_S):
                self.eligible.add(source, state, since, connection)
        if remaining:
            return False
        for source, found in self._silent.items():
            for since, connection in found:
                if len(found) > FEW or self._now - since >= SILENT_S:
                    self.eligible.add(source, ConnectionState.SILENT, since, connection)
        self.eligible.sort()
        self.last_resort.sort()
        return True

    def _measure(self, source: str, state: ConnectionState, since: float, moved: int, connection: SheddableConnection) -> None:
        """Add a connection whose rate is too low, over its whole life or recently."""
        now = self._now
        measured = self.rates[connection] = TransferRate.of(self._previous_rates.get(connection), since, moved, now)
        if state is ConnectionState.QUIET:
            candidates, rate_min, grace_s = self.last_resort, QUIET_BYTES_PER_S, QUIET_S
        else:
            candidates, rate_min, grace_s = self.eligible, SLOW_BYTES_PER_S, SLOW_S_CRITICAL if self.critical else SLOW_S
        age_s = now - since
        rate = moved / age_s if age_s > 0 else 0.0
        recent = measured.recent(moved, now)
        if (rate < rate_min and age_s >= grace_s) or (recent is not None and recent < rate_min):
            candidates.add(source, state, since, connection, rate)
