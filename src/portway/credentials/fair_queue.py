"""A bounded queue of work that tenants, and the sources of their visitors, share fairly."""

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Items leave in turns of tenants, within a tenant in turns of sources, and within a source in order of arrival.

    At the limit an item displaces the newest one of the tenant that has most, or of the source that has most within its own tenant: a
    flood cannot keep others out, nor can it make them wait for more than one of its items each.
    """

    def __init__(self, limit: int) -> None:
        """Hold at most `limit` items."""
        self._limit = limit
        self._count = 0
        self._tenants: dict[str, dict[str, deque[T]]] = {}

    def __len__(self) -> int:
        return self._count

    def push(self, tenant: str, source: str, item: T) -> T | None:
        """Add an item; return the one that is displaced if the queue is full, which may be `item` itself."""
        displaced = None
        if self._count >= self._limit:
            loser = self._loser_to(tenant, source)
            if loser is None:
                return item
            displaced = self._remove_newest(*loser)
        self._tenants.setdefault(tenant, {}).setdefault(source, deque()).append(item)
        self._count += 1
        return displaced

    def pop(self) -> T | None:
        """Remove and return the next item, None if there is none."""
        if not self._tenants:
            return None
        tenant = next(iter(self._tenants))
        sources = self._tenants.pop(tenant)
        source = next(iter(sources))
        items = sources.pop(source)
        item = items.popleft()
        self._count -= 1
        if items:
            sources[source] = items  # behind the other sources of the tenant
        if sources:
            self._tenants[tenant] = sources  # behind the other tenants
        return item

    def _loser_to(self, tenant: str, source: str) -> tuple[str, str] | None:
        """Return tenant and source that lose an item to a new one; None if that would only reverse the imbalance."""
        counts = {name: sum(map(len, sources.values())) for name, sources in self._tenants.items()}
        largest = max(counts, key=counts.__getitem__)
        if counts[largest] > counts.get(tenant, 0) + 1:
            return largest, _largest_source(self._tenants[largest])
        own = self._tenants.get(tenant, {})
        if own and len(own[rival := _largest_source(own)]) > len(own.get(source, ())) + 1:
            return tenant, rival
        return None

    def _remove_newest(self, tenant: str, source: str) -> T:
        sources = self._tenants[tenant]
        item = sources[source].pop()
        self._count -= 1
        if not sources[source]:
            del sources[source]
        if not sources:
            del self._tenants[tenant]
        return item


def _largest_source(sources: dict[str, deque[T]]) -> str:
    return max(sources, key=lambda source: len(sources[source]))
