"""Visitors that wait for an agent that is away: how many may at a time, and who gives way when there are more."""

from collections.abc import Callable


class Hold:
    """One visitor's right to wait."""

    __slots__ = ("_holds", "_source", "_tenant", "give_way")

    def __init__(self, holds: "Holds", tenant: str, source: str, give_way: Callable[[], None]) -> None:
        """Count for `tenant` and `source`; made by `Holds.enter`."""
        self._holds = holds
        self._tenant = tenant
        self._source = source
        self.give_way = give_way
        """Has its visitor refused, as when the time for it is over."""

    def leave(self) -> None:
        """Wait no longer; may be called twice."""
        self._holds.left(self, self._tenant, self._source)


class Holds:
    """Counts visitors that wait, by tenant and by source.

    While there is room, anybody may wait. When there is none, the tenant with the most waiting visitors gives way to one
    that has fewer, and within one tenant the source with the most: so that neither the visitors of one name nor one
    visitor of it can take from all others what a restart of their agents would cost them. Whoever waited longest goes
    first, since the least of its wait is left. Where nobody has more than the newcomer would, the newcomer is refused.
    """

    def __init__(self, most: int) -> None:
        """Let at most `most` wait at a time."""
        self._most = most
        self._count = 0
        self._tenants: dict[str, dict[str, dict[Hold, None]]] = {}
        self._by_tenant: dict[str, int] = {}

    def __len__(self) -> int:
        return self._count

    def enter(self, tenant: str, source: str, give_way: Callable[[], None]) -> Hold | None:
        """Let a visitor of `tenant` from `source` wait; None when it may not. Costs a look at all tenants when there is no room."""
        if self._count >= self._most:
            rival = self._rival_of(tenant, source)
            if rival is None:
                return None
            rival.leave()
            rival.give_way()
        hold = Hold(self, tenant, source, give_way)
        self._tenants.setdefault(tenant, {}).setdefault(source, {})[hold] = None
        self._by_tenant[tenant] = self._by_tenant.get(tenant, 0) + 1
        self._count += 1
        return hold

    def left(self, hold: Hold, tenant: str, source: str) -> None:
        """Forget a hold; fine for one that is forgotten already."""
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

    def _rival_of(self, tenant: str, source: str) -> Hold | None:
        """Return who gives way to a newcomer; None where that would only turn the tables."""
        largest = max(self._by_tenant, key=self._by_tenant.__getitem__, default=tenant)
        if self._by_tenant.get(largest, 0) > self._by_tenant.get(tenant, 0) + 1:
            return next(iter(_most(self._tenants[largest])))
        own = self._tenants.get(tenant, {})
        if own and len(_most(own)) > len(own.get(source, ())) + 1:
            return next(iter(_most(own)))
        return None


def _most(sources: dict[str, dict[Hold, None]]) -> dict[Hold, None]:
    """Return the holds of the source that has the most."""
    return max(sources.values(), key=len)
