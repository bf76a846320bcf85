"""A server and agents in the test's own loop, with their events."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from portway.agent.app import run
from portway.agent.settings import AgentSettings, TunnelRequest
from portway.agent.target import Target
from portway.cli.worker import worker_command
from portway.clock import wall
from portway.config.values import ListenAddress, PortRange
from portway.protocol.join_string import JoinString
from portway.protocol.scram import make_verifier
from portway.server.access.tokens import Grants, TokenRecord, new_credentials
from portway.server.app import serve
from portway.server.events import Listening
from portway.server.identity import read_advertised
from portway.server.setting_values import OFF
from portway.server.settings import ServerSettings
from portway.server.storage.token_store import FILE, Store
from portway.server.workers.supervisor import supervise
from tests.kit.programs import SOURCES
from tests.kit.sockets import free_port

E = TypeVar("E")
DEADLINE_S = 8.0
WORKERS_S = 30.0
"""Processes start slowly while other tests keep the machine busy."""


@dataclass
class Events:
    """Events that one program has emitted so far."""

    emitted: list[object] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, event: object) -> None:
        """Store one event."""
        self.emitted.append(event)
        self._changed.set()

    def of(self, kind: type[E]) -> list[E]:
        """Return the events of one kind."""
        return [event for event in self.emitted if isinstance(event, kind)]

    async def wait(self, kind: type[E], count: int = 1, deadline_s: float = DEADLINE_S) -> E:
        """Wait for event number `count` of a kind and return it."""
        try:
            async with asyncio.timeout(deadline_s):
                while len(self.of(kind)) < count:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"no {kind.__name__} number {count} within {deadline_s} s; emitted: {self.emitted}") from None
        return self.of(kind)[count - 1]

    async def until(self, condition: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
        """Wait until a condition is true; it is checked every 20 ms."""
        async with asyncio.timeout(deadline_s):
            while not condition():  # noqa: ASYNC110 - the condition may depend on other programs
                await asyncio.sleep(0.02)


@dataclass
class RunningServer:
    """A server, its data directory, and how agents join it."""

    settings: ServerSettings
    events: Events
    listening: Listening
    stop: asyncio.Event
    task: "asyncio.Task[None]"

    @property
    def http_port(self) -> int:
        """Port for HTTP visitors."""
        return int(self.listening.http.rpartition(":")[2])

    @property
    def https_port(self) -> int:
        """The TLS port; requires `https` in the settings."""
        return int(self.listening.https.rpartition(":")[2])

    def token(self, name: str = "laptop", **grants: Any) -> JoinString:
        """Create a token and return its join string."""
        advertised = read_advertised(self.settings.data)
        assert advertised is not None
        token_id, secret = new_credentials(secrets.token_bytes)
        record = TokenRecord(
            id=token_id,
            name=name,
            verifier=make_verifier(secret, secrets.token_bytes(16)),
            grants=Grants(**grants),
            created_at=wall(),
        )
        with Store(self.settings.data / FILE) as store:
            store.create_token(record)
        pin = bytes.fromhex(advertised.pin) if advertised.pin else None
        return JoinString(token_id, secret, advertised.host, advertised.port, pin, advertised.plaintext)

    def revoke(self, name: str = "laptop") -> None:
        """Revoke a token, as another process would."""
        with Store(self.settings.data / FILE) as store:
            store.revoke(name, wall())


@dataclass
class RunningAgent:
    """An agent and its events."""

    settings: AgentSettings
    events: Events
    stop: asyncio.Event
    task: "asyncio.Task[int]"


def server_settings(data: Path, **changes: Any) -> ServerSettings:
    """Return settings for a server on free ports."""
    first = free_port()
    defaults: dict[str, Any] = {
        "http": ListenAddress("127.0.0.1", 0),
        "agents": ListenAddress("127.0.0.1", 0),
        "https": OFF,
        "tcp_ports": PortRange(first, min(first + 20, 65535)),
        "data": data / "server",
        "hold_s": 1.0,
    }
    return ServerSettings(**(defaults | changes))


@asynccontextmanager
async def running_server(data: Path, **changes: Any) -> AsyncIterator[RunningServer]:
    """Run a server within the block."""
    settings, events, stop = server_settings(data, **changes), Events(), asyncio.Event()
    serving = serve(settings, on_event=events, stop=stop)
    if settings.workers > 1:
        serving.close()
        serving = supervise(settings, ["env", f"PYTHONPATH={SOURCES}", *worker_command("debug", as_json=False)], on_event=events, stop=stop)
    task = asyncio.ensure_future(serving)
    try:
        yield RunningServer(settings, events, await events.wait(Listening, deadline_s=WORKERS_S), stop, task)
    finally:
        await _end(stop, task)


@asynccontextmanager
async def running_agent(data: Path, join: JoinString, *tunnels: TunnelRequest, **changes: Any) -> AsyncIterator[RunningAgent]:
    """Run an agent within the block; `data` / "agent" holds its identity."""
    fields: dict[str, Any] = {"data_dir": data / "agent", "plaintext_links": join.plaintext, "drain_s": 0.0}
    settings = AgentSettings(join=join, tunnels=tunnels, **(fields | changes))
    events, stop = Events(), asyncio.Event()
    task = asyncio.ensure_future(run(settings, on_event=events, stop=stop))
    try:
        yield RunningAgent(settings, events, stop, task)
    finally:
        await _end(stop, task)


async def _end(stop: asyncio.Event, task: "asyncio.Task[Any]") -> None:
    """Stop a program; raise its error, if any."""
    stop.set()
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.wait({task})
    if not task.cancelled():
        task.result()


def tcp_tunnel(origin_port: int, **asked: Any) -> TunnelRequest:
    """Return a tcp tunnel to a local port."""
    return TunnelRequest(kind="tcp", target=Target("127.0.0.1", origin_port), **asked)


def http_tunnel(origin_port: int, **asked: Any) -> TunnelRequest:
    """Return an http tunnel to a local port."""
    return TunnelRequest(kind="http", target=Target("127.0.0.1", origin_port), **asked)


def tls_tunnel(origin_port: int, **asked: Any) -> TunnelRequest:
    """Return a tls tunnel to a local port."""
    return TunnelRequest(kind="tls", target=Target("127.0.0.1", origin_port), **asked)
