"""Requests that wait for their agent, for a stream while all links are full, or for the check of their password."""

from collections.abc import Callable
from typing import Protocol

from portway.edge.holds import Hold
from portway.edge.http.head_cache import CachedRequest
from portway.edge.http.interfaces import EdgeServices
from portway.edge.http.origin.pool import TunnelPool
from portway.edge.lease import Lease
from portway.protocol.source_key import source_key

HEAD, WAITING, EXCHANGE, FLUSHING, CLOSED = range(5)
"""The states of a visitor's connection."""


class AwaitedCheck(Protocol):
    """The check of a password in progress."""

    deadline: float
    waiters: dict[object, Callable[[], None]]
    """Requests that wait for the result: callbacks that route them again."""


class WaitingMixin:
    """Adds the WAITING state to a visitor connection."""

    __slots__ = ("_cached_request", "_edge", "_hold", "_lease", "_started_at", "_state", "_wait_code", "_waiters", "address", "deadline")

    _cached_request: CachedRequest | None
    _edge: EdgeServices
    _waiters: dict[object, Callable[[], None]]
    _hold: Hold | None
    """Permission to wait for an agent."""
    _lease: Lease | None
    _started_at: float
    _state: int
    _wait_code: str
    address: str
    """The visitor's numeric host."""
    deadline: float

    def _route(self, cached: CachedRequest) -> None:
        """Start an exchange with the tunnel of the host, or wait for it."""
        raise NotImplementedError

    def send_error(self, code: str, detail: str = "", *, complete: bool) -> None:
        """Send an error response."""
        raise NotImplementedError

    def _wait(self, code: str, cached: CachedRequest, pool: TunnelPool | None = None) -> None:
        """Wait for the agent, or in the queue of `pool` for a stream, for a short time; send the error `code` if that is not allowed."""
        edge, lease = self._edge, self._lease
        until = self._started_at + edge.settings.hold_s
        if until <= edge.reactor.now or lease is None:
            self.send_error(code, complete=cached.bodyless)
            return
        if pool is None:
            self._hold = edge.holds.acquire(lease.owner.token_id, source_key(self.address), self._end_hold)
            if self._hold is None:
                self.send_error(code, complete=cached.bodyless)
                return
        if cached.long is not None:
            cached.long.drop_lines()
        self._state = WAITING
        self.deadline = until
        self._wait_code = code
        if pool is None:
            self._waiters = lease.waiters
            lease.waiters[self] = self._resume
        else:
            self._waiters = pool.queue
            pool.enqueue(self, self._resume)

    def _wait_for_check(self, check: AwaitedCheck, cached: CachedRequest) -> None:
        """Wait for the result of a password check."""
        if cached.long is not None:
            cached.long.drop_lines()
        self._state = WAITING
        self.deadline = check.deadline
        self._wait_code = "overloaded"
        self._waiters = check.waiters
        check.waiters[self] = self._resume

    def _end_hold(self) -> None:
        """Send the error: the time has passed, or another request waits instead."""
        self._stop_waiting()
        self.send_error(self._wait_code, complete=self._cached_request is not None and self._cached_request.bodyless)

    def _resume(self) -> None:
        """Route again: the state of the lease has changed, or it is this request's turn in the queue, where it keeps its position."""
        if self._state == WAITING:
            waiters = self._waiters
            self._release_hold()
            self._reroute()
            if self._state != WAITING or self._waiters is not waiters:
                waiters.pop(self, None)

    def _stop_waiting(self) -> None:
        """Leave the queue, and release the hold."""
        if self._state == WAITING:
            self._waiters.pop(self, None)
            self._release_hold()
            self._state = HEAD

    def _release_hold(self) -> None:
        hold, self._hold = self._hold, None
        if hold is not None:
            hold.release()

    def _reroute(self) -> None:
        cached = self._cached_request
        if cached is not None:
            self._state = HEAD
            self._route(cached)
