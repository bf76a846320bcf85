"""Runs the demo: a server, an agent and the sample site, until somebody stops it."""

import asyncio
import secrets
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from os import environ
from pathlib import Path

from portway.clock import wall
from portway.config.paths import runtime_dir
from portway.demo.console import Console, JsonConsole, WordsConsole
from portway.demo.link_watch import LinkWatch
from portway.demo.processes import clean_environ
from portway.demo.programs import Agent, Server, running_agent, running_server
from portway.demo.settings import DemoSettings
from portway.demo.site_app import Site, site_app
from portway.demo.site_bytes import SAMPLE_BYTES, sums
from portway.demo.site_chat import Link
from portway.demo.site_server import serve_site, site_socket
from portway.errors import PortwayError
from portway.protocol.units import format_duration
from portway.telemetry.line_writer import LineWriter

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(settings: DemoSettings, *, as_json: bool = False) -> None:
    """Run the demo in this process until Ctrl-C, SIGTERM, SIGHUP or the end of its time; with `as_json` it tells events.

    Raises:
        PortwayError: the demo could not start, or one of its parts ended by itself; all the others are stopped.
    """
    out, notes = LineWriter(1), LineWriter(2)
    console = JsonConsole(out, wall) if as_json else WordsConsole(out, notes)
    try:
        asyncio.run(_until_stopped(settings, console))
    finally:
        out.close()
        notes.close()


async def _until_stopped(settings: DemoSettings, console: Console) -> None:
    problems: list[PortwayError] = []
    with _signals_cancel(console) as told:
        try:
            await _demo(settings, console)
        except* PortwayError as group:
            problems = _leaves(group)
        except* asyncio.CancelledError:
            if not told:
                raise
    if problems:
        raise problems[0]


async def _demo(settings: DemoSettings, console: Console) -> None:
    console.begin()
    site_ends = asyncio.Event()
    with tempfile.TemporaryDirectory(prefix="portway-demo-") as name, site_socket() as sock:
        folder = Path(name)
        site = Site(_address(sock), await asyncio.to_thread(sums, SAMPLE_BYTES))
        async with asyncio.TaskGroup() as parts:
            parts.create_task(serve_site(site_app(site), sock, site_ends), name="sample site")
            try:
                async with running_server(clean_environ(environ), folder) as server:
                    tunnel = settings.name or _free_name(server)
                    async with running_agent(server, tunnel, site.address, folder) as agent:
                        await _show(settings, console, site, server, agent)
            finally:
                site_ends.set()


async def _show(settings: DemoSettings, console: Console, site: Site, server: Server, agent: Agent) -> None:
    """Tell where everything is, then what happens, for as long as the demo may run."""
    link = LinkWatch(agent.child.pid, on_facts=lambda facts: site.chat.tell(Link(facts.rtt_s or 0.0, facts.fresh)))
    site.link = lambda: link.facts
    async with asyncio.TaskGroup() as watchers:
        watching = [
            watchers.create_task(server.watch(), name="watch the server"),
            watchers.create_task(agent.watch(console.event), name="watch the agent"),
            watchers.create_task(link.run(runtime_dir(environ)), name="watch the link"),
        ]
        console.ready(agent.url, server.news.http, site.address, agent.join_file)
        await asyncio.sleep(settings.duration_s if settings.duration_s is not None else _FOR_EVER_S)
        console.end(f"{format_duration(settings.duration_s or 0)} are over")
        for task in watching:
            task.cancel()


_FOR_EVER_S = 10 * 365 * 86400.0
"""Until a signal comes."""


@contextmanager
def _signals_cancel(console: Console) -> Iterator[list[str]]:
    """Let the first stop signal cancel this task; its name is then in the list. Later ones change nothing: the end is under way."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    told: list[str] = []

    def stop(name: str) -> None:
        if not told and task is not None:
            told.append(name)
            console.end(name)
            task.cancel()

    for number in _STOP_SIGNALS:
        if signal.getsignal(number) is signal.SIG_IGN:
            continue  # nohup wants it ignored
        loop.add_signal_handler(number, stop, "Ctrl-C" if number == signal.SIGINT else number.name)
    try:
        yield told
    finally:
        for number in _STOP_SIGNALS:
            loop.remove_signal_handler(number)


def _free_name(server: Server) -> str:
    """Return the tunnel's name: another one beside somebody else's server, so that nobody mistakes the two."""
    return "demo" if server.ports.usual else f"demo-{secrets.token_hex(2)}"


def _address(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"{host}:{port}"


def _leaves(group: BaseExceptionGroup[PortwayError]) -> list[PortwayError]:
    """Return the errors in a group of groups, first to last."""
    found: list[PortwayError] = []
    for error in group.exceptions:
        found.extend(_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return found
