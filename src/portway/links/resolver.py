"""Resolves names: numeric addresses at once, `localhost` to both loopbacks, other names with a cache."""

import asyncio
import ipaddress
import socket
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import lru_cache, partial

from portway.engine.reactor import Reactor

CACHE_S = 30.0
"""How long addresses are used; restarted containers get new ones in about that time."""

FAILURE_CACHE_S = 1.0
"""How long a failure is used: long enough that a burst of visitors causes one query."""

NAMES_MAX = 256
"""Names in the cache; an agent has as many as tunnels."""

WAITERS_MAX = 1_000
"""Callbacks of queries that run, in all; further names fail at once."""

Address = tuple[int, tuple[str, int]]
"""Family, and numeric host and port."""

OnResolved = Callable[[list[Address]], None]
"""Gets the addresses in the order to try them; empty when the name cannot be resolved."""

Query = Callable[[str, int], list[Address]]
"""Blocks; returns the addresses of a name, or raises OSError."""


@dataclass(slots=True)
class _Name:
    """Cache entry of one name."""

    addresses: list[Address] = field(default_factory=list)
    valid_until: float = 0.0
    waiters: list[OnResolved] | None = None
    """Callbacks of a running query; None while there is none."""
    failure: str = ""
    """Why the last query failed."""


class Resolver:
    """Resolves in the background with the system's resolver, one query per name at a time."""

    def __init__(
        self,
        reactor: Reactor,
        *,
        cache_s: float = CACHE_S,
        names_max: int = NAMES_MAX,
        executor: Executor | None = None,
        query: Query | None = None,
    ) -> None:
        """Use `executor`, or the running loop's threads, because the system's resolver (`query`) blocks."""
        self._reactor = reactor
        self._loop = asyncio.get_running_loop()
        self._cache_s = cache_s
        self._names_max = names_max
        self._executor = executor
        self._query_names = query or query_system
        self._waiting = 0
        self._names: dict[tuple[str, int], _Name] = {}

    def resolve(self, host: str, port: int, on_resolved: OnResolved) -> None:
        """Call `on_resolved` with the addresses of `host`: at once if they are known, otherwise from the reactor."""
        known = _resolve_locally(host, port)
        if known is not None:
            on_resolved(known)
            return
        name = self._names.get((host, port))
        if name is None:
            if len(self._names) >= self._names_max:
                del self._names[next(iter(self._names))]
            name = self._names[host, port] = _Name()
        if name.waiters is None and self._reactor.now < name.valid_until:
            on_resolved(name.addresses)
        elif self._waiting >= WAITERS_MAX:
            name.failure = name.failure or "too many names are being resolved"
            on_resolved([])
        elif name.waiters is not None:
            self._waiting += 1
            name.waiters.append(on_resolved)
        else:
            self._waiting += 1
            name.waiters = [on_resolved]
            self._query(host, port, name)

    def failure(self, host: str, port: int) -> str:
        """Return why the last query for a name failed."""
        name = self._names.get((host, port))
        return name.failure if name is not None else ""

    def invalidate(self, host: str, port: int) -> None:
        """Query again next time, because no address accepted a connection."""
        name = self._names.get((host, port))
        if name is not None:
            name.valid_until = 0.0

    def _query(self, host: str, port: int, name: _Name) -> None:
        query = self._loop.run_in_executor(self._executor, self._query_names, host, port)
        query.add_done_callback(lambda future: self._reactor.call_soon(partial(self._on_result, name, future)))

    def _on_result(self, name: _Name, future: "asyncio.Future[list[Address]]") -> None:
        error = None if future.cancelled() else future.exception()
        failed = future.cancelled() or error is not None
        name.addresses = [] if failed else future.result()
        name.failure = (error.strerror or str(error)).lower() if isinstance(error, OSError) else "the query failed" if failed else ""
        name.valid_until = self._reactor.now + (FAILURE_CACHE_S if failed else self._cache_s)
        waiters, name.waiters = name.waiters or [], None
        self._waiting -= len(waiters)
        for on_resolved in waiters:
            on_resolved(name.addresses)


def query_system(host: str, port: int) -> list[Address]:
    """Query the system's resolver, which blocks."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(int(family), (str(address[0]), int(address[1]))) for family, _, _, _, address in found]


@lru_cache(maxsize=NAMES_MAX)
def _resolve_locally(host: str, port: int) -> list[Address] | None:
    """Return the addresses of a numeric host, or of `localhost`, which is always this machine; None for other names.

    Cached, because every visitor needs it.
    """
    if host.lower() == "localhost":
        return [(socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET6, ("::1", port))]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return [(socket.AF_INET if address.version == 4 else socket.AF_INET6, (host, port))]
