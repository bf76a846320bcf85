"""Load shedding: connections give way to newcomers when places, descriptors or streams run short (ADR 0020)."""

from collections import Counter
from collections.abc import Callable, Iterable

from portway.engine.reactor import Reactor
from portway.protocol.source_key import source_key
from portway.server.edge.connection_state import LITTLE, PACE_S, SheddableConnection
from portway.server.edge.shedding_candidates import CandidateScan

CHECK_S = 1.0
"""How long a look at everybody holds good."""
STEP = 500
"""Connections that are looked at in one turn: a millisecond's work, as each takes up to 2 µs."""
REST_S_EACH = 20e-6
"""How long until the next look, for each connection that was looked at: looks take a tenth of the time at most."""
FORGET_S = 2 * PACE_S
"""How long after the last look everything is forgotten."""


class Shedder:
    """Has connections of one kind give way to newcomers.

    Costs nothing while nobody calls it: who does what is looked up then, for all at once, and holds good for a second.
    """

    def __init__(self, reactor: Reactor, members: Callable[[], Iterable[SheddableConnection]]) -> None:
        """Choose among `members()`."""
        self._reactor = reactor
        self._members = members
        self._looked_at = float("-inf")
        self._rest_s = 0.0
        self._came: Counter[str] = Counter()
        self._seen = CandidateScan((), {}, 0.0, cramped=False)
        self._looking: CandidateScan | None = None
        self._forgetting = False
        self._missed = False
        """True when the last look had nobody for a newcomer: the next one looks again as soon as it may."""

    def make_room(self, host: str, *, cramped: bool) -> bool:
        """Have one connection give way to a newcomer from `host`; return whether one did.

        The source that has most of what can give way loses one, unless the newcomer's has as much: then it loses one itself.
        With `cramped`, also those give way that do nothing by no fault of theirs, to sources with fewer by more than LITTLE.
        """
        source = source_key(host)
        if self._is_stale(cramped=cramped):
            self._look(cramped=cramped)
        easy, hard = self._seen.easy, self._seen.hard
        held = easy.count(source) + self._came[source]
        while True:
            found = easy.take(source, held, 1, own=True)
            if found is None and cramped:
                found = hard.take(source, hard.count(source) + held, LITTLE, own=False)
            if found is None:
                self._missed = True
                return False
            standing, member = found
            if member.standing()[0] is standing:  # still
                member.give_way(standing)
                return True

    def came(self, host: str) -> None:
        """Note that a newcomer was let in, who is silent until the next look."""
        self._came[source_key(host)] += 1

    def held(self, host: str) -> int:
        """Return how many connections the source of `host` has, as far as is known."""
        source = source_key(host)
        return self._seen.everybody[source] + self._came[source]

    def abort(self) -> None:
        """Give a look up, as the reactor asks after a failed callback."""
        self._looking = None

    def _is_stale(self, *, cramped: bool) -> bool:
        age_s = self._reactor.now - self._looked_at
        wanting = cramped > self._seen.cramped or self._missed or not self._seen.easy.left
        return self._looking is None and (age_s >= CHECK_S or (wanting and age_s >= self._rest_s))

    def _look(self, *, cramped: bool) -> None:
        """See what everybody is doing: the first ones at once, the others in turns."""
        self._looked_at = self._reactor.now
        self._looking = CandidateScan(self._members(), self._seen.paces, self._looked_at, cramped=cramped)
        self._go_on()

    def _go_on(self) -> None:
        look = self._looking
        if look is None:
            return
        if not look.step(STEP):
            self._reactor.call_soon(self._go_on)
            return
        self._looking, self._seen, self._missed = None, look, False
        self._came.clear()
        self._rest_s = REST_S_EACH * look.everybody.total()
        if not self._forgetting:
            self._forgetting = True
            self._reactor.call_later(FORGET_S, self._forget)

    def _forget(self) -> None:
        """Let go of everybody some time after the last look: who has left meanwhile would be kept in memory."""
        self._forgetting = self._reactor.now - self._looked_at < FORGET_S
        if self._forgetting:
            self._reactor.call_later(FORGET_S, self._forget)
        else:
            self._seen = CandidateScan((), {}, 0.0, cramped=False)
            self._came.clear()
