"""Runs the demo: server, agent and sample site, until it is stopped."""

import asyncio
import secrets
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from os import environ
from pathlib import Path

from portway.clock import wall
from portway.config.paths import runtime_dir
from portway.demo.console import Console, DemoUp, JsonConsole, TextConsole
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
    """Run the demo in this process until Ctrl-C, SIGTERM, SIGHUP or the end of its duration; with `as_json` it prints events.

    Raises:
        PortwayError: the demo could not start, or one of its parts exited unexpectedly; the others are stopped.
    """
    out, notes = LineWriter(1), LineWriter(2)
    console = JsonConsole(out, wall) if as_json else TextConsole(out, notes)
    try:
        asyncio.run(_until_stopped(settings, console))
    finally:
        out.close()
        notes.close()


async def _until_stopped(settings: DemoSettings, console: Console) -> None:
    errors: list[PortwayError] = []
    with _signals_cancel(console) as signals:
        try:
            await _demo(settings, console)
        except* PortwayError as group:
            errors = _flatten(group)
        except* asyncio.CancelledError:
            if not signals:
                raise
    if errors:
        raise errors[0]


async def _demo(settings: DemoSettings, console: Console) -> None:
    console.begin()
    site_stop = asyncio.Event()
    with tempfile.TemporaryDirectory(prefix="portway-demo-") as name, site_socket() as sock:
        folder = Path(name)
        site = Site(_address(sock), await asyncio.to_thread(sums, SAMPLE_BYTES))
        async with asyncio.TaskGroup() as parts:
            parts.create_task(serve_site(site_app(site), sock, site_stop), name="sample site")
            try:
                async with running_server(clean_environ(environ), folder) as server:
                    tunnel = settings.name or _tunnel_name(server)
                    async with running_agent(server, tunnel, site.address, folder) as agent:
                        await _show(settings, console, site, server, agent)
            finally:
                site_stop.set()


async def _show(settings: DemoSettings, console: Console, site: Site, server: Server, agent: Agent) -> None:
    """Print the addresses, then events, until the duration is over."""
    link = LinkWatch(agent.child.pid, on_facts=lambda facts: site.chat.broadcast(Link(facts.rtt_s or 0.0, facts.fresh)))
    site.link = lambda: link.facts
    async with asyncio.TaskGroup() as watchers:
        watching = [
            watchers.create_task(server.watch(), name="watch the server"),
            watchers.create_task(agent.watch(console.event), name="watch the agent"),
            watchers.create_task(link.run(runtime_dir(environ)), name="watch the link"),
        ]
        console.ready(_demo_up(server, site, agent))
        await asyncio.sleep(settings.duration_s if settings.duration_s is not None else _FOREVER_S)
        console.end(f"duration of {format_duration(settings.duration_s or 0)} over")
        for task in watching:
            task.cancel()


def _demo_up(server: Server, site: Site, agent: Agent) -> DemoUp:
    """Return the demo's addresses."""
    from portway.certificates.dev_ca import ROOT_FILE  # noqa: PLC0415 - cryptography takes 60 ms, in which nothing is shown

    up = DemoUp(agent.url, server.listening.http, site.address, str(agent.join_file))
    port = server.listening.https.rpartition(":")[2]
    host = agent.url.partition("://")[2].partition(":")[0]
    return replace(up, https_url=f"https://{host}:{port}", ca_file=str(server.data / ROOT_FILE)) if port else up


_FOREVER_S = 10 * 365 * 86400.0
"""Longer than any demo: until a signal."""


@contextmanager
def _signals_cancel(console: Console) -> Iterator[list[str]]:
    """Cancel this task at the first stop signal, and put the signal's name into the list; ignore later ones."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    received: list[str] = []

    def stop(name: str) -> None:
        if not received and task is not None:
            received.append(name)
            console.end(name)
            task.cancel()

    for number in _STOP_SIGNALS:
        if signal.getsignal(number) is signal.SIG_IGN:
            continue  # as set by nohup
        loop.add_signal_handler(number, stop, "Ctrl-C" if number == signal.SIGINT else number.name)
    try:
        yield received
    finally:
        for number in _STOP_SIGNALS:
            loop.remove_signal_handler(number)


def _tunnel_name(server: Server) -> str:
    """Return the tunnel's name: a random one if another server uses the default ports, so that the two differ."""
    return "demo" if server.ports.is_default else f"demo-{secrets.token_hex(2)}"


def _address(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"{host}:{port}"


def _flatten(group: BaseExceptionGroup[PortwayError]) -> list[PortwayError]:
    """Return the errors of a group, including those of nested groups."""
    found: list[PortwayError] = []
    for error in group.exceptions:
        found.extend(_flatten(error) if isinstance(error, BaseExceptionGroup) else [error])
    return found
