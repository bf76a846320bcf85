"""Tells whoever started the demo where it is and what to try, then each request as it comes."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from portway.agent.console import Console as AgentConsole
from portway.agent.events import AgentEvent, Connecting, Online, TunnelUp
from portway.clock import Clock
from portway.telemetry.event_lines import event_line
from portway.telemetry.line_writer import LineWriter
from portway.telemetry.terminal import Style, is_terminal, table


class Console(Protocol):
    """Who hears what the demo does."""

    def begin(self) -> None:
        """Hear that something happens: the first second is silent otherwise."""

    def ready(self, url: str, server: str, site: str, join_file: Path) -> None:
        """Hear the URL; `server` and `site` are `host:port`, `join_file` lets further agents join."""

    def event(self, event: AgentEvent) -> None:
        """Hear what the agent did."""

    def end(self, why: str) -> None:
        """Hear that and why the demo stops."""


@dataclass(frozen=True, slots=True)
class DemoUp:
    """Everything runs, and can be visited."""

    url: str
    server: str
    """`host:port` for visitors."""
    site: str
    """`host:port` of what is published."""
    join_file: str
    """Lets further agents join this server, for as long as the demo runs."""


@dataclass(frozen=True, slots=True)
class DemoDown:
    """The demo stops."""

    reason: str


class JsonConsole:
    """One event a line on stdout, for programs: the demo's own, and its agent's as the agent tells them."""

    def __init__(self, out: LineWriter, clock: Clock) -> None:
        """`clock` is `clock.wall`."""
        self._out = out
        self._clock = clock

    def begin(self) -> None:
        """Say nothing: nothing has happened."""

    def ready(self, url: str, server: str, site: str, join_file: Path) -> None:
        """Tell where everything is."""
        self._tell(DemoUp(url, server, site, str(join_file)))

    def event(self, event: AgentEvent) -> None:
        """Pass on what the agent tells."""
        self._tell(event)

    def end(self, why: str) -> None:
        """Tell why."""
        self._tell(DemoDown(why))

    def _tell(self, event: object) -> None:
        self._out.write(event_line(event, self._clock()))


class WordsConsole:
    """The demo's words. On a terminal everything goes to stdout; else stdout has the URL, then requests, nothing more."""

    def __init__(self, out: LineWriter, notes: LineWriter) -> None:
        """`out` writes to stdout, `notes` to stderr."""
        self._interactive = is_terminal(1)
        self._out = out
        self._notes = out if self._interactive else notes
        self._style = Style.of(1)
        self._agent = AgentConsole(out.write, self._notes.write, self._style, self._style, self._interactive)

    def begin(self) -> None:
        """Say that something happens: the first second is silent otherwise."""
        if self._interactive:
            self._out.write(self._style.dim("starting a server, an agent and a sample site ..."))

    def ready(self, url: str, server: str, site: str, join_file: Path) -> None:
        """Tell the URL, and what to try; `server` and `site` are `host:port`, `join_file` lets further agents join."""
        if not self._interactive:
            self._out.write(url)
        for line in ready_lines(url, (server, site), join_file, self._style):
            self._notes.write(line)

    def event(self, event: AgentEvent) -> None:
        """Tell what the agent did; that it connects was to be expected."""
        if not isinstance(event, TunnelUp | Connecting | Online):
            self._agent(event)

    def end(self, why: str) -> None:
        """Say that and why the demo stops."""
        self._notes.write(self._style.dim(f"{why}: stopping the agent, the server and the site"))


def ready_lines(url: str, ends: tuple[str, str], join_file: Path, style: Style) -> list[str]:
    """Return what a person reads first; `ends` are the addresses of server and site."""
    portway = portway_command()
    tries = [
        (f"curl {url}/trace", "what the site sees of it"),
        (f"curl -o /dev/null {url}/download", "100 MB, with the speed"),
        (f"{portway} status", "what runs here"),
    ]
    return [
        "",
        f"  {style.bold(url)}",
        "",
        style.dim(f"  browser -> server {ends[0]} => TLS link => agent -> site {ends[1]}"),
        "",
        "  Open it in a browser, or try in another terminal",
        *table(tries, indent="    "),
        "  and show a service of your own on this server",
        f"    {portway} http 3000 --name mine --join-file {join_file}",
        "",
        style.dim("  Requests appear below. Ctrl-C stops everything and leaves nothing behind."),
        "",
    ]


def portway_command() -> str:
    """Return how to call portway from a shell here: by its name if that finds this one, else by its path."""
    here = Path(sys.executable).with_name("portway")
    found = shutil.which("portway")
    if found and Path(found).resolve() == here.resolve():
        return "portway"
    return _short(here) if here.exists() else f"{_short(Path(sys.executable))} -m portway"


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
