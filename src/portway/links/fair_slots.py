"""A bounded number of places that strangers share by their source. Pure: time and chance come in."""

from collections.abc import Callable
from itertools import islice
from typing import Generic, TypeVar

from portway.errors import UnavailableError
from portway.links.sources import Sources

KNOWN_SLOTS = 128
"""Places of a source from which somebody has logged in before that do not count: an office behind one NAT that comes back."""

SLOW_S = 2.0
"""A source that holds most loses its oldest one only after so long. Its newer ones may be agents in the middle of a login; were
each pushed out by the next, none would ever be through."""

T = TypeVar("T")


class _Share(Generic[T]):
    """The places of one source."""

    __slots__ = ("entries", "known")

    def __init__(self) -> None:
        self.entries: dict[T, float] = {}
        """Oldest first, with the time of each."""
        self.known = False

    @property
    def load(self) -> int:
        """What it holds, compared with others."""
        return len(self.entries) - KNOWN_SLOTS * self.known


class FairSlots(Generic[T]):
    """While there is room anybody may take a place. When all are taken, the source that holds most gives one up to others.

    So whoever holds few always gets in, and nothing is kept free for nobody. Every method is synchronous, so each call is atomic,
    and takes some microseconds however many sources there are.
    """

    def __init__(self, slots_max: int, sources: Sources, random: Callable[[], float]) -> None:
        """`random` returns numbers in [0, 1), as `random.random` does."""
        self.slots_max = slots_max
        self._sources = sources
        self._random = random
        self._shares: dict[str, _Share[T]] = {}
        self._by_load: dict[int, dict[str, None]] = {}
        """Sources by their load; few loads differ, as all places together are few."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def acquire(self, source: str, holder: T, now: float) -> T | None:
        """Take a place for `holder`; return who has lost its own for that, if anybody.

        Raises:
            UnavailableError: all are taken, and nobody holds more than this source does.
        """
        share = self._shares.get(source) or _Share()
        known = self._sources.is_known(source, now)
        victim = None
        if self._count >= self.slots_max:
            loser, victim = self._choose_victim(source, len(share.entries) + 1 - KNOWN_SLOTS * known, now)
            self.release(loser, victim)
        self._shares[source] = share
        self._move(source, share, known, lambda entries: entries.update({holder: now}))
        self._count += 1
        return victim

    def release(self, source: str, holder: T) -> None:
        """Give a place back; may be called twice."""
        share = self._shares.get(source)
        if share is not None and holder in share.entries:
            self._move(source, share, share.known, lambda entries: entries.pop(holder))
            self._count -= 1

    def _move(self, source: str, share: _Share[T], known: bool, change: Callable[[dict[T, float]], object]) -> None:
        """Change what a source holds, and keep it among those of its load."""
        before = self._by_load.get(share.load)
        if before is not None:
            before.pop(source, None)
            if not before:
                del self._by_load[share.load]
        share.known = known
        change(share.entries)
        if share.entries:
            self._by_load.setdefault(share.load, {})[source] = None
        else:
            del self._shares[source]

    def _choose_victim(self, newcomer: str, load: int, now: float) -> tuple[str, T]:
        """Return whose place a newcomer gets, whose source will have this load: one of the source with the greatest, its oldest."""
        heaviest = max(self._by_load)
        if heaviest >= load:
            # By chance among equals: with one connection from each of very many sources, the oldest one would always be
            # the honest one, which takes a round trip longer than the next of the others.
            equals = self._by_load[heaviest]
            loser = next(islice(equals, int(self._random() * len(equals)), None))
            return loser, next(iter(self._shares[loser].entries))
        own = self._shares[newcomer].entries if newcomer in self._shares else {}
        for oldest, since in own.items():
            if now - since < SLOW_S:
                break
            return newcomer, oldest
        raise UnavailableError(f"all {self.slots_max} places are taken, {len(own)} of them by {newcomer}")
