"""Decides how many links a session needs: one more when all are busy, one less after idle time, a new one for one that expires.

Pure: time is an argument.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

SAMPLE_S: Final = 0.1
"""Traffic is measured as bytes per 100 ms on a link, both directions combined."""

BUSY_BYTES: Final = 1024 * 1024
"""A link that carries this much in 100 ms (84 Mbit/s) is busy: with a large transfer, not with many small requests, whose frames
are best combined on one link."""

BUSY_STREAMS: Final = 256
"""A link with this many visitors is busy however little they send, because its loss would end them all."""

PRESSING_STREAMS: Final = 1024
"""With this many visitors on each link the next one is opened at once: a link holds 4,096, and a dial takes time."""

OPEN_AFTER_S: Final = 0.3
"""How long all links have to be busy before one is opened; a page with many images is not enough."""

CLOSE_AFTER_S: Final = 30.0
"""How long a link has to be idle before it drains. A dial costs more than pings."""

IDLE_BYTES: Final = 16 * 1024
"""A link that carries less in 100 ms counts as idle, whatever streams are open on it."""

DRAIN_APART_S: Final = 2.0
"""Pause between two links that drain: the load that moves to the others must be measured first."""

REPLACE_APART_S: Final = 0.5
"""Pause between two replacements, so that a server whose links all expire together is not dialled without a pause."""

RETRY_S: Final = 1.0
RETRY_S_MAX: Final = 60.0
"""Pause after a further link failed, twice as long each time."""


@dataclass(frozen=True, slots=True)
class LinkLoad:
    """The load of one link. `number` identifies it; the lowest one is closed only when it expires."""

    number: int
    bytes_moved: int
    """Since the link began, both directions combined."""
    streams: int
    """Its current visitors."""
    expiring: bool = False
    """True when it has few stream ids left, or the server has sent GoAway."""


@dataclass(frozen=True, slots=True)
class OpenLink:
    """One more link is needed."""


@dataclass(frozen=True, slots=True)
class DrainLink:
    """A link is no longer needed: it accepts no new visitors, and closes after the last one."""

    number: int


class LinkPolicy:
    """Evaluates the loads of all links. The thresholds to open and to close are far apart, so that it does not oscillate."""

    def __init__(self, links_max: int, server_max: int = 0) -> None:
        """Allow at most `links_max` links that accept visitors, and as many again that drain.

        A quiet visitor may stay on a draining link for days, which must not cost the others a link. If the server allows more
        links (`server_max`), a link that expires stays until its replacement is open.
        """
        self._links_max = links_max
        self._server_max = max(server_max, links_max)
        self._checked_at: float | None = None
        self._moved: dict[int, int] = {}
        self._busy_since: float | None = None
        self._idle_since: dict[int, float] = {}
        self._calm_since: dict[int, float] = {}
        self._not_before = 0.0
        self._retry_s = RETRY_S
        self._drained_at = self._replaced_at = float("-inf")

    def decide(self, now: float, loads: Sequence[LinkLoad], draining: int = 0, *, opening: bool = False) -> OpenLink | DrainLink | None:
        """Return what to do, given the loads of the links that accept visitors, lowest number first, and the number of `draining` ones.

        While a link is being opened (`opening`), no other one is opened. `now` is monotonic seconds.
        """
        passed_s = SAMPLE_S if self._checked_at is None else now - self._checked_at
        if passed_s < SAMPLE_S / 2:
            return None
        self._checked_at = now
        rates = {load.number: (load.bytes_moved - self._moved.get(load.number, load.bytes_moved)) * SAMPLE_S / passed_s for load in loads}
        self._moved = {load.number: load.bytes_moved for load in loads}
        self._update_calm(now, loads, rates)
        replacement = self._replace(now, loads, draining, opening=opening)
        if replacement is not None:
            return replacement
        if opening:
            self._busy_since = None
        elif self._may_open(len(loads), draining) and now >= self._not_before and self._is_needed(now, loads, rates):
            self._busy_since = None  # the new link must have been open for a while before another one is opened
            return OpenLink()
        if opening or draining >= self._links_max or now - self._drained_at < DRAIN_APART_S:
            return None
        return self._surplus(now, loads)

    def _may_open(self, active: int, draining: int) -> bool:
        return active < self._links_max and active + draining < 2 * self._links_max

    def _replace(self, now: float, loads: Sequence[LinkLoad], draining: int, *, opening: bool) -> OpenLink | DrainLink | None:
        """Return the next step for the links that expire: open another one first, then drain them."""
        expiring = [load.number for load in loads if load.expiring]
        if not expiring:
            return None
        allowed = len(loads) < self._server_max and len(loads) + draining < 2 * self._server_max
        if len(expiring) == len(loads) and (allowed or opening):
            wait = opening or now < self._not_before or now - self._replaced_at < REPLACE_APART_S
            return None if wait else OpenLink()
        # Another link accepts visitors already; or the server allows no more, so that one has to close first.
        if draining >= self._server_max:
            return None
        self._replaced_at = now
        return DrainLink(expiring[0])

    def opened(self) -> None:
        """Record that a link was opened."""
        self._retry_s, self._not_before = RETRY_S, 0.0

    def failed(self, now: float) -> None:
        """Record that no further link could be opened, and wait before the next attempt."""
        self._not_before = now + self._retry_s
        self._retry_s = min(self._retry_s * 2, RETRY_S_MAX)

    def _is_needed(self, now: float, loads: Sequence[LinkLoad], rates: dict[int, float]) -> bool:
        if not loads or all(load.streams >= PRESSING_STREAMS for load in loads):
            return True
        if not all(rates[load.number] >= BUSY_BYTES or load.streams >= BUSY_STREAMS for load in loads):
            self._busy_since = None
            return False
        if self._busy_since is None:
            self._busy_since = now
        return now - self._busy_since >= OPEN_AFTER_S

    def _update_calm(self, now: float, loads: Sequence[LinkLoad], rates: dict[int, float]) -> None:
        """Update since when each link is idle, and since when it could take over the load of another one."""
        idle, calm = self._idle_since, self._calm_since
        self._idle_since = {load.number: idle.get(load.number, now) for load in loads if rates[load.number] < IDLE_BYTES}
        self._calm_since = {
            load.number: calm.get(load.number, now)
            for load in loads
            if rates[load.number] < BUSY_BYTES / 2 and load.streams < BUSY_STREAMS / 2
        }

    def _surplus(self, now: float, loads: Sequence[LinkLoad]) -> DrainLink | None:
        """Return the newest link that was idle long enough, if another one was calm for as long and can replace it."""
        calm = {number for number, since in self._calm_since.items() if now - since >= CLOSE_AFTER_S}
        for load in reversed(loads[1:]):
            since = self._idle_since.get(load.number)
            if since is not None and now - since >= CLOSE_AFTER_S and calm - {load.number}:
                self._drained_at = now
                return DrainLink(load.number)
        return None
