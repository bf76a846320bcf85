"""Decides how many links a session needs: one more ahead of need, one less after a long calm, another one for one that expires.

Pure: time comes in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

SAMPLE_S: Final = 0.1
"""Traffic is judged by what a link carries in 100 ms, both ways."""

BUSY_BYTES: Final = 1024 * 1024
"""A link that carries this much in 100 ms (84 Mbit/s) is busy: a large transfer, not many small requests, whose frames
travel best together on one link."""

BUSY_STREAMS: Final = 256
"""A link with so many visitors is busy however little they send: its loss would take them all."""

PRESSING_STREAMS: Final = 1024
"""With so many visitors on each link the next one is opened at once: a link holds 4,096, and a dial takes its time."""

OPEN_AFTER_S: Final = 0.3
"""The least busy link has to stay busy for so long; a page full of pictures is no reason for a link."""

CLOSE_AFTER_S: Final = 30.0
"""A link has to be idle for so long before it goes. Dialling is dearer than pinging."""

IDLE_BYTES: Final = 16 * 1024
"""A link that carries less in 100 ms counts as idle, whatever streams are open on it."""

DRAIN_APART_S: Final = 2.0
"""From one link that drains to the next: what moves over to the others is seen before another one goes."""

REPLACE_APART_S: Final = 0.5
"""From one link that is replaced to the next, so that a server whose links all expire at once is not dialled without a pause."""

RETRY_S: Final = 1.0
RETRY_S_MAX: Final = 60.0
"""After a further link could not be had, the next try waits so long, twice as long each time."""


@dataclass(frozen=True, slots=True)
class LinkLoad:
    """What one link carries. `number` tells links apart, and the lowest one is closed only when it expires."""

    number: int
    bytes_moved: int
    """Since the link began, both ways."""
    streams: int
    """Visitors on it now."""
    expiring: bool = False
    """It has few stream ids left, or the server has said GoAway."""


@dataclass(frozen=True, slots=True)
class OpenLink:
    """One more link is needed."""


@dataclass(frozen=True, slots=True)
class DrainLink:
    """A link is not needed any more: it takes no new visitors, and closes when it has none left."""

    number: int


class LinkPolicy:
    """Looks at the links every now and then. Opening and closing are far apart, so that it does not flutter."""

    def __init__(self, links_max: int, server_max: int = 0) -> None:
        """Ask for at most `links_max` links that take visitors, and for as many again that drain.

        A quiet visitor may stay on a link that drains for days: he must not cost the others a link. Where the server takes more
        links (`server_max`), a link that expires stays until its replacement is there.
        """
        self._links_max = links_max
        self._server_max = max(server_max, links_max)
        self._looked_at: float | None = None
        self._moved: dict[int, int] = {}
        self._busy_since: float | None = None
        self._idle_since: dict[int, float] = {}
        self._calm_since: dict[int, float] = {}
        self._not_before = 0.0
        self._retry_s = RETRY_S
        self._drained_at = self._replaced_at = float("-inf")

    def decide(self, now: float, loads: Sequence[LinkLoad], draining: int = 0, *, opening: bool = False) -> OpenLink | DrainLink | None:
        """Return what to do about the links that take visitors, lowest number first; `draining` more take none.

        While one link is being opened (`opening`), no other one is asked for. `now` is monotonic seconds.
        """
        passed_s = SAMPLE_S if self._looked_at is None else now - self._looked_at
        if passed_s < SAMPLE_S / 2:
            return None
        self._looked_at = now
        rates = {load.number: (load.bytes_moved - self._moved.get(load.number, load.bytes_moved)) * SAMPLE_S / passed_s for load in loads}
        self._moved = {load.number: load.bytes_moved for load in loads}
        self._note_calm(now, loads, rates)
        replacement = self._replace(now, loads, draining, opening=opening)
        if replacement is not None:
            return replacement
        if opening:
            self._busy_since = None
        elif self._has_room(len(loads), draining) and now >= self._not_before and self._is_needed(now, loads, rates):
            self._busy_since = None  # the new one must have been there for a while before there is need of another
            return OpenLink()
        if opening or draining >= self._links_max or now - self._drained_at < DRAIN_APART_S:
            return None
        return self._surplus(now, loads)

    def _has_room(self, taking: int, draining: int) -> bool:
        return taking < self._links_max and taking + draining < 2 * self._links_max

    def _replace(self, now: float, loads: Sequence[LinkLoad], draining: int, *, opening: bool) -> OpenLink | DrainLink | None:
        """Return what is next for the links that expire: another one first, then they drain."""
        expiring = [load.number for load in loads if load.expiring]
        if not expiring:
            return None
        room = len(loads) < self._server_max and len(loads) + draining < 2 * self._server_max
        if len(expiring) == len(loads) and (room or opening):
            wait = opening or now < self._not_before or now - self._replaced_at < REPLACE_APART_S
            return None if wait else OpenLink()
        # Another one takes visitors already; or the server allows no more, so that its place has to come free first.
        if draining >= self._server_max:
            return None
        self._replaced_at = now
        return DrainLink(expiring[0])

    def opened(self) -> None:
        """Note that a link was had."""
        self._retry_s, self._not_before = RETRY_S, 0.0

    def failed(self, now: float) -> None:
        """Note that no further link could be had, so that it is not tried again and again."""
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

    def _note_calm(self, now: float, loads: Sequence[LinkLoad], rates: dict[int, float]) -> None:
        """Keep since when each link is idle, and since when it could take what another one has left."""
        idle, calm = self._idle_since, self._calm_since
        self._idle_since = {load.number: idle.get(load.number, now) for load in loads if rates[load.number] < IDLE_BYTES}
        self._calm_since = {
            load.number: calm.get(load.number, now)
            for load in loads
            if rates[load.number] < BUSY_BYTES / 2 and load.streams < BUSY_STREAMS / 2
        }

    def _surplus(self, now: float, loads: Sequence[LinkLoad]) -> DrainLink | None:
        """Return the youngest link that was idle long enough, if another one was calm for as long to take its place."""
        calm = {number for number, since in self._calm_since.items() if now - since >= CLOSE_AFTER_S}
        for load in reversed(loads[1:]):
            since = self._idle_since.get(load.number)
            if since is not None and now - since >= CLOSE_AFTER_S and calm - {load.number}:
                self._drained_at = now
                return DrainLink(load.number)
        return None
