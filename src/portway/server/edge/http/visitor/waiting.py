"""Requests that wait for their agent, or for a stream while all links are full."""

from collections.abc import Callable

from portway.protocol.source_key import source_key
from portway.server.edge.holds import Hold
from portway.server.edge.http.head_cache import CachedRequest
from portway.server.edge.http.interfaces import EdgeServices
from portway.server.edge.http.origin.pool import TunnelPool
from portway.server.tunnels.lease import Lease

HEAD, HELD, EXCHANGE, DRAIN, OVER = range(5)
"""The states of a visitor's connection."""


class WaitingRequest:
    """The HELD state of a visitor's connection, which `VisitorConnection` extends to the others."""

    __slots__ = ("_asked", "_edge", "_held_in", "_hold", "_lease", "_started_at", "_state", "_why_held", "address", "deadline")

    _asked: CachedRequest | None
    _edge: EdgeServices
    _held_in: dict[object, Callable[[], None]]
    _hold: Hold | None
    """Where it waits for an agent: its right to."""
    _lease: Lease | None
    _started_at: float
    _state: int
    _why_held: str
    address: str
    """The visitor's numeric host."""
    deadline: float

    def _route(self, asked: CachedRequest) -> None:
        """Send the request where its host says; hold it while nobody is there."""
        raise NotImplementedError

    def refuse(self, code: str, detail: str = "", *, complete: bool) -> None:
        """Answer in the origin's place."""
        raise NotImplementedError

    def _wait(self, why: str, asked: CachedRequest, pool: TunnelPool | None = None) -> None:
        """Wait for the agent, or in line for a stream of `pool`, not for long; refuse where that may not be."""
        edge, lease = self._edge, self._lease
        until = self._started_at + edge.settings.hold_s
        if until <= edge.reactor.now or lease is None:
            self.refuse(why, complete=asked.bodyless)
            return
        if pool is None:
            self._hold = edge.holds.enter(lease.owner.token_id, source_key(self.address), self._give_way)
            if self._hold is None:
                self.refuse(why, complete=asked.bodyless)
                return
        if asked.long is not None:
            asked.long.drop_lines()
        self._state = HELD
        self.deadline = until
        self._why_held = why
        if pool is None:
            self._held_in = lease.waiters
            lease.waiters[self] = self._woken
        else:
            self._held_in = pool.line
            pool.enqueue(self, self._woken)

    def _give_way(self) -> None:
        """Wait no longer: the time is over, or another one waits instead."""
        self._stop_waiting()
        self.refuse(self._why_held, complete=self._asked is not None and self._asked.bodyless)

    def _woken(self) -> None:
        """Try again: the lease is live again, or gone, or it is his turn in the line, where he keeps his place meanwhile."""
        if self._state == HELD:
            waited_in = self._held_in
            self._leave_hold()
            self._reroute()
            if self._state != HELD or self._held_in is not waited_in:
                waited_in.pop(self, None)

    def _stop_waiting(self) -> None:
        """Wait no more."""
        if self._state == HELD:
            self._held_in.pop(self, None)
            self._leave_hold()
            self._state = HEAD

    def _leave_hold(self) -> None:
        hold, self._hold = self._hold, None
        if hold is not None:
            hold.leave()

    def _reroute(self) -> None:
        asked = self._asked
        if asked is not None:
            self._state = HEAD
            self._route(asked)
