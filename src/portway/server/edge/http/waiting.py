"""Requests that wait for their agent, or for a stream while all links are full."""

from collections.abc import Callable

from portway.server.edge.http.asked import Asked
from portway.server.edge.http.edge_view import Edge
from portway.server.edge.http.pool import TunnelPool
from portway.server.tunnels.lease import Lease

HEAD, HELD, EXCHANGE, DRAIN, OVER = range(5)
"""The states of a visitor's connection."""


class Waiting:
    """The HELD state of a visitor's connection, which `Visitor` extends to the others."""

    __slots__ = ("_asked", "_edge", "_held_in", "_lease", "_started_at", "_state", "_why_held", "deadline")

    _asked: Asked | None
    _edge: Edge
    _held_in: dict[object, Callable[[], None]]
    _lease: Lease | None
    _started_at: float
    _state: int
    _why_held: str
    deadline: float

    def _route(self, asked: Asked) -> None:
        """Send the request where its host says; hold it while nobody is there."""
        raise NotImplementedError

    def refuse(self, code: str, detail: str = "", *, complete: bool) -> None:
        """Answer in the origin's place."""
        raise NotImplementedError

    def _hold(self, why: str, asked: Asked, pool: TunnelPool | None = None) -> None:
        """Wait for the agent, or in line for a stream, not for long."""
        until = self._started_at + self._edge.settings.hold_s
        lease = self._lease
        if until <= self._edge.reactor.now or lease is None:
            self.refuse(why, complete=asked.bodyless)
            return
        if asked.long is not None:
            asked.long.drop_lines()
        self._state = HELD
        self.deadline = until
        self._why_held = why
        if pool is not None:
            self._held_in = pool.line
            pool.stand_in_line(self, self._woken)
        else:
            self._edge.held += 1
            self._held_in = lease.waiters
            lease.waiters[self] = self._woken

    def _woken(self) -> None:
        """Try again: the lease is live again, or gone, or it is his turn in the line, where he keeps his place meanwhile."""
        if self._state == HELD:
            waited_in = self._held_in
            self._edge.held -= self._why_held == "agent_offline"
            self._reroute()
            if self._state != HELD or self._held_in is not waited_in:
                waited_in.pop(self, None)

    def _stop_waiting(self) -> None:
        """Wait no more."""
        if self._state == HELD:
            self._held_in.pop(self, None)
            self._edge.held -= self._why_held == "agent_offline"
            self._state = HEAD

    def _reroute(self) -> None:
        asked = self._asked
        if asked is not None:
            self._state = HEAD
            self._route(asked)
