"""A worker's replica of the registry: an address is served here, by another worker, or by none at the moment."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from portway.edge.lease import Holder, Kind, Lease, LeaseKey, Owner

_NO_IDENTITY = b""
"""Only the supervisor checks owners, so the secret identities stay there."""


@dataclass(frozen=True, slots=True)
class Route:
    """The state of one lease, as sent by the supervisor."""

    kind: Kind
    address: str
    tunnel_id: int
    epoch: int
    worker: int = 0
    """The worker whose session serves it; 0 while it is held."""
    session_id: str = ""
    token_id: str = ""
    """Token of the owner: visitors of one tenant are counted together."""
    passthrough: bool = False
    """See `Lease.passthrough`."""


class Replica:
    """All leases of the server, in one of its workers. Changed by the supervisor's messages and by the loss of local sessions.

    Every method is synchronous, so each call is atomic.
    """

    def __init__(
        self,
        worker: int,
        call_soon: Callable[[Callable[[], None]], None],
        find: Callable[[str], Holder | None],
        *,
        report_lost: Callable[[str], None],
        report_revoked: Callable[[str], None],
        on_moved: Callable[[str], None],
    ) -> None:
        """`find` returns a live session of this worker; `report_…` notify the supervisor of a lost session or a revoked token.
        `on_moved` is called with an http address that another worker serves now.
        """
        self._worker = worker
        self._call_soon = call_soon
        self._find = find
        self._report_lost = report_lost
        self._report_revoked = report_revoked
        self._on_moved = on_moved
        self._leases: dict[Kind, dict[str, Lease]] = {"http": {}, "tcp": {}}
        self._of_session: dict[str, dict[LeaseKey, Lease]] = {}

    def lookup(self, kind: Kind, address: str) -> Lease | None:
        """Return the lease of an address, None when it is free."""
        return self._leases[kind].get(address)

    def __iter__(self) -> Iterator[Lease]:
        for leases in self._leases.values():
            yield from leases.values()

    def __len__(self) -> int:
        return sum(len(leases) for leases in self._leases.values())

    def apply(self, route: Route) -> Lease:
        """Apply the current state of a lease, and wake the waiters if it is served."""
        leases = self._leases[route.kind]
        lease = leases.get(route.address)
        if lease is None:
            lease = leases[route.address] = Lease(LeaseKey(route.kind, route.address), Owner(route.token_id, _NO_IDENTITY))
        is_local = route.worker == self._worker
        holder = self._find(route.session_id) if is_local else None
        if holder is not lease.holder or route.epoch != lease.epoch:
            self._detach_holder(lease)  # also for another tunnel of the same session: idle streams belong to the previous one
        lease.tunnel_id, lease.epoch, lease.passthrough = route.tunnel_id, route.epoch, route.passthrough
        lease.holder = holder
        lease.remote_worker = 0 if is_local else route.worker
        if holder is not None:
            self._of_session.setdefault(holder.session_id, {})[lease.key] = lease
        if lease.remote_worker and lease.key.kind == "http":
            self._on_moved(lease.address)
        if lease.holder is not None or lease.remote_worker:
            self._wake(lease)
        return lease

    def remove(self, kind: Kind, address: str) -> None:
        """Remove an address that is free again, and wake the waiters."""
        lease = self._leases[kind].pop(address, None)
        if lease is None:
            return
        self._detach_holder(lease)
        lease.remote_worker = 0
        lease.end()
        self._wake(lease)

    def worker_lost(self, worker: int) -> None:
        """Stop handoffs to a worker that is gone; the supervisor sends new routes for its addresses later."""
        for lease in self:
            if lease.remote_worker == worker:
                lease.remote_worker = 0

    def session_lost(self, session_id: str, now: float) -> None:  # noqa: ARG002 - the supervisor measures the grace time
        """Hold visitors of a lost session from this moment on; the supervisor holds its addresses."""
        for lease in self._of_session.pop(session_id, {}).values():
            self._call_soon(lease.detach_holder())
        self._report_lost(session_id)

    def token_revoked(self, token_id: str) -> None:
        """Notify the supervisor, which frees all addresses of the token."""
        self._report_revoked(token_id)

    def expire(self, now: float) -> None:
        """Do nothing: the supervisor frees held addresses."""

    def held_tokens(self) -> frozenset[str]:
        """Return nothing: the supervisor handles held addresses."""
        return frozenset()

    def _detach_holder(self, lease: Lease) -> None:
        """Remove the lease from the local session that serves it, if there is one."""
        if lease.holder is not None:
            of_session = self._of_session[lease.holder.session_id]
            del of_session[lease.key]
            if not of_session:
                del self._of_session[lease.holder.session_id]
            self._call_soon(lease.detach_holder())

    def _wake(self, lease: Lease) -> None:
        woken = list(lease.waiters.values())
        lease.waiters.clear()
        for callback in woken:
            self._call_soon(callback)
