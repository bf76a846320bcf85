"""Output of the demo: its addresses and what to try, then each request."""

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


@dataclass(frozen=True, slots=True)
class DemoUp:
    """The tunnel is up."""

    url: str
    server: str
    """`host:port` for visitors."""
    site: str
    """`host:port` of the sample site."""
    join_file: str
    """Join string for further agents, while the demo runs."""
    https_url: str = ""
    """The same over HTTPS; empty if another program uses the port."""
    ca_file: str = ""
    """Root certificate of the server's development CA."""


class Console(Protocol):
    """Receives the events of the demo."""

    def begin(self) -> None:
        """Called first: the start takes a second."""

    def ready(self, up: DemoUp) -> None:
        """Called when the tunnel is up."""

    def event(self, event: AgentEvent) -> None:
        """Called for each event of the agent."""

    def end(self, reason: str) -> None:
        """Called when the demo stops."""


@dataclass(frozen=True, slots=True)
class DemoDown:
    """The demo stops."""

    reason: str


class JsonConsole:
    """Prints events as JSON, one per line: those of the demo, and those of its agent unchanged."""

    def __init__(self, out: LineWriter, clock: Clock) -> None:
        """`clock` is `clock.wall`."""
        self._out = out
        self._clock = clock

    def begin(self) -> None:
        """Print nothing."""

    def ready(self, up: DemoUp) -> None:
        """Print `demo_up`."""
        self._print(up)

    def event(self, event: AgentEvent) -> None:
        """Print an event of the agent."""
        self._print(event)

    def end(self, reason: str) -> None:
        """Print `demo_down`."""
        self._print(DemoDown(reason))

    def _print(self, event: object) -> None:
        self._out.write(event_line(event, self._clock()))


class TextConsole:
    """Prints text. On a terminal everything goes to stdout; otherwise stdout has only the URL, then requests."""

    def __init__(self, out: LineWriter, notes: LineWriter) -> None:
        """`out` writes to stdout, `notes` to stderr."""
        self._interactive = is_terminal(1)
        self._out = out
        self._notes = out if self._interactive else notes
        self._style = Style.of(1)
        self._agent = AgentConsole(out.write, self._notes.write, self._style, self._style, self._interactive)

    def begin(self) -> None:
        """Print a line on a terminal, because the start takes a second."""
        if self._interactive:
            self._out.write(self._style.dim("starting a server, an agent and a sample site ..."))

    def ready(self, up: DemoUp) -> None:
        """Print the URL, and what to try."""
        if not self._interactive:
            self._out.write(up.url)
        for line in ready_lines(up, self._style):
            self._notes.write(line)

    def event(self, event: AgentEvent) -> None:
        """Print an event of the agent, except those of its start."""
        if not isinstance(event, TunnelUp | Connecting | Online):
            self._agent(event)

    def end(self, reason: str) -> None:
        """Print that the demo stops, and the reason."""
        self._notes.write(self._style.dim(f"{reason}: stopping the agent, the server and the site"))


def ready_lines(up: DemoUp, style: Style) -> list[str]:
    """Return the first lines."""
    portway = portway_command()
    commands = [
        (f"curl {up.url}/trace", "show the request as the site receives it"),
        (f"curl -o /dev/null {up.url}/download", "download 100 MB and show the speed"),
        *(
            [(f"curl --cacert {up.ca_file} {up.https_url}/trace", "the same over HTTPS, with a certificate of its own CA")]
            if up.https_url
            else []
        ),
        (f"{portway} status", "show the running processes"),
    ]
    return [
        "",
        f"  {style.bold(up.url)}",
        *([f"  {up.https_url}"] if up.https_url else []),
        "",
        style.dim(f"  browser -> server {up.server} => TLS link => agent -> site {up.site}"),
        "",
        "  Open it in a browser, or run in another terminal:",
        *table(commands, indent="    "),
        "  Expose your own service on this server:",
        f"    {portway} http 3000 --name mine --join-file {up.join_file}",
        "",
        style.dim("  Requests appear below. Press Ctrl-C to stop; all files of the demo are removed."),
        "",
    ]


def portway_command() -> str:
    """Return the shell command of this portway: its name if that is the one in PATH, otherwise its path."""
    here = Path(sys.executable).with_name("portway")
    found = shutil.which("portway")
    if found and Path(found).resolve() == here.resolve():
        return "portway"
    return _short(here) if here.exists() else f"{_short(Path(sys.executable))} -m portway"


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
