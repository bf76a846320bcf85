"""One look at all connections: which of them could give way to newcomers, and in which order."""

import heapq
from collections import Counter
from collections.abc import Iterable

from portway.protocol.source_key import source_key
from portway.server.edge.connection_state import (
    CLOSING_S,
    IDLE_S,
    LITTLE,
    PACE_S,
    QUIET_BYTES_PER_S,
    QUIET_S,
    SILENT_S,
    SLOW_BYTES_PER_S,
    SLOW_S,
    SLOW_S_CRAMPED,
    ConnectionState,
    SheddableConnection,
)


class TransferRate:
    """How fast one connection moved lately, for one request that began at `since`."""

    __slots__ = ("_at", "_at_before", "_moved", "_moved_before", "since")

    def __init__(self, since: float, moved: int, now: float) -> None:
        """Measure from now on."""
        self.since = since
        self._moved = self._moved_before = moved
        self._at = self._at_before = now

    @classmethod
    def of(cls, known: "TransferRate | None", since: float, moved: int, now: float) -> "TransferRate":
        """Return what is known of the request that began at `since`, or begin to measure it."""
        return known if known is not None and known.since == since else cls(since, moved, now)

    def rate(self, moved: int, now: float) -> float | None:
        """Return bytes per second over the last PACE_S to twice as much, or None while that is not known."""
        if now - self._at >= PACE_S:
            self._moved_before, self._at_before = self._moved, self._at
            self._moved, self._at = moved, now
        passed_s = now - self._at_before
        return (moved - self._moved_before) / passed_s if passed_s >= PACE_S else None


class Candidates:
    """Connections that could give way, by source: the source with the most first, and of one source the one that does least."""

    def __init__(self) -> None:
        """Know nobody yet."""
        self._of: dict[str, list[tuple[ConnectionState, float, float, SheddableConnection]]] = {}
        self._sources: list[tuple[int, str]] = []
        self.left = 0

    def add(self, source: str, standing: ConnectionState, since: float, member: SheddableConnection, rate: float = 0.0) -> None:
        """Note one, before `seal`."""
        self._of.setdefault(source, []).append((standing, rate, since, member))
        self.left += 1

    def seal(self) -> None:
        """Bring all in order."""
        for entries in self._of.values():
            entries.sort(key=_order, reverse=True)  # the last one of a list goes first
        self._sources = [(-len(entries), source) for source, entries in self._of.items()]
        heapq.heapify(self._sources)

    def count(self, source: str) -> int:
        """Return how many of a source are left."""
        return len(self._of.get(source, ()))

    def take(self, newcomer: str, held: int, lead: int, *, own: bool) -> tuple[ConnectionState, SheddableConnection] | None:
        """Return who gives way to a newcomer whose source has `held` that could: somebody of the source that has the most, if
        that is more by `lead`, else of its `own`.
        """
        sources = self._sources
        while sources and -sources[0][0] != self.count(sources[0][1]):
            _, source = heapq.heappop(sources)  # as it was before some of it were taken
            if self.count(source):
                heapq.heappush(sources, (-self.count(source), source))
        if sources and -sources[0][0] >= held + lead and sources[0][1] != newcomer:
            found = sources[0][1]
        elif own and self.count(newcomer):
            found = newcomer
        else:
            return None
        standing, _, _, member = self._of[found].pop()
        self.left -= 1
        return standing, member


def _order(entry: tuple[ConnectionState, float, float, SheddableConnection]) -> tuple[ConnectionState, float, float]:
    return entry[:3]


class CandidateScan:
    """A look at all connections, in steps."""

    def __init__(
        self, members: Iterable[SheddableConnection], paces: dict[SheddableConnection, TransferRate], now: float, *, cramped: bool
    ) -> None:
        """Look at those who are `members` now; `paces` are known from the last look."""
        self.easy = Candidates()
        """Who gives way as soon as places are few."""
        self.hard = Candidates()
        """Who does nothing by no fault of its own."""
        self.everybody: Counter[str] = Counter()
        """All connections, by source."""
        self.paces: dict[SheddableConnection, TransferRate] = {}
        self.cramped = cramped
        self._paces_before = paces
        self._now = now
        self._left = list(members)
        self._silent: dict[str, list[tuple[float, SheddableConnection]]] = {}

    def step(self, count: int) -> bool:
        """Look at so many more; return whether that was all."""
        left = self._left
        for _ in range(min(count, len(left))):
            member = left.pop()
            standing, since, moved = member.standing()
            address = member.address
            source = source_key(address) if ":" in address else address
            self.everybody[source] += 1
            if standing is ConnectionState.SILENT:
                self._silent.setdefault(source, []).append((since, member))
            elif standing is ConnectionState.SLOW or standing is ConnectionState.QUIET:
                self._measure(source, standing, since, moved, member)
            elif standing is ConnectionState.WAITING:
                self.hard.add(source, standing, since, member)
            elif standing is not ConnectionState.OVER and self._now - since >= (IDLE_S if standing is ConnectionState.IDLE else CLOSING_S):
                self.easy.add(source, standing, since, member)
        if left:
            return False
        for source, found in self._silent.items():
            for since, member in found:
                if len(found) > LITTLE or self._now - since >= SILENT_S:
                    self.easy.add(source, ConnectionState.SILENT, since, member)
        self.easy.seal()
        self.hard.seal()
        return True

    def _measure(self, source: str, standing: ConnectionState, since: float, moved: int, member: SheddableConnection) -> None:
        """Note a connection that moves too little, ever since it began or lately."""
        now = self._now
        pace = self.paces[member] = TransferRate.of(self._paces_before.get(member), since, moved, now)
        if standing is ConnectionState.QUIET:
            candidates, least, patience_s = self.hard, QUIET_BYTES_PER_S, QUIET_S
        else:
            candidates, least, patience_s = self.easy, SLOW_BYTES_PER_S, SLOW_S_CRAMPED if self.cramped else SLOW_S
        age_s = now - since
        rate = moved / age_s if age_s > 0 else 0.0
        lately = pace.rate(moved, now)
        if (rate < least and age_s >= patience_s) or (lately is not None and lately < least):
            candidates.add(source, standing, since, member, rate)
