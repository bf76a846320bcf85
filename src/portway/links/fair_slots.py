"""A bounded number of slots that unauthenticated peers share fairly by source. Pure: time and randomness are arguments."""

from collections.abc import Callable
from itertools import islice
from typing import Generic, TypeVar

from portway.errors import UnavailableError
from portway.links.sources import Sources

KNOWN_SLOTS = 128
"""Uncounted slots of a source with an earlier login: many agents behind one NAT may reconnect at once."""

SLOW_S = 2.0
"""Age at which the largest source loses its oldest slot to a further one of its own. Newer ones may be agents during a login; if each
was replaced by the next, none would ever complete."""

T = TypeVar("T")


class _Share(Generic[T]):
    """The slots of one source."""

    __slots__ = ("entries", "known")

    def __init__(self) -> None:
        self.entries: dict[T, float] = {}
        """Oldest first, with the time of each."""
        self.known = False

    @property
    def load(self) -> int:
        """Number of counted slots, compared with other sources."""
        return len(self.entries) - KNOWN_SLOTS * self.known


class FairSlots(Generic[T]):
    """A bounded number of slots. When all are in use, the source with the most slots loses one to a new connection.

    So sources with few slots are always admitted, without any reserve. All methods are synchronous, so each call is atomic, and
    take some microseconds for any number of sources.
    """

    def __init__(self, slots_max: int, sources: Sources, random: Callable[[], float]) -> None:
        """`random` returns numbers in [0, 1), as `random.random` does."""
        self.slots_max = slots_max
        self._sources = sources
        self._random = random
        self._shares: dict[str, _Share[T]] = {}
        self._by_load: dict[int, dict[str, None]] = {}
        """Sources by load; there are few different loads, because the number of slots is bounded."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def acquire(self, source: str, holder: T, now: float) -> T | None:
        """Take a slot for `holder`; return the holder that lost its slot for it, if any.

        Raises:
            UnavailableError: all slots are in use, and no source has more than this one.
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
        """Free the slot of `holder`; may be called twice."""
        share = self._shares.get(source)
        if share is not None and holder in share.entries:
            self._move(source, share, share.known, lambda entries: entries.pop(holder))
            self._count -= 1

    def _move(self, source: str, share: _Share[T], known: bool, change: Callable[[dict[T, float]], object]) -> None:
        """Change the slots of a source, and update the index by load."""
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
        """Return the holder that loses its slot to a new connection, whose source will have `load`: the oldest one of the source with the most."""
        heaviest = max(self._by_load)
        if heaviest >= load:
            # Random among equals: in an attack with one connection from each of very many sources, the oldest would always be
            # an honest one, which needs a round trip longer than the attacker's next connection.
            equals = self._by_load[heaviest]
            loser = next(islice(equals, int(self._random() * len(equals)), None))
            return loser, next(iter(self._shares[loser].entries))
        own = self._shares[newcomer].entries if newcomer in self._shares else {}
        for oldest, since in own.items():
            if now - since < SLOW_S:
                break
            return newcomer, oldest
        raise UnavailableError(f"all {self.slots_max} slots are in use, {len(own)} of them by {newcomer}")
