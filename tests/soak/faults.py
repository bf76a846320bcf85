"""Faults injected during a soak, one at a time, and the times in which visitors may see errors."""

import asyncio
import os
import random
import signal
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from tests.kit.programs import Program
from tests.soak.streams import TENANTS, name_of
from tests.soak.system import START_S, SoakSystem

RECOVERY_S = 10.0
"""From the end of a fault until visitors must see no more errors: an agent's retry, a held request, a long download."""

STEADY = TENANTS - 1
"""The tenant without faults of its agents, so that they can be checked for leaks, too."""

EVERYBODY = -1
"""In place of a tenant's number: all tenants."""


@dataclass
class Windows:
    """Times in which visitors of a tenant may see errors."""

    _open: list[tuple[int, float, float]] = field(default_factory=list)
    _deaths: list[tuple[int, float]] = field(default_factory=list)
    """Tenants and times of killed origins."""

    def begin(self, tenant: int = EVERYBODY) -> Callable[[], None]:
        """Open a window; return a function that closes it, effective RECOVERY_S later."""
        at, began = len(self._open), time.monotonic()
        self._open.append((tenant, began, float("inf")))

        def end() -> None:
            self._open[at] = (tenant, began, time.monotonic() + RECOVERY_S)

        return end

    def origin_dies(self, tenant: int) -> None:
        """Record that an origin is killed."""
        self._deaths.append((tenant, time.monotonic()))

    def origin_died(self, tenant: int, since: float) -> bool:
        """Return whether the tenant's origin was killed after `since`."""
        return any(whose == tenant and at >= since for whose, at in self._deaths)

    def explained(self, tenant: int, since: float) -> bool:
        """Return whether a window was open for the tenant between `since` and now."""
        now = time.monotonic()
        return any(whose in (EVERYBODY, tenant) and began <= now and end >= since for whose, began, end in self._open)


class Faults:
    """All faults, injected one after the other."""

    def __init__(self, system: SoakSystem, windows: Windows) -> None:
        self._system = system
        self._windows = windows
        self.injected: list[str] = []
        self._next = 0

    def all(self) -> list[Callable[[], Awaitable[None]]]:
        """Return the faults in their order."""
        return [
            self.kill_agent,
            self.stop_server,
            self.kill_origin,
            self.reset_storm,
            self.stop_agent_shortly,
            self.descriptor_pressure,
            self.stop_origin,
            self.stalled_readers,
            self.stop_agent_until_it_is_lost,
            self.garbage,
            self.half_heads,
        ]

    async def one(self) -> None:
        """Inject the next fault and wait for its end."""
        faults = self.all()
        fault = faults[self._next % len(faults)]
        self._next += 1
        self.injected.append(fault.__name__)
        await fault()

    async def restart_agent(self) -> None:
        """Restart an agent, with SIGTERM or SIGKILL."""
        tenant, kind = random.randrange(STEADY), random.choice(("http", "tcp"))
        end = self._windows.begin(tenant)
        await self._restart(tenant, kind, random.choice((signal.SIGKILL, signal.SIGTERM)))
        end()

    async def _restart(self, tenant: int, kind: str, number: signal.Signals) -> None:
        agent = self._system.agents[tenant, kind]
        agent.signal(number)
        await asyncio.to_thread(agent.process.wait, 15)
        self._system.start_agent(tenant, kind)
        await asyncio.to_thread(self._system.agents[tenant, kind].expect, "://", START_S)

    async def kill_agent(self) -> None:
        """Kill an agent and start it again."""
        tenant = random.randrange(STEADY)
        end = self._windows.begin(tenant)
        await self._restart(tenant, "http", signal.SIGKILL)
        end()

    async def stop_server(self) -> None:
        """Stop the server's process for three seconds."""
        await self._stop(self._system.server, 3.0, EVERYBODY)

    async def stop_agent_shortly(self) -> None:
        """Stop an agent for a time that its link survives."""
        tenant = random.randrange(STEADY)
        await self._stop(self._system.agents[tenant, "http"], 5.0, tenant)

    async def stop_agent_until_it_is_lost(self) -> None:
        """Stop an agent for longer than a link may be silent."""
        tenant = random.randrange(STEADY)
        await self._stop(self._system.agents[tenant, "http"], 17.0, tenant)

    async def stop_origin(self) -> None:
        """Stop an origin's process."""
        tenant = random.randrange(STEADY)
        await self._stop(self._system.origins[tenant], 5.0, tenant)

    async def _stop(self, program: Program, seconds: float, tenant: int) -> None:
        end = self._windows.begin(tenant)
        program.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            program.signal(signal.SIGCONT)
        end()

    async def kill_origin(self) -> None:
        """Kill an origin and start it again three seconds later."""
        tenant = random.randrange(STEADY)
        end = self._windows.begin(tenant)
        self._windows.origin_dies(tenant)
        self._system.origins[tenant].kill()
        await asyncio.sleep(3.0)
        await asyncio.to_thread(self._system.start_origin, tenant)
        end()

    async def reset_storm(self) -> None:
        """Reset five hundred visitor connections, each at a random stage."""
        await asyncio.to_thread(self._reset_storm)

    def _reset_storm(self) -> None:
        for number in range(500):
            with suppress(OSError), self._visitor(number) as sock:
                request = b"GET /bytes/10000000 HTTP/1.1\r\nHost: %b.localhost\r\n\r\n" % name_of(STEADY).encode()
                sock.sendall(request[: random.choice((0, 10, len(request)))])
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def descriptor_pressure(self) -> None:
        """Use up the visitor capacity with idle connections for eight seconds."""
        end = self._windows.begin()
        await asyncio.to_thread(self._hold, 3900, b"", 8.0)
        end()

    async def half_heads(self) -> None:
        """Send two hundred incomplete request heads."""
        await asyncio.to_thread(self._hold, 200, b"GET / HTTP/1.1\r\nHost: x\r\nX-", 8.0)

    async def stalled_readers(self) -> None:
        """Start thirty downloads without reading them."""
        request = b"GET /bytes/100000000 HTTP/1.1\r\nHost: %b.localhost\r\n\r\n" % name_of(STEADY).encode()
        await asyncio.to_thread(self._hold, 30, request, 15.0)

    def _hold(self, count: int, first: bytes, seconds: float) -> None:
        with ExitStack() as stack:
            for number in range(count):
                with suppress(OSError):
                    stack.enter_context(self._visitor(number)).sendall(first)
            time.sleep(seconds)

    async def garbage(self) -> None:
        """Send random bytes to every public address."""
        await asyncio.to_thread(self._garbage)

    def _garbage(self) -> None:
        for number in range(200):
            for port in (self._system.http_port, self._system.agents_port):
                with suppress(OSError), self._visitor(number, port) as sock:
                    sock.sendall(os.urandom(500))

    def _visitor(self, number: int, port: int = 0) -> socket.socket:
        return socket.create_connection(("127.0.0.1", port or self._system.http_port), 5, (f"127.9.0.{number % 32 + 1}", 0))
