"""The server and the agent of the demo, as running processes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from portway.agent.events import AgentEvent, Refused, TunnelUp
from portway.config.files import write_secret
from portway.demo.events import agent_event, listening_event
from portway.demo.ports import ANY_PORTS, DemoPorts, free_ports
from portway.demo.processes import Child, first_line_of, start
from portway.errors import RefusedError, UnavailableError
from portway.server.events import Listening

START_S_MAX = 20.0
"""Time for the server, and then for the agent, to start: on a slow machine Python alone needs a second."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    child: Child
    listening: Listening
    ports: DemoPorts
    """The requested ports; `listening` has the actual ones."""
    data: Path
    environ: Mapping[str, str]

    async def watch(self) -> None:
        """Read the server's output; raise an error when it exits."""
        async for _ in self.child.lines():
            pass
        raise await self.child.ended()


@dataclass(frozen=True, slots=True)
class Agent:
    """A running agent whose tunnel is up."""

    child: Child
    lines: AsyncIterator[str]
    url: str
    """The public URL, without a trailing slash."""
    join_file: Path
    """File with the join string of the demo's token, for further agents; mode 0600."""

    async def watch(self, on_event: Callable[[AgentEvent], None]) -> None:
        """Call `on_event` for each event of the agent; raise an error when it exits."""
        async for line in self.lines:
            if event := agent_event(line):
                on_event(event)
        raise await self.child.ended()


@asynccontextmanager
async def running_server(environ: Mapping[str, str], folder: Path) -> AsyncIterator[Server]:
    """Run a server with its data under `folder` until the block ends.

    Raises:
        UnavailableError: it cannot start, not even on ports that the kernel chooses.
    """
    data = folder / "server"
    # Another program may bind a port between the check and the server's bind; a port that the kernel chooses is free.
    error = UnavailableError("cannot start the demo's server")
    for ports in (free_ports(), ANY_PORTS):
        arguments = ["server", "--json", "--data", str(data)]
        for listener, port in (("http", ports.http), ("https", ports.https), ("agents", ports.agents)):
            arguments += [f"--{listener}", f"127.0.0.1:{port}"]
        child = await start("server", arguments, environ, folder / "server.log")
        try:
            listening = await _listening(child)
            if listening is not None:
                yield Server(child, listening, ports, data, environ)
                return
            error = await child.ended()
        finally:
            await child.stop()
    raise error


@asynccontextmanager
async def running_agent(server: Server, name: str, origin: str, folder: Path) -> AsyncIterator[Agent]:
    """Run an agent that publishes `origin` (host:port) as `name` on `server`, until the block ends.

    Raises:
        RefusedError: the server refuses the name.
        UnavailableError: the tunnel does not come up.
    """
    join = await first_line_of("token", ["token", "create", "demo", "--data", str(server.data)], server.environ, folder / "token.log")
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
    """Return the server's `listening` event, or None if it exited before."""
    try:
        async with asyncio.timeout(START_S_MAX):
            async for line in server.lines():
                if event := listening_event(line):
                    return event
    except TimeoutError:
        raise UnavailableError(
            f"the demo's server did not start within {START_S_MAX:g} s. End of its stderr:\n{server.stderr_tail()}"
        ) from None
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
        raise UnavailableError(
            f"the demo's tunnel did not come up within {START_S_MAX:g} s. End of the agent's stderr:\n{agent.stderr_tail()}"
        ) from None
