"""After many short sessions and visitors every table is as large as before (threats K5).

It checks all tables of server and agent that `PORTWAY_INVENTORY=1` reports, not a list of known ones.
"""

import asyncio
import contextlib
import itertools
import re
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from portway.agent.events import TunnelUp
from portway.credentials import failure_delays
from portway.errors import RefusedError, UnavailableError
from portway.protocol.control.messages import AskTicket, Claim, Refused, Release, Released, Ticket
from portway.protocol.join_string import JoinString
from portway.telemetry.inspection import Inventory, inventory
from tests.kit.http_origin import HttpOrigin
from tests.kit.origins import RawOrigin, echo
from tests.kit.pair import RunningAgent, RunningServer, http_tunnel, running_agent, running_server, tcp_tunnel
from tests.kit.raw_agent import RawAgent, RawReactor, raw_agent, raw_reactor
from tests.kit.sockets import DEADLINE_S, reset

ROUNDS = 40
"""More than any table may keep by chance; each round uses every table."""

LEFT_MAX = 20
"""Entries that a table may have in addition: pooled streams, timers of the last second, the last event."""

LOOKS = 40
"""20 s: leases are held for 1 s here, streams and visitors linger for 2 s, pools of lost links a little longer."""

BOUNDED = re.compile(
    r"Inventory\.|TimerWheel\._(buckets|ticks)|FailureDelays\._(failed|succeeded)|Sources\._(permits|logged_in)|Heartbeat\._samples|_cached_hosts$|_known$"
)
"""Tables of the inspection itself, and tables whose entries stay for a time up to a bound, which a test of their module covers."""


def look() -> Inventory:
    return msgspec.json.decode(inventory(), type=Inventory)


def grown(before: Inventory, after: Inventory) -> dict[str, int]:
    """Return the tables that have grown, and by how much."""
    return {
        name: after.tables[name] - before.tables.get(name, 0)
        for name in after.tables
        if after.tables[name] - before.tables.get(name, 0) > LEFT_MAX and not BOUNDED.search(name)
    }


class Scene:
    """A server, an agent with two tunnels, and further clients."""

    def __init__(self, server: RunningServer, agent: RunningAgent, reactor: RawReactor, join: JoinString) -> None:
        self.server, self.agent, self.reactor, self.join = server, agent, reactor, join
        self.tcp_port = next(event.port for event in agent.events.of(TunnelUp) if event.port)
        self.numbers = itertools.count()

    @contextmanager
    def forgotten(self, agent: RawAgent) -> Iterator[RawAgent]:
        """Release an agent of the test itself after the block."""
        try:
            yield agent
        finally:
            agent.mux.close("done")
            agent.control.close()
            self.reactor.agents.remove(agent)

    async def round(self) -> None:
        """Connect and close one client of each kind, with new names and addresses."""
        number = next(self.numbers)
        await self.session(number)
        await self.wrong_login(number)
        for request in (
            f"GET / HTTP/1.1\r\nHost: host-{number}.localhost\r\nConnection: close\r\n\r\n",
            f"GET /{number} HTTP/1.1\r\nHost: web.localhost\r\nX-{number}: {number}\r\nConnection: close\r\n\r\n",
            f"GET /{number} HTTP/1.1\r\nHost: web.localhost:{number + 1}\r\nConnection: close\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
        ):
            await self.visit(self.server.http_port, request.encode())
        await self.visit(self.tcp_port, b"hello")
        leaving = await asyncio.to_thread(socket.create_connection, ("127.0.0.1", self.server.http_port))
        leaving.sendall(f"GET /bytes?n=1000000 HTTP/1.1\r\nHost: web.localhost\r\nX: {number}\r\n\r\n".encode())
        await asyncio.to_thread(leaving.recv, 100)
        reset(leaving)
        self.server.events.emitted.clear()
        self.agent.events.emitted.clear()

    async def session(self, number: int) -> None:
        """Log in with a new token and identity, claim, release, request tickets, close."""
        join = self.server.token(f"token-{number}")
        with self.forgotten(await raw_agent(self.reactor, join)) as agent:
            login = await agent.log_in(join, secrets.token_bytes(32))
            kept, given = await agent.claim(1, f"kept-{number}"), await agent.claim(2, f"given-{number}")
            await agent.request(Release(id=3, tunnel=given.tunnel), Released)
            await agent.request(Claim(id=4, kind="http", name="web"), Refused)
            ticket = await agent.request(AskTicket(id=5), Ticket)
            await agent.request(AskTicket(id=6), Ticket)
            with self.forgotten(await raw_agent(self.reactor, join)) as second:
                await second.attach(ticket.ticket, login.session_key)
            assert kept.tunnel != given.tunnel

    async def wrong_login(self, number: int) -> None:
        """Fail to log in; the login throttle keeps recent failures, up to its bound."""
        with self.forgotten(await raw_agent(self.reactor, self.join)) as agent, contextlib.suppress(RefusedError, UnavailableError):
            await agent.log_in(replace(self.join, token_id=f"nobody-{number}", secret="x" * 43))

    async def visit(self, port: int, data: bytes) -> None:
        """Send bytes, half-close, and read to the end."""

        def work() -> None:
            with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as sock, contextlib.suppress(ConnectionError):
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(65536):
                    pass

        await asyncio.to_thread(work)


@pytest.mark.timeout(300)
def test_after_many_short_sessions_and_visitors_every_table_is_as_large_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failure_delays, "FAILURES_WITHOUT_DELAY", 1_000_000)  # all use one address

    async def whole() -> None:
        with HttpOrigin() as web, RawOrigin(echo) as origin:
            async with raw_reactor() as reactor, running_server(tmp_path, hold_s=0.1, grace_s=1.0) as server:
                join = server.token()
                async with running_agent(tmp_path, join, http_tunnel(web.port, name="web"), tcp_tunnel(origin.port)) as agent:
                    await agent.events.wait(TunnelUp, 2)
                    scene = Scene(server, agent, reactor, join)
                    for _ in range(5):
                        await scene.round()
                    before = look()
                    for _ in range(ROUNDS):
                        await scene.round()
                    found: dict[str, int] = {}
                    for _ in range(LOOKS):
                        found = grown(before, look())
                        if not found:
                            break
                        await asyncio.sleep(0.5)
                    assert not found, found

    asyncio.run(whole())
