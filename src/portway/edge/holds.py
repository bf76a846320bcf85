"""Bounds the visitors that wait for an offline agent, fairly among tenants and sources."""

from collections.abc import Callable


class Hold:
    """One visitor's permission to wait."""

    __slots__ = ("_holds", "_source", "_tenant", "on_evicted")

    def __init__(self, holds: "Holds", tenant: str, source: str, on_evicted: Callable[[], None]) -> None:
        """Count for `tenant` and `source`; created by `Holds.acquire`."""
        self._holds = holds
        self._tenant = tenant
        self._source = source
        self.on_evicted = on_evicted
        """Rejects the visitor, as at the end of its waiting time."""

    def release(self) -> None:
        """Stop waiting; may be called twice."""
        self._holds.remove(self, self._tenant, self._source)


class Holds:
    """Counts waiting visitors by tenant and by source.

    Below the limit every visitor may wait. At the limit, the tenant with the most waiting visitors loses one to a tenant
    that has fewer, and within one tenant the source with the most loses one: neither the visitors of one name nor one
    visitor of it can deprive all others of waiting through a restart of their agents. The longest wait is evicted
    first, since the least of it is left. If no tenant and no source would have more than the new connection's, the new connection is rejected.
    """

    def __init__(self, limit: int) -> None:
        """Allow at most `limit` waiting visitors at a time."""
        self._limit = limit
        self._count = 0
        self._tenants: dict[str, dict[str, dict[Hold, None]]] = {}
        self._by_tenant: dict[str, int] = {}

    def __len__(self) -> int:
        return self._count

    def acquire(self, tenant: str, source: str, on_evicted: Callable[[], None]) -> Hold | None:
        """Return a hold for a visitor of `tenant` from `source`, or None if it may not wait. Scans all tenants at the limit."""
        if self._count >= self._limit:
            victim = self._victim_for(tenant, source)
            if victim is None:
                return None
            victim.release()
            victim.on_evicted()
        hold = Hold(self, tenant, source, on_evicted)
        self._tenants.setdefault(tenant, {}).setdefault(source, {})[hold] = None
        self._by_tenant[tenant] = self._by_tenant.get(tenant, 0) + 1
        self._count += 1
        return hold

    def remove(self, hold: Hold, tenant: str, source: str) -> None:
        """Remove a hold; one that was removed before is ignored."""
        sources = self._tenants.get(tenant, {})
        holds = sources.get(source, {})
        if hold not in holds:
            return
        del holds[hold]
        self._count -= 1
        self._by_tenant[tenant] -= 1
        if not holds:
            del sources[source]
        if not sources:
            del self._tenants[tenant], self._by_tenant[tenant]

    def _victim_for(self, tenant: str, source: str) -> Hold | None:
        """Return the hold to evict for a new connection; None if that would only reverse the imbalance."""
        largest = max(self._by_tenant, key=self._by_tenant.__getitem__, default=tenant)
        if self._by_tenant.get(largest, 0) > self._by_tenant.get(tenant, 0) + 1:
            return next(iter(_largest_source(self._tenants[largest])))
        own = self._tenants.get(tenant, {})
        if own and len(_largest_source(own)) > len(own.get(source, ())) + 1:
            return next(iter(_largest_source(own)))
        return None


def _largest_source(sources: dict[str, dict[Hold, None]]) -> dict[Hold, None]:
    """Return the holds of the source that has the most."""
    return max(sources.values(), key=len)
