"""When each certificate is ordered, renewed or tried again. Pure: time and chance are arguments.

A name is in one order at a time. Names without a certificate come before renewals. A failure of one name delays that name; a failure of the CA
delays all, and then one order at a time tries whether it is back. Rate limits delay the name for as long as the CA demands, and the others
for less, because the limit may be that of the name alone.
"""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from portway.certificates.acme.failures import OrderFailed, Scope

NAMES_MAX = 10_000
"""Names in the schedule; each takes 0.5 kB. A name beyond them has to wait until one is released."""

IN_FLIGHT_MAX = 8
"""Orders under way at a time: an order takes about 10 s, mostly waiting. CAs accept more; a burst of 200 names takes 5 minutes."""

RENEW_AT, RENEW_SPREAD = 2 / 3, 0.02
"""Part of a certificate's life after which it is renewed, and by how much chance moves that: certificates of one day spread out again."""

RENEW_LATEST = 0.9
"""A CA may suggest a time of renewal (RFC 9773), up to this part of the life: later there is no time for a second attempt."""

NAME_RETRY_S, NAME_RETRY_FACTOR, NAME_RETRY_S_MAX = 60.0, 4.0, 12 * 3600.0
"""Four attempts in the first hour: Let's Encrypt accepts five failed checks of a name per hour."""

CA_RETRY_S, CA_RETRY_FACTOR, CA_RETRY_S_MAX = 10.0, 2.0, 1800.0
"""A CA that restarts is back in seconds, an outage takes hours."""

LIMIT_PAUSE_S, LIMIT_PAUSE_S_MAX = 60.0, 3600.0
"""Pause of all orders after the first rate limit, doubled with each further one until an order succeeds."""

RETRY_AFTER_S_MAX = 7 * 86400.0
"""The longest limit of Let's Encrypt is a week."""

JITTER = 0.1
"""Part by which chance lengthens a delay, so that servers that failed together do not return together."""

SPARE_PLACES = 64
"""Void places that a heap may have, so that it is not rebuilt at each change."""

CHECK_S, CHECK_S_MIN, CHECK_S_MAX = 6 * 3600.0, 60.0, 86400.0
"""Interval of questions for the suggested time of renewal, if the CA sends no Retry-After, and its limits (RFC 9773 section 4.3.3)."""


@dataclass(frozen=True, slots=True)
class Validity:
    """The time in which a certificate is valid; seconds since 1970."""

    not_before: float
    not_after: float


@dataclass(frozen=True, slots=True)
class Row:
    """The state of one name, for the operator."""

    name: str
    in_flight: bool
    next_at: float | None
    """When its next order begins at the earliest; None: not scheduled."""
    failures: int
    """Failed attempts since the last success."""
    error: str
    """The last one's reason; empty after a success."""


class _Entry:
    """A name in the schedule."""

    __slots__ = ("check_at", "error", "failures", "in_flight", "name", "not_before", "renew_at", "stamp", "validity", "wanted", "window")

    def __init__(self, name: str) -> None:
        self.name = name
        self.wanted = False
        self.in_flight = False
        self.validity: Validity | None = None
        self.renew_at = 0.0
        self.not_before = 0.0
        """Earliest time of the next attempt, after failures."""
        self.failures = 0
        self.error = ""
        self.stamp = 0
        """Number of its current place in a heap; older places are void."""
        self.window: tuple[float, float] | None = None
        self.check_at = 0.0

    @property
    def at(self) -> float | None:
        """When its next order is due; None while it is under way or not wanted."""
        if self.in_flight or not self.wanted:
            return None
        return max(self.renew_at if self.validity is not None else 0.0, self.not_before)


class Schedule:
    """Decides which order begins when. Names are host names, or `*.DOMAIN`; times are seconds since 1970."""

    def __init__(self, chance: Callable[[], float], *, in_flight_max: int = IN_FLIGHT_MAX, names_max: int = NAMES_MAX) -> None:
        """`chance` returns a number from 0 to 1, evenly distributed."""
        self._chance = chance
        self._in_flight_max = in_flight_max
        self._names_max = names_max
        self._entries: dict[str, _Entry] = {}
        self._missing: list[tuple[float, int, str]] = []
        """Names without a valid certificate: when, place, name."""
        self._renewals: list[tuple[float, int, str]] = []
        self._stamps = 0
        self._in_flight = 0
        self._paused_until = 0.0
        self._ca_failures = 0
        """Consecutive failures of the CA itself."""
        self._limits = 0
        """Consecutive rate limits."""

    @property
    def in_flight(self) -> int:
        """Return the number of orders under way."""
        return self._in_flight

    def want(self, name: str, validity: Validity | None, now: float) -> bool:
        """Order a certificate for a name, or renew the one it has; return False if the schedule is full."""
        entry = self._entries.get(name)
        if entry is None:
            if len(self._entries) >= self._names_max:
                self._drop_idle(now)
            if len(self._entries) >= self._names_max:
                return False
            entry = self._entries[name] = _Entry(name)
            self._set_validity(entry, validity)
        if not entry.wanted:
            entry.wanted = True
            self._place(entry, now)
        return True

    def release(self, name: str, now: float) -> None:
        """Order nothing more for a name; an order under way goes on. Its failures still count if it returns."""
        entry = self._entries.get(name)
        if entry is None:
            return
        entry.wanted = False
        entry.stamp = 0
        self._drop_if_idle(entry, now)

    def restore(self, name: str, failures: int, not_before: float, error: str, now: float) -> None:
        """Set the failures of a name before the last restart."""
        if len(self._entries) < self._names_max and name not in self._entries and not_before > now:
            entry = self._entries[name] = _Entry(name)
            entry.failures, entry.not_before, entry.error = failures, min(not_before, now + RETRY_AFTER_S_MAX), error

    def take(self, now: float) -> list[str]:
        """Return the names whose orders begin now; call `succeeded` or `failed` for each."""
        names = []
        while self._in_flight < self._allowed and now >= self._paused_until:
            entry = self._pop(self._missing, now) or self._pop(self._renewals, now)
            if entry is None:
                break
            entry.in_flight = True
            entry.stamp = 0
            self._in_flight += 1
            names.append(entry.name)
        return names

    def succeeded(self, name: str, validity: Validity, now: float) -> None:
        """Record a new certificate."""
        self._ca_failures = self._limits = 0
        entry = self._end(name)
        entry.failures, entry.not_before, entry.error = 0, 0.0, ""
        self._set_validity(entry, validity)
        self._place(entry, now)
        self._drop_if_idle(entry, now)

    def failed(self, name: str, failure: OrderFailed, now: float) -> float:
        """Record a failed attempt; return when the next one begins at the earliest."""
        entry = self._end(name)
        entry.error = str(failure)
        demanded = min(max(failure.retry_after_s or 0.0, 0.0), RETRY_AFTER_S_MAX)
        if failure.scope is Scope.CA:
            self._ca_failures += 1
            delay = self._longer(_grown(CA_RETRY_S, CA_RETRY_FACTOR, self._ca_failures, CA_RETRY_S_MAX))
            entry.not_before = now + max(delay, demanded)
            self._paused_until = max(self._paused_until, entry.not_before)
        else:
            entry.failures += 1
            delay = self._longer(_grown(NAME_RETRY_S, NAME_RETRY_FACTOR, entry.failures, NAME_RETRY_S_MAX))
            entry.not_before = now + max(delay, demanded)
        if failure.scope is Scope.LIMIT:
            self._limits += 1
            pause = self._longer(_grown(LIMIT_PAUSE_S, 2.0, self._limits, LIMIT_PAUSE_S_MAX))
            self._paused_until = max(self._paused_until, now + min(pause, demanded or pause))
        elif failure.scope is Scope.NAME:
            self._ca_failures = 0  # it worked well enough to refuse
        self._place(entry, now)
        self._drop_if_idle(entry, now)
        return entry.not_before

    def next_of(self, name: str) -> float | None:
        """Return when the next order of a name is due; None if none is."""
        entry = self._entries.get(name)
        return None if entry is None else entry.at

    def failures(self, name: str) -> int:
        """Return the number of a name's failed attempts since its last success."""
        entry = self._entries.get(name)
        return 0 if entry is None else entry.failures

    def suggest_window(self, name: str, start: float, end: float) -> None:
        """Renew within the window that the CA suggests, at a time by chance; a window that is over means now."""
        entry = self._entries.get(name)
        if entry is None or entry.validity is None or entry.window == (start, end) or not start <= end:
            return
        entry.window = (start, end)
        latest = _at_part(entry.validity, RENEW_LATEST)
        entry.renew_at = min(start + self._chance() * (end - start), latest)
        if not entry.in_flight and entry.wanted:
            self._place(entry, start)

    def checks(self, now: float) -> list[str]:
        """Return the names whose suggested window is to be read now; call `checked` for each."""
        return [entry.name for entry in self._entries.values() if entry.wanted and _is_valid(entry, now) and now >= entry.check_at]

    def checked(self, name: str, retry_after_s: float | None, now: float) -> None:
        """Set when the suggested window of a name is read again."""
        entry = self._entries.get(name)
        if entry is not None:
            entry.check_at = now + min(max(retry_after_s or CHECK_S, CHECK_S_MIN), CHECK_S_MAX)

    def next_at(self) -> float | None:
        """Return when `take` has to be called again; None if nothing is due before another call."""
        if self._in_flight >= self._allowed:
            return None
        first = [entry.at for heap in (self._missing, self._renewals) if (entry := self._peek(heap)) is not None and entry.at is not None]
        return max(min(first), self._paused_until) if first else None

    def rows(self) -> Iterator[Row]:
        """Yield the state of each name."""
        for entry in self._entries.values():
            at = entry.at
            yield Row(entry.name, entry.in_flight, None if at is None else max(at, self._paused_until), entry.failures, entry.error)

    @property
    def _allowed(self) -> int:
        """Orders that may be under way: one after a failure of the CA or a limit, to find out whether it is over."""
        return 1 if self._ca_failures or self._limits else self._in_flight_max

    def _end(self, name: str) -> _Entry:
        entry = self._entries[name]
        if entry.in_flight:
            entry.in_flight = False
            self._in_flight -= 1
        return entry

    def _set_validity(self, entry: _Entry, validity: Validity | None) -> None:
        entry.validity, entry.window, entry.check_at = validity, None, 0.0
        if validity is not None:
            entry.renew_at = renewal_time(validity, self._chance())

    def _longer(self, delay_s: float) -> float:
        return delay_s * (1 + JITTER * self._chance())

    def _place(self, entry: _Entry, now: float) -> None:
        at = entry.at
        if at is None:
            return
        self._stamps += 1
        entry.stamp = self._stamps
        heap = self._renewals if _is_valid(entry, now) else self._missing
        heapq.heappush(heap, (at, entry.stamp, entry.name))
        if len(heap) > 2 * len(self._entries) + SPARE_PLACES:  # void places of the distant future would stay until then
            heap[:] = [place for place in heap if (known := self._entries.get(place[2])) is not None and known.stamp == place[1]]
            heapq.heapify(heap)

    def _peek(self, heap: list[tuple[float, int, str]]) -> _Entry | None:
        """Return the first entry of a heap, after removing void places."""
        while heap:
            entry = self._entries.get(heap[0][2])
            if entry is not None and entry.stamp == heap[0][1]:
                return entry
            heapq.heappop(heap)
        return None

    def _pop(self, heap: list[tuple[float, int, str]], now: float) -> _Entry | None:
        entry = self._peek(heap)
        if entry is None or heap[0][0] > now:
            return None
        heapq.heappop(heap)
        return entry

    def _drop_if_idle(self, entry: _Entry, now: float) -> None:
        if not entry.wanted and not entry.in_flight and entry.not_before <= now:
            self._entries.pop(entry.name, None)

    def _drop_idle(self, now: float) -> None:
        for entry in list(self._entries.values()):
            self._drop_if_idle(entry, now)


def renewal_time(validity: Validity, chance: float = 0.5) -> float:
    """Return when a certificate is renewed, unless the CA suggests another time."""
    return _at_part(validity, RENEW_AT + (2 * chance - 1) * RENEW_SPREAD)


def _is_valid(entry: _Entry, now: float) -> bool:
    return entry.validity is not None and now < entry.validity.not_after


def _at_part(validity: Validity, part: float) -> float:
    return validity.not_before + part * (validity.not_after - validity.not_before)


def _grown(first_s: float, factor: float, failures: int, most_s: float) -> float:
    """Return the delay after so many consecutive failures."""
    return min(first_s * factor ** min(failures - 1, 30), most_s)
