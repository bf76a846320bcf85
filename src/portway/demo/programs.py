"""The two halves of the demo's tunnel, as they stand while it runs: the server and the agent."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from portway.agent.events import AgentEvent, Refused, TunnelUp
from portway.config.files import write_secret
from portway.demo.events import agent_event, listening
from portway.demo.ports import ANY_PORTS, DemoPorts, free_ports
from portway.demo.processes import Child, ask, start
from portway.errors import RefusedError, UnavailableError
from portway.server.events import Listening

START_S_MAX = 20.0
"""How long the server, and then the agent, may take until it says that it is there: a slow machine's Python needs a second."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    child: Child
    news: Listening
    ports: DemoPorts
    """What it was asked to listen on; `news` has what it got."""
    data: Path
    environ: Mapping[str, str]

    async def watch(self) -> None:
        """Read what the server says until it ends, which it should not: that is raised."""
        async for _ in self.child.lines():
            pass
        raise await self.child.ended()


@dataclass(frozen=True, slots=True)
class Agent:
    """A running agent whose tunnel is up."""

    child: Child
    lines: AsyncIterator[str]
    url: str
    """What a visitor opens, without a slash at the end."""
    join_file: Path
    """The join string of the demo's token, for further agents; 0600."""

    async def watch(self, tell: Callable[[AgentEvent], None]) -> None:
        """Pass on what the agent tells until it ends, which it should not: that is raised."""
        async for line in self.lines:
            if event := agent_event(line):
                tell(event)
        raise await self.child.ended()


@asynccontextmanager
async def running_server(environ: Mapping[str, str], folder: Path) -> AsyncIterator[Server]:
    """Run a server with its data below `folder` for as long as the block lasts.

    Raises:
        UnavailableError: it does not start, also not on ports of the system's choice.
    """
    data = folder / "server"
    # Somebody may take a port between our look and the server's bind; the system's own choice cannot be taken.
    problem = UnavailableError("the demo's server does not start")
    for ports in (free_ports(), ANY_PORTS):
        arguments = ["server", "--json", "--data", str(data), "--http", f"127.0.0.1:{ports.http}", "--agents", f"127.0.0.1:{ports.agents}"]
        child = await start("server", arguments, environ, folder / "server.log")
        try:
            news = await _listening(child)
            if news is not None:
                yield Server(child, news, ports, data, environ)
                return
            problem = await child.ended()
        finally:
            await child.stop()
    raise problem


@asynccontextmanager
async def running_agent(server: Server, name: str, origin: str, folder: Path) -> AsyncIterator[Agent]:
    """Run an agent that publishes `origin` (host:port) as `name` on `server`, for as long as the block lasts.

    Raises:
        RefusedError: the server refuses the name.
        UnavailableError: no tunnel comes up.
    """
    join = await ask("token", ["token", "create", "demo", "--data", str(server.data)], server.environ, folder / "token.log")
    join_file = folder / "join"
    await asyncio.to_thread(write_secret, join_file, f"{join}\n".encode(), replace=False)
    arguments = ["http", origin, "--name", name, "--data", str(folder / "agent"), "--json", "--drain", "0s"]
    child = await start("agent", arguments, {**server.environ, "PORTWAY_JOIN": join}, folder / "agent.log")
    try:
        lines = child.lines()
        url = await _url(child, lines)
        yield Agent(child, lines, url.rstrip("/"), join_file)
    finally:
        await child.stop()


async def _listening(server: Child) -> Listening | None:
    """Return the server's news once it listens, or None when it ended instead."""
    try:
        async with asyncio.timeout(START_S_MAX):
            async for line in server.lines():
                if news := listening(line):
                    return news
    except TimeoutError:
        raise UnavailableError(f"the demo's server did not listen within {START_S_MAX:g} s. It said:\n{server.last_words()}") from None
    return None


async def _url(agent: Child, lines: AsyncIterator[str]) -> str:
    """Return the public URL once the tunnel is up."""
    try:
        async with asyncio.timeout(START_S_MAX):
            async for line in lines:
                match agent_event(line):
                    case TunnelUp(url=url):
                        return url
                    case Refused(code, reason, next_step):
                        raise RefusedError(code, reason, next_step)
                    case _:
                        continue
            raise await agent.ended()
    except TimeoutError:
        raise UnavailableError(f"the demo's tunnel was not up within {START_S_MAX:g} s. The agent said:\n{agent.last_words()}") from None
