"""What a worker knows of the supervisor's leases: three answers for every address: here, on another worker, or nobody now."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from portway.server.tunnels.lease import Holder, Kind, Lease, LeaseKey, Owner

_NO_IDENTITY = b""
"""Whose a lease is decides the supervisor alone; the secret identities stay there."""


@dataclass(frozen=True, slots=True)
class Route:
    """One lease as the supervisor tells it."""

    kind: Kind
    address: str
    tunnel_id: int
    epoch: int
    worker: int = 0
    """Whose session serves it; 0 while it is held."""
    session_id: str = ""
    token_id: str = ""
    """Whose it is, as far as that matters here: visitors of one tenant are counted together."""


class Replica:
    """All leases of the server, seen from one of its workers. The supervisor's news change it, and losses of sessions here.

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
    ) -> None:
        """`find` returns a live session of this worker; `report_…` tell the supervisor of a session, of a token that is no more."""
        self._worker = worker
        self._soon = call_soon
        self._find = find
        self._report_lost = report_lost
        self._report_revoked = report_revoked
        self._leases: dict[Kind, dict[str, Lease]] = {"http": {}, "tcp": {}}
        self._of_session: dict[str, dict[LeaseKey, Lease]] = {}

    def lookup(self, kind: Kind, address: str) -> Lease | None:
        """Return the lease of an address, or None when nobody has it."""
        return self._leases[kind].get(address)

    def __iter__(self) -> Iterator[Lease]:
        for leases in self._leases.values():
            yield from leases.values()

    def __len__(self) -> int:
        return sum(len(leases) for leases in self._leases.values())

    def apply(self, route: Route) -> Lease:
        """Take over how a lease stands now, and wake who waited for that."""
        leases = self._leases[route.kind]
        lease = leases.get(route.address)
        if lease is None:
            lease = leases[route.address] = Lease(LeaseKey(route.kind, route.address), Owner(route.token_id, _NO_IDENTITY))
        lease.tunnel_id, lease.epoch = route.tunnel_id, route.epoch
        here = route.worker == self._worker
        holder = self._find(route.session_id) if here else None
        if holder is not lease.holder:
            self._take_away(lease)
        lease.holder = holder
        lease.remote_worker = 0 if here else route.worker
        if holder is not None:
            self._of_session.setdefault(holder.session_id, {})[lease.key] = lease
        if lease.holder is not None or lease.remote_worker:
            self._wake(lease)
        return lease

    def gone(self, kind: Kind, address: str) -> None:
        """Forget an address that is free again, and wake who waited in vain."""
        lease = self._leases[kind].pop(address, None)
        if lease is None:
            return
        self._take_away(lease)
        lease.remote_worker = 0
        lease.end()
        self._wake(lease)

    def worker_lost(self, worker: int) -> None:
        """Pass nobody on to a worker that is no more; the supervisor says later who serves what it served."""
        for lease in self:
            if lease.remote_worker == worker:
                lease.remote_worker = 0

    def session_lost(self, session_id: str, now: float) -> None:  # noqa: ARG002 - when the grace time began is the supervisor's to say
        """Let visitors of a session that is gone wait from this moment on; the supervisor holds its addresses."""
        for lease in self._of_session.pop(session_id, {}).values():
            self._soon(lease.part())
        self._report_lost(session_id)

    def token_revoked(self, token_id: str) -> None:
        """Have everything freed that a token has."""
        self._report_revoked(token_id)

    def expire(self, now: float) -> None:
        """Do nothing: how long an address is held is the supervisor's to say."""

    def held_tokens(self) -> frozenset[str]:
        """Return nothing: who holds what is the supervisor's to know."""
        return frozenset()

    def _take_away(self, lease: Lease) -> None:
        """Take the lease from the session of this worker that serves it, if one does."""
        if lease.holder is not None:
            of_session = self._of_session[lease.holder.session_id]
            del of_session[lease.key]
            if not of_session:
                del self._of_session[lease.holder.session_id]
            self._soon(lease.part())

    def _wake(self, lease: Lease) -> None:
        woken = list(lease.waiters.values())
        lease.waiters.clear()
        for callback in woken:
            self._soon(callback)
